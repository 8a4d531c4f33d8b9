//! The way past hyper for bytes of files: a body yields a marker, and the socket sends the file instead.
//!
//! hyper carries the bytes of a body to the socket as they are, and counts them. So a marker is a `Bytes`
//! of the right length whose content nobody looks at: a slice of one static range that is never written and
//! never read, known by its address. What it stands for waits in the connection's [`Outlet`], in order, since
//! HTTP/1 sends one answer after the other. The socket (`edge/file_stream.rs`) takes it from there.
//!
//! Invariant: a marker reaches no socket but the one of its outlet. A body gets an outlet only where hyper
//! hands its bytes on by reference (HTTP/1 over a plain socket that writes vectored); the socket breaks the
//! connection off rather than send anything when what it is given does not fit what waits here.

use std::collections::VecDeque;
use std::sync::{LazyLock, Mutex, PoisonError};

use bytes::Bytes;
use holdfast_storage::FileRange;

/// Longest marker. What it stands for was in memory when it was made; the longer a client takes for it, the
/// less that is certain.
pub(crate) const MARKER_BYTES_MAX: usize = 1024 * 1024;

/// The range that markers are slices of. Zeroed memory of this size comes from the system untouched, so it
/// occupies addresses only.
static MARKER: LazyLock<&'static [u8]> = LazyLock::new(|| vec![0; MARKER_BYTES_MAX].leak());

/// What a connection still has to send from files.
#[derive(Debug, Default)]
pub(crate) struct Outlet {
    waiting: Mutex<VecDeque<FileRange>>,
}

impl Outlet {
    /// Lets the range be sent when the returned marker reaches the socket.
    pub(crate) fn send(&self, range: FileRange) -> Bytes {
        let length = usize::try_from(range.length).unwrap_or(usize::MAX);
        let marker = Bytes::from_static(&MARKER[..length]);
        self.with(|waiting| waiting.push_back(range));
        marker
    }

    /// Works on what waits.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut VecDeque<FileRange>) -> T) -> T {
        work(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether these bytes are a marker, or what is left of one.
pub(crate) fn is_marker(bytes: &[u8]) -> bool {
    !bytes.is_empty() && MARKER.as_ptr_range().contains(&bytes.as_ptr())
}
