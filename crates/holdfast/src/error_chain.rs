//! Errors as one line of text.

/// What failed and each cause, once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// What was attempted, what failed, and each cause, once.
pub(crate) fn attempt(what: &str, error: &dyn std::error::Error) -> String {
    format!("{what}: {}", chain(error))
}
