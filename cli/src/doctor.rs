//! `doctor`: looks at every part and says what to do.

mod flow;

use serde_json::{Value, json};
use shared_events::{Topic, codec};

use crate::{
    args::Servers,
    client::{Client, Server},
    error::{Error, chain},
    kafka,
    output::{As, Column, Output, line},
};

/// One finding.
struct Finding {
    part: String,
    state: State,
    /// What was seen.
    seen: String,
    /// What to do about it.
    advice: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    /// It works, and somebody should look.
    Look,
    Wrong,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Look => "look",
            Self::Wrong => "wrong",
        }
    }
}

impl Finding {
    fn new(part: &str, state: State, seen: impl Into<String>, advice: &str) -> Self {
        Self {
            part: part.to_owned(),
            state,
            seen: seen.into(),
            advice: advice.to_owned(),
        }
    }
}

/// Looks at everything at once; fails if something is wrong.
pub(crate) async fn doctor(
    servers: &Servers,
    client: &Client,
    output: Output,
) -> Result<(), Error> {
    let now = output.now();
    let services = Server::SERVICES.map(|server| async move {
        // before what takes its time
        let clock = flow::clock(client, server, now).await;
        let mut findings = service(client, server).await;
        findings.extend(flow::waiting(client, server).await);
        findings.extend(clock);
        findings
    });
    let services = futures::future::join_all(services);
    let (services, broker, registry, people) = tokio::join!(
        services,
        broker(servers),
        registry(client),
        attention(client),
    );
    let findings: Vec<Finding> = services
        .into_iter()
        .flatten()
        .chain(broker)
        .chain([registry])
        .chain(people)
        .collect();
    let items: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "part": finding.part,
                "state": finding.state.as_str(),
                "seen": finding.seen,
                "advice": if finding.advice.is_empty() { Value::Null } else { json!(finding.advice) },
            })
        })
        .collect();
    let columns = [
        Column("PART", "/part", As::Text),
        Column("STATE", "/state", As::Status),
        Column("SEEN", "/seen", As::Text),
        Column("WHAT TO DO", "/advice", As::Text),
    ];
    output.list(&items, &columns, "nothing to look at")?;
    let wrong = findings
        .iter()
        .filter(|finding| finding.state == State::Wrong)
        .count();
    if wrong == 0 {
        return Ok(());
    }
    if !output.is_json() {
        line(&format!("\n{wrong} of {} parts are wrong", findings.len()))?;
    }
    Err(Error::Unwell)
}

async fn service(client: &Client, server: Server) -> Vec<Finding> {
    let name = server.name();
    let (status, text) = match client.probe(server, "/readyz?verbose").await {
        Ok(answer) => answer,
        Err(error) => {
            let advice = format!(
                "is it running? `docker compose ps {name}`, `docker compose logs {name}`; \
                 another address: --{name}-url"
            );
            return vec![Finding::new(name, State::Wrong, chain(&error), &advice)];
        }
    };
    let answer: Value = serde_json::from_str(&text).unwrap_or_default();
    let ready = status == 200;
    let detail = answer["detail"].as_str().unwrap_or("not ready");
    let mut findings = vec![if ready {
        Finding::new(name, State::Ok, "ready", "")
    } else {
        Finding::new(name, State::Wrong, detail, "see the parts below it")
    }];
    let checks = answer["checks"].as_array().cloned().unwrap_or_default();
    findings.extend(
        checks
            .iter()
            .filter(|check| check["ok"] == false)
            .map(|check| {
                let part = check["name"].as_str().unwrap_or_default();
                let seen = check["detail"].as_str().unwrap_or_default();
                let gates = check["gates"] == true;
                let state = if gates { State::Wrong } else { State::Look };
                Finding::new(&format!("{name}: {part}"), state, seen, advice(part))
            }),
    );
    findings
}

