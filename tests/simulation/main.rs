//! The four real cores in a simulated world: one seed, one story. `SEED=7 cargo test --test
//! simulation` tells the story of seed 7; `SEEDS=100000` runs more of them.

mod check;
mod dice;
mod disasters;
mod docker;
mod incidents;
mod ingest;
mod keeper;
mod log;
mod moves;
mod rules;
mod run;
mod runner;
mod script;
mod senders;
mod shell;
mod shrink;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use run::run;
use shell::Sabotage;

/// Threads over seeds; each seed is one thread's.
const THREADS: usize = 2;
/// Seeds of the test command.
const SEEDS: u64 = 10_000;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The first seed below `seeds` that fails.
fn first_failure(seeds: u64, sabotage: Option<Sabotage>) -> Option<u64> {
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.min(failed.load(Ordering::Relaxed)) {
                        return;
                    }
                    if run(&script::script(seed), sabotage, false).verdict.is_err() {
                        failed.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    (failed < seeds).then_some(failed)
}

/// The shortest story of a seed that fails.
fn story(seed: u64, sabotage: Option<Sabotage>) -> String {
    let script = script::script(seed);
    let told = run(&script, sabotage, true);
    let Err(broken) = told.verdict else {
        return format!(
            "seed {seed} keeps every promise:\n{}",
            told.story.join("\n")
        );
    };
    println!("SEED={seed} breaks {}: {}", broken.guarantee, broken.what);
    let short = shrink::shrink(script, broken.guarantee, sabotage);
    let told = run(&short, sabotage, true);
    let broken = told.verdict.expect_err("what was left out did not matter");
    format!(
        "SEED={seed} breaks {}: {}\n{}\n",
        broken.guarantee,
        broken.what,
        told.story.join("\n")
    )
}

#[test]
fn every_seed_keeps_the_promises() {
    if let Some(seed) = setting("SEED") {
        let told = story(seed, None);
        println!("{told}");
        assert!(told.contains("keeps every promise"), "{told}");
        return;
    }
    let seeds = setting("SEEDS").unwrap_or(SEEDS);
    let begun = std::time::Instant::now();
    let failed = first_failure(seeds, None);
    let seconds = begun.elapsed().as_secs_f64();
    println!("{seeds} seeds in {seconds:.1} s");
    if let Some(seed) = failed {
        panic!("{}", story(seed, None));
    }
}

/// Seeds within which a guard that is taken away must be missed.
const NOTICED: u64 = 500;

fn is_noticed(sabotage: Sabotage) {
    let seed = first_failure(NOTICED, Some(sabotage));
    let Some(seed) = seed else {
        panic!("nobody notices {sabotage:?} within {NOTICED} seeds");
    };
    let broken = run(&script::script(seed), Some(sabotage), false).verdict;
    println!("{sabotage:?}: seed {seed} breaks {broken:?}");
}

/// What an inbox that forgets lets through again, sequences and ids that are derived must stop.
#[test]
fn without_the_inbox_the_second_line_holds() {
    let sabotage = Some(Sabotage::InboxOnly);
    if let Some(seed) = first_failure(NOTICED, sabotage) {
        panic!("{}", story(seed, sabotage));
    }
}

macro_rules! guards {
    ($($name:ident: $sabotage:ident),+ $(,)?) => {
        $(#[test]
        fn $name() {
            is_noticed(Sabotage::$sabotage);
        })+
    };
}
guards! {
    without_dedup_it_fails: Dedup,
    without_order_of_keys_it_fails: KeyOrder,
    without_mark_after_ack_it_fails: MarkBeforeAck,
    with_drawn_ids_it_fails: DrawnIds,
    with_half_a_commit_it_fails: HalfCommit,
    with_the_offset_before_the_commit_it_fails: OffsetBeforeCommit,
    without_watermarks_it_fails: Watermarks,
}
