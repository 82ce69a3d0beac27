//! The log of decisions is an order in which everything can be decided again.

use std::{collections::HashMap, sync::Arc};

use anyhow::{Context, Result, ensure};
use rules::{
    domain::{Command, Timer, Verb},
    service::Input,
};
use service_kit::{Work, batch::Intake};
use shared_events::{ActionEvent, EventId};
use tokio::sync::Mutex;

use crate::{
    story::{Log, at, busy, completed, failed},
    support::{Engine, command_work, timer_work},
    timers::requested,
};

/// Alerts, outcomes of actions, timers and commands meet on three connections; then all of it is
/// decided again, one by one, in the order of the log.
#[tokio::test]
async fn everything_in_the_recorded_order_gives_the_same_states_and_events() -> Result<()> {
    let live = Engine::fresh().await?;
    let known = live_through(&live).await?;
    let again = Engine::fresh().await?;
    let order = live
        .rows("SELECT input_id FROM decisions_log WHERE input <> 'rules.loaded' ORDER BY id")
        .await?;
    let mut last = None;
    for row in order {
        let id: EventId = row["input_id"].as_str().context("an id")?.parse()?;
        // an event that touches two correlations has two rows, one after the other
        if last != Some(id) {
            let work = known.get(&id).with_context(|| format!("no work {id}"))?;
            let handled = again.handle(Intake::local(vec![work.clone()])).await?;
            ensure!(handled.folded == 1, "{id} was not folded");
        }
        last = Some(id);
    }
    let (live, again) = (live.everything().await?, again.everything().await?);
    assert_eq!(live.len(), again.len());
    for (live, again) in live.iter().zip(&again) {
        assert_eq!(live, again);
    }
    Ok(())
}

/// Runs everything at once; gives each work by its id.
pub(crate) async fn live_through(engine: &Engine) -> Result<HashMap<EventId, Work<Input>>> {
    let log = Arc::new(Mutex::new(Log::default()));
    let alerts = busy(&mut *log.lock().await);
    let known = Mutex::new(HashMap::new());
    let note = async |works: &[Work<Input>]| {
        let pairs = works.iter().map(|work| (work.id, work.clone()));
        known.lock().await.extend(pairs);
    };
    note(&alerts).await;
    let consume = async {
        for part in alerts.chunks(6) {
            engine.handle(Intake::local(part.to_vec())).await?;
        }
        anyhow::Ok(())
    };
    let act = async {
        for turn in 0..12 {
            let Ok(action) = requested(engine).await else {
                tokio::task::yield_now().await;
                continue;
            };
            let event = match turn % 3 {
                0 => without_nul(failed(&action, 60 + turn)),
                _ => completed(&action, 60 + turn),
            };
            let work = log.lock().await.action(event);
            // an action ends once: of two ends of one id and other times, the map would keep the one
            // that had no effect
            if known.lock().await.contains_key(&work.id) {
                tokio::task::yield_now().await;
                continue;
            }
            note(std::slice::from_ref(&work)).await;
            engine.handle(Intake::local(vec![work])).await?;
        }
        anyhow::Ok(())
    };
    let command = async {
        for turn in 0..4 {
            let target = ["app", "*"][turn % 2].to_owned();
            let seconds = 100 + i64::try_from(turn)?;
            let verbs = [
                Verb::Pause {
                    target: target.clone(),
                    until: None,
                },
                Verb::Resume { target },
            ];
            for verb in verbs {
                let work = command_work(Command {
                    at: at(seconds),
                    actor: "ana".to_owned(),
                    reason: "because".to_owned(),
                    verb,
                })?;
                note(std::slice::from_ref(&work)).await;
                engine.local(vec![work]).await?;
            }
            let due: Vec<Timer> = engine.timers().await?.into_iter().take(2).collect();
            let works: Vec<Work<Input>> = due.iter().map(timer_work).collect();
            note(&works).await;
            engine.local(works).await?;
        }
        anyhow::Ok(())
    };
    let (consumed, acted, commanded) = tokio::join!(consume, act, command);
    consumed?;
    acted?;
    commanded?;
    Ok(known.into_inner())
}

/// As the engine decodes it.
fn without_nul(event: ActionEvent) -> ActionEvent {
    match event {
        ActionEvent::Failed(mut action) => {
            action.message = action.message.replace('\0', "");
            action.into()
        }
        other => other,
    }
}
