//! JSON Schema of the configuration, for editors.
//!
//! It is drawn from the table of keys. Unknown keys, which the registry only warns about, are errors
//! in the schema: an editor should point at them.

use serde_json::{Map, Value as Json, json};

use super::aliases::ONE_OF;
use super::check::join;
use super::document::Meaning;
use super::keys::{Branch, Entry, Kind, Status, tree};
use super::scalar;

/// What a duration looks like; a bare number counts nanoseconds.
const DURATION_PATTERN: &str = r"^[-+]?(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$";

/// The JSON Schema (draft 2020-12) of the configuration file.
pub fn json_schema() -> Json {
    let mut schema = node(tree(), "");
    if let Some(object) = schema.as_object_mut() {
        object.insert(
            "$schema".to_owned(),
            "https://json-schema.org/draft/2020-12/schema".into(),
        );
        object.insert("title".to_owned(), "Holdfast configuration".into());
        object.insert("required".to_owned(), json!(["version", "storage"]));
    }
    schema
}

fn node(branch: &Branch, path: &str) -> Json {
    let mut schema = match &branch.item {
        Some(item) => json!({"type": ["array", "null"], "items": node(item, "")}),
        None if branch.is_leaf() => branch
            .entry
            .map_or_else(|| json!({}), |entry| leaf(entry, path)),
        None => object(branch, path),
    };
    if let (Some(entry), Some(object)) = (branch.entry, schema.as_object_mut()) {
        describe(entry, object);
    }
    schema
}

fn object(branch: &Branch, path: &str) -> Json {
    let mut properties = Map::new();
    for child in &branch.children {
        properties.insert(child.name.to_owned(), node(child, &join(path, child.name)));
    }
    let other = branch
        .wildcard
        .as_deref()
        .map_or(Json::Bool(false), |wildcard| node(wildcard, ""));
    let keys = json!({"properties": properties, "additionalProperties": other});
    let kind = if ONE_OF.contains(&path) {
        // A driver or type without settings may be given by its name alone.
        json!(["object", "string", "null"])
    } else {
        json!(["object", "null"])
    };
    let mut schema = json!({"type": kind});
    if let (Some(schema), Json::Object(keys)) = (schema.as_object_mut(), keys) {
        schema.extend(keys);
    }
    schema
}

fn leaf(entry: &Entry, path: &str) -> Json {
    match entry.kind {
        _ if path == "version" => json!({"enum": ["0.1", 0.1]}),
        Kind::Flag => json!({"type": ["boolean", "null"]}),
        Kind::Integer { min, max } => {
            let mut schema = Map::new();
            schema.insert("type".to_owned(), json!(["integer", "null"]));
            if min != i64::MIN {
                schema.insert("minimum".to_owned(), min.into());
            }
            if max != i64::MAX {
                schema.insert("maximum".to_owned(), max.into());
            }
            schema.into()
        }
        Kind::Duration => {
            json!({"type": ["string", "integer", "null"], "pattern": DURATION_PATTERN})
        }
        Kind::Choice(options) => {
            let mut options: Vec<Json> = options.iter().copied().map(Json::from).collect();
            options.push(Json::Null);
            json!({"enum": options})
        }
        Kind::Text | Kind::Path => json!({"type": ["string", "number", "boolean", "null"]}),
        Kind::Any | Kind::Section => json!({}),
    }
}

fn describe(entry: &Entry, schema: &mut Map<String, Json>) {
    let about = match entry.status {
        Status::Effective => entry.about.to_owned(),
        Status::NotYet => format!("{} Not effective yet in this release.", entry.about),
        Status::Ignored { why } => format!("{} Has no effect: {why}.", entry.about),
        Status::Refused { why } => format!("{} Refused: {why}.", entry.about),
        Status::Alias { of } => format!("{} Write `{of}`.", entry.about),
    };
    schema.insert("description".to_owned(), about.into());
    if entry.status != Status::Effective {
        schema.insert("deprecated".to_owned(), true.into());
    }
    if entry.secret {
        schema.insert("writeOnly".to_owned(), true.into());
    }
    if !entry.default.is_empty() {
        schema.insert("default".to_owned(), default(entry.default));
    }
}

fn default(text: &str) -> Json {
    match scalar::resolve(text) {
        Meaning::Bool(value) => value.into(),
        Meaning::Integer(value) => value.into(),
        Meaning::Null | Meaning::Float(_) | Meaning::String => text.into(),
    }
}
