//! The fuzz targets over their corpus and over mutations of it, on stable.
//!
//! A module of the library and no integration test, since cargo would link all seven programs for that.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::{TARGETS, Target};

/// Mutated inputs per target. cargo-fuzz tries more in a second; here the point is that they run always.
const CASES: u32 = 2048;
/// Changes to one seed.
const MAX_EDITS: usize = 6;

/// One change to a text. Places are taken modulo its length.
#[derive(Clone, Debug)]
enum Edit {
    Overwrite(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
    Truncate(prop::sample::Index),
}

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name)
}

fn seeds(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut paths: Vec<PathBuf> = fs::read_dir(corpus(name))
        .expect("a directory of seeds")
        .map(|entry| entry.expect("a seed").path())
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).expect("a readable seed")))
        .collect()
}

fn edit() -> impl Strategy<Value = Edit> {
    let place = any::<prop::sample::Index>;
    // Bytes that mean something to some parser, and all others.
    let byte = || {
        prop_oneof![
            prop::sample::select(&b"/:.%?&=-,\0\n\"{}[]$@_ *#!|>~09azAZ"[..]),
            any::<u8>()
        ]
    };
    prop_oneof![
        (place(), byte()).prop_map(|(at, byte)| Edit::Overwrite(at, byte)),
        (place(), prop::collection::vec(byte(), 1..8))
            .prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (place(), 1..16usize).prop_map(|(at, count)| Edit::Remove(at, count)),
        (place(), 1..64usize).prop_map(|(at, count)| Edit::Repeat(at, count)),
        place().prop_map(Edit::Truncate),
    ]
}

fn apply(edit: &Edit, bytes: &mut Vec<u8>) {
    let length = bytes.len();
    let span = |at: &prop::sample::Index, count: usize| {
        let start = at.index(length + 1);
        start..(start + count).min(length)
    };
    match edit {
        Edit::Overwrite(at, byte) if length > 0 => bytes[at.index(length)] = *byte,
        Edit::Overwrite(..) => {}
        Edit::Insert(at, inserted) => {
            let at = at.index(length + 1);
            bytes.splice(at..at, inserted.iter().copied());
        }
        Edit::Remove(at, count) => drop(bytes.drain(span(at, *count))),
        Edit::Repeat(at, count) => {
            let span = span(at, *count);
            let again = bytes[span.clone()].to_vec();
            bytes.splice(span.end..span.end, again);
        }
        Edit::Truncate(at) => bytes.truncate(at.index(length + 1)),
    }
}

fn over_the_corpus_and_mutations(name: &str) {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let target: Target = found.expect("a known target").1;
    let seeds = seeds(name);
    assert!(!seeds.is_empty(), "{name} has no seeds");
    for (path, bytes) in &seeds {
        println!("{}", path.display());
        target(bytes);
    }
    let seeds: Vec<Vec<u8>> = seeds.into_iter().map(|(_, bytes)| bytes).collect();
    let mutated = (
        prop::sample::select(seeds),
        prop::collection::vec(edit(), 1..=MAX_EDITS),
    )
        .prop_map(|(mut bytes, edits)| {
            edits.iter().for_each(|edit| apply(edit, &mut bytes));
            bytes
        });
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let run = TestRunner::new(config).run(&mutated, |bytes| {
        target(&bytes);
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{name}: {error}"));
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                over_the_corpus_and_mutations(stringify!($name));
            }
        )*

        /// A target that is in one list only would never run.
        #[test]
        fn the_lists_agree() {
            let known: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(known, [$(stringify!($name)),*]);
            for name in known {
                let program = format!("targets/{name}.rs");
                assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(program).is_file(), "{name}");
            }
        }
    };
}

targets! { reference digest manifest range route config htpasswd }
