//! The `log` section.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::document::{Meaning, Node, Value};
use super::reader::Section;

/// What is logged, and in which shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// Least severe level that is logged.
    pub level: LogLevel,
    /// Shape of a line.
    pub formatter: Formatter,
    /// Fixed fields of every line.
    pub fields: BTreeMap<String, Json>,
    /// Whether the access log is written to standard output.
    pub access_log: bool,
}

/// Severity of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something looks wrong.
    Warn,
    /// What happens.
    Info,
    /// Everything.
    Debug,
}

/// Shape of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Formatter {
    /// `key=value` pairs.
    Text,
    /// One JSON object.
    Json,
    /// One JSON object with the names Logstash expects.
    Logstash,
}

impl Log {
    pub(super) fn read(log: &Section<'_>) -> Self {
        let level = log.choice("level", |found| {
            format!("invalid loglevel {found} Must be one of [error, warn, info, debug]")
        });
        let formatter = log.choice("formatter", |found| {
            format!("unsupported logging formatter: {found:?}, expected text, json or logstash")
        });
        let fields = log.section("fields");
        Self {
            level: match level {
                "error" => LogLevel::Error,
                "warn" => LogLevel::Warn,
                "debug" => LogLevel::Debug,
                _ => LogLevel::Info,
            },
            formatter: match formatter {
                "json" => Formatter::Json,
                "logstash" => Formatter::Logstash,
                _ => Formatter::Text,
            },
            fields: fields
                .free_keys()
                .map(|pair| (pair.key.clone(), json(&pair.value)))
                .collect(),
            access_log: !log.section("accesslog").flag("disabled"),
        }
    }
}

/// A value of the document as JSON; what JSON has no number for becomes text.
fn json(node: &Node) -> Json {
    match &node.value {
        Value::Scalar(scalar) => match scalar.meaning {
            Meaning::Null => Json::Null,
            Meaning::Bool(value) => value.into(),
            Meaning::Integer(value) => value.into(),
            Meaning::Float(value) => serde_json::Number::from_f64(value)
                .map_or_else(|| scalar.text.clone().into(), Json::Number),
            Meaning::String => scalar.text.clone().into(),
        },
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(map) => map
            .iter()
            .map(|pair| (pair.key.clone(), json(&pair.value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}
