//! The reference page of all keys, drawn from the table.

use super::keys::{Entry, Kind, Status, parts};

const INTRODUCTION: &str = "\
# Configuration reference

<!-- Generated from the table of keys; change the table, not this page. -->

The configuration is a YAML file with the keys of Distribution 2.8 and 3 and some of our own. Every key
can also be set by an environment variable: `REGISTRY_` and the path of the key in capitals, joined with
`_`, as in `REGISTRY_HTTP_TLS_CERTIFICATE`. The value of a variable is read as YAML. Items of a list are
counted from 0, as in `REGISTRY_HTTP_TLS_CLIENTCAS_0`, and a variable may set a whole section at once.

In the tables, `[]` stands for the items of a list and `*` for keys of your choice. Durations are written
like `10s`, `1h30m` or `100ms`; a bare number counts nanoseconds.

A key is **effective** unless its row says otherwise. *Not yet* means it is accepted, named in a warning at
start, and does nothing in this release. *No effect* means it has no meaning in this registry. *Refused*
means the registry does not start with it, because going on without it would be unsafe.
";

/// The text of the page `docs/reference/configuration.md`.
pub fn reference_markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    for (heading, entries) in parts() {
        page.push_str(&format!("\n## {heading}\n\n"));
        page.push_str("| Key | Value | Default | Meaning |\n|---|---|---|---|\n");
        for entry in entries {
            page.push_str(&row(entry, is_told(entry, entries)));
        }
    }
    page
}

/// Whether a section above the key already tells the reason for the same status.
fn is_told(entry: &Entry, entries: &[Entry]) -> bool {
    entries.iter().any(|section| {
        let below = entry.path.strip_prefix(section.path);
        below.is_some_and(|rest| rest.starts_with(['.', '['])) && section.status == entry.status
    })
}

fn row(entry: &Entry, told: bool) -> String {
    let default = match entry.default {
        "" => String::new(),
        default => format!("`{default}`"),
    };
    let status = match entry.status {
        Status::Effective => String::new(),
        Status::NotYet => " *Not yet.*".to_owned(),
        Status::Ignored { .. } if told => " *No effect.*".to_owned(),
        Status::Refused { .. } if told => " *Refused.*".to_owned(),
        Status::Ignored { why } => format!(" *No effect:* {why}."),
        Status::Refused { why } => format!(" *Refused:* {why}."),
        Status::Alias { of } => format!(" *Write `{of}`.*"),
    };
    format!(
        "| `{}` | {} | {default} | {}{status} |\n",
        entry.path,
        kind(entry.kind),
        entry.about
    )
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Section => "section".to_owned(),
        Kind::Text => "text".to_owned(),
        Kind::Path => "path".to_owned(),
        Kind::Flag => "`true` or `false`".to_owned(),
        Kind::Integer { min: i64::MIN, .. } => "number".to_owned(),
        Kind::Integer { min, max: i64::MAX } => format!("number from {min}"),
        Kind::Integer { min, max } => format!("number from {min} to {max}"),
        Kind::Duration => "duration".to_owned(),
        Kind::Choice(options) => {
            let options: Vec<String> = options.iter().map(|option| format!("`{option}`")).collect();
            options.join(", ")
        }
        Kind::Any => "any".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_the_documentation_is_this_one() {
        let page = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docs/reference/configuration.md"
        );
        assert_eq!(
            std::fs::read_to_string(page).unwrap(),
            reference_markdown(),
            "write it anew: cargo run -- config reference > docs/reference/configuration.md"
        );
    }
}
