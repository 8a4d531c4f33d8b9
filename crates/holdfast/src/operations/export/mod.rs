//! The way out: Distribution's own layout in place, and images as files.

mod image;
mod links;
mod stale;

pub(crate) use image::{ArchiveFormat, ImageName};
pub(crate) use links::{Exported, LinksWish};
