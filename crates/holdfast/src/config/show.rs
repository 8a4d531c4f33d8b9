//! The effective configuration as YAML, for `config show`.
//!
//! Every key that takes effect is listed with its value; a comment says where a value that is not
//! the default was set. Secrets are masked. What has no value and no default is left out, as are
//! the storage driver, the auth types and the database that were not chosen.

use super::access::Metadata;
use super::aliases::ONE_OF;
use super::check::join;
use super::document::{Location, Map, Meaning, Node, Scalar, Value};
use super::duration;
use super::environment::NOT_DRIVERS;
use super::keys::{Branch, Status, tree};
use super::scalar;
use super::secret::HIDDEN;
use super::{Config, Loaded};

/// The effective configuration with masked secrets and the places of its values.
pub fn show(loaded: &Loaded) -> String {
    let mut page = Page {
        config: &loaded.config,
        lines: Vec::new(),
    };
    page.section(tree(), Some(&loaded.document.root), "", 0);
    page.lines.join("\n") + "\n"
}

struct Page<'a> {
    config: &'a Config,
    lines: Vec<String>,
}

impl Page<'_> {
    fn section(&mut self, branch: &Branch, node: Option<&Node>, path: &str, depth: usize) {
        let map = node.and_then(Node::as_map);
        for child in branch.children.iter().filter(|child| child.is_effective()) {
            let path = join(path, child.name);
            let node = map.and_then(|map| map.get(child.name));
            if (is_choice(&path) && node.is_none()) || self.is_moot(&path, node, map) {
                continue;
            }
            self.key(child.name, child, node, &path, depth);
        }
        let free = map.filter(|_| branch.wildcard.is_some());
        for pair in free.into_iter().flat_map(|map| map.iter()) {
            if let Some(wildcard) = &branch.wildcard {
                self.key(
                    &pair.key,
                    wildcard,
                    Some(&pair.value),
                    &join(path, &pair.key),
                    depth,
                );
            }
        }
    }

    /// Whether the defaults of a key mean nothing beside what was chosen: the other database, or words beside a URL.
    fn is_moot(&self, path: &str, node: Option<&Node>, beside: Option<&Map>) -> bool {
        let postgres = matches!(self.config.metadata, Metadata::Postgres(_));
        match path {
            "metadata.postgres" => !postgres,
            "metadata.snapshots" => postgres && node.is_none(),
            "metadata.postgres.port" | "metadata.postgres.database" => {
                node.is_none() && beside.is_some_and(|map| map.get("url").is_some())
            }
            _ => false,
        }
    }

    fn key(&mut self, name: &str, branch: &Branch, node: Option<&Node>, path: &str, depth: usize) {
        let label = format!("{}{}:", "  ".repeat(depth), text(name));
        let status = branch.entry.map(|entry| entry.status);
        if branch.is_leaf() {
            if status == Some(Status::Effective) {
                self.leaf(&label, branch, node, path);
            }
            return;
        }
        if let Some(item) = &branch.item {
            let items = node.and_then(Node::as_list).unwrap_or_default();
            if !items.is_empty() {
                self.lines.push(label);
                self.items(item, items, path, depth + 1);
            }
            return;
        }
        let before = self.lines.len();
        self.lines.push(label);
        self.section(branch, node, path, depth + 1);
        if self.lines.len() == before + 1 {
            // Nothing below: only a chosen driver without settings is worth its line.
            self.lines.pop();
            if is_choice(path) {
                self.lines
                    .push(format!("{}{}: {{}}", "  ".repeat(depth), text(name)));
            }
        }
    }

    fn items(&mut self, item: &Branch, items: &[Node], path: &str, depth: usize) {
        for (index, node) in items.iter().enumerate() {
            let dash = format!("{}-", "  ".repeat(depth));
            let path = format!("{path}[{index}]");
            if item.is_leaf() {
                self.leaf(&dash, item, Some(node), &path);
                continue;
            }
            let first = self.lines.len();
            self.section(item, Some(node), &path, depth + 1);
            if let Some(line) = self.lines.get_mut(first) {
                // The first key of an item stands on the line of its dash.
                *line = format!("{dash} {}", line.trim_start());
            }
        }
    }

    fn leaf(&mut self, label: &str, branch: &Branch, node: Option<&Node>, path: &str) {
        let Some(entry) = branch.entry else { return };
        let node = node.filter(|node| !node.is_null());
        let value = match node {
            Some(_) if entry.secret => text(HIDDEN),
            Some(node) => value(node),
            None => match computed(path, self.config) {
                Some(value) => value,
                None if entry.default.is_empty() => return,
                None => default_text(entry.default),
            },
        };
        let place = node
            .map(|node| &node.at)
            .filter(|at| **at != Location::Default);
        self.lines.push(match place {
            Some(at) => format!("{label} {value}  # {at}"),
            None => format!("{label} {value}"),
        });
    }
}

/// Whether the path names one of several drivers or types.
fn is_choice(path: &str) -> bool {
    path.split_once('.').is_some_and(|(section, name)| {
        ONE_OF.contains(&section) && !name.contains('.') && !NOT_DRIVERS.contains(&name)
    })
}

/// Defaults that depend on other settings.
fn computed(path: &str, config: &Config) -> Option<String> {
    match (path, &config.metadata) {
        ("metadata.path", Metadata::File(file)) => Some(text(&file.to_string_lossy())),
        _ => None,
    }
}

/// A default of the table; `:5000` and the like need no quotes, but text that looks like another
/// type does not occur there.
fn default_text(default: &str) -> String {
    match scalar::resolve(default) {
        Meaning::String => text(default),
        _ => default.to_owned(),
    }
}

/// A value on one line. JSON is YAML too, so collections and odd text are written as JSON.
fn value(node: &Node) -> String {
    match &node.value {
        Value::Scalar(scalar) => scalar_text(scalar),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(value).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(map) => {
            let pairs: Vec<String> = map
                .iter()
                .map(|pair| format!("{}: {}", json(&pair.key), value(&pair.value)))
                .collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

fn scalar_text(scalar: &Scalar) -> String {
    match scalar.meaning {
        Meaning::Null => "null".to_owned(),
        Meaning::Bool(_) | Meaning::Integer(_) | Meaning::Float(_) => scalar.text.clone(),
        Meaning::String => text(&scalar.text),
    }
}

/// Text, plain when nobody could read it as anything else.
fn text(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic() || "./".contains(c));
    let duration = duration::parse(text).is_some();
    let safe =
        (word || duration) && text.chars().all(plain) && scalar::resolve(text) == Meaning::String;
    if safe { text.to_owned() } else { json(text) }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
