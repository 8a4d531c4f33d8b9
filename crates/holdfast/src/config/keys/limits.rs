//! Keys of `catalog`, `tags` and our own section `limits`.

use super::Kind::Integer;
use super::{COUNT, Entry, NUMBER, key};

/// Largest value `limits.manifestbytes` may have.
const MANIFEST_BYTES_MAX: i64 = 64 * 1024 * 1024;

#[rustfmt::skip] // One key per line reads as the table it is.
pub(super) const ENTRIES: &[Entry] = &[
    key("catalog.maxentries", NUMBER, "1000", "Most repositories on one page of the catalog; 0 and below mean the default."),
    key("tags.maxtags", COUNT, "1000", "Most tags that a client may ask for with `n` on one page; 0 means the default."),
    key("limits.manifestbytes", Integer { min: 1024, max: MANIFEST_BYTES_MAX }, "4194304", "Largest manifest that is accepted, in bytes."),
    key("limits.tagspermanifestpush", Integer { min: 1, max: 10_000 }, "100", "Most tags that one push of a manifest may set."),
    key("limits.uploadsessions", Integer { min: 1, max: 10_000_000 }, "10000", "Most open upload sessions in the whole registry."),
];
