//! Other ways to write the same thing, brought into one form before anything is checked.
//!
//! `storage: inmemory` becomes `storage: {inmemory: }`, and older spellings move to the key that
//! replaced them. Everything after this step knows one form only.

use super::document::{Map, Meaning, Node, Pair, Value};
use super::keys::{self, Status};
use super::problem::Warning;

/// The sections in which a single word names a driver or type without settings.
pub(super) const ONE_OF: [&str; 2] = ["storage", "auth"];

/// Turns `storage: inmemory` and `auth: none` into sections with that one key.
pub(super) fn unfold_words(root: &mut Node) {
    let Some(map) = root.map_mut() else { return };
    for section in ONE_OF {
        if let Some(node) = map.get_mut(section) {
            unfold(node);
        }
    }
}

fn unfold(node: &mut Node) {
    let Value::Scalar(scalar) = &node.value else {
        return;
    };
    if scalar.meaning == Meaning::Null || scalar.text.is_empty() {
        return;
    }
    // Distribution reads `auth: none` in any case; driver names are lower case.
    let none = scalar.text.eq_ignore_ascii_case("none");
    let name = if none {
        "none".to_owned()
    } else {
        scalar.text.clone()
    };
    let mut map = Map::default();
    map.push(Pair {
        key: name,
        at: node.at.clone(),
        value: Node::null(node.at.clone()),
    });
    node.value = Value::Map(map);
}

/// Moves values from older spellings to the keys that replaced them.
pub(super) fn move_aliases(root: &mut Node, warnings: &mut Vec<Warning>) {
    for entry in keys::entries() {
        let Status::Alias { of } = entry.status else {
            continue;
        };
        let Some(pair) = take(root, entry.path) else {
            continue;
        };
        if pair.value.is_null() {
            continue;
        }
        let at = pair.at.clone();
        let text = if put(root, of, pair) {
            format!(
                "{} is an older spelling or misplaced; write {of}",
                entry.path
            )
        } else {
            format!("{} has no effect beside {of}, which is set too", entry.path)
        };
        warnings.push(Warning::new(&at, text));
    }
}

/// Middleware of storage, which examples on the web put under `middleware.registry`.
const STORAGE_MIDDLEWARE: [&str; 3] = ["cloudfront", "redirect", "rewrite"];

/// Moves middleware of storage to its place.
pub(super) fn move_storage_middleware(root: &mut Node, warnings: &mut Vec<Warning>) {
    let Value::Map(top) = &mut root.value else {
        return;
    };
    let middleware = top.get_mut("middleware").map(|node| &mut node.value);
    let Some(Value::Map(middleware)) = middleware else {
        return;
    };
    let registry = middleware.get_mut("registry").map(|node| &mut node.value);
    let Some(Value::List(entries)) = registry else {
        return;
    };
    let misplaced = |entry: &Node| {
        let name = entry.as_map().and_then(|map| map.get("name"));
        name.and_then(Node::as_scalar)
            .is_some_and(|name| STORAGE_MIDDLEWARE.contains(&name.text.as_str()))
    };
    let (moved, kept): (Vec<Node>, Vec<Node>) =
        std::mem::take(entries).into_iter().partition(misplaced);
    *entries = kept;
    let Some(at) = moved.first().map(|entry| entry.at.clone()) else {
        return;
    };
    if let Some(entries) = middleware.entry("storage", &at).list_mut() {
        entries.extend(moved);
    }
    let text = "middleware.registry: cloudfront, redirect and rewrite are middleware of storage; write them under \
                middleware.storage";
    warnings.push(Warning::new(&at, text));
}

fn take(root: &mut Node, path: &str) -> Option<Pair> {
    let (parents, key) = split(path);
    let mut node = root;
    for parent in parents {
        let Value::Map(map) = &mut node.value else {
            return None;
        };
        node = map.get_mut(parent)?;
    }
    match &mut node.value {
        Value::Map(map) => map.remove(key),
        Value::Scalar(_) | Value::List(_) => None,
    }
}

/// Puts the value at a path unless one is there; tells whether it did.
fn put(root: &mut Node, path: &str, pair: Pair) -> bool {
    let (parents, key) = split(path);
    let mut node = root;
    for parent in parents {
        match node.map_mut() {
            Some(map) => node = map.entry(parent, &pair.at),
            None => return false,
        }
    }
    let Some(map) = node.map_mut() else {
        return false;
    };
    if map.get(key).is_some_and(|node| !node.is_null()) {
        return false;
    }
    map.remove(key);
    map.push(Pair {
        key: key.to_owned(),
        ..pair
    });
    true
}

fn split(path: &str) -> (Vec<&str>, &str) {
    let mut words: Vec<&str> = path.split('.').collect();
    let key = words.pop().unwrap_or_default();
    (words, key)
}
