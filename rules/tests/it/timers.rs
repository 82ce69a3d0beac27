//! A timer fires once, however many instances look.

use anyhow::Result;
use service_kit::batch::Intake;

use crate::{
    story::{Log, raised, resolved},
    support::{Engine, timer_work},
};

#[tokio::test]
async fn of_two_instances_one_fires_a_timer() -> Result<()> {
    let one = Engine::fresh().await?;
    let two = Engine::on(one.database.clone()).await?;
    let mut log = Log::default();
    let fire = log.alert(raised("HighCPU", "app", (1, 1), 0));
    one.handle(Intake::local(vec![fire])).await?;
    let timers = one.timers().await?;
    assert_eq!(timers.len(), 1);
    let work = timer_work(&timers[0]);
    let both = tokio::join!(one.local(vec![work.clone()]), two.local(vec![work.clone()]));
    let folded = (both.0?.folded, both.1?.folded);
    assert!(matches!(folded, (1, 0) | (0, 1)), "{folded:?}");
    let again = two.local(vec![work]).await?;
    assert_eq!(again.folded, 0);
    let rows = one
        .rows("SELECT input FROM decisions_log WHERE input LIKE 'timer.%'")
        .await?;
    assert_eq!(rows.len(), 1);
    Ok(())
}

#[tokio::test]
async fn the_rows_of_timers_are_those_of_the_states() -> Result<()> {
    let engine = Engine::fresh().await?;
    let mut log = Log::default();
    let works = crate::story::busy(&mut log);
    engine.handle(Intake::local(works)).await?;
    let mut ids: Vec<String> = Vec::new();
    for row in engine
        .rows("SELECT timer_id FROM timers ORDER BY timer_id")
        .await?
    {
        ids.push(row["timer_id"].as_str().unwrap_or_default().to_owned());
    }
    let mut set: Vec<String> = engine
        .timers()
        .await?
        .iter()
        .map(|t| t.id.to_string())
        .collect();
    set.sort();
    assert_eq!(ids, set);
    Ok(())
}

/// A timer that is taken back in the batch that sets it leaves no row.
#[tokio::test]
async fn a_timer_that_is_set_and_taken_back_at_once_is_gone() -> Result<()> {
    let engine = Engine::fresh().await?;
    let mut log = Log::default();
    let works = vec![
        log.alert(raised("HighCPU", "app", (1, 1), 0)),
        log.alert(resolved("HighCPU", "app", 1, 1)),
    ];
    engine.handle(Intake::local(works)).await?;
    let action = requested(&engine).await?;
    let ended = log.action(crate::story::completed(&action, 5));
    let fires = log.alert(raised("HighCPU", "app", (2, 1), 6));
    engine.handle(Intake::local(vec![ended, fires])).await?;
    assert_eq!(
        engine.count("timers").await?,
        0,
        "{:?}",
        engine.timers().await?
    );
    Ok(())
}

/// The action that was asked for last.
pub(crate) async fn requested(engine: &Engine) -> Result<shared_events::action::ActionRequested> {
    let payload: Vec<u8> = sqlx::query_scalar(
        "SELECT payload FROM outbox_events WHERE event_type = 'action.requested'
         ORDER BY id DESC LIMIT 1",
    )
    .fetch_one(&engine.database.pool)
    .await?;
    let contract = shared_events::codec::contract("action.requested");
    let schema = contract
        .map(shared_events::codec::Contract::dataschema)
        .unwrap_or_default();
    let writer = shared_events::codec::writer(&schema);
    let writer = writer.ok_or_else(|| anyhow::anyhow!("{schema} is not compiled in"))?;
    Ok(shared_events::codec::decode(
        "action.requested",
        &writer,
        &payload,
    )?)
}
