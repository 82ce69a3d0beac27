//! Timers and the broker: evidence that waits in Kafka counts first.

use std::sync::Arc;

use anyhow::Result;
use service_kit::{
    batch::Intake,
    kafka::Cluster,
    testing::{Database, TestTopics, kit_args, wait_for},
    topics::{self, Wanted},
};
use tokio_util::sync::CancellationToken;

use crate::{
    http::{Folder, Rules, folder},
    story::{Log, raised, resolved},
    support::Engine,
};

async fn make(cluster: &Cluster, names: &[&str]) {
    let wanted: Vec<Wanted> = names
        .iter()
        .map(|topic| Wanted::events(cluster, topic, 2, 1))
        .collect();
    topics::ensure(cluster, &wanted, &CancellationToken::new()).await;
}

/// Rules that run on topics nobody has made yet, and the story's hand on their database.
async fn on_topics(
    topics: &TestTopics,
    database: &Arc<Database>,
    folder: &Folder,
) -> Result<(Rules, Engine)> {
    let kit = kit_args(database, &topics.prefix);
    let rules = Rules::with(kit, folder, rules::RulesSource::Topic).await?;
    rules.until_ready().await;
    Ok((rules, Engine::on(Arc::clone(database)).await?))
}

async fn times_out(engine: &Engine) {
    wait_for("the time-out of an action", async || {
        let codes = engine.codes().await.map_err(|error| error.to_string())?;
        if codes.iter().any(|code| code == "action_timed_out") {
            return Ok(());
        }
        Err(format!("{codes:?}"))
    })
    .await;
}

/// The story's clock is years behind: its timers are due as soon as they are set.
#[tokio::test]
async fn due_timers_fire_once_the_topics_are_consumed() -> Result<()> {
    let topics = TestTopics::fresh().await;
    let database = Arc::new(Database::fresh(&[]).await);
    let folder = folder()?;
    let (rules, engine) = on_topics(&topics, &database, &folder).await?;
    let fire = Log::default().alert(raised("HighCPU", "app", (1, 1), 0));
    engine.handle(Intake::local(vec![fire])).await?;
    // the topic of alerts is not there yet: nobody can tell what waits in it, so nothing fires
    let cluster = topics.cluster("rules");
    make(&cluster, &["alert", "action"]).await;
    times_out(&engine).await;
    rules.stop().await
}

/// Whatever the database has against one of them.
const REFUSE_APP: &str = "
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.correlation_key = 'service=app' AND NEW.input LIKE 'timer.%' THEN
            RAISE EXCEPTION 'refused' USING ERRCODE = '23514';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON decisions_log FOR EACH ROW EXECUTE FUNCTION refuse()";

#[tokio::test]
async fn a_timer_that_the_database_refuses_keeps_no_other_from_firing() -> Result<()> {
    let topics = TestTopics::fresh().await;
    let database = Arc::new(Database::fresh(&[]).await);
    let folder = folder()?;
    let (rules, engine) = on_topics(&topics, &database, &folder).await?;
    sqlx::raw_sql(REFUSE_APP).execute(&database.pool).await?;
    let mut log = Log::default();
    // that of app is due first
    let fire = ["app", "shop"].map(|name| log.alert(raised("HighCPU", name, (1, 1), 0)));
    engine.handle(Intake::local(fire.into())).await?;
    make(&topics.cluster("rules"), &["alert", "action"]).await;
    // the other one
    times_out(&engine).await;
    rules.stop().await
}

/// With the broker away a timer waits, however long it has been due; what was heard meanwhile is
/// decided first.
#[tokio::test]
async fn without_the_broker_no_timer_fires() -> Result<()> {
    let database = Arc::new(Database::fresh(&[]).await);
    let folder = folder()?;
    let rules = Rules::start(&database, &folder).await?;
    let engine = Engine::on(Arc::clone(&database)).await?;
    let mut log = Log::default();
    let fire = log.alert(raised("HighCPU", "app", (1, 1), 0));
    engine.handle(Intake::local(vec![fire])).await?;
    wait_for("the timers to be tried", async || {
        let late = rules.metric("eventpulse_timers_overdue_seconds").await;
        let tried = rules
            .metric("eventpulse_part_restarts_total{service=\"rules\",part=\"timers\"}")
            .await;
        match (late, tried) {
            (Ok(late), Ok(tried)) if late > 0.0 && tried >= 1.0 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(engine.codes().await?, ["rules_loaded", "fired"]);
    let end = log.alert(resolved("HighCPU", "app", 1, 5));
    engine.handle(Intake::local(vec![end])).await?;
    assert_eq!(engine.codes().await?, ["rules_loaded", "fired", "cleared"]);
    assert_eq!(engine.count("timers").await?, 1);
    rules.stop().await
}
