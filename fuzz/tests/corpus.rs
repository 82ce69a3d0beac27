//! The corpus, as it is and changed: real bodies, records, rules and matchers, and what once broke.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use eventpulse_fuzz::TARGETS;
use proptest::{prelude::*, sample::Index, test_runner::TestRunner};

/// Changed pieces for each target.
const CASES: u32 = 5000;

fn corpus(target: &str) -> Result<Vec<Vec<u8>>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let folder = folder.join(target);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .with_context(|| folder.display().to_string())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    ensure!(!files.is_empty(), "{} is empty", folder.display());
    files.iter().map(|file| Ok(fs::read(file)?)).collect()
}

#[test]
fn the_corpus_is_taken_apart() -> Result<()> {
    for (name, run) in TARGETS {
        for bytes in corpus(name)? {
            run(&bytes);
        }
    }
    Ok(())
}

/// One thing done to a piece.
#[derive(Clone, Debug)]
enum Change {
    Cut(Index),
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Repeat(Index, Index, u8),
    Splice(Index, Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        1 => at().prop_map(Change::Cut),
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        3 => (at(), prop::collection::vec(any::<u8>(), 1..6)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        2 => (at(), at(), 2..40_u8).prop_map(|(from, to, times)| Change::Repeat(from, to, times)),
        2 => (at(), at(), at()).prop_map(|(other, from, to)| Change::Splice(other, from, to)),
    ]
}

fn changed(mut bytes: Vec<u8>, change: &Change, corpus: &[Vec<u8>]) -> Vec<u8> {
    let place = |at: &Index, bytes: &[u8]| at.index(bytes.len() + 1);
    match change {
        Change::Cut(at) => bytes.truncate(place(at, &bytes)),
        Change::Set(at, byte) => {
            let at = place(at, &bytes);
            if let Some(found) = bytes.get_mut(at) {
                *found = *byte;
            }
        }
        Change::Insert(at, more) => {
            let at = place(at, &bytes);
            bytes.splice(at..at, more.iter().copied());
        }
        Change::Repeat(from, to, times) => {
            let (from, to) = (place(from, &bytes), place(to, &bytes));
            let (from, to) = (from.min(to), from.max(to));
            let piece = bytes[from..to].repeat(usize::from(*times));
            bytes.splice(to..to, piece);
        }
        Change::Splice(other, from, to) => {
            let other = other.get(corpus);
            let (from, to) = (place(from, &bytes), place(to, other));
            bytes.truncate(from);
            bytes.extend_from_slice(&other[to..]);
        }
    }
    bytes
}

#[test]
fn changed_pieces_are_taken_apart() -> Result<()> {
    for (name, run) in TARGETS {
        let corpus = corpus(name)?;
        let mut runner = TestRunner::new(ProptestConfig {
            cases: CASES,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let pieces = (any::<Index>(), prop::collection::vec(change(), 1..5));
        let outcome = runner.run(&pieces, |(first, changes)| {
            let start = first.get(&corpus).clone();
            let bytes = changes
                .iter()
                .fold(start, |bytes, change| changed(bytes, change, &corpus));
            run(&bytes);
            Ok(())
        });
        ensure!(outcome.is_ok(), "{name}: {outcome:?}");
    }
    Ok(())
}
