//! Logs that end early, databases that were changed behind their back, and what is put together from them.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use tempfile::TempDir;

use super::log::{Redo, Start};
use super::rebuild::{Database, inspect, rebuild};
use super::{log_path, wal_path};
use crate::sqlite::connection::{self, Mode};

/// A database with its logs, and what the server does to it, step by step.
struct Place {
    directory: TempDir,
    connection: Option<Connection>,
    redo: Option<Redo>,
    rows: i64,
}

impl Place {
    fn new() -> Place {
        let mut place = Place {
            directory: tempfile::tempdir().unwrap(),
            connection: None,
            redo: None,
            rows: 0,
        };
        fs::create_dir(place.logs()).unwrap();
        assert_eq!(place.start(), Start::New);
        let table = "CREATE TABLE rows (id INTEGER PRIMARY KEY, filling BLOB)";
        place.connection().execute_batch(table).unwrap();
        place
    }

    fn database(&self) -> PathBuf {
        self.directory.path().join("metadata.db")
    }

    fn logs(&self) -> PathBuf {
        self.directory.path().join("logs")
    }

    fn base(&self, number: u64) -> PathBuf {
        self.directory.path().join(format!("{number}.db"))
    }

    fn connection(&self) -> &Connection {
        self.connection.as_ref().unwrap()
    }

    fn redo(&mut self) -> &mut Redo {
        self.redo.as_mut().unwrap()
    }

    fn start(&mut self) -> Start {
        self.connection = Some(connection::open(&self.database(), Mode::Write).unwrap());
        let (redo, start) = Redo::open(self.database(), self.logs(), Arc::default()).unwrap();
        self.redo = Some(redo);
        start
    }

    /// The process ends, however suddenly. SQLite would copy the log back as it closes, so its files are kept
    /// as they are and put back under the same inodes.
    fn crash(&mut self) {
        let paths = [self.database(), wal_path(&self.database())];
        let kept: Vec<_> = paths.iter().map(|path| fs::read(path).ok()).collect();
        self.redo = None;
        self.connection = None;
        for (path, content) in paths.iter().zip(kept) {
            let Some(content) = content else { continue };
            let file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
                .unwrap();
            file.set_len(content.len() as u64).unwrap();
            file.write_all_at(&content, 0).unwrap();
        }
    }

    /// The server stops in order.
    fn stop(&mut self) {
        let _log = self.redo().before_checkpoint().unwrap();
        self.checkpoint("TRUNCATE");
        self.redo().close();
        self.redo = None;
        self.connection = None;
    }

    fn checkpoint(&self, mode: &str) {
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        let busy: i64 = self
            .connection()
            .query_row(&sql, [], |row| row.get(0))
            .unwrap();
        assert_eq!(busy, 0);
    }

    /// Frames of the WAL's present cycle.
    fn wal_frames(&self) -> usize {
        let frames: i64 = self
            .connection()
            .query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1))
            .unwrap();
        usize::try_from(frames).unwrap()
    }

    fn commit_silently(&mut self, rows: i64) {
        for _ in 0..rows {
            self.rows += 1;
            self.connection()
                .execute(
                    "INSERT INTO rows VALUES (?1, randomblob(3000 + ?1 % 7000))",
                    [self.rows],
                )
                .unwrap();
        }
    }

    fn commit(&mut self, rows: i64) {
        for _ in 0..rows {
            self.commit_silently(1);
            let frames = self.wal_frames();
            self.redo().committed(frames);
        }
    }

    fn snapshot(&mut self, number: u64) {
        let frames = self.wal_frames();
        self.redo().begin(number, frames).unwrap();
        let base = self.base(number);
        let _ = fs::remove_file(&base);
        let mut copy = Connection::open(&base).unwrap();
        let backup = rusqlite::backup::Backup::new(self.connection(), &mut copy).unwrap();
        backup.step(-1).unwrap();
    }

    /// The rows in what is put together from a base.
    fn rebuilt_rows(&self, number: u64) -> i64 {
        let file = self.directory.path().join("rebuilt.db");
        fs::copy(self.base(number), &file).unwrap();
        rebuild(&file, number, &self.logs(), &self.database()).unwrap();
        let rows = rows_of(&file);
        fs::remove_file(file).unwrap();
        rows
    }
}

