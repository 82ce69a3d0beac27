//! Services and parts that die, freeze, and come back.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use tokio::time::sleep;

use crate::{arena::Arena, dice::Dice, fleet::Slot};

fn any_slot<'a>(arena: &'a Arena, dice: &mut Dice) -> &'a Arc<Slot> {
    &arena.fleet.slots[dice.below(arena.fleet.slots.len())]
}

fn millis(dice: &mut Dice, low: u64, high: u64) -> Duration {
    Duration::from_millis(dice.between(low, high))
}

pub(super) async fn kill(arena: &Arena, dice: &mut Dice) -> Result<Option<String>> {
    let slot = any_slot(arena, dice);
    let Some(mut member) = slot.try_take() else {
        return Ok(None);
    };
    let away = millis(dice, 0, 3000);
    member.kill()?;
    sleep(away).await;
    member.restart(&[])?;
    Ok(Some(format!("kill -9 of {}, away {away:?}", slot.service)))
}

pub(super) async fn terminate(arena: &Arena, dice: &mut Dice) -> Result<Option<String>> {
    let slot = any_slot(arena, dice);
    let Some(mut member) = slot.try_take() else {
        return Ok(None);
    };
    let code = member.stop().await;
    member.restart(&[])?;
    Ok(Some(format!(
        "SIGTERM of {}: exit {:?}",
        slot.service, code?
    )))
}

pub(super) async fn freeze(arena: &Arena, dice: &mut Dice) -> Result<Option<String>> {
    let slot = any_slot(arena, dice);
    let Some(member) = slot.try_take() else {
        return Ok(None);
    };
    // Some outlast a lease and a session.
    let frozen = if dice.percent(12) {
        millis(dice, 24_000, 30_000)
    } else {
        millis(dice, 500, 9000)
    };
    member.signal("STOP")?;
    sleep(frozen).await;
    member.signal("CONT")?;
    Ok(Some(format!("SIGSTOP of {} for {frozen:?}", slot.service)))
}

pub(super) async fn part_dies(
    arena: &Arena,
    name: &str,
    dice: &mut Dice,
) -> Result<Option<String>> {
    let Ok(part) = arena.parts[name].try_lock() else {
        return Ok(None);
    };
    let away = millis(dice, 0, 4000);
    part.kill().await?;
    sleep(away).await;
    part.start().await?;
    Ok(Some(format!("kill -9 of {name}, away {away:?}")))
}

pub(super) async fn part_freezes(
    arena: &Arena,
    name: &str,
    dice: &mut Dice,
) -> Result<Option<String>> {
    let Ok(part) = arena.parts[name].try_lock() else {
        return Ok(None);
    };
    let frozen = millis(dice, 1000, 8000);
    part.pause().await?;
    sleep(frozen).await;
    part.unpause().await?;
    Ok(Some(format!("{name} frozen for {frozen:?}")))
}
