//! What a pushed manifest must satisfy, under the `validation` section of the configuration.
//!
//! Source: Distribution's checks of layer URLs and of the children of an index.

use holdfast_model::manifest::{DOCKER_FOREIGN_LAYER, OCI_NONDISTRIBUTABLE_PREFIX, is_foreign};
use holdfast_model::{Descriptor, Manifest};

use super::{Error, Result};
use crate::config::{Platforms, References, Validation};

/// Layer types whose URLs are looked at although the layer must be pushed as well.
const DISTRIBUTABLE_WITH_URLS: [&str; 2] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
];

/// Whether this config or layer must be in the repository.
pub(super) fn requires_blob(rules: &Validation, blob: &Descriptor) -> bool {
    rules.references == References::Required && !is_foreign(blob)
}

/// Whether this child of an index must be in the repository.
pub(super) fn requires_child(rules: &Validation, child: &Descriptor) -> bool {
    rules.enabled
        && match &rules.platforms {
            Platforms::All => true,
            Platforms::None => false,
            Platforms::List(wanted) => child.platform.as_ref().is_some_and(|platform| {
                wanted
                    .iter()
                    .any(|one| one.os == platform.os && one.architecture == platform.architecture)
            }),
        }
}

/// Checks the URLs of every layer whose type gives them a meaning.
pub(super) fn check_urls(rules: &Validation, manifest: &Manifest) -> Result<()> {
    for layer in &manifest.layers {
        let kind = layer.media_type.as_str();
        if kind == DOCKER_FOREIGN_LAYER && layer.urls().is_empty() {
            return Err(Error::LayerUrl(format!(
                "the foreign layer {} has none",
                layer.digest
            )));
        }
        let meaningful = kind == DOCKER_FOREIGN_LAYER
            || kind.starts_with(OCI_NONDISTRIBUTABLE_PREFIX)
            || DISTRIBUTABLE_WITH_URLS.contains(&kind);
        if meaningful && let Some(refused) = layer.urls().iter().find(|url| !allows(rules, url)) {
            return Err(Error::LayerUrl(refused.clone()));
        }
    }
    Ok(())
}

fn allows(rules: &Validation, text: &str) -> bool {
    let web = |url: url::Url| matches!(url.scheme(), "http" | "https") && url.fragment().is_none();
    rules.allows_url(text) && (!rules.enabled || url::Url::parse(text).is_ok_and(web))
}

#[cfg(test)]
mod tests {
    use regex::RegexSet;

    use super::*;

    #[test]
    fn urls() {
        let rules = |enabled, allow: &[&str], deny: &[&str]| Validation {
            enabled,
            urls_allow: RegexSet::new(allow).unwrap(),
            urls_deny: RegexSet::new(deny).unwrap(),
            platforms: Platforms::All,
            references: References::Required,
        };
        let cases = [
            (rules(false, &[], &[]), "ftp://x/#y", true),
            (rules(true, &[], &[]), "https://a.example/x", false),
            (
                rules(true, &["^https://a\\."], &[]),
                "https://a.example/x",
                true,
            ),
            (
                rules(true, &["^https://a\\."], &[]),
                "https://b.example/x",
                false,
            ),
            (
                rules(true, &[], &["^https://b\\."]),
                "https://a.example/x",
                true,
            ),
            (
                rules(true, &["example"], &["^https://b\\."]),
                "https://b.example/x",
                false,
            ),
            (rules(true, &["example"], &[]), "ftp://a.example/x", false),
            (
                rules(true, &["example"], &[]),
                "https://a.example/x#y",
                false,
            ),
            (rules(true, &["example"], &[]), "example", false),
        ];
        for (rules, url, allowed) in cases {
            assert_eq!(allows(&rules, url), allowed, "{rules:?} {url}");
        }
    }
}
