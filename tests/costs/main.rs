//! What one alert costs in allocations and bytes on each hot path, held to a ceiling: the counts are
//! the same on every machine and at every load. A change that makes a path dearer than its ceiling
//! fails here, and says by how much; one that makes it cheaper lowers the ceiling in the same commit.

use std::{hint::black_box, sync::Arc};

use allocation_counter::{AllocationInfo, measure};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use eventpulse_tests::webhook::{Alert, body};
use incident_store::domain::{Body, Fact, Incident, apply};
use ingest::domain::{Journal, Notification, Policy, Series, Webhook, decide};
use rules::{
    domain::{Correlation, Effect, Event, Input, Kind, RuleSet, State, decide_owned, route},
    files::{Source, Sources, compile},
};
use service_kit::outbox::encode_headers;
use shared_events::{AlertEvent, Envelope, IncidentEvent, TopicEvent as _, codec};

/// Alerts of the body: what is asked once a body is spread over them.
const ALERTS: u64 = 100;

/// Path, most allocations, and most bytes that they ask for; both for one alert.
const CEILINGS: [(&str, u64, u64); 7] = [
    ("parse a webhook", 25, 2000),
    ("decide in ingest", 38, 4000),
    ("encode an event", 11, 900),
    ("write headers", 25, 2650),
    ("decode an event", 23, 2250),
    ("decide in rules", 78, 7350),
    ("fold in the store", 26, 3950),
];

const RULES: &str = r#"version: 1
rules:
- name: high-cpu
  matchers: ['alertname="HighCPU"']
  group_by: [service]
  incident: open
- name: low-cpu
  matchers: ['alertname="LowCPU"']
  group_by: [service]
  incident: attach
"#;

