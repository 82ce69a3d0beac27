//! What happens in a run, as a list: whatever is left of it after shrinking still makes sense,
//! because each step says only *which of those that are there*.

use crate::dice::Dice;

/// Series that the driver knows: see [`crate::senders::SERIES`].
pub(crate) const SERIES: usize = 7;

/// What goes wrong while something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The process dies before it takes effect.
    DiesBefore,
    /// The process dies after it took effect, before anybody is told.
    DiesAfter,
    /// It takes effect and the answer is lost.
    AnswerLost,
    /// It does not take effect, and that is told.
    Refused,
}

/// One step of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A series begins to fire, if it does not.
    Fire(usize),
    /// It clears, if it fires.
    Clear(usize),
    /// Prometheus restarts: it goes on firing with a later start.
    Restart(usize),
    /// A peer of Alertmanager posts what it knows of some series; `fresh`: it hears the truth first.
    Post {
        peer: usize,
        series: u8,
        fresh: bool,
        bad: bool,
        fault: Fault,
    },
    /// One of the things that can be done is done.
    Work { which: u64, fault: Fault },
    /// Time passes, in milliseconds.
    Wait(i64),
    /// A process dies.
    Die { service: usize, instance: usize },
    /// Partitions change hands; the old owner still holds what it has fetched.
    Rebalance { service: usize, which: u64 },
    /// The group's offsets are lost.
    ResetOffsets { service: usize },
    /// The inbox forgets what is old.
    PruneInbox { service: usize },
    /// A topic is published once more, record by record.
    Republish(usize),
    /// The clock of a database is stepped.
    Skew { service: usize, millis: i64 },
    /// Incident Store comes back from an older dump.
    RestoreStore,
    /// A person commands.
    Person { verb: usize, which: u64 },
    /// Something happens on the Docker host.
    Docker { what: usize, which: u64 },
}

/// The script of a seed.
pub(crate) fn script(seed: u64) -> Vec<Step> {
    let mut dice = Dice::new(seed);
    // some runs are calm, so that long stories come to an end; in others everything fails
    let harm = dice.pick(&[0, 4, 10, 25]);
    let length = 60 + dice.below(140);
    let mut steps = vec![Step::Fire(dice.below(SERIES)), post(&mut dice, 0)];
    while steps.len() < length {
        let step = step(&mut dice, harm);
        steps.push(step);
    }
    steps
}

fn fault(dice: &mut Dice, harm: usize) -> Fault {
    if !dice.percent(harm) {
        return Fault::None;
    }
    dice.pick(&[
        Fault::DiesBefore,
        Fault::DiesAfter,
        Fault::AnswerLost,
        Fault::AnswerLost,
        Fault::Refused,
    ])
}

fn post(dice: &mut Dice, harm: usize) -> Step {
    Step::Post {
        peer: dice.below(2),
        series: u8::try_from(dice.below(128)).expect("seven bits"),
        fresh: dice.percent(75),
        bad: dice.percent(5),
        fault: fault(dice, harm),
    }
}

fn step(dice: &mut Dice, harm: usize) -> Step {
    if dice.percent(harm / 2) {
        return disaster(dice);
    }
    match dice.below(100) {
        0..8 => Step::Fire(dice.below(SERIES)),
        8..13 => Step::Clear(dice.below(SERIES)),
        13 => Step::Restart(dice.below(SERIES)),
        14..26 => post(dice, harm),
        26..34 => Step::Wait(wait(dice)),
        34 => Step::Person {
            verb: dice.below(4),
            which: dice.next(),
        },
        35..37 => Step::Docker {
            what: dice.below(6),
            which: dice.next(),
        },
        _ => Step::Work {
            which: dice.next(),
            fault: fault(dice, harm),
        },
    }
}

/// From a look to a silence: readiness, lease, settle, cooldown, `reopen_after`, `repeat_interval`,
/// `stale_after`.
fn wait(dice: &mut Dice) -> i64 {
    const SECOND: i64 = 1000;
    const MINUTE: i64 = 60 * SECOND;
    let longest = dice.pick(&[
        300,
        2 * SECOND,
        15 * SECOND,
        15 * SECOND,
        MINUTE,
        2 * MINUTE,
        5 * MINUTE,
        7 * MINUTE,
        240 * MINUTE,
        780 * MINUTE,
    ]);
    let millis = usize::try_from(longest).expect("positive");
    1 + i64::try_from(dice.below(millis)).expect("below a day")
}

fn disaster(dice: &mut Dice) -> Step {
    let service = dice.below(4);
    match dice.below(10) {
        0 | 1 => Step::Die {
            service,
            instance: dice.below(2),
        },
        2 | 3 => Step::Rebalance {
            service,
            which: dice.next(),
        },
        4 => Step::ResetOffsets { service },
        5 => Step::PruneInbox { service },
        6 => Step::Republish(dice.below(3)),
        7 | 8 => Step::Skew {
            service,
            millis: dice.pick(&[-300_000, -1000, 0, 0, 1000, 30_000, 300_000]),
        },
        _ => Step::RestoreStore,
    }
}
