//! What the figures were measured on. Ratios travel from machine to machine, figures do not.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Result;

/// Cores, processor, kernel and file system in one line.
pub(crate) fn facts(data: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cores = if cores == 1 {
        "1 core".to_owned()
    } else {
        format!("{cores} cores")
    };
    let kernel = rustix::system::uname();
    let kernel = format!(
        "{} {}",
        kernel.sysname().to_string_lossy(),
        kernel.release().to_string_lossy()
    );
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor(&cpuinfo).unwrap_or("unknown processor");
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let data = data.canonicalize().unwrap_or_else(|_| data.to_owned());
    let file_system = file_system(&mounts, &data).unwrap_or("unknown file system");
    format!("{cores}, {processor}, {kernel}, data on {file_system}")
}

/// As many open files as are permitted, for us and for the servers we start: a thousand clients need several
/// thousand.
pub(crate) fn allow_many_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    Ok(setrlimit(Resource::Nofile, wanted)?)
}

/// Refuses to begin what would fill the disk.
pub(crate) fn require_space(directory: &Path, bytes: u64) -> Result<()> {
    let shown = directory.display();
    let space = rustix::fs::statvfs(directory)
        .map_err(|error| format!("{shown} cannot be used for the data: {error}"))?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    if free >= bytes {
        return Ok(());
    }
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    Err(format!(
        "up to {:.1} GiB may be written and {shown} has {:.1} GiB free; give --data another directory or a smaller --size",
        gib(bytes),
        gib(free)
    )
    .into())
}

fn processor(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

/// The type of the deepest mount that holds the path; of several at one place the last, which covers the others.
fn file_system<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            Some((Path::new(fields.next()?), fields.next()?))
        })
        .filter(|(place, _)| path.starts_with(place))
        .max_by_key(|(place, _)| place.components().count())
        .map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_counts() {
        let mounts =
            "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp/data xfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/tmp/data/x")), Some("xfs"));
        assert_eq!(
            file_system(mounts, Path::new("/tmp/database")),
            Some("tmpfs")
        );
        assert_eq!(file_system(mounts, Path::new("/var")), Some("ext4"));
        assert_eq!(file_system("", Path::new("/")), None);
    }

    #[test]
    fn no_disk_has_room_for_everything() {
        assert!(require_space(&std::env::temp_dir(), 0).is_ok());
        assert!(require_space(&std::env::temp_dir(), u64::MAX).is_err());
    }
}
