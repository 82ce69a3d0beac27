//! Edges between the services and what they stand on.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use tokio::time::sleep;

use crate::{
    arena::Arena,
    dice::Dice,
    fleet::SERVICES,
    proxy::{Mode, Proxy},
};

pub(super) async fn disturb(arena: &Arena, dice: &mut Dice) -> Result<Option<String>> {
    let number = dice.below(arena.proxies.len());
    let Ok(proxy) = arena.proxies[number].try_lock() else {
        return Ok(None);
    };
    let mode = match dice.below(5) {
        0 => Mode::Cut,
        1 => Mode::ForwardStalls,
        2 => Mode::BackStalls,
        3 => Mode::Late(Duration::from_millis(dice.between(30, 600))),
        _ => Mode::HalfOpen,
    };
    let share = dice.pick(&[30, 60, 100, 100]);
    let lasts = Duration::from_millis(dice.between(500, 7000));
    proxy.treat(mode, share);
    sleep(lasts).await;
    proxy.treat(Mode::Pass, 0);
    Ok(Some(format!(
        "{mode:?} of {share} % of the connections at the edge of {} for {lasts:?}",
        proxy.name
    )))
}

/// Drops some replies, if there are any within `tenths` of a second.
async fn replies(proxy: &Proxy, what: &str, tenths: u32, dice: &mut Dice) -> Option<String> {
    let (wanted, before) = (dice.between(1, 4), proxy.dropped());
    proxy.drop_replies(i64::try_from(wanted).unwrap_or(1));
    for _ in 0..tenths {
        sleep(Duration::from_millis(100)).await;
        if proxy.dropped() - before >= usize::try_from(wanted).unwrap_or(1) {
            break;
        }
    }
    proxy.drop_replies(0);
    let dropped = proxy.dropped() - before;
    (dropped > 0).then(|| {
        format!(
            "{dropped} replies to {what} dropped at the edge of {}",
            proxy.name
        )
    })
}

fn edge<'a>(arena: &'a Arena, name: &str) -> &'a Arc<tokio::sync::Mutex<Arc<Proxy>>> {
    let number = arena.edges.iter().position(|edge| edge.name == name);
    &arena.proxies[number.unwrap_or(0)]
}

pub(super) async fn commit_replies(arena: &Arena, dice: &mut Dice) -> Result<Option<String>> {
    let Ok(proxy) = edge(arena, dice.pick(&SERVICES)).try_lock() else {
        return Ok(None);
    };
    Ok(replies(&proxy, "COMMIT", 40, dice).await)
}

pub(super) async fn produce_replies(arena: &Arena, dice: &mut Dice) -> Result<Option<String>> {
    let Ok(proxy) = edge(arena, "kafka").try_lock() else {
        return Ok(None);
    };
    Ok(replies(&proxy, "Produce", 40, dice).await)
}

/// Commands to the engine are rare: they are waited for longer.
pub(super) async fn engine_replies(arena: &Arena, dice: &mut Dice) -> Result<Option<String>> {
    let Ok(proxy) = edge(arena, "docker").try_lock() else {
        return Ok(None);
    };
    Ok(replies(&proxy, "commands", 200, dice).await)
}

/// `pg_terminate_backend` of everybody on one service's database.
pub(super) async fn connections(arena: &Arena, dice: &mut Dice) -> Result<Option<String>> {
    let databases = &arena.fleet.databases;
    let (service, pool) = match dice.below(4) {
        0 => ("ingest", &databases.ingest.pool),
        1 => ("rules", &databases.rules.pool),
        2 => ("action-runner", &databases.runner.pool),
        _ => ("incident-store", &databases.store.pool),
    };
    let ended: i64 = sqlx::query_scalar(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .fetch_one(pool)
    .await?;
    Ok((ended > 0).then(|| format!("{ended} connections of {service} terminated")))
}
