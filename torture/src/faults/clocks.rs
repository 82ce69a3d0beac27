//! Clocks of databases that step ahead and back.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::{
    arena::Arena,
    clock::{Clock, Step},
    dice::Dice,
    fleet::SERVICES,
};

/// Further attempts to set a clock right.
const AGAIN: usize = 60;

pub(super) async fn step(arena: &Arena, dice: &mut Dice) -> Result<Option<String>> {
    let service = dice.pick(&SERVICES);
    let Ok(clock) = arena.clocks[service].try_lock() else {
        return Ok(None);
    };
    let by = Duration::from_secs(dice.between(1, 60));
    let step = if dice.percent(50) {
        Step::Ahead(by)
    } else {
        Step::Behind(by)
    };
    let lasts = Duration::from_millis(dice.between(500, 12_000));
    let stepped = set(&clock, step).await;
    sleep(lasts).await;
    // also after a step that failed: the server may have done it
    right(&clock).await?;
    stepped?;
    Ok(Some(format!(
        "the clock of the database of {service}: {step:?} for {lasts:?}"
    )))
}

/// Sets it right; Postgres may be away just now, and it stays wrong a little longer.
pub(super) async fn right(clock: &Clock) -> Result<()> {
    let mut outcome = set(clock, Step::Right).await;
    for _ in 0..AGAIN {
        if outcome.is_ok() {
            break;
        }
        sleep(Duration::from_millis(500)).await;
        outcome = set(clock, Step::Right).await;
    }
    outcome
}

async fn set(clock: &Clock, step: Step) -> Result<()> {
    tokio::time::timeout(Duration::from_secs(10), clock.set(step)).await?
}
