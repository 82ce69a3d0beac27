//! An engine on a database of its own, and what tests ask of it.

use std::sync::Arc;

use anyhow::{Context, Result};
use chrono::TimeDelta;
use rules::{
    MIGRATOR,
    domain::{Answer, Command, Policy, RulesLoaded, Timer, Verb},
    files::{Source as Text, Sources, compile},
    service::{Activation, Input, Reply, RuleEngine},
};
use serde_json::Value;
use service_kit::{
    Error, Handled, Origin, Poison, Position, Trace, Work,
    batch::{self, Handler, Intake},
    outbox::Source,
    service::Delivery,
    testing::Database,
};
use shared_events::{Envelope, EventId, IncidentId, Timestamp, ids};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

pub(crate) const RULES: &str = r#"version: 1
rules:
- name: high-cpu
  matchers: ['alertname="HighCPU"']
  group_by: [service]
  incident: open
  action:
    scale_docker: {replicas: 2, direction: up}
    timeout: 60s
    cooldown: 2m
    verify_within: 4m
    on_failure: {ensure_replicas: previous}
- name: low-cpu
  matchers: ['alertname="LowCPU"']
  group_by: [service]
  incident: attach
  action: {scale_docker: {replicas: 1, direction: down}, timeout: 60s, cooldown: 2m}
- {name: down, matchers: ['alertname="Down"'], group_by: [service], incident: open}
"#;

pub(crate) const TARGETS: &str = "version: 1
targets:
- {name: app, min_replicas: 1, max_replicas: 3}
- {name: shop, min_replicas: 1, max_replicas: 3}
";

/// When the stories of tests begin.
pub(crate) fn start() -> Timestamp {
    Timestamp::from_timestamp(1_700_000_000, 0).expect("a time")
}

pub(crate) fn policy() -> Policy {
    Policy {
        settle: TimeDelta::minutes(1),
        action_grace: TimeDelta::seconds(15),
    }
}

/// An engine without HTTP and Kafka.
pub(crate) struct Engine {
    pub(crate) handler: Handler<RuleEngine>,
    pub(crate) database: Arc<Database>,
}

impl Engine {
    /// On a fresh database, with [`RULES`] active.
    pub(crate) async fn fresh() -> Result<Self> {
        let engine = Self::on(Arc::new(Database::fresh(&[&MIGRATOR]).await)).await?;
        engine.activate(RULES, 0).await?;
        Ok(engine)
    }

    /// A further instance on the same database.
    pub(crate) async fn on(database: Arc<Database>) -> Result<Self> {
        let mut conn = database.pool.acquire().await?;
        let source = Source::read(&mut conn, "rules").await?;
        let engine = RuleEngine::default();
        engine.rules.looked();
        let handler = Handler {
            service: Arc::new(engine),
            pool: database.pool.clone(),
            source,
            wake: Arc::default(),
        };
        Ok(Self { handler, database })
    }

    pub(crate) async fn activate(&self, rules: &str, after: i64) -> Result<bool> {
        let source = |name: &str, text: &str| Text {
            name: name.to_owned(),
            text: text.to_owned(),
        };
        let sources = Sources {
            rules: source("rules.yaml", rules),
            targets: source("targets.yaml", TARGETS),
        };
        let set = Arc::new(compile(&sources, policy())?);
        let loaded = RulesLoaded {
            at: start(),
            hash: set.hash.clone(),
            rules: set.rules.len(),
            before: None,
            change: None,
            fault: None,
        };
        let id = EventId(ids::derive(["activation", &set.hash, &after.to_string()]));
        let activation = Activation {
            set,
            sources,
            loaded,
            after,
        };
        let input = Input::Activate(Arc::new(activation));
        let work = Work::local(id, Trace::default(), input);
        Ok(self.local(vec![work]).await?.reply.activated)
    }

    pub(crate) async fn handle(&self, intake: Intake<Input>) -> Result<Handled<Reply>, Error> {
        let nobody = |_: EventId, _: &Poison| None;
        batch::handle(&self.handler, intake, Arc::new(nobody)).await
    }

    pub(crate) async fn local(&self, works: Vec<Work<Input>>) -> Result<Handled<Reply>, Error> {
        self.handle(Intake::local(works)).await
    }

    pub(crate) async fn command(&self, at: Timestamp, verb: Verb) -> Result<Answer> {
        let command = Command {
            at,
            actor: "ana".to_owned(),
            reason: "because".to_owned(),
            verb,
        };
        let work = command_work(command)?;
        let id = work.id;
        let mut handled = self.local(vec![work]).await?;
        handled.reply.answers.remove(&id).context("an answer")
    }

    /// Rows of a query, each as JSON.
    pub(crate) async fn rows(&self, query: &str) -> Result<Vec<Value>> {
        let wrapped = format!("SELECT to_jsonb(r) FROM ({query}) AS r");
        Ok(sqlx::query_scalar(AssertSqlSafe(wrapped))
            .fetch_all(&self.database.pool)
            .await?)
    }