/// What to do about a check of `/readyz`.
fn advice(part: &str) -> &'static str {
    match part {
        "database" => "is its Postgres up and the URL right? it is tried for ever",
        "migrations" => "its log says which migration failed; the database is as it was before it",
        "consumer" => "is Kafka up? records wait there, and nothing is lost",
        "poison" => {
            "a bad deploy, rather than bad data? read its dead letters, then restart the service"
        }
        "rules" => "the file is not valid: `eventpulse rules reload` says where",
        "targets" => "the file is not valid: `eventpulse target reload` says where",
        "docker" => "is the engine up, and may action-runner use its socket?",
        _ => "its log says more",
    }
}

async fn broker(servers: &Servers) -> Vec<Finding> {
    let part = format!("Kafka {}", servers.brokers);
    let topics = match kafka::topics(servers).await {
        Ok(topics) => topics,
        Err(error) => {
            let advice = "is it running? `docker compose logs kafka`; another address: --brokers";
            return vec![Finding::new(&part, State::Wrong, chain(&error), advice)];
        }
    };
    let mut findings = vec![Finding::new(&part, State::Ok, "reachable", "")];
    for topic in [Topic::Alert, Topic::Incident, Topic::Action, Topic::Rule] {
        let name = format!("{}{}", servers.topic_prefix, topic.name());
        let part = format!("topic {name}");
        findings.push(match topics.iter().find(|found| found.name == name) {
            Some(found) => {
                let count = (found.partitions.len(), found.messages());
                let seen = format!("{} partitions, {} messages", count.0, count.1);
                Finding::new(&part, State::Ok, seen, "")
            }
            None => {
                let advice = "its writer makes it: ingest (alert), rules (incident, action, rule)";
                Finding::new(&part, State::Wrong, "does not exist", advice)
            }
        });
    }
    for letters in topics.iter().filter(|topic| topic.name.contains(".dlq.")) {
        let count = letters.messages();
        if count > 0 {
            let advice = "`eventpulse dlq ls` shows them and why";
            let part = format!("topic {}", letters.name);
            let seen = format!("{count} dead letters");
            findings.push(Finding::new(&part, State::Look, seen, advice));
        }
    }
    findings
}

async fn registry(client: &Client) -> Finding {
    let part = "schema registry";
    match client.probe(Server::Registry, "/subjects").await {
        Ok((200, text)) => {
            let subjects: Vec<String> = serde_json::from_str(&text).unwrap_or_default();
            schemas(part, &subjects)
        }
        Ok((status, _)) => {
            let advice = "does --registry-url end with the Confluent path, /apis/ccompat/v7?";
            Finding::new(part, State::Look, format!("answered {status}"), advice)
        }
        Err(error) => {
            let advice = "start it; known schemas go on without it: `docker compose logs registry`";
            Finding::new(part, State::Look, chain(&error), advice)
        }
    }
}

/// Whether other people's tools find the schema of each of our events.
fn schemas(part: &str, subjects: &[String]) -> Finding {
    // that one is written only where somebody switched it on
    let ours = codec::contracts().iter();
    let ours = ours.filter(|contract| contract.event_type != "incident.status");
    let (known, missing): (Vec<_>, Vec<_>) = ours
        .map(|contract| &contract.record)
        .partition(|record| subjects.contains(record));
    let seen = format!("{} subjects, {} of them ours", subjects.len(), known.len());
    if missing.is_empty() {
        return Finding::new(part, State::Ok, seen, "");
    }
    let names = missing.iter().map(|record| record.as_str());
    let seen = format!("{seen}; missing: {}", names.collect::<Vec<_>>().join(", "));
    let advice = "their writers register them when they start; other tools need them, we do not";
    Finding::new(part, State::Look, seen, advice)
}

/// Incidents that wait for a person.
async fn attention(client: &Client) -> Vec<Finding> {
    let query = [
        ("needs_attention", "true".to_owned()),
        ("limit", "100".to_owned()),
    ];
    let path = "/api/v1/incidents";
    let Ok(page) = client.get(Server::IncidentStore, path, &query).await else {
        // the store itself is a finding already
        return vec![];
    };
    let count = page["items"].as_array().map_or(0, Vec::len);
    if count == 0 {
        return vec![];
    }
    let advice = "`eventpulse incident ls --needs-attention`";
    let seen = format!("{count} need a person");
    vec![Finding::new("incidents", State::Look, seen, advice)]
}
