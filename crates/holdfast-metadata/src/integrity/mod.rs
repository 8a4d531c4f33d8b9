//! What a check of the store needs: every row page by page, and which tags a damage touches.

mod affected;

pub use affected::{Affected, AffectedRepository};
#[cfg(test)]
pub(crate) use affected::{LINKING, NAMING, PARENTS, TAGS_OF};
