//! One seed: its script with every check after every step, then rest with every check at rest.

use std::panic::{AssertUnwindSafe, catch_unwind};

use chrono::TimeDelta;

use crate::{
    check::{Verdict, Violation, ensure, rest},
    dice::Dice,
    script::{Fault, Step},
    shell::{RULES, RUNNER, Sabotage},
    world::{Move, World},
};

/// Small things until all must be at rest, and virtual time.
const PATIENCE: (usize, TimeDelta) = (8_000, TimeDelta::hours(6));

/// What a run came to.
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    pub(crate) story: Vec<String>,
}

/// Runs a script. A panic anywhere is a violation.
pub(crate) fn run(script: &[Step], sabotage: Option<Sabotage>, tell: bool) -> Outcome {
    let mut world = World::new(sabotage, tell);
    let told = catch_unwind(AssertUnwindSafe(|| both(&mut world, script)));
    let verdict = told.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        Err(Violation {
            guarantee: "no panic",
            what: words.unwrap_or_default(),
        })
    });
    Outcome {
        verdict,
        story: world.story.unwrap_or_default(),
    }
}

fn both(world: &mut World, script: &[Step]) -> Verdict {
    for step in script {
        world.step(step)?;
    }
    come_to_rest(world)?;
    rest::check(world)
}

/// Faults have stopped and the senders tell the truth: in time, nothing is left to do.
fn come_to_rest(world: &mut World) -> Verdict {
    world.heal()?;
    // Known: two alerts that contradict each other for ever (load high and low) make a target swing
    // at the pace of their cooldowns. Here the load is not low while it is high.
    world.senders.settle_contradiction(world.now);
    for peer in 0..2 {
        let body = world.senders.body(peer, u8::MAX, true);
        world.post(body, false, Fault::None)?;
    }
    world.senders.retries.clear();
    let (most, longest) = PATIENCE;
    let until = world.now + longest;
    let mut dice = Dice::new(1);
    for _ in 0..most {
        let mut moves = world.moves();
        if moves.is_empty() {
            let idle = is_at_rest(world);
            if idle {
                return Ok(());
            }
            let wake = world.next_wake().expect("keepers look again and again");
            world.pass((wake - world.now).max(TimeDelta::milliseconds(1)));
            let held_up = held_up(world);
            ensure(world.now < until, "liveness", || {
                format!("no rest: {held_up}")
            })?;
            continue;
        }
        let chosen: Move = moves.swap_remove(dice.below(moves.len()));
        world.make(chosen, Fault::None)?;
    }
    let held_up = held_up(world);
    ensure(false, "liveness", || {
        format!("no rest after {most} moves: {held_up}")
    })
}

fn is_at_rest(world: &World) -> bool {
    let content = world.keepers.iter().all(super::keeper::Keeper::is_content);
    let asked = world
        .keepers
        .iter()
        .any(|k| world.runner.pending(k.target).is_some());
    world.rules.timers.is_empty() && content && !asked
}

fn held_up(world: &World) -> String {
    let timers: Vec<String> = world
        .rules
        .due(world.clock(RULES) + TimeDelta::hours(24))
        .iter()
        .map(|timer| format!("{:?} of {} at {}", timer.kind, timer.key, timer.due))
        .collect();
    let keepers: Vec<String> = world
        .keepers
        .iter()
        .map(|k| format!("{} epoch {} {:?}", k.target, k.seen, k.place))
        .collect();
    let clock = world.clock(RUNNER);
    format!("timers {timers:?}, keepers {keepers:?}, now {clock}")
}
