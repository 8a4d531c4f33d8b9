//! The `validation` section: what a manifest must satisfy to be accepted.

use regex::{RegexSet, RegexSetBuilder};

use super::reader::Section;

/// Most memory the compiled patterns of one list may take, in bytes.
const MAX_PATTERN_BYTES: usize = 4 * 1024 * 1024;

/// Most patterns in one list; each is compiled at start.
const MAX_PATTERNS: usize = 100;

/// Checks of pushed manifests.
#[derive(Clone, Debug)]
pub struct Validation {
    /// Whether the checks of layer URLs and of the children of an index are made.
    pub enabled: bool,
    /// Patterns of layer URLs that are allowed; empty with an empty `urls_deny` allows none.
    pub urls_allow: RegexSet,
    /// Patterns of layer URLs that are refused.
    pub urls_deny: RegexSet,
    /// Which children of an index must exist.
    pub platforms: Platforms,
    /// Whether the config and layers of a manifest must exist.
    pub references: References,
}

/// Which children of an index must exist when it is pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Platforms {
    /// All of them.
    All,
    /// None of them.
    None,
    /// Those for one of these platforms.
    List(Vec<Platform>),
}

/// A platform, as an index names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// Architecture, such as `amd64`.
    pub architecture: String,
    /// Operating system, such as `linux`.
    pub os: String,
}

/// Whether the config and layers of a manifest must exist when it is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum References {
    /// They must, as in Distribution.
    Required,
    /// They need not; sparse content is accepted.
    Optional,
}

impl Validation {
    pub(super) fn read(validation: &Section<'_>) -> Self {
        let disabled = validation.flag("disabled");
        let enabled = validation.flag("enabled");
        let manifests = validation.section("manifests");
        let urls = manifests.section("urls");
        let references = manifests.choice("references", |found| {
            format!("expected required or optional, found {found:?}")
        });
        Self {
            // Both true means on, and so does neither.
            enabled: enabled || !disabled,
            urls_allow: patterns(&urls, "allow"),
            urls_deny: patterns(&urls, "deny"),
            platforms: Platforms::read(&manifests.section("indexes")),
            references: match references {
                "optional" => References::Optional,
                _ => References::Required,
            },
        }
    }

    /// Whether a layer may name this URL. Without any pattern every URL is refused; with only a
    /// list of refusals the rest is allowed.
    pub fn allows_url(&self, url: &str) -> bool {
        if !self.enabled {
            return true;
        }
        if self.urls_allow.is_empty() {
            return !self.urls_deny.is_empty() && !self.urls_deny.is_match(url);
        }
        self.urls_allow.is_match(url) && !self.urls_deny.is_match(url)
    }
}

/// Compiles a list of patterns, each judged at its own place.
pub(super) fn patterns(urls: &Section<'_>, name: &str) -> RegexSet {
    let written = urls.list(name);
    let build = |patterns: &[&str]| {
        RegexSetBuilder::new(patterns)
            .size_limit(MAX_PATTERN_BYTES)
            .build()
    };
    if written.len() > MAX_PATTERNS {
        let text = format!(
            "has {} patterns, at most {MAX_PATTERNS} are used",
            written.len()
        );
        urls.refuse(name, text);
        return RegexSet::empty();
    }
    let mut good = Vec::new();
    for (node, pattern) in written {
        match build(&[pattern]) {
            Ok(_) => good.push(pattern),
            Err(error) => {
                let reason = error.to_string();
                let reason = reason.lines().last().unwrap_or_default().trim();
                let reason = reason.strip_prefix("error: ").unwrap_or(reason);
                let text = format!("is not a pattern: {reason}");
                urls.refuse_at(&node.at, &super::check::join(urls.path(), name), text);
            }
        }
    }
    build(&good).unwrap_or_else(|_| {
        urls.refuse(name, "the patterns are too large together");
        RegexSet::empty()
    })
}

impl Platforms {
    fn read(indexes: &Section<'_>) -> Self {
        let platforms = indexes.choice("platforms", |found| {
            format!("invalid platforms option {found:?}, expected all, none or list")
        });
        let list: Vec<Platform> = indexes
            .items("platformlist")
            .into_iter()
            .map(|item| Platform {
                architecture: item.text("architecture").unwrap_or_default(),
                os: item.text("os").unwrap_or_default(),
            })
            .collect();
        if platforms != "list" && !list.is_empty() {
            indexes.warn("platformlist", "has no effect unless platforms is list");
        }
        match platforms {
            "none" => Self::None,
            "list" => Self::List(list),
            _ => Self::All,
        }
    }
}
