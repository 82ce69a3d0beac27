//! A running Action Runner with a database of its own. Kafka is not there: requests are handed to
//! the kit as the consumer would, and outcomes are read from the outbox.

use std::path::PathBuf;

use action_runner::{
    Config, MIGRATOR, assemble,
    domain::{
        plan::Ask,
        state::{Input, Pause, Request},
    },
    service::{ActionRunner, TargetInput},
};
use clap::Parser;
use service_kit::{
    Error, Kit, KitArgs, Trace, Work, clock,
    testing::{Database, wait_for},
};
use shared_events::{
    ActionEvent, ActionId, EventId, IncidentId, TopicEvent,
    action::{ALL_TARGETS, ActionCompleted, ActionFailed, ActionKind},
    codec,
    ids::{derive, event_id},
};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    gate::{self, Gate},
    host::{Host, engine},
};

/// What the target is, beyond the ordinary.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) docker_host: String,
    pub(crate) readiness: &'static str,
    pub(crate) max: u32,
    pub(crate) certificates: Option<PathBuf>,
    pub(crate) sweep: &'static str,
    pub(crate) grace: &'static str,
    /// Topics and registry; `None`: neither is there.
    pub(crate) kit: Option<KitArgs>,
    /// A gate stands before `docker_host`. `EVENTPULSE_TEST_GATE=1` puts one before every test's.
    pub(crate) gate: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            docker_host: engine(),
            readiness: "{healthcheck: true}",
            max: 4,
            certificates: None,
            sweep: "500ms",
            grace: "2s",
            kit: None,
            gate: gate::everywhere(),
        }
    }
}

/// One instance.
pub(crate) struct Runner {
    pub(crate) kit: Kit<ActionRunner>,
    pub(crate) url: String,
    pub(crate) file: PathBuf,
    pub(crate) shutdown: CancellationToken,
    /// If there is one.
    pub(crate) gate: Option<Gate>,
    task: JoinHandle<Result<(), Error>>,
    folder: TempDir,
}

/// `targets.yaml` of a project.
pub(crate) fn targets(project: &str, setup: &Setup) -> String {
    let Setup {
        docker_host,
        readiness,
        max,
        grace,
        ..
    } = setup;
    format!(
        "version: 1
targets:
- name: app
  docker_host: {docker_host}
  selector: {{service: app, com.docker.compose.project: {project}}}
  min_replicas: 1
  max_replicas: {max}
  readiness: {readiness}
  stop_grace_period: {grace}
"
    )
}

