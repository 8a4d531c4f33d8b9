//! `REGISTRY_*` variables laid over the document.
//!
//! The name is `REGISTRY_` and the path of keys joined with `_`; the value is YAML. Variables are
//! applied in the order of their names, so a variable that replaces a whole section comes before
//! those that fill it. Source: the rules of Distribution, with its list indexes of version 3, and
//! without its trap that keys two levels below `storage.maintenance` could not be set.
//!
//! Two liberties, each where Distribution would fail to start: a text setting whose value is not
//! YAML (`[::]:5000`, `@secret`) is taken as it stands, and below keys of the operator's choice
//! (`log.fields`) an underscore in the name belongs to the key.

use super::aliases::{self, ONE_OF};
use super::check::{guards, join};
use super::document::{Location, Map, Node, Pair, Value};
use super::keys::{Branch, Kind, tree};
use super::problem::{Problem, Warning};
use super::spelling;
use super::yaml::{self, Origin};

/// What the name of an override begins with.
const PREFIX: &str = "REGISTRY_";

/// Not for this rule: one is read by the command line; in the other, podman, buildah and skopeo are told where
/// logins are kept, and whoever uses them has it in his shell.
const OTHERS: [&str; 2] = ["REGISTRY_CONFIGURATION_PATH", "REGISTRY_AUTH_FILE"];

/// Keys of `storage` that are not drivers.
pub(super) const NOT_DRIVERS: [&str; 6] =
    ["delete", "redirect", "cache", "maintenance", "tag", "redis"];

/// Lays all overrides over the document.
pub(super) fn overlay(
    root: &mut Node,
    environment: impl IntoIterator<Item = (String, String)>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Warning>,
) {
    let mut variables: Vec<(String, String)> = environment
        .into_iter()
        .filter(|(name, _)| name.starts_with(PREFIX) && !OTHERS.contains(&name.as_str()))
        .collect();
    variables.sort();
    for (name, text) in variables {
        let variable = Variable {
            at: Location::Environment {
                variable: name.as_str().into(),
            },
            text: &text,
        };
        let lower = name[PREFIX.len()..].to_lowercase();
        let mut words: Vec<&str> = lower.split('_').collect();
        // Distribution 3 nests the Redis settings in a field of its own, and both names work.
        if words.len() > 2 && words[..2] == ["redis", "options"] {
            words.remove(1);
        }
        if words == ["version"] {
            let text = "has no effect: the version belongs to the configuration file";
            warnings.push(Warning::new(&variable.at, text));
            continue;
        }
        let mut place = Place {
            variable: &variable,
            warnings,
            shown: String::new(),
        };
        match place.apply(root, tree(), &words) {
            Ok(()) => aliases::unfold_words(root),
            Err(text) => problems.push(Problem {
                at: variable.at.clone(),
                key: String::new(),
                text,
            }),
        }
    }
}

struct Variable<'a> {
    at: Location,
    text: &'a str,
}

/// One variable on its way down the tree.
struct Place<'a> {
    variable: &'a Variable<'a>,
    warnings: &'a mut Vec<Warning>,
    /// The path so far.
    shown: String,
}

