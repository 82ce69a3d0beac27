//! What a person does with containers behind everybody's back.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::{arena::Arena, dice::Dice};

/// Numbers of containers that a person added begin here.
const BY_HAND: u32 = 90;

pub(super) async fn remove(arena: &Arena, dice: &mut Dice) -> Result<Option<String>> {
    let target = &arena.targets[dice.below(arena.targets.len())];
    let seen = target.app.containers().await?;
    // Mostly a replica; now and then what Compose made.
    let replicas = seen.iter().filter(|seen| seen.managed);
    let base = seen.iter().filter(|seen| !seen.managed && dice.percent(30));
    let Some(gone) = replicas.chain(base).next() else {
        return Ok(None);
    };
    target.app.remove(&gone.id).await?;
    Ok(Some(format!("{} of {} removed", gone.name, target.name)))
}

pub(super) async fn add(arena: &Arena, dice: &mut Dice) -> Result<Option<String>> {
    let target = &arena.targets[dice.below(arena.targets.len())];
    let number = BY_HAND + u32::try_from(dice.below(1000)).unwrap_or(0);
    target.app.create("app", number, target.healthy).await?;
    let stays = Duration::from_millis(dice.between(500, 9000));
    sleep(stays).await;
    tidy_one(target, number).await?;
    Ok(Some(format!(
        "a container of {} added for {stays:?}",
        target.name
    )))
}

async fn tidy_one(target: &crate::arena::Target, number: u32) -> Result<()> {
    let name = format!("{}-app-{number}", target.app.project);
    let seen = target.app.containers().await?;
    for seen in seen
        .iter()
        .filter(|seen| !seen.managed && seen.name == name)
    {
        // Somebody may be quicker.
        drop(target.app.remove(&seen.id).await);
    }
    Ok(())
}

/// Removes what was added, should it still be there.
pub(super) async fn tidy(arena: &Arena) -> Result<()> {
    for target in &arena.targets {
        for seen in target.app.containers().await? {
            let number = seen
                .name
                .rsplit('-')
                .next()
                .and_then(|n| n.parse::<u32>().ok());
            if !seen.managed && number.is_some_and(|number| number >= BY_HAND) {
                drop(target.app.remove(&seen.id).await);
            }
        }
    }
    Ok(())
}