/// The paths in their order, each measured with what the one before it made.
struct Costs(Vec<(&'static str, AllocationInfo)>);

impl Costs {
    fn of<T>(&mut self, path: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut made = None;
        let info = measure(|| made = Some(black_box(work())));
        self.0.push((path, info));
        made.context("the closure has run")?
    }

    /// Allocations and bytes of one alert, rounded up.
    fn each(&self) -> Vec<(&'static str, u64, u64)> {
        let each = |count: u64| count.div_ceil(ALERTS);
        let costs = self.0.iter();
        costs
            .map(|(path, info)| (*path, each(info.count_total), each(info.bytes_total)))
            .collect()
    }
}

fn rule_set() -> Result<Arc<RuleSet>> {
    let source = |name: &str, text: &str| Source {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    let sources = Sources {
        rules: source("rules.yaml", RULES),
        targets: source("targets.yaml", "version: 1\ntargets: []\n"),
    };
    let policy = rules::domain::Policy {
        settle: TimeDelta::minutes(1),
        action_grace: TimeDelta::seconds(30),
    };
    Ok(Arc::new(compile(&sources, policy)?))
}

fn ingested(webhook: Webhook, now: DateTime<Utc>) -> Result<Vec<AlertEvent>> {
    let policy = Policy {
        reopen_after: TimeDelta::minutes(6),
        stale_after: TimeDelta::hours(12),
    };
    let mut journal = Journal::default();
    for alert in webhook.alerts {
        let notice = alert.map_err(|reject| anyhow::anyhow!("{reject:?}"))?;
        let series = Series::new(notice.alert_id, now);
        let notification = Notification {
            at: now,
            news: notice.news,
            about: &notice.about,
            receipt_id: None,
        };
        journal.record(decide(&policy, &series, &notification).events);
    }
    Ok(journal.events().to_vec())
}

fn headers(event: &AlertEvent) -> Result<Vec<u8>> {
    let contract = codec::contract(event.event_type()).context("a contract")?;
    let envelope = Envelope {
        id: event.event_id(),
        event_type: event.event_type().to_owned(),
        source: "/ingest/0190f5fe-7c00-7a00-8000-000000000001".to_owned(),
        at: event.at(),
        subject: event.subject(),
        dataschema: contract.dataschema(),
        correlation_id: event.correlation_id(),
        causation_id: None,
        sequence: 1,
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        tracestate: None,
    };
    let headers = envelope.to_headers();
    Ok(encode_headers(
        headers
            .iter()
            .map(|(name, value)| (*name, value.as_bytes())),
    ))
}

fn decided(rules: &RuleSet, events: &[AlertEvent]) -> Result<Vec<IncidentEvent>> {
    let mut said = Vec::new();
    for event in events {
        let AlertEvent::Raised(raised) = event else {
            anyhow::bail!("{event:?}: only firing alerts were posted");
        };
        for route in route(rules, event.labels(), &[], &event.key()) {
            let state = State {
                correlation: Correlation::new(&route.key),
                targets: [].into(),
                everything: None,
                total: rules::domain::Budget::default(),
            };
            let input = Input {
                id: event.event_id(),
                kind: Kind::Raised {
                    alert: raised.clone().into(),
                    rules: route.rules,
                },
            };
            for effect in decide_owned(rules, state, &input).effects {
                if let Effect::Emit(event) = effect
                    && let Event::Incident(event) = *event
                {
                    said.push(event);
                }
            }
        }
    }
    Ok(said)
}

fn folded(events: Vec<IncidentEvent>) -> Vec<Incident> {
    let fold = |event: IncidentEvent| {
        let fact = Fact {
            event_id: event.event_id(),
            causation_id: None,
            trace_id: None,
            body: Body::from(event).without_nul(),
        };
        apply(Incident::stub(fact.body.incident_id()), &fact)
    };
    events.into_iter().map(fold).collect()
}

/// Every path once, as one body of alerts goes.
fn measured() -> Result<Costs> {
    let now = DateTime::from_timestamp(1_790_000_000, 0).context("a time")?;
    let alerts: Vec<Alert> = (0..ALERTS)
        .map(|n| Alert::firing("HighCPU", &format!("service-{n}"), now))
        .collect();
    let bytes = Bytes::from(body(&alerts).to_string());
    let rules = rule_set()?;
    let mut costs = Costs(Vec::new());

    let webhook = costs.of("parse a webhook", || Ok(Webhook::parse("test", &bytes)?))?;
    let events = costs.of("decide in ingest", || ingested(webhook, now))?;
    let data = costs.of("encode an event", || {
        events
            .iter()
            .map(|event| Ok(event.encode()?))
            .collect::<Result<Vec<_>>>()
    })?;
    costs.of("write headers", || {
        events.iter().map(headers).collect::<Result<Vec<_>>>()
    })?;
    let contract = codec::contract(events[0].event_type()).context("a contract")?;
    let writer = codec::writer(&contract.dataschema()).context("a writer")?;
    let read = costs.of("decode an event", || {
        let one = |datum: &Vec<u8>| {
            AlertEvent::decode(contract.event_type, &writer, datum)?.context("a type of the topic")
        };
        data.iter().map(one).collect::<Result<Vec<AlertEvent>>>()
    })?;
    ensure!(read == events, "what was written is not what is read");
    let incidents = costs.of("decide in rules", || decided(&rules, &read))?;
    ensure!(incidents.len() == alerts.len(), "each opens an incident");
    costs.of("fold in the store", || Ok(folded(incidents)))?;
    Ok(costs)
}

#[test]
fn no_hot_path_allocates_more_than_its_ceiling() -> Result<()> {
    // What is made once a process, such as compiled schemas, is not an alert's.
    measured()?;
    let found = measured()?.each();
    let over: Vec<String> = found
        .iter()
        .zip(CEILINGS)
        .filter(|(found, ceiling)| {
            found.0 != ceiling.0 || found.1 > ceiling.1 || found.2 > ceiling.2
        })
        .map(|(found, ceiling)| format!("found {found:?}, the ceiling is {ceiling:?}"))
        .collect();
    assert!(over.is_empty(), "{}", over.join("\n"));
    Ok(())
}
