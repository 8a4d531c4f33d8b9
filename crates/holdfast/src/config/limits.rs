//! The sections `catalog`, `tags` and `limits`.

use super::reader::Section;

/// Largest page of the catalog, whatever is configured.
const MAX_CATALOG_PAGE: usize = 1_000_000;

/// The list of repositories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Catalog {
    /// Most repositories on one page.
    pub max_entries: usize,
}

/// Lists of tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tags {
    /// Most tags on one page.
    pub max_tags: usize,
}

/// Limits of pushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest manifest, in bytes.
    pub manifest_bytes: usize,
    /// Most tags that one push of a manifest may set.
    pub tags_per_manifest_push: usize,
    /// Most open upload sessions in the whole registry.
    pub upload_sessions: usize,
}

impl Catalog {
    pub(super) fn read(catalog: &Section<'_>) -> Self {
        let written = catalog.count("maxentries");
        Self {
            max_entries: page(written, catalog.default_count("maxentries")),
        }
    }
}

impl Tags {
    pub(super) fn read(tags: &Section<'_>) -> Self {
        let written = tags.count("maxtags");
        Self {
            max_tags: page(written, tags.default_count("maxtags")),
        }
    }
}

/// Zero means the default, and no page is larger than memory allows.
fn page(written: usize, default: usize) -> usize {
    let chosen = if written == 0 { default } else { written };
    chosen.min(MAX_CATALOG_PAGE)
}

impl Limits {
    pub(super) fn read(limits: &Section<'_>) -> Self {
        Self {
            manifest_bytes: limits.count("manifestbytes"),
            tags_per_manifest_push: limits.count("tagspermanifestpush"),
            upload_sessions: limits.count("uploadsessions"),
        }
    }
}
