//! Tables of cases: every row is looked at, then all that are wrong are named at once.

use std::thread;

use serde_json::Value;

use crate::http::Response;

/// Codes and messages as the compatibility contract has them; a code not listed has a message of its own.
const MESSAGES: [(&str, &str); 17] = [
    ("BLOB_UNKNOWN", "blob unknown to registry"),
    ("BLOB_UPLOAD_INVALID", "blob upload invalid"),
    ("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"),
    (
        "DIGEST_INVALID",
        "provided digest did not match uploaded content",
    ),
    ("MANIFEST_BLOB_UNKNOWN", "blob unknown to registry"),
    ("MANIFEST_INVALID", "manifest invalid"),
    ("MANIFEST_UNKNOWN", "manifest unknown"),
    ("NAME_INVALID", "invalid repository name"),
    ("NAME_UNKNOWN", "repository name not known to registry"),
    ("NOT_FOUND", "no such path in this API"),
    (
        "PAGINATION_NUMBER_INVALID",
        "invalid number of results requested",
    ),
    ("RANGE_INVALID", "invalid content range"),
    (
        "SIZE_INVALID",
        "provided length did not match content length",
    ),
    ("TOOMANYREQUESTS", "too many requests"),
    ("UNAUTHORIZED", "authentication required"),
    ("UNAVAILABLE", "service unavailable"),
    ("UNSUPPORTED", "The operation is unsupported."),
];

/// What a table of cases found wrong; dropping it fails the test when there is anything.
#[derive(Debug, Default)]
pub struct Findings {
    wrong: Vec<String>,
}

impl Findings {
    /// Nothing wrong yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Records what a case says when it does not hold.
    pub fn check(&mut self, holds: bool, says: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(says());
        }
    }

    /// An answer must have this status.
    pub fn status(&mut self, case: &str, response: &Response, status: u16) {
        self.check(response.status == status, || {
            format!("{case}: expected {status}, got {response}")
        });
    }

    /// An answer must have this header, or must lack it.
    pub fn header(&mut self, case: &str, response: &Response, name: &str, value: Option<&str>) {
        let found = response.header(name);
        self.check(found == value, || {
            format!("{case}: expected {name} to be {value:?}, found {found:?} in {response}")
        });
    }

    /// An answer must be an error of exactly the shape that clients read: status, code, standard message.
    ///
    /// Returns the detail of its first entry, `Null` when there is none.
    pub fn error(&mut self, case: &str, response: &Response, status: u16, code: &str) -> Value {
        if response.status != status {
            // One finding: all else would only repeat it.
            self.status(case, response, status);
            return Value::Null;
        }
        self.header(case, response, "Content-Type", Some("application/json"));
        let body = serde_json::from_slice::<Value>(&response.body).unwrap_or_default();
        let entries = body["errors"].as_array().cloned().unwrap_or_default();
        let Some(first) = entries.first() else {
            self.check(false, || format!("{case}: no errors in {response}"));
            return Value::Null;
        };
        self.check(first["code"] == code, || {
            format!("{case}: expected {code}, got {response}")
        });
        let standard = MESSAGES.iter().find(|(known, _)| *known == code);
        // A refusal that names its reason in the message is marked by its own words.
        if let Some((_, message)) = standard
            && !OWN_WORDS.contains(&first["message"].as_str().unwrap_or_default())
        {
            self.check(first["message"] == *message, || {
                format!("{case}: expected the message {message:?}, got {response}")
            });
        }
        let shape = |entry: &Value| {
            let members = entry
                .as_object()
                .into_iter()
                .flat_map(serde_json::Map::keys);
            let mut members: Vec<_> = members.map(String::as_str).collect();
            members.retain(|member| *member != "detail");
            members == ["code", "message"]
        };
        let exact = entries.iter().all(shape)
            && body.as_object().is_some_and(|body| body.len() == 1)
            && response.body.ends_with(b"\n");
        self.check(exact, || {
            format!("{case}: not the shape of an error: {response}")
        });
        first["detail"].clone()
    }

    /// As [`Findings::error`], with this detail.
    pub fn error_detail(
        &mut self,
        case: &str,
        response: &Response,
        status: u16,
        code: &str,
        detail: &Value,
    ) {
        let found = self.error(case, response, status, code);
        self.check(response.status != status || found == *detail, || {
            format!("{case}: expected the detail {detail}, got {response}")
        });
    }

    /// As [`Findings::error`], with a detail that mentions all of these texts.
    pub fn error_about(
        &mut self,
        case: &str,
        response: &Response,
        status: u16,
        code: &str,
        texts: &[&str],
    ) {
        let found = self.error(case, response, status, code).to_string();
        for text in texts {
            self.check(response.status != status || found.contains(text), || {
                format!("{case}: expected a detail about {text}, got {response}")
            });
        }
    }
}

/// Messages that stand in place of a code's standard one, because they tell more.
const OWN_WORDS: [&str; 3] = [
    "no space left for this push",
    "OCI manifest found, but accept header does not support OCI manifests",
    "OCI index found, but accept header does not support OCI indexes",
];

impl Drop for Findings {
    fn drop(&mut self) {
        if !self.wrong.is_empty() && !thread::panicking() {
            panic!(
                "{} cases are wrong:\n\n{}",
                self.wrong.len(),
                self.wrong.join("\n\n")
            );
        }
    }
}
