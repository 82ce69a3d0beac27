//! The file system of Postgres, which others can fill.

use std::time::Duration;

use anyhow::Result;
use eventpulse_tests::docker::docker;
use tokio::time::{sleep, timeout};

use crate::{arena::Arena, dice::Dice};

/// Looks whether Postgres has recovered.
const AGAIN: usize = 60;
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
    let room = make_room(arena).await;
    // one that was about to end when it was started is started again
    for _ in 0..AGAIN {
        postgres.start().await?;
        if answers(arena).await.is_ok() {
            break;
        }
        sleep(Duration::from_millis(500)).await;
    }
    filled.and(room)?;
    Ok(Some(format!("the disk of postgres is full for {lasts:?}")))
}

async fn answers(arena: &Arena) -> Result<()> {
    let asked = sqlx::query("SELECT 1").execute(&arena.fleet.databases.ingest.pool);
    timeout(Duration::from_secs(5), asked).await??;
    Ok(())
}

/// Nothing but Postgres' own is on it.
pub(super) async fn make_room(arena: &Arena) -> Result<()> {
    shell(arena, MAKE_ROOM).await
}

async fn shell(arena: &Arena, command: &str) -> Result<()> {
    docker(&["exec", &arena.disk.name, "sh", "-c", command]).await?;
    Ok(())
}
