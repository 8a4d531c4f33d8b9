//! The configuration as a tree in which every value knows where it was written.
//!
//! Messages to operators are only as good as the place they name, so a location travels with each
//! node from the parser, through the environment overrides, to the typed sections. Scalars keep
//! their original text beside their meaning: a text setting written as `0123` or `yes` must arrive
//! as it was typed, as it does with the YAML library of Distribution.

use std::fmt;
use std::sync::Arc;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// A place in the configuration file.
    File {
        /// The path as the operator gave it.
        path: Arc<str>,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// The value of an environment variable.
    Environment {
        /// Name of the variable.
        variable: Arc<str>,
    },
    /// The configuration used when there is no file.
    Default,
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(formatter, "{path}:{line}:{column}"),
            Self::Environment { variable } => write!(formatter, "environment variable {variable}"),
            Self::Default => formatter.write_str("built-in configuration"),
        }
    }
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it starts.
    pub at: Location,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A single value.
    Scalar(Scalar),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the text.
    Map(Map),
}

/// A single value: the text as written and what YAML takes it for.
#[derive(Clone, Debug, PartialEq)]
pub struct Scalar {
    /// The text, unquoted.
    pub text: String,
    /// Its meaning.
    pub meaning: Meaning,
}

/// What YAML takes a scalar for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Meaning {
    /// Nothing: empty, `~` or `null`.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    String,
}

/// A mapping that keeps its order; keys are unique.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map {
    pairs: Vec<Pair>,
}

/// One key of a mapping with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The key.
    pub key: String,
    /// Where the key is written.
    pub at: Location,
    /// What it holds.
    pub value: Node,
}

impl Map {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.pair(key).map(|pair| &pair.value)
    }

    /// The value of a key, to be changed.
    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let pair = self.pairs.iter_mut().find(|pair| pair.key == key)?;
        Some(&mut pair.value)
    }

    /// The key with its value and place.
    pub fn pair(&self, key: &str) -> Option<&Pair> {
        self.pairs.iter().find(|pair| pair.key == key)
    }

    /// All keys in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Pair> {
        self.pairs.iter()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Adds a key that the caller knows to be absent.
    pub(super) fn push(&mut self, pair: Pair) {
        self.pairs.push(pair);
    }

    /// Replaces the pair at a position that [`push`](Self::push) filled.
    pub(super) fn pair_mut(&mut self, position: usize) -> &mut Pair {
        &mut self.pairs[position]
    }

    /// Takes a key out.
    pub(super) fn remove(&mut self, key: &str) -> Option<Pair> {
        let position = self.pairs.iter().position(|pair| pair.key == key)?;
        Some(self.pairs.remove(position))
    }

    /// Keeps the keys the question answers with `true`.
    pub(super) fn retain(&mut self, keep: impl FnMut(&Pair) -> bool) {
        self.pairs.retain(keep);
    }

    /// The value of a key, made `null` at `at` when the key is absent.
    pub(super) fn entry(&mut self, key: &str, at: &Location) -> &mut Node {
        let position = match self.pairs.iter().position(|pair| pair.key == key) {
            Some(position) => position,
            None => {
                self.pairs.push(Pair {
                    key: key.to_owned(),
                    at: at.clone(),
                    value: Node::null(at.clone()),
                });
                self.pairs.len() - 1
            }
        };
        &mut self.pairs[position].value
    }
}

impl Node {
    /// A node that holds nothing.
    pub fn null(at: Location) -> Self {
        Self {
            value: Value::Scalar(Scalar {
                text: String::new(),
                meaning: Meaning::Null,
            }),
            at,
        }
    }

    /// A node that holds text.
    pub fn text(text: &str, at: Location) -> Self {
        Self {
            value: Value::Scalar(Scalar {
                text: text.to_owned(),
                meaning: Meaning::String,
            }),
            at,
        }
    }

    /// The mapping, if it is one.
    pub fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            Value::Scalar(_) | Value::List(_) => None,
        }
    }

    /// The items, if it is a list.
    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(items) => Some(items),
            Value::Scalar(_) | Value::Map(_) => None,
        }
    }

    /// The scalar, if it is one and is not null.
    pub fn as_scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) if scalar.meaning != Meaning::Null => Some(scalar),
            Value::Scalar(_) | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.meaning == Meaning::Null)
    }

    /// Whether it asks for nothing: null, empty text, `false`, or a collection of such.
    ///
    /// Templates often leave `remoteurl: ""`, `classes: []` or `enabled: false` behind.
    pub fn is_blank(&self) -> bool {
        match &self.value {
            Value::Scalar(scalar) => {
                scalar.text.is_empty()
                    || matches!(scalar.meaning, Meaning::Null | Meaning::Bool(false))
            }
            Value::List(items) => items.iter().all(Node::is_blank),
            Value::Map(map) => map.iter().all(|pair| pair.value.is_blank()),
        }
    }

    /// The mapping inside, after turning null into an empty one. `None` if it holds anything else.
    pub(super) fn map_mut(&mut self) -> Option<&mut Map> {
        if self.is_null() {
            self.value = Value::Map(Map::default());
        }
        match &mut self.value {
            Value::Map(map) => Some(map),
            Value::Scalar(_) | Value::List(_) => None,
        }
    }

    /// The list inside, after turning null into an empty one. `None` if it holds anything else.
    pub(super) fn list_mut(&mut self) -> Option<&mut Vec<Node>> {
        if self.is_null() {
            self.value = Value::List(Vec::new());
        }
        match &mut self.value {
            Value::List(items) => Some(items),
            Value::Scalar(_) | Value::Map(_) => None,
        }
    }

    /// What it is, for a message: `"abc"`, `a list`, `nothing`.
    pub(super) fn described(&self) -> String {
        match &self.value {
            Value::Scalar(scalar) => scalar.described(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a section".to_owned(),
        }
    }
}

/// Longest piece of an operator's text repeated in a message, in characters.
const QUOTED_CHARACTERS: usize = 80;

impl Scalar {
    /// The text in quotes for a message, shortened when long.
    pub(super) fn described(&self) -> String {
        if self.meaning == Meaning::Null {
            return "nothing".to_owned();
        }
        quoted(&self.text)
    }
}

/// Text in quotes for a message: control characters escaped, long text shortened.
pub(super) fn quoted(text: &str) -> String {
    let short: String = text.chars().take(QUOTED_CHARACTERS).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("{:?}", format!("{short}{dots}"))
}

/// A whole configuration, overrides included.
#[derive(Clone, PartialEq)]
pub struct Document {
    /// The top of the tree.
    pub root: Node,
}

impl Document {
    /// The node under a path of keys.
    pub fn find(&self, path: &[&str]) -> Option<&Node> {
        path.iter()
            .try_fold(&self.root, |node, key| node.as_map()?.get(key))
    }
}

/// The tree holds secrets as they were written, so it does not print.
impl fmt::Debug for Document {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Document(..)")
    }
}
