//! What the machine can do without a registry: the limits that pushes and cold pulls are compared with.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};

use crate::Result;
use crate::bench::Bench;
use crate::content::{Blob, digest};
use crate::measure::Sample;
use crate::page_cache;
use crate::server::LOOPBACK;

pub(crate) const HASH: &str = "limit: SHA-256 over memory";
pub(crate) const WRITE: &str = "limit: write and fdatasync";
pub(crate) const RECEIVE_AND_HASH: &str = "limit: receive and hash";
pub(crate) const SYNCED_FILES: &str = "limit: create, write and fdatasync";

pub(crate) const READ: &str = "limit: reading a file";

/// Read and written at once, and how memory must be aligned for reads past the cache.
const PIECE_BYTES: usize = 1 << 20;
const ALIGNMENT: usize = 4096;
const RECEIVE_BYTES: usize = 512 * 1024;

/// Hashes a blob.
pub(crate) fn hash(bench: &Bench, blob: &Blob) -> Result<Sample> {
    let start = Instant::now();
    let mut hash = Sha256::new();
    for part in bench.content.body(blob) {
        hash.update(part);
    }
    check(hash, blob)?;
    Ok(sample(blob.bytes as f64, start))
}

/// Writes a blob to a new file and syncs it once, through the page cache and past it; the faster of the two.
pub(crate) fn write(bench: &Bench, blob: &Blob) -> Result<Sample> {
    let path = bench.data().join("limit");
    let mut memory = vec![0; PIECE_BYTES + ALIGNMENT];
    let piece = aligned(&mut memory);
    fill(piece, &bench.content.body(blob));
    let pieces = blob.bytes / PIECE_BYTES as u64;
    let new = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
    let mut samples = Vec::new();
    for flags in [new, new | OFlags::DIRECT] {
        let start = Instant::now();
        // Not every file system writes past its cache.
        let Ok(file) = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR) else {
            continue;
        };
        let mut file = File::from(file);
        for _ in 0..pieces {
            file.write_all(piece)?;
        }
        file.sync_data()?;
        samples.push(sample((pieces * PIECE_BYTES as u64) as f64, start));
        fs::remove_file(&path)?;
    }
    fastest(samples)
}

/// Writes the file that [`read`] reads.
pub(crate) fn prepare_read(bench: &Bench, blob: &Blob) -> Result<()> {
    let directory = bench.data().join("read");
    fs::create_dir_all(&directory)?;
    let mut file = File::create(directory.join("file"))?;
    for part in bench.content.body(blob) {
        file.write_all(part)?;
    }
    Ok(file.sync_all()?)
}

/// Reads a cold file, through the page cache and past it; the faster of the two.
pub(crate) fn read(bench: &Bench) -> Result<Sample> {
    let directory = bench.data().join("read");
    let mut memory = vec![0; PIECE_BYTES + ALIGNMENT];
    let piece = aligned(&mut memory);
    let mut samples = Vec::new();
    for flags in [OFlags::RDONLY, OFlags::RDONLY | OFlags::DIRECT] {
        page_cache::evict(&directory)?;
        let start = Instant::now();
        let Ok(file) = rustix::fs::open(directory.join("file"), flags, Mode::empty()) else {
            continue;
        };
        let (mut file, mut bytes) = (File::from(file), 0);
        loop {
            match file.read(piece)? {
                0 => break,
                got => bytes += got,
            }
        }
        samples.push(sample(bytes as f64, start));
    }
    fastest(samples)
}

/// A piece of memory as reads and writes past the cache must have it.
fn aligned(memory: &mut [u8]) -> &mut [u8] {
    let start = memory.as_ptr().align_offset(ALIGNMENT);
    &mut memory[start..start + PIECE_BYTES]
}

/// The first bytes of a body.
fn fill(mut piece: &mut [u8], body: &[&[u8]]) {
    for part in body {
        let (bytes, rest) = piece.split_at_mut(part.len().min(piece.len()));
        bytes.copy_from_slice(&part[..bytes.len()]);
        piece = rest;
    }
}

fn fastest(samples: Vec<Sample>) -> Result<Sample> {
    let fastest = samples
        .into_iter()
        .min_by(|one, other| one.seconds.total_cmp(&other.seconds));
    fastest.ok_or_else(|| "the file cannot be opened".into())
}

/// Receives a blob from a socket and hashes it, on one thread while another one sends.
pub(crate) fn receive_and_hash(bench: &Bench, blob: &Blob) -> Result<Sample> {
    let listener = TcpListener::bind((LOOPBACK, 0))?;
    let address = listener.local_addr()?;
    let start = Instant::now();
    let hash = thread::scope(|scope| {
        let sender = scope.spawn(move || -> std::io::Result<()> {
            let mut stream = TcpStream::connect(address)?;
            for part in bench.content.body(blob) {
                stream.write_all(part)?;
            }
            Ok(())
        });
        let receive = || -> Result<Sha256> {
            let (mut stream, _) = listener.accept()?;
            let mut buffer = vec![0; RECEIVE_BYTES];
            let mut hash = Sha256::new();
            loop {
                match stream.read(&mut buffer)? {
                    0 => return Ok(hash),
                    got => hash.update(&buffer[..got]),
                }
            }
        };
        let hash = receive()?;
        sender.join().map_err(|_| "the sender panicked")??;
        Ok::<_, crate::Error>(hash)
    })?;
    check(hash, blob)?;
    Ok(sample(blob.bytes as f64, start))
}

/// Creates, writes and syncs files of this size on so many threads.
pub(crate) fn synced_files(bench: &Bench, threads: usize, bytes: u64) -> Result<Sample> {
    let directory = bench.data().join("limits");
    fs::create_dir(&directory)?;
    let body = bench.content.blob(bytes);
    let (next, start, window) = (AtomicU64::new(0), Instant::now(), bench.scale.window * 2);
    let files = || -> std::io::Result<()> {
        while start.elapsed() < window {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let mut file = File::create(directory.join(number.to_string()))?;
            for part in bench.content.body(&body) {
                file.write_all(part)?;
            }
            file.sync_data()?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(files)).collect();
        for thread in threads {
            thread.join().map_err(|_| "a thread panicked")??;
        }
        Ok::<_, crate::Error>(())
    })?;
    let sample = sample(next.into_inner() as f64, start);
    bench.discard(&directory)?;
    Ok(sample)
}

fn check(hash: Sha256, blob: &Blob) -> Result<()> {
    match digest(hash) == blob.digest {
        true => Ok(()),
        false => Err("the bytes are not those of the blob".into()),
    }
}

fn sample(amount: f64, start: Instant) -> Sample {
    Sample {
        amount,
        seconds: start.elapsed().as_secs_f64(),
        ..Sample::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_aligned_and_filled() {
        let mut memory = vec![0; PIECE_BYTES + ALIGNMENT];
        let piece = aligned(&mut memory);
        assert_eq!(piece.len(), PIECE_BYTES);
        assert_eq!(piece.as_ptr().align_offset(ALIGNMENT), 0);
        fill(piece, &[b"abc", &vec![7; PIECE_BYTES]]);
        assert_eq!((&piece[..4], piece[PIECE_BYTES - 1]), (&b"abc\x07"[..], 7));
    }
}
