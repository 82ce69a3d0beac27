//! The stations of one alert's way.

use serde_json::{Value, json};

use super::{
    State, Station,
    find::{Subject, letters},
    rulebook,
};
use crate::{
    args::Servers,
    client::{Client, Server, segment},
    error::{Error, chain},
};

/// Follows `subject` to its end.
pub(super) async fn follow(
    servers: &Servers,
    client: &Client,
    subject: &Subject,
    rule: Option<&str>,
) -> Vec<Station> {
    match subject {
        Subject::Reject(reject) => vec![rejected(reject)],
        Subject::Letter(letter) => vec![
            Station::new("ingest", State::Ok, "It was accepted and published."),
            dead(letter),
            Station::new(
                "rules",
                State::Look,
                "No rule ever saw it: the Rule Engine could not read the record.",
            ),
        ],
        Subject::Alert(alert) => of_alert(servers, client, alert, rule).await,
        Subject::Unknown(id) => {
            let words = "Ingest does not know this series (its database may be younger).";
            let mut stations = vec![Station::new("ingest", State::Look, words)];
            stations.extend(decided(client, ("alert_id", id), rule).await);
            stations
        }
        Subject::Incident(incident) => {
            let id = text(&incident["id"]);
            let mut stations = decided(client, ("incident_id", &id), rule).await;
            stations.extend(ended(client, &id).await);
            stations
        }
    }
}

fn rejected(reject: &Value) -> Station {
    let words = format!(
        "Ingest refused it at {}: {} ({}). No rule ever saw it.",
        text(&reject["at"]),
        text(&reject["detail"]),
        text(&reject["reason"])
    );
    let mut station = Station::new("ingest", State::Look, words).with(reject);
    let receipt = text(&reject["receipt_id"]);
    station.say(format!(
        "The others of its body were accepted: receipt {receipt}. As it came:"
    ));
    station.say(text(&reject["raw"]).chars().take(300).collect::<String>());
    station
}

fn dead(letter: &Value) -> Station {
    let header = |name: &str| text(&letter["headers"][format!("ep.dlq.{name}")]);
    let words = format!(
        "The Rule Engine set it aside as a dead letter at stage {}: {} (record {}/{} offset {}).",
        header("stage"),
        header("error"),
        header("topic"),
        header("partition"),
        header("offset"),
    );
    let mut station = Station::new("dead letters", State::Look, words).with(letter);
    let place = ["topic", "partition", "offset"].map(header).join("/");
    station.say(format!(
        "It is kept: `eventpulse dlq show {place}`; once the cause is gone, `eventpulse dlq redrive {place} --reason ..`"
    ));
    station
}

async fn of_alert(
    servers: &Servers,
    client: &Client,
    alert: &Value,
    rule: Option<&str>,
) -> Vec<Station> {
    let id = text(&alert["alert_id"]);
    let mut stations = vec![accepted(alert)];
    stations.extend(rejects_of(client, alert).await);
    let (outbox, waits) = outbox(client).await;
    stations.push(outbox);
    let (lag, behind) = lag(client).await;
    stations.push(lag);
    let explained = decided(client, ("alert_id", &id), rule).await;
    let nothing = explained
        .iter()
        .any(|station| station.data["unknown"] == true);
    stations.extend(not_yet(alert, &explained));
    stations.extend(explained);
    if nothing {
        let key = alert["service"].as_str().unwrap_or(&id).to_owned();
        stations.push(nowhere(servers, &key, (waits, behind)).await);
    }
    let incident = stations.iter().find_map(|station| {
        let incident = station.data.pointer("/explained/0/incident_id")?;
        incident.as_str().map(str::to_owned)
    });
    if let Some(id) = incident {
        stations.extend(ended(client, &id).await);
    }
    stations
}

/// What the rules decided last may be about an earlier episode than the one that Ingest has.
fn not_yet(alert: &Value, explained: &[Station]) -> Option<Station> {
    let decided = explained.iter().find_map(|station| {
        let episode = station.data.pointer("/explained/0/episode_id")?;
        episode.as_str()
    })?;
    (alert["episode_id"].is_string() && alert["episode_id"] != decided).then(|| {
        let words = format!(
            "Episode {} has not come to the rules yet: what follows is of an earlier one.",
            alert["episode"]
        );
        Station::new("topic", State::Look, words)
    })
}

fn accepted(alert: &Value) -> Station {
    let words = format!(
        "Accepted from {}: {}, episode {}, {} notifications, first at {}, last at {}.",
        text(&alert["source"]),
        text(&alert["status"]),
        alert["episode"],
        alert["occurrences"],
        text(&alert["starts_at"]),
        text(&alert["at"]),
    );
    let mut station = Station::new("ingest", State::Ok, words).with(alert);
    if let Some(reason) = alert["resolve_reason"].as_str() {
        station.say(format!("It is over: {reason} at {}.", text(&alert["at"])));
    }
    if let Some(receipt) = alert["receipt_id"].as_str() {
        station.say(format!("It came with receipt {receipt}."));
    }
    station
}

/// Alerts of the same body that were refused: a neighbour of a good one is easily overlooked.
async fn rejects_of(client: &Client, alert: &Value) -> Option<Station> {
    let receipt = alert["receipt_id"].as_str()?.to_owned();
    let query = [("receipt_id", receipt)];
    let page = client.get(Server::Ingest, "/api/v1/rejects", &query).await;
    let count = page.ok()?["items"].as_array()?.len();
    (count > 0).then(|| {
        let words = format!("{count} other alerts of the same body were refused.");
        Station::new("ingest", State::Look, words)
    })
}