    pub(crate) async fn count(&self, table: &str) -> Result<i64> {
        let query = format!("SELECT count(*) FROM {table}");
        Ok(sqlx::query_scalar(AssertSqlSafe(query))
            .fetch_one(&self.database.pool)
            .await?)
    }

    /// Everything that the decisions gave, but for ids that the database draws and its own clock.
    pub(crate) async fn everything(&self) -> Result<Vec<Vec<Value>>> {
        let mut tables = self.states().await?;
        for query in [
            "SELECT correlation_key, seq, input_id, input, detail, topic, partition, kafka_offset,
                    alert_id, episode_id, incident_id, at, rules_hash, read, outcomes, emitted
             FROM decisions_log ORDER BY correlation_key, seq",
            "SELECT event_id, topic, encode(key, 'hex') AS key, key_seq, event_type,
                    encode(payload, 'hex') AS payload
             FROM outbox_events ORDER BY topic, key, key_seq",
        ] {
            tables.push(self.rows(query).await?);
        }
        Ok(tables)
    }

    /// The states that decisions are made from.
    pub(crate) async fn states(&self) -> Result<Vec<Vec<Value>>> {
        let mut tables = Vec::new();
        for query in [
            "SELECT key, decisions, sequences, incident_id, phase, memory FROM correlations ORDER BY key",
            "SELECT name, replicas, pending, latest_action, asked_at, waiting, pause
             FROM targets ORDER BY name",
            "SELECT timer_id, correlation_key, kind, entity, due_at FROM timers ORDER BY timer_id",
            "SELECT action_id, correlation_key, incident_id, target FROM actions ORDER BY action_id",
        ] {
            tables.push(self.rows(query).await?);
        }
        Ok(tables)
    }

    /// Timers that are set, the first due first.
    pub(crate) async fn timers(&self) -> Result<Vec<Timer>> {
        let rows = self
            .rows("SELECT memory FROM correlations ORDER BY key")
            .await?;
        let mut timers = Vec::new();
        for row in rows {
            let memory: rules::domain::Memory = serde_json::from_value(row["memory"].clone())?;
            timers.extend(memory.timers().cloned());
        }
        timers.sort_by_key(|timer| (timer.due, timer.id));
        Ok(timers)
    }

    /// The incident of a correlation key.
    pub(crate) async fn incident(&self, key: &str) -> Result<IncidentId> {
        let query = format!("SELECT incident_id FROM correlations WHERE key = '{key}'");
        let rows = self.rows(&query).await?;
        let id = rows.first().and_then(|row| row["incident_id"].as_str());
        Ok(id.context("no incident")?.parse()?)
    }

    /// Codes of the answers, in the order of the log.
    pub(crate) async fn codes(&self) -> Result<Vec<String>> {
        let rows = self
            .rows(
                "SELECT answer ->> 'outcome' AS code
                 FROM decisions_log, jsonb_array_elements(outcomes) AS answer ORDER BY id",
            )
            .await?;
        let code = |row: &Value| row["code"].as_str().unwrap_or_default().to_owned();
        Ok(rows.iter().map(code).collect())
    }
}

/// A command as an input; its id is what it says.
pub(crate) fn command_work(command: Command) -> Result<Work<Input>> {
    let text = serde_json::to_string(&command)?;
    let id = EventId(ids::derive(["command", &text]));
    Ok(Work::local(id, Trace::default(), Input::Command(command)))
}

/// A due timer as an input.
pub(crate) fn timer_work(timer: &Timer) -> Work<Input> {
    Work::local(timer.id, Trace::default(), Input::Timer(timer.clone()))
}

/// An event of a topic, as the consumer hands it over.
pub(crate) fn record<E: shared_events::TopicEvent>(
    event: &E,
    source: &str,
    (sequence, offset): (i64, i64),
    input: Input,
) -> Work<Input> {
    let envelope = Envelope {
        id: event.event_id(),
        event_type: event.event_type().to_owned(),
        source: source.to_owned(),
        at: event.at(),
        subject: event.subject(),
        dataschema: String::new(),
        correlation_id: event.correlation_id(),
        causation_id: None,
        sequence,
        traceparent: None,
        tracestate: None,
    };
    let delivery = Delivery {
        position: Position {
            topic: E::TOPIC.name().to_owned(),
            partition: 0,
            offset,
        },
        key: event.key().into_bytes(),
        envelope,
    };
    Work {
        id: event.event_id(),
        origin: Origin::Kafka(Arc::new(delivery)),
        trace: Trace::default(),
        input,
    }
}

/// An id as the database shows it.
pub(crate) fn shown(id: impl Into<Uuid>) -> Value {
    Value::String(id.into().to_string())
}