fn rows_of(file: &Path) -> i64 {
    crate::recovery::check(file).unwrap();
    let connection = Connection::open(file).unwrap();
    connection
        .query_row("SELECT count(*) FROM rows", [], |row| row.get(0))
        .unwrap()
}

#[test]
fn logs_follow_each_other_over_checkpoints_stops_and_crashes() {
    let mut place = Place::new();
    place.commit(3);
    place.snapshot(1);
    assert_eq!(place.rebuilt_rows(1), 3);
    place.commit(5);
    assert_eq!(place.rebuilt_rows(1), 8, "within one cycle of the WAL");
    for _ in 0..3 {
        let _log = place.redo().before_checkpoint().unwrap();
        place.checkpoint("RESTART");
        place.commit(4);
    }
    assert_eq!(place.rebuilt_rows(1), 20, "over cycles");
    place.snapshot(2);
    place.commit(2);
    assert_eq!((place.rebuilt_rows(1), place.rebuilt_rows(2)), (22, 22));
    place.stop();
    assert_eq!(place.rebuilt_rows(1), 22, "closed");
    assert_eq!(place.start(), Start::Clean);
    place.commit(2);
    assert_eq!((place.rebuilt_rows(1), place.rebuilt_rows(2)), (24, 24));
    place.crash();
    assert_eq!(place.start(), Start::Caught);
    place.commit(2);
    assert_eq!((place.rebuilt_rows(1), place.rebuilt_rows(2)), (26, 26));
}

#[test]
fn what_the_log_lacks_after_a_crash_comes_from_the_wal() {
    for silent in [0, 1, 7] {
        let mut place = Place::new();
        place.snapshot(1);
        place.commit(2);
        place.commit_silently(silent);
        place.crash();
        assert_eq!(
            place.rebuilt_rows(1),
            2 + silent,
            "the database may be gone"
        );
        assert_eq!(place.start(), Start::Caught);
        fs::copy(place.base(1), place.base(9)).unwrap();
        place.commit(1);
        assert_eq!(place.rebuilt_rows(1), 3 + silent);
    }
}

#[test]
fn a_record_cut_short_is_cut_off() {
    for cut in [1, 4, 5, 9, 100, 4000] {
        let mut place = Place::new();
        place.snapshot(1);
        place.commit(6);
        place.crash();
        let log = log_path(&place.logs(), 1);
        let length = fs::metadata(&log).unwrap().len();
        let file = fs::OpenOptions::new().write(true).open(&log).unwrap();
        file.set_len(length - cut).unwrap();
        assert_eq!(place.start(), Start::Caught, "{cut} bytes");
        place.commit(1);
        fs::remove_file(wal_path(&place.database())).unwrap();
        assert_eq!(place.rebuilt_rows(1), 7, "{cut} bytes");
    }
}

#[test]
fn a_damaged_log_is_applied_up_to_the_damage() {
    let mut place = Place::new();
    place.snapshot(1);
    place.commit(3);
    let log = log_path(&place.logs(), 1);
    let sound = fs::metadata(&log).unwrap().len();
    place.commit(3);
    place.snapshot(2);
    place.commit(3);
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&log)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, sound + 2000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], sound + 2000).unwrap();
    fs::remove_file(wal_path(&place.database())).unwrap();
    // The log after it begins where this one should have ended, so it is left out.
    assert_eq!(place.rebuilt_rows(1), 3);
    assert_eq!(place.rebuilt_rows(2), 9);
}

#[test]
fn a_database_changed_behind_the_log_gets_another_log() {
    type Change = fn(&mut Place);
    let changes: [(&str, Change); 4] = [
        ("another program wrote to it", |place| {
            place.stop();
            let other = Connection::open(place.database()).unwrap();
            other.execute("DELETE FROM rows WHERE id = 1", []).unwrap();
        }),
        ("its WAL was taken away", |place| {
            place.crash();
            fs::remove_file(wal_path(&place.database())).unwrap();
        }),
        ("it is another file", |place| {
            place.stop();
            let copy = place.directory.path().join("copy");
            fs::copy(place.database(), &copy).unwrap();
            fs::rename(copy, place.database()).unwrap();
        }),
        ("the log is of no use", |place| {
            place.stop();
            fs::write(log_path(&place.logs(), 1), "nonsense").unwrap();
        }),
    ];
    for (what, change) in changes {
        let mut place = Place::new();
        place.snapshot(1);
        place.commit(3);
        change(&mut place);
        let expected = match what {
            "it is another file" => Start::New,
            _ => Start::Lost,
        };
        assert_eq!(place.start(), expected, "{what}");
    }
}