/// Value of the greatest sample of a metric.
fn greatest(text: &str, name: &str, having: &str) -> Option<f64> {
    text.lines()
        .filter(|line| line.starts_with(name) && line.contains(having))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .reduce(f64::max)
}

async fn outbox(client: &Client) -> (Station, bool) {
    match client.probe(Server::Ingest, "/metrics").await {
        Ok((_, metrics)) => {
            let waiting = greatest(&metrics, "eventpulse_outbox_depth", "").unwrap_or(0.0);
            let age = greatest(&metrics, "eventpulse_outbox_oldest_age", "").unwrap_or(0.0);
            let data = json!({"waiting": waiting, "oldest_seconds": age});
            let station = if waiting > 0.0 {
                let words = format!(
                    "{waiting} events wait in Ingest's outbox, the oldest for {age:.0} s: is Kafka up?"
                );
                Station::new("outbox", State::Look, words)
            } else {
                Station::new("outbox", State::Ok, "Ingest has published everything.")
            };
            (station.with(&data), waiting > 0.0)
        }
        Err(error) => (Station::new("outbox", State::Away, chain(&error)), false),
    }
}

async fn lag(client: &Client) -> (Station, bool) {
    match client.probe(Server::Rules, "/metrics").await {
        Ok((_, metrics)) => {
            let lag = greatest(&metrics, "eventpulse_consumer_lag", "alert").unwrap_or(0.0);
            let station = if lag > 0.0 {
                let words = format!("The Rule Engine is {lag} records of topic alert behind.");
                Station::new("topic", State::Look, words)
            } else {
                Station::new(
                    "topic",
                    State::Ok,
                    "The Rule Engine has read all of topic alert.",
                )
            };
            (station.with(&json!({"lag": lag})), lag > 0.0)
        }
        Err(error) => (Station::new("topic", State::Away, chain(&error)), false),
    }
}

async fn decided(client: &Client, (name, id): (&str, &str), rule: Option<&str>) -> Vec<Station> {
    let mut query = vec![(name, id.to_owned())];
    query.extend(rule.map(|rule| ("rule", rule.to_owned())));
    match client.get(Server::Rules, "/api/v1/explain", &query).await {
        Ok(answer) => rulebook::stations(&answer),
        Err(Error::Refused {
            status: 404,
            detail,
            ..
        }) => {
            let station = Station::new("rules", State::Look, detail);
            vec![station.with(&json!({"unknown": true}))]
        }
        Err(error @ Error::Unreachable { .. }) => {
            vec![Station::new("rules", State::Away, chain(&error))]
        }
        Err(error) => vec![Station::new("rules", State::Look, chain(&error))],
    }
}

/// Where an alert is that Ingest accepted and no rule has seen.
async fn nowhere(servers: &Servers, key: &str, (waits, behind): (bool, bool)) -> Station {
    if waits {
        let words = "It is still in Ingest's outbox, or behind what is.";
        return Station::new("topic", State::Look, words);
    }
    match letters(servers).await {
        Ok(letters) => {
            let own: Vec<&Value> = letters
                .iter()
                .filter(|letter| letter["key"] == key)
                .collect();
            match own.last() {
                Some(letter) => dead(letter),
                None if behind => {
                    let words = "It waits in topic alert: the Rule Engine has not come to it.";
                    Station::new("topic", State::Look, words)
                }
                None => {
                    let words = "It is no dead letter either: was the Rule Engine's log pruned?";
                    Station::new("dead letters", State::Look, words)
                }
            }
        }
        Err(error) => Station::new("dead letters", State::Away, chain(&error)),
    }
}

/// The incident, its actions and how all ended.
async fn ended(client: &Client, id: &str) -> Vec<Station> {
    let path = format!("/api/v1/incidents/{}", segment(id));
    let incident = match client.get(Server::IncidentStore, &path, &[]).await {
        Ok(incident) => incident,
        Err(Error::Refused { status: 404, .. }) => {
            let words = format!("Incident {id} is not stored yet: Incident Store is behind.");
            return vec![Station::new("incident", State::Look, words)];
        }
        Err(error) => return vec![Station::new("incident", State::Away, chain(&error))],
    };
    let mut stations = Vec::new();
    let actions = client
        .get(Server::IncidentStore, &format!("{path}/actions"), &[])
        .await;
    for action in actions.unwrap_or_default()["items"]
        .as_array()
        .into_iter()
        .flatten()
    {
        stations.push(action_words(action));
    }
    let short = id.get(..6).unwrap_or(id);
    let mut words = format!("Incident {short} is {}", text(&incident["status"]));
    if let Some(reason) = incident["reason"]["message"].as_str() {
        words.push_str(&format!(": {reason}"));
    }
    let state = match incident["needs_attention"] == true {
        true => State::Look,
        false => State::Ok,
    };
    let mut station = Station::new("incident", state, words).with(&incident);
    if let Some(next) = incident["now"]["next_step"].as_str() {
        station.say(format!("Next: {next}"));
    }
    station.say(format!("Its story: `eventpulse incident show {short}`"));
    stations.push(station);
    stations
}

fn action_words(action: &Value) -> Station {
    let count = |name: &str| match action[name].as_i64() {
        Some(count) => count.to_string(),
        None => "?".to_owned(),
    };
    let words = format!(
        "{} {} -> {} replicas, asked for at {}: {}{}",
        text(&action["target"]),
        count("previous_replicas"),
        count("desired_replicas"),
        text(&action["requested_at"]),
        text(&action["status"]),
        action["reason"]["message"]
            .as_str()
            .map_or_else(String::new, |why| format!(", {why}")),
    );
    let state = match action["status"] == "failed" {
        true => State::Look,
        false => State::Ok,
    };
    Station::new("action", state, words).with(action)
}

pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}