impl Runner {
    /// Starts an instance and waits until it works.
    pub(crate) async fn start(host: &Host, database: &Database, setup: &Setup) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("targets.yaml");
        let gated = setup.gate && gate::is_local(&setup.docker_host);
        let mut own = setup.clone();
        if gated {
            own.docker_host = gate::host_in(folder.path());
        }
        std::fs::write(&file, targets(&host.project, &own)).expect("targets.yaml is written");
        let gate = if gated {
            Some(Gate::start(folder.path(), &setup.docker_host).await)
        } else {
            None
        };
        let mut config = Config::try_parse_from([
            "action-runner",
            "--database-url",
            &database.url,
            "--allow-unsafe-database",
            "--kafka-brokers",
            "127.0.0.1:1",
            "--registry-url",
            "http://127.0.0.1:1",
            "--sweep-interval",
            setup.sweep,
            "--targets-file",
            &file.display().to_string(),
        ])
        .expect("these are all there are");
        if let Some(kit) = &setup.kit {
            config.kit = kit.clone();
        }
        config.docker_cert_path.clone_from(&setup.certificates);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let shutdown = CancellationToken::new();
        let (runner, parts) = assemble(&config).expect("the settings are good");
        let (hand, kit) = oneshot::channel();
        let task = tokio::spawn(service_kit::run(
            config.kit,
            runner,
            &MIGRATOR,
            listener,
            shutdown.clone(),
            move |kit: &Kit<ActionRunner>| {
                // Nobody waits for it only when the test has failed.
                drop(hand.send(kit.clone()));
                parts(kit)
            },
        ));
        let kit = kit.await.expect("the service starts");
        // The parts are handed over before the door opens.
        wait_for("the API to open", async || {
            let answer = reqwest::get(format!("{url}/openapi.json")).await?;
            answer.error_for_status()
        })
        .await;
        Self {
            kit,
            url,
            file,
            shutdown,
            gate,
            task,
            folder,
        }
    }

    /// `targets.yaml` of a project, as this instance reaches the engine.
    pub(crate) fn targets(&self, project: &str, setup: &Setup) -> String {
        let mut own = setup.clone();
        if self.gate.is_some() {
            own.docker_host = gate::host_in(self.folder.path());
        }
        targets(project, &own)
    }

    /// Starts the gate again, at the place where it was.
    pub(crate) async fn open_gate(&mut self, setup: &Setup) {
        self.gate = Some(Gate::start(self.folder.path(), &setup.docker_host).await);
    }

    /// Stops it as SIGTERM does.
    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        let ended = (&mut self.task).await.expect("the service does not panic");
        ended.expect("the service ends well");
    }

    /// Hands in a request; ids are counted.
    pub(crate) async fn ask(&self, n: u32, ask: Ask, desired: i32, seconds: i64) -> ActionId {
        let action_id = ActionId(derive(["test-action", &n.to_string()]));
        let at = clock::now();
        let request = Request {
            event_id: event_id("rules", "action.requested", action_id.uuid(), ""),
            action_id,
            incident_id: IncidentId(derive(["test-incident"])),
            target: "app".to_owned(),
            kind: ActionKind::ScaleDocker,
            ask,
            desired,
            previous: None,
            at,
            deadline_at: at + chrono::Duration::seconds(seconds),
            rule: "high-cpu".to_owned(),
            reason: "HighCPU".to_owned(),
        };
        self.hand("app", request.event_id, Input::Requested(request))
            .await;
        action_id
    }

    /// A person pauses every target.
    pub(crate) async fn pause_all(&self) {
        let pause = Pause {
            pause_id: derive(["test-pause"]),
            at: clock::now(),
            until: None,
            actor: "ann".to_owned(),
            reason: "deploy".to_owned(),
        };
        let id = EventId(derive(["test-pause", "event"]));
        self.hand(ALL_TARGETS, id, Input::Paused(pause)).await;
    }

    /// And resumes.
    pub(crate) async fn resume_all(&self) {
        let id = EventId(derive(["test-resume", "event"]));
        let input = Input::Resumed { at: clock::now() };
        self.hand(ALL_TARGETS, id, input).await;
    }

    async fn hand(&self, target: &str, id: EventId, input: Input) {
        let target = target.to_owned();
        let work = Work::local(id, Trace::default(), TargetInput { target, input });
        // as a sender does: a machine that is busy elsewhere keeps it waiting for a connection
        wait_for("it to be accepted", async || {
            self.kit.handle(vec![work.clone()]).await.map(drop)
        })
        .await;
    }

    /// Waits for an action's terminal event.
    pub(crate) async fn outcome(&self, action_id: ActionId) -> ActionEvent {
        wait_for("the action's end", async || {
            let ends = self.read_ends(action_id).await?;
            ends.into_iter().next().ok_or(sqlx::Error::RowNotFound)
        })
        .await
    }

    /// The action completes.
    pub(crate) async fn completes(&self, action_id: ActionId) -> ActionCompleted {
        match self.outcome(action_id).await {
            ActionEvent::Completed(completed) => completed,
            other => panic!("not completed: {other:#?}"),
        }
    }

    /// The action fails.
    pub(crate) async fn fails(&self, action_id: ActionId) -> ActionFailed {
        match self.outcome(action_id).await {
            ActionEvent::Failed(failed) => failed,
            other => panic!("not failed: {other:#?}"),
        }
    }

    /// Terminal events of an action in the outbox: there is never more than one.
    pub(crate) async fn ends(&self, action_id: ActionId) -> Vec<ActionEvent> {
        self.read_ends(action_id).await.expect("the outbox is read")
    }

    async fn read_ends(&self, action_id: ActionId) -> Result<Vec<ActionEvent>, sqlx::Error> {
        let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(
            "SELECT event_type, payload FROM outbox_events
             WHERE topic = 'action' AND key = convert_to('app', 'UTF8') ORDER BY key_seq",
        )
        .fetch_all(self.kit.pool())
        .await?;
        let events = rows.iter().map(|(event_type, datum)| {
            let contract = codec::contract(event_type).expect("a known type");
            let writer = codec::writer(&contract.dataschema()).expect("a known schema");
            let event = ActionEvent::decode(event_type, &writer, datum).expect("a good datum");
            event.expect("an event of the topic")
        });
        let own: Vec<ActionEvent> = events
            .filter(|event| event.subject() == action_id.to_string())
            .collect();
        assert!(own.len() <= 1, "{own:#?}");
        Ok(own)
    }

    /// The target as the API shows it.
    pub(crate) async fn target(&self) -> serde_json::Value {
        let all = self.get("/api/v1/targets").await;
        all["items"][0].clone()
    }

    pub(crate) async fn get(&self, path: &str) -> serde_json::Value {
        let answer = reqwest::get(format!("{}{path}", self.url))
            .await
            .expect("an answer");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        let text = answer.text().await.expect("a body");
        serde_json::from_str(&text).expect("JSON")
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        body: serde_json::Value,
    ) -> (u16, serde_json::Value) {
        let client = reqwest::Client::new();
        let answer = client
            .post(format!("{}{path}", self.url))
            .json(&body)
            .send();
        let answer = answer.await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).expect("JSON"))
    }

    /// Waits until the API shows the target to be at rest: as desired, and ready.
    pub(crate) async fn settles(&self) -> serde_json::Value {
        let asked = clock::now();
        wait_for("the target to be as desired", async || {
            let target = self.target().await;
            let seen = target["observed_at"].as_str().unwrap_or_default();
            let fresh = seen
                .parse::<chrono::DateTime<chrono::Utc>>()
                .is_ok_and(|at| at > asked);
            if fresh && target["health"] == "ok" {
                Ok(target)
            } else {
                Err(target.to_string())
            }
        })
        .await
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.task.abort();
    }
}

/// Seconds that are enough for everything that should work.
pub(crate) const ENOUGH: i64 = 25;