#[test]
fn a_copy_is_told_from_the_original() {
    let mut place = Place::new();
    assert_eq!(
        inspect(&place.database(), &place.logs()).unwrap(),
        Database::Usable
    );
    place.snapshot(1);
    place.commit(1);
    place.stop();
    assert_eq!(
        inspect(&place.database(), &place.logs()).unwrap(),
        Database::Usable
    );
    let copy = place.directory.path().join("copy");
    fs::copy(place.database(), &copy).unwrap();
    assert_eq!(inspect(&copy, &place.logs()).unwrap(), Database::Copied);
    // A file made anew may get the inode of the one that was deleted.
    fs::remove_file(place.database()).unwrap();
    assert_eq!(
        inspect(&place.database(), &place.logs()).unwrap(),
        Database::Absent
    );
    fs::copy(&copy, place.database()).unwrap();
    assert_eq!(
        inspect(&place.database(), &place.logs()).unwrap(),
        Database::Copied
    );
}

#[test]
fn an_older_copy_over_the_original_is_told_while_its_log_is_there() {
    let mut place = Place::new();
    place.snapshot(1);
    place.commit(3);
    place.stop();
    let older = fs::read(place.database()).unwrap();
    place.start();
    place.commit(3);
    let _log = place.redo().before_checkpoint().unwrap();
    place.checkpoint("PASSIVE");
    // A kill in the middle of a checkpoint: nothing is known.
    assert_eq!(
        inspect(&place.database(), &place.logs()).unwrap(),
        Database::Usable
    );
    place.redo().after_checkpoint(Ok(()));
    place.commit(3);
    assert_eq!(
        inspect(&place.database(), &place.logs()).unwrap(),
        Database::Usable
    );
    // Written over, not replaced: the inode stays.
    fs::write(place.database(), older).unwrap();
    assert_eq!(
        inspect(&place.database(), &place.logs()).unwrap(),
        Database::Overwritten
    );
    assert_eq!(place.rebuilt_rows(1), 9);
}

#[test]
fn what_does_not_reach_the_last_change_says_so() {
    type Change = fn(&mut Place);
    let cases: [(&str, bool, Change); 5] = [
        ("nothing happened", true, |_| {}),
        ("a write was cut short", true, |place| {
            let log = log_path(&place.logs(), 1);
            let length = fs::metadata(&log).unwrap().len();
            let log = fs::OpenOptions::new().write(true).open(log).unwrap();
            log.set_len(length - 1).unwrap();
        }),
        ("a hole", false, |place| {
            let log = fs::OpenOptions::new()
                .write(true)
                .open(log_path(&place.logs(), 1))
                .unwrap();
            log.write_all_at(&[0xff; 64], 200).unwrap();
        }),
        ("a log is missing", false, |place| {
            let frames = place.wal_frames();
            place.redo().begin(2, frames).unwrap();
            place.commit(1);
            place.redo().begin(3, frames).unwrap();
            fs::remove_file(log_path(&place.logs(), 2)).unwrap();
        }),
        ("the last cycle is not in the log", false, |place| {
            place.checkpoint("RESTART");
            place.commit_silently(1);
        }),
    ];
    for (what, whole, change) in cases {
        let mut place = Place::new();
        place.snapshot(1);
        place.commit(5);
        change(&mut place);
        let file = place.directory.path().join("rebuilt.db");
        fs::copy(place.base(1), &file).unwrap();
        let rebuilt = rebuild(&file, 1, &place.logs(), &place.database()).unwrap();
        assert_eq!(rebuilt.whole, whole, "{what}: {rebuilt:?}");
    }
}
