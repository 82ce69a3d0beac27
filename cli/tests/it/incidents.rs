//! Incident commands against a running Incident Store.

use std::{
    collections::HashSet,
    io::{BufRead, BufReader},
    sync::{Arc, Mutex},
};

use incident_store::{Config, IncidentStore, MIGRATOR, domain::Fact};
use service_kit::{
    KitArgs, Service, Trace, Work,
    batch::{self, Handler, Intake},
    outbox::Source,
    testing::{Database, kit_args_at, wait_for},
};
use shared_events::{
    ActionEvent, ActionId, AlertId, EpisodeId, IncidentEvent, IncidentId, Timestamp, TopicEvent,
    action::{ActionFailed, ActionKind, ActionRequested, Direction, Evidence, FailureReason},
    incident::{AlertStatus, IncidentAlert, IncidentFailed, IncidentOpened, ReasonCode},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::command::{Cli, NOWHERE};

/// A store with one incident that failed, without Kafka.
pub(crate) struct Store {
    pub(crate) handler: Handler<IncidentStore<false>>,
    shutdown: CancellationToken,
    pub(crate) cli: Cli,
    _database: Database,
}

impl Store {
    pub(crate) async fn start() -> Self {
        let database = Database::fresh(&[&MIGRATOR]).await;
        let pool = database.pool.clone();
        let mut conn = pool.acquire().await.expect("a connection");
        let name = IncidentStore::<false>::NAME;
        let source = Source::read(&mut conn, name).await.expect("an incarnation");
        let handler = Handler {
            service: Arc::new(IncidentStore),
            pool: pool.clone(),
            source,
            wake: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let cli = Cli {
            store: format!("http://{}", listener.local_addr().expect("an address")),
            ..Cli::default()
        };
        let kit: KitArgs = kit_args_at(&database, "127.0.0.1:1", NOWHERE, "");
        let config = Config {
            kit,
            publish_status: false,
            trace_url: None,
        };
        let shutdown = CancellationToken::new();
        tokio::spawn(incident_store::run(config, listener, shutdown.clone()));
        wait_for("the store", async || {
            let ran = cli.run(&["incident", "ls"]).await;
            if ran.code == Some(0) {
                Ok(())
            } else {
                Err(ran.err)
            }
        })
        .await;
        Self {
            handler,
            shutdown,
            cli,
            _database: database,
        }
    }

    pub(crate) async fn play(&self, facts: impl IntoIterator<Item = Fact>) {
        let works = facts
            .into_iter()
            .map(|fact| Work::local(fact.event_id, Trace::default(), fact))
            .collect();
        let intake = Intake {
            works,
            dead: Vec::new(),
            redriven: HashSet::new(),
            progress: Vec::new(),
        };
        let no_letter = Arc::new(|_, _: &service_kit::Poison| None);
        batch::handle(&self.handler, intake, no_letter)
            .await
            .expect("handled");
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(1_795_230_872 + seconds, 0).expect("in range")
}

fn id(n: u128) -> IncidentId {
    IncidentId(Uuid::from_u128((0x007f_3c91 << 104) | n))
}

fn incident(event: impl Into<IncidentEvent>) -> Fact {
    let event = event.into();
    Fact {
        event_id: event.event_id(),
        causation_id: None,
        trace_id: None,
        body: event.into(),
    }
}

fn action(event: impl Into<ActionEvent>) -> Fact {
    let event = event.into();
    Fact {
        event_id: event.event_id(),
        causation_id: None,
        trace_id: None,
        body: incident_store::domain::Body::of_action(event).expect("about an incident"),
    }
}

fn alerts() -> Vec<IncidentAlert> {
    vec![IncidentAlert {
        alert_id: AlertId(Uuid::from_u128(1)),
        episode_id: EpisodeId(Uuid::from_u128(2)),
        name: "HighCPU".into(),
        status: AlertStatus::Firing,
        holds: true,
    }]
}

fn opened(n: u128) -> Fact {
    incident(IncidentOpened {
        incident_id: id(n),
        revision: 1,
        at: at(0),
        correlation_key: "service=app".into(),
        service: Some("app".into()),
        severity: Some("critical".into()),
        title: "CPU of app\u{1b}[2J is at 84 %".into(),
        rule: Some("high-cpu".into()),
        rule_version: None,
        generator_url: Some("http://prometheus:9090/graph".into()),
        runbook_url: None,
        labels: [("service".to_owned(), "app".to_owned())].into(),
        alerts: alerts(),
    })
}

fn story() -> Vec<Fact> {
    let (action_id, incident_id) = (ActionId::of(id(1), 0), id(1));
    vec![
        opened(1),
        action(ActionRequested {
            action_id,
            incident_id,
            target: "app".into(),
            at: at(0),
            kind: ActionKind::ScaleDocker,
            desired_replicas: 2,
            direction: Direction::Up,
            previous_replicas: Some(1),
            rule: "high-cpu".into(),
            rule_version: "3fa9".into(),
            correlation_key: "service=app".into(),
            deadline_at: at(60),
            cooldown_until: None,
            verify_within_ms: None,
            compensates: None,
            actor: None,
            reason: "HighCPU fires".into(),
        }),
        action(ActionFailed {
            action_id,
            incident_id,
            target: "app".into(),
            at: at(60),
            reason: FailureReason::Unhealthy,
            message: "app-2 was never healthy".into(),
            desired_replicas: 2,
            previous_replicas: Some(1),
            running_replicas: Some(1),
            evidence: vec![Evidence {
                container: "app-2".into(),
                exit_code: Some(137),
                oom_killed: true,
                logs: vec!["cannot reach upstream cache.invalid:6379".into()],
                health: vec![],
            }],
        }),
        incident(IncidentFailed {
            incident_id,
            revision: 2,
            at: at(80),
            correlation_key: "service=app".into(),
            reason_code: ReasonCode::ActionFailed,
            reason_message: "Scale 1 -> 2 failed; back to 1".into(),
            action_id: Some(action_id),
            alerts: alerts(),
        }),
    ]
}

#[tokio::test]
async fn an_incident_is_shown_for_people_and_for_programs() {
    let store = Store::start().await;
    assert_eq!(
        store.cli.run(&["incident", "ls"]).await.ok(),
        "no incidents\n"
    );
    store.play(story()).await;
    let list = store
        .cli
        .run(&["incident", "ls", "--needs-attention", "--utc"])
        .await
        .ok();
    assert!(
        list.contains("7f3c91") && list.contains("2026-11-21 03:14:32Z ("),
        "{list}"
    );
    assert!(
        !list.contains('\u{1b}'),
        "nobody's label steers the terminal: {list}"
    );
    let none = ["incident", "ls", "-m", "service=\"other\""];
    assert_eq!(store.cli.run(&none).await.ok(), "no incidents\n");

    let shown = store
        .cli
        .run(&["incident", "show", "7f3c91", "--utc"])
        .await
        .ok();
    for words in [
        "FAILED (automation gave up; needs you)",
        "Scale 1 -> 2 failed; back to 1",
        "app: 1 running, 2 desired",
        "eventpulse incident retry 7f3c91",
        "app-2: exit code 137, out of memory",
        "log: cannot reach upstream cache.invalid:6379",
        "Scaling app from 1 to 2 failed: a replica never got ready",
    ] {
        assert!(shown.contains(words), "{words} is not in\n{shown}");
    }
    let json = store
        .cli
        .run(&["incident", "show", "7f3c91", "-o", "json"])
        .await
        .json();
    assert_eq!(json["status"], "failed");
    assert_eq!(json["timeline"].as_array().map(Vec::len), Some(4));
    let timeline = ["incident", "timeline", "7f3c91", "-o", "json"];
    let timeline = store.cli.run(&timeline).await.json();
    assert_eq!(timeline[3]["type"], "incident.failed");
    let actions = ["action", "ls", "--incident", "7f3c91", "-o", "json"];
    assert_eq!(
        store.cli.run(&actions).await.json()[0]["reason"]["code"],
        "unhealthy"
    );
}

#[tokio::test]
async fn exit_codes_say_what_kind_of_failure() {
    let store = Store::start().await;
    store.play([opened(1), opened(2)]).await;
    for (arguments, code, words) in [
        (["incident", "show", "ffffff"], 3, "there is no incident"),
        (["incident", "show", "7f3c91"], 4, "more than one incident"),
        (["incident", "show", "7f3"], 1, "6 hexadecimal digits"),
        (["incident", "ls", "--since=soon"], 2, "neither a time"),
        (["rules", "ls", "--utc"], 5, "eventpulse doctor"),
        (["pause", "--all", "app"], 2, "cannot be used with"),
    ] {
        let ran = store.cli.run(&arguments).await;
        assert_eq!(ran.code, Some(code), "{arguments:?}: {ran:?}");
        assert!(ran.err.contains(words), "{arguments:?}: {ran:?}");
    }
}

#[tokio::test]
async fn watch_prints_what_happens() {
    let store = Store::start().await;
    let mut child = store
        .cli
        .command(&["incident", "watch"])
        .spawn()
        .expect("it starts");
    let out = child.stdout.take().expect("piped");
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = Arc::clone(&lines);
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            sink.lock().expect("no panic").push(line);
        }
    });
    // said again until it listens
    let mut n = 0;
    let line = wait_for("a line", async || {
        n += 1;
        store.play([opened(n)]).await;
        lines.lock().expect("no panic").first().cloned()
    })
    .await;
    assert!(
        line.contains("7f3c91") && line.contains("HighCPU fires for app"),
        "{line}"
    );
    child.kill().expect("it runs until it is told");
    child.wait().expect("it ends");
    reader.join().expect("no panic");
}
