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
    set(&clock, step).await?;
    sleep(lasts).await;
    // Postgres may be away just now: the clock stays wrong a little longer.
    while set(&clock, Step::Right).await.is_err() {
        sleep(Duration::from_millis(500)).await;
    }
    Ok(Some(format!(
        "the clock of the database of {service}: {step:?} for {lasts:?}"
    )))
}

async fn set(clock: &Clock, step: Step) -> Result<()> {
    tokio::time::timeout(Duration::from_secs(10), clock.set(step)).await?
}
