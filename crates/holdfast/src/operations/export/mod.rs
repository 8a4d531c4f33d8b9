//! The way out: Distribution's own layout in place, and images as files.

mod links;
mod stale;

pub(crate) use links::{Exported, LinksWish};
