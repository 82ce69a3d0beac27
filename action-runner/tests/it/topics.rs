//! Over real topics: a stand-in for Rules asks and hears, Action Runner works between them.

use service_kit::{
    Error, Kit, Outgoing, Parts, Poison, Record, Saved, Service, Trace, Work, clock,
    testing::{Database, TestTopics, kit_args, wait_for},
};
use shared_events::{
    ActionEvent, ActionId, IncidentId, TopicEvent,
    action::{ActionKind, ActionRequested, Direction, Outcome},
    ids::derive,
};
use sqlx::PgConnection;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

use crate::{
    host::Host,
    runner::{Runner, Setup},
};

/// Says what it is told to say, and tells what it hears.
struct Asker(mpsc::UnboundedSender<ActionEvent>);

impl Service for Asker {
    const NAME: &'static str = "rules";
    const LISTENS: &'static [(&'static str, &'static [&'static str])] =
        &[("action", &["action.completed", "action.failed"])];
    const SAYS: &'static [(&'static str, &'static [&'static str])] =
        &[("action", &["action.requested"])];
    type Input = ActionEvent;
    type Batch = Vec<(ActionEvent, bool)>;
    type Reply = ();

    fn decode(&self, record: &Record<'_>) -> Result<ActionEvent, Poison> {
        record.event()
    }

    async fn load(
        &self,
        _: &mut PgConnection,
        _: &mut Vec<Work<ActionEvent>>,
    ) -> Result<Self::Batch, Error> {
        Ok(Vec::new())
    }

    fn fold(&self, batch: &mut Self::Batch, work: &Work<ActionEvent>) -> Result<(), Poison> {
        batch.push((work.input.clone(), work.delivery().is_some()));
        Ok(())
    }

    async fn save(&self, _: &mut PgConnection, batch: Self::Batch) -> Result<Saved<()>, Error> {
        let mut outgoing = Vec::new();
        for (event, heard) in batch {
            if heard {
                // Nobody listens only when the test has failed.
                drop(self.0.send(event));
            } else {
                let cause = event.event_id();
                outgoing.push(Outgoing::event(&event, cause, &Trace::default())?);
            }
        }
        Ok(Saved {
            outgoing,
            reply: (),
        })
    }
}

fn request(desired: i32) -> ActionRequested {
    let at = clock::now();
    ActionRequested {
        action_id: ActionId(derive(["topics", &desired.to_string()])),
        incident_id: IncidentId(derive(["topics"])),
        target: "app".to_owned(),
        at,
        kind: ActionKind::ScaleDocker,
        desired_replicas: desired,
        direction: Direction::Exact,
        previous_replicas: Some(1),
        rule: "high-cpu".to_owned(),
        rule_version: "v1".to_owned(),
        correlation_key: "service=app".to_owned(),
        deadline_at: at + chrono::Duration::seconds(60),
        cooldown_until: None,
        verify_within_ms: None,
        compensates: None,
        actor: None,
        reason: "HighCPU".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_on_the_topic_is_answered_on_the_topic_once() {
    let (host, topics) = (Host::up().await, TestTopics::fresh().await);
    let (rules, own) = (Database::fresh(&[]).await, Database::fresh(&[]).await);
    let (tell, mut heard) = mpsc::unbounded_channel();
    let (hand, kit) = oneshot::channel();
    let stop = CancellationToken::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let asker = tokio::spawn(service_kit::run(
        kit_args(&rules, &topics.prefix),
        Asker(tell),
        &service_kit::MIGRATOR,
        listener,
        stop.clone(),
        move |kit: &Kit<Asker>| {
            drop(hand.send(kit.clone()));
            Parts::default()
        },
    ));
    let kit = kit.await.expect("it starts");
    let setup = Setup {
        kit: Some(kit_args(&own, &topics.prefix)),
        ..Setup::default()
    };
    let runner = Runner::start(&host, &own, &setup).await;
    let requests = [request(2), request(1)];
    for (asked, slots) in requests.iter().zip([vec!["2"], vec![]]) {
        say(&kit, asked).await;
        let answer = heard.recv().await.expect("an answer");
        let ActionEvent::Completed(completed) = answer else {
            panic!("{answer:#?}")
        };
        assert_eq!(completed.action_id, asked.action_id);
        assert_eq!(completed.incident_id, asked.incident_id);
        assert_eq!(completed.result, Outcome::Scaled);
        assert_eq!(completed.running_replicas, asked.desired_replicas);
        assert_eq!(host.replicas().await, slots);
    }
    nothing_waits(&runner).await;
    // both inboxes forget: the same events once more find the actions over
    for database in [&rules, &own] {
        sqlx::query("DELETE FROM inbox_events")
            .execute(&database.pool)
            .await
            .expect("the inbox empties");
    }
    for asked in &requests {
        say(&kit, asked).await;
    }
    wait_for("both to be handled again", async || {
        let handled: i64 = sqlx::query_scalar("SELECT count(*) FROM inbox_events")
            .fetch_one(&own.pool)
            .await?;
        anyhow::ensure!(handled == 2, "{handled} are");
        Ok(())
    })
    .await;
    nothing_waits(&runner).await;
    assert!(heard.try_recv().is_err(), "one end each");
    assert!(host.replicas().await.is_empty(), "scaled once");
    let sent: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox_sent")
        .fetch_one(runner.kit.pool())
        .await
        .expect("the log of sent events");
    assert_eq!(sent, 2);
    runner.stop().await;
    stop.cancel();
    asker.await.expect("no panic").expect("it ends well");
}

async fn say(kit: &Kit<Asker>, asked: &ActionRequested) {
    let event = ActionEvent::from(asked.clone());
    let work = Work::local(event.event_id(), Trace::default(), event);
    kit.handle(vec![work]).await.expect("it is said");
}

async fn nothing_waits(runner: &Runner) {
    wait_for("every event to be sent", async || {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox_events")
            .fetch_one(runner.kit.pool())
            .await?;
        anyhow::ensure!(left == 0, "{left} wait");
        Ok(())
    })
    .await;
}
