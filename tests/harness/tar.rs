//! Just enough of the ustar format to make layers and docker archives that never differ between runs.
//!
//! Source: POSIX.1-2017, pax, "ustar Interchange Format".

const BLOCK_BYTES: usize = 512;
const LONGEST_NAME_BYTES: usize = 100;

/// An archive in memory.
#[derive(Debug, Default)]
pub(crate) struct Archive(Vec<u8>);

impl Archive {
    /// Adds a plain file, owned by root and dated at the epoch.
    pub(crate) fn file(mut self, name: &str, bytes: &[u8]) -> Self {
        assert!(
            name.len() < LONGEST_NAME_BYTES,
            "{name} is too long for a ustar header"
        );
        let mut header = [0_u8; BLOCK_BYTES];
        let mut field =
            |at: usize, value: &str| header[at..at + value.len()].copy_from_slice(value.as_bytes());
        field(0, name);
        field(100, "0000644");
        field(108, "0000000");
        field(116, "0000000");
        field(124, &format!("{:011o}", bytes.len()));
        field(136, "00000000000");
        field(148, "        ");
        field(156, "0");
        field(257, "ustar\u{0}00");
        let sum: u32 = header.iter().copied().map(u32::from).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(BLOCK_BYTES), 0);
        self
    }

    /// Closes the archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 2 * BLOCK_BYTES]);
        self.0
    }
}
