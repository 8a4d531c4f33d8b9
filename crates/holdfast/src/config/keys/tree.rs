//! The table as a tree, for walking beside a document.

use std::sync::LazyLock;

use super::{Entry, Kind, Status, entries};

/// One place in the tree of keys.
#[derive(Debug, Default)]
pub(in super::super) struct Branch {
    /// The last word of its path; empty for the top, list items and free keys.
    pub(in super::super) name: &'static str,
    /// Its row, if it has one of its own.
    pub(in super::super) entry: Option<&'static Entry>,
    /// Keys below it, in the order of the table.
    pub(in super::super) children: Vec<Branch>,
    /// What stands below a key of the operator's choice.
    pub(in super::super) wildcard: Option<Box<Branch>>,
    /// What a list holds here.
    pub(in super::super) item: Option<Box<Branch>>,
}

impl Branch {
    /// The branch of a key.
    pub(in super::super) fn child(&self, name: &str) -> Option<&Branch> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The branch of a key, or what stands below any key.
    pub(in super::super) fn child_or_wildcard(&self, name: &str) -> Option<&Branch> {
        self.child(name).or(self.wildcard.as_deref())
    }

    /// Whether it holds one value rather than keys or items.
    pub(in super::super) fn is_leaf(&self) -> bool {
        self.children.is_empty()
            && self.wildcard.is_none()
            && self.item.is_none()
            && self.entry.is_some_and(|entry| entry.kind != Kind::Section)
    }

    /// Whether anything at or below it takes effect in this release.
    pub(in super::super) fn is_effective(&self) -> bool {
        self.entry
            .is_some_and(|entry| entry.status == Status::Effective)
            || self.children.iter().any(Branch::is_effective)
            || self.wildcard.as_deref().is_some_and(Branch::is_effective)
            || self.item.as_deref().is_some_and(Branch::is_effective)
    }

    fn grow(&mut self, path: &'static str, entry: &'static Entry) {
        let mut branch = self;
        for word in path.split('.') {
            let name = word.trim_end_matches("[]");
            branch = if name == "*" {
                branch.wildcard.get_or_insert_default()
            } else {
                let position = match branch.children.iter().position(|child| child.name == name) {
                    Some(position) => position,
                    None => {
                        branch.children.push(Branch {
                            name,
                            ..Branch::default()
                        });
                        branch.children.len() - 1
                    }
                };
                &mut branch.children[position]
            };
            if word.ends_with("[]") {
                branch = branch.item.get_or_insert_default();
            }
        }
        branch.entry = Some(entry);
    }
}

/// The whole tree.
pub(in super::super) fn tree() -> &'static Branch {
    static TREE: LazyLock<Branch> = LazyLock::new(|| {
        let mut top = Branch::default();
        for entry in entries() {
            top.grow(entry.path, entry);
        }
        top
    });
    &TREE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_free_keys_have_their_own_branches() {
        let http = tree().child("http").unwrap();
        let values = http
            .child("headers")
            .unwrap()
            .child_or_wildcard("X-Any")
            .unwrap();
        assert!(values.item.as_ref().unwrap().is_leaf());
        assert!(http.child("tls").unwrap().is_effective());
        assert!(!tree().child("notifications").unwrap().is_effective());
    }
}
