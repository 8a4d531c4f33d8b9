//! Starting the kernel's write-back of a file range early.
//!
//! Without it a large upload lies in the page cache until `fdatasync` at the end writes all of it
//! while the client waits. It is advice: a failure changes nothing but the time that sync takes, and
//! durability is promised by `fdatasync` alone.
//!
//! `sync_file_range(2)` has no safe wrapper in the libraries this crate uses, hence the one unsafe call.

use std::fs::File;
use std::os::fd::AsRawFd as _;

/// Asks the kernel to start writing `length` bytes from `offset` to the disk, without waiting for it.
#[expect(unsafe_code, reason = "sync_file_range has no safe wrapper")]
pub(super) fn start(file: &File, offset: u64, length: u64) {
    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else {
        return;
    };
    // SAFETY: the call takes integers only and touches no memory of this process; the descriptor is
    // open for as long as `file` is borrowed.
    unsafe {
        libc::sync_file_range(
            file.as_raw_fd(),
            offset,
            length,
            libc::SYNC_FILE_RANGE_WRITE,
        );
    }
}