impl Place<'_> {
    fn apply(&mut self, node: &mut Node, branch: &Branch, words: &[&str]) -> Result<(), String> {
        let Some((word, rest)) = words.split_first() else {
            return self.replace(node, branch);
        };
        if let Some(item) = branch.item.as_deref() {
            return self.apply_to_item(node, item, word, rest);
        }
        if let Some(child) = branch.child(word) {
            if ONE_OF.contains(&self.shown.as_str()) {
                displace_default(node, &self.shown, word);
            }
            let Some(map) = node.map_mut() else {
                return Err(self.not_a(node, "section"));
            };
            self.shown = join(&self.shown, word);
            return self.apply(map.entry(word, &self.variable.at), child, rest);
        }
        if let Some(wildcard) = branch.wildcard.as_deref() {
            return self.apply_to_free_key(node, wildcard, words);
        }
        self.unrecognized(word, branch)
    }

    /// Below a list the next word is an index; one past the end appends.
    fn apply_to_item(
        &mut self,
        node: &mut Node,
        item: &Branch,
        word: &str,
        rest: &[&str],
    ) -> Result<(), String> {
        let Ok(index) = word.parse::<usize>() else {
            return self.unrecognized(word, item);
        };
        let Some(items) = node.list_mut() else {
            return Err(self.not_a(node, "list"));
        };
        if index > items.len() {
            return Err(format!(
                "undefined index {index}: {} has {} items, so the next one is {}",
                self.shown,
                items.len(),
                items.len()
            ));
        }
        if index == items.len() {
            items.push(Node::null(self.variable.at.clone()));
        }
        self.shown = format!("{}[{index}]", self.shown);
        self.apply(&mut items[index], item, rest)
    }

    /// Below keys of the operator's choice an existing key is met in any case, a new one is made
    /// in lower case. All that is left of the name is the key, except an index into a list.
    fn apply_to_free_key(
        &mut self,
        node: &mut Node,
        wildcard: &Branch,
        words: &[&str],
    ) -> Result<(), String> {
        let has_index = wildcard.item.is_some()
            && words.len() > 1
            && words
                .last()
                .is_some_and(|word| word.parse::<usize>().is_ok());
        let (key_words, rest) = words.split_at(words.len() - usize::from(has_index));
        let wanted = key_words.join("_");
        let Some(map) = node.map_mut() else {
            return Err(self.not_a(node, "section"));
        };
        let existing = map
            .iter()
            .map(|pair| pair.key.as_str())
            .find(|key| key.to_lowercase() == wanted);
        let key = existing.unwrap_or(&wanted).to_owned();
        self.shown = join(&self.shown, &key);
        self.apply(map.entry(&key, &self.variable.at), wildcard, rest)
    }

    fn replace(&mut self, node: &mut Node, branch: &Branch) -> Result<(), String> {
        let value = self.read(branch)?;
        let nothing = value.is_null()
            || value
                .as_scalar()
                .is_some_and(|scalar| scalar.text.is_empty());
        if nothing && self.shown == "auth" && !node.is_blank() {
            return Err("is empty; write none to turn authentication off".to_owned());
        }
        *node = value;
        Ok(())
    }

    /// Reads the value as YAML, or as it stands where text is wanted and it is not a YAML scalar.
    fn read(&mut self, branch: &Branch) -> Result<Node, String> {
        let variable = self.variable;
        let Location::Environment { variable: name } = &variable.at else {
            return Ok(Node::null(variable.at.clone()));
        };
        let mut heard = Vec::new();
        let parsed = yaml::parse(
            variable.text,
            &Origin::Environment(name.clone()),
            &mut heard,
        );
        let wants_text = branch
            .entry
            .is_some_and(|entry| matches!(entry.kind, Kind::Text | Kind::Path));
        if wants_text
            && branch.is_leaf()
            && !matches!(&parsed, Ok(node) if matches!(node.value, Value::Scalar(_)))
        {
            return Ok(Node::text(variable.text, variable.at.clone()));
        }
        self.warnings.append(&mut heard);
        parsed.map_err(|problem| problem.text)
    }

    fn not_a(&self, node: &Node, expected: &str) -> String {
        let whole = if self.shown.is_empty() {
            "the configuration"
        } else {
            &self.shown
        };
        let found = node.described();
        format!(
            "{whole} is not a {expected} but {found}, set at {}",
            node.at
        )
    }

    fn unrecognized(&mut self, word: &str, branch: &Branch) -> Result<(), String> {
        let hint = spelling::hint(word, branch, &self.shown);
        if guards(&self.shown, &hint) {
            return Err(format!(
                "is not recognized{hint}; here that could leave the registry open"
            ));
        }
        let text = format!("is not recognized and has no effect{hint}");
        self.warnings.push(Warning::new(&self.variable.at, text));
        Ok(())
    }
}

/// The built-in driver gives way to one that the environment names.
fn displace_default(node: &mut Node, section: &str, word: &str) {
    if section == "storage" && NOT_DRIVERS.contains(&word) {
        return;
    }
    if let Some(map) = node.map_mut() {
        map.retain(|pair| {
            pair.at != Location::Default
                || pair.key == word
                || NOT_DRIVERS.contains(&pair.key.as_str())
        });
    }
}

/// The drivers or types named in `storage` or `auth`.
pub(super) fn named<'m>(map: &'m Map, section: &str) -> Vec<&'m Pair> {
    map.iter()
        .filter(|pair| section != "storage" || !NOT_DRIVERS.contains(&pair.key.as_str()))
        .collect()
}
