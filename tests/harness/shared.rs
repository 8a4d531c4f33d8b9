//! One registry for all tests of a file, ended when the last of them is done.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::Registry;

/// A registry that lives as long as some test uses it.
///
/// A plain static would never be dropped, and its process would outlive the tests.
#[derive(Debug, Default)]
pub struct Shared {
    registry: Mutex<Weak<Registry>>,
}

impl Shared {
    /// No registry yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            registry: Mutex::new(Weak::new()),
        }
    }

    /// The registry in use, or the one that `start` makes.
    #[must_use]
    pub fn get(&self, start: impl FnOnce() -> Registry) -> Arc<Registry> {
        let mut shared = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(registry) = shared.upgrade() {
            return registry;
        }
        let registry = Arc::new(start());
        *shared = Arc::downgrade(&registry);
        registry
    }
}
