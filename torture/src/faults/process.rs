//! Services and parts that die, freeze, and come back.

use std::{process::Command, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use eventpulse_tests::stack::patiently;
use tokio::time::sleep;

use crate::{arena::Arena, dice::Dice, fleet::Slot};

fn any_slot<'a>(arena: &'a Arena, dice: &mut Dice) -> &'a Arc<Slot> {
    let processes: Vec<_> = arena.processes().collect();
    processes[dice.below(processes.len())]
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

/// The next few files and connections are the last: accepting and connecting fail.
pub(super) async fn handles(arena: &Arena, dice: &mut Dice) -> Result<Option<String>> {
    let slot = any_slot(arena, dice);
    let Some(member) = slot.try_take() else {
        return Ok(None);
    };
    let pid = member.pid()?;
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    let spare = dice.below(6);
    let lasts = millis(dice, 500, 8000);
    let before = soft_limit(pid, None)?;
    soft_limit(pid, Some(&(open + spare).to_string()))?;
    sleep(lasts).await;
    // One that ended of it has no limit to lift: the supervisor starts it again, without.
    let survived = soft_limit(pid, Some(&before)).is_ok();
    Ok(Some(format!(
        "{} may open {spare} more files for {lasts:?}{}",
        slot.service,
        if survived { "" } else { ": it ended" }
    )))
}

/// Sets how many files a process may have open, or asks.
fn soft_limit(pid: u32, files: Option<&str>) -> Result<String> {
    let files = files.map_or_else(
        || "--nofile".to_owned(),
        |files| format!("--nofile={files}:"),
    );
    let told = Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &files])
        .args(["--noheadings", "--output", "SOFT"])
        .output()
        .context("prlimit, of util-linux")?;
    let words = String::from_utf8_lossy(&told.stderr);
    ensure!(told.status.success(), "prlimit {files} of {pid}: {words}");
    Ok(String::from_utf8_lossy(&told.stdout).trim().to_owned())
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
    // started again in any case: one that had ended by itself cannot be killed
    let killed = part.kill().await;
    sleep(away).await;
    part.start().await?;
    killed?;
    Ok(Some(format!("kill -9 of {name}, away {away:?}")))
}

pub(super) async fn part_restarts(
    arena: &Arena,
    name: &str,
    dice: &mut Dice,
) -> Result<Option<String>> {
    let Ok(part) = arena.parts[name].try_lock() else {
        return Ok(None);
    };
    let away = millis(dice, 0, 4000);
    part.stop().await?;
    sleep(away).await;
    part.start().await?;
    Ok(Some(format!("{name} stopped, away {away:?}")))
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

/// A registry that starts beside everything else on two cores may take two minutes.
const ALONE: Duration = Duration::from_secs(150);

/// A registry that was started while its broker was away answers 500 until it is started again, and
/// nobody but a person does that. What was done, if it was so.
pub(super) async fn wake_registry(arena: &Arena) -> Result<Option<String>> {
    let url = format!("{}/subjects", arena.places.registry());
    // one that starts takes connections before it answers on them
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(5))
        .build()?;
    let answers = async || {
        let answer = client.get(&url).send().await?;
        ensure!(answer.status().is_success(), "{url}: {}", answer.status());
        Ok(())
    };
    let what = "the registry to answer";
    let alone = patiently(ALONE, what, answers).await;
    let Err(why) = alone else {
        return Ok(None);
    };
    let part = arena.parts["registry"].lock().await;
    part.kill().await?;
    part.start().await?;
    patiently(2 * ALONE, what, answers).await?;
    Ok(Some(format!("it had to be started again to heal: {why:#}")))
}
