//! Files that are read again when they change: password files, certificates.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often the files are looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

type Load<T> = Box<dyn Fn() -> Result<T, String> + Send + Sync>;

/// A value made from files, as they are now.
///
/// Files that cannot be read leave the value as it was, and say so in the log.
pub(crate) struct Watched<T> {
    files: Vec<PathBuf>,
    load: Load<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Arc<T>,
    versions: Vec<Version>,
    looked: Instant,
}

/// What changes when a file does; a link that now leads elsewhere counts.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    modified: (i64, i64),
    size: u64,
    inode: u64,
}

impl<T> Watched<T> {
    /// Makes the first value. Fails when it cannot be made.
    pub(crate) fn new(
        files: Vec<PathBuf>,
        load: impl Fn() -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Watched<T>, String> {
        // Looked at before reading: a change in between is then seen as one.
        let found = versions(&files);
        let value = Arc::new(load()?);
        let versions = found.map_err(|error| format!("{}: {error}", names(&files)))?;
        let state = Mutex::new(State {
            value,
            versions,
            looked: Instant::now(),
        });
        Ok(Watched {
            files,
            load: Box::new(load),
            state,
        })
    }

    /// The value as of about now. One caller reads changed files again; the others take what there is.
    pub(crate) fn get(&self) -> Arc<T> {
        let (value, known) = {
            let mut state = self.state();
            if state.looked.elapsed() < LOOK_EVERY {
                return Arc::clone(&state.value);
            }
            state.looked = Instant::now();
            (Arc::clone(&state.value), state.versions.clone())
        };
        let found = match versions(&self.files) {
            Ok(found) if found == known => return value,
            Ok(found) => (self.load)().map(|value| (Arc::new(value), found)),
            Err(error) => Err(error.to_string()),
        };
        match found {
            Ok((value, found)) => {
                tracing::info!(files = names(&self.files), "changed files were read again");
                let mut state = self.state();
                state.value = Arc::clone(&value);
                state.versions = found;
                value
            }
            Err(error) => {
                tracing::error!(
                    files = names(&self.files),
                    error,
                    "changed files cannot be used; what they said before stays"
                );
                value
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the next look happen now.
    #[cfg(test)]
    pub(crate) fn look_now(&self) {
        let mut state = self.state.lock().unwrap();
        state.looked = state.looked.checked_sub(LOOK_EVERY).unwrap();
    }
}

fn names(files: &[PathBuf]) -> String {
    files
        .iter()
        .map(|file| file.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

fn versions(files: &[PathBuf]) -> io::Result<Vec<Version>> {
    let version = |file: &PathBuf| {
        let metadata = std::fs::metadata(file)?;
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Ok(Version {
            modified,
            size: metadata.size(),
            inode: metadata.ino(),
        })
    };
    files.iter().map(version).collect()
}
