//! Commands on the database: locks, answers, events.

use anyhow::Result;
use rules::domain::{Answer, Outcome, Verb};
use service_kit::batch::Intake;
use shared_events::IncidentId;
use uuid::Uuid;

use crate::{
    story::{Log, at, raised},
    support::{Engine, shown},
};

#[tokio::test]
async fn a_pause_of_everything_holds_every_service_back() -> Result<()> {
    let engine = Engine::fresh().await?;
    let all = || "*".to_owned();
    let pause = Verb::Pause {
        target: all(),
        until: None,
    };
    let answer = engine.command(at(0), pause).await?;
    assert!(
        matches!(
            answer,
            Answer::Done {
                pause_id: Some(_),
                ..
            }
        ),
        "{answer:?}"
    );
    let mut log = Log::default();
    let works = vec![
        log.alert(raised("HighCPU", "app", (1, 1), 10)),
        log.alert(raised("HighCPU", "shop", (1, 1), 11)),
    ];
    engine.handle(Intake::local(works)).await?;
    assert_eq!(engine.count("actions").await?, 0);
    assert_eq!(
        engine
            .count("outbox_events WHERE event_type = 'incident.opened'")
            .await?,
        2
    );
    engine
        .command(at(20), Verb::Resume { target: all() })
        .await?;
    let timers = engine.rows("SELECT kind FROM timers").await?;
    assert_eq!(timers.len(), 2);
    assert!(timers.iter().all(|timer| timer["kind"] == "recheck"));
    let paused = engine
        .rows("SELECT pause FROM targets WHERE name = '*'")
        .await?;
    assert!(paused[0]["pause"].is_null());
    Ok(())
}

#[tokio::test]
async fn retry_and_close_find_their_incident() -> Result<()> {
    let engine = Engine::fresh().await?;
    let unknown = IncidentId(Uuid::from_u128(7));
    let answer = engine
        .command(
            at(0),
            Verb::Retry {
                incident_id: unknown,
            },
        )
        .await?;
    assert!(matches!(answer, Answer::Unknown { .. }), "{answer:?}");
    assert_eq!(
        engine.count("decisions_log").await?,
        1,
        "only the loading of the rules"
    );
    let fire = Log::default().alert(raised("HighCPU", "app", (1, 1), 0));
    engine.handle(Intake::local(vec![fire])).await?;
    let incident_id = engine.incident("service=app").await?;
    let answer = engine.command(at(5), Verb::Retry { incident_id }).await?;
    let pending = Outcome::ActionPending;
    assert!(
        matches!(answer, Answer::Refused { outcome, .. } if outcome == pending),
        "{answer:?}"
    );
    let answer = engine.command(at(6), Verb::Close { incident_id }).await?;
    assert!(matches!(answer, Answer::Done { .. }), "{answer:?}");
    let rows = engine
        .rows("SELECT incident_id, detail FROM decisions_log WHERE input = 'command.close'")
        .await?;
    assert_eq!(rows[0]["incident_id"], shown(incident_id));
    assert_eq!(rows[0]["detail"]["actor"], "ana");
    Ok(())
}
