//! The file system of Postgres, which others can fill.

use std::time::Duration;

use anyhow::Result;
use eventpulse_tests::docker::docker;
use tokio::time::sleep;

use crate::{arena::Arena, dice::Dice};

/// `dd` ends when nothing is left; that is what is wanted.
const FILL: &str = "dd if=/dev/zero of=/disk/ballast bs=1M 2>/dev/null; test -s /disk/ballast";
const MAKE_ROOM: &str = "rm -f /disk/ballast";

/// Fills it for a while. What has no room for its log of writes ends all sessions and cannot start
/// again until there is room: Postgres is started then, as a person would.
pub(super) async fn full(arena: &Arena, dice: &mut Dice) -> Result<Option<String>> {
    let Ok(postgres) = arena.parts["postgres"].try_lock() else {
        return Ok(None);
    };
    let lasts = Duration::from_millis(dice.between(500, 8000));
    let filled = shell(arena, FILL).await;
    sleep(lasts).await;
    make_room(arena).await?;
    postgres.start().await?;
    filled?;
    Ok(Some(format!("the disk of postgres is full for {lasts:?}")))
}

/// Nothing but Postgres' own is on it.
pub(super) async fn make_room(arena: &Arena) -> Result<()> {
    shell(arena, MAKE_ROOM).await?;
    Ok(())
}

async fn shell(arena: &Arena, command: &str) -> Result<String> {
    docker(&["exec", &arena.disk.name, "sh", "-c", command]).await
}
