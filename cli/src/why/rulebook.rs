//! What the Rule Engine's explanation says, in sentences.

use serde_json::Value;

use super::{State, Station, follow::text};

/// A station for every decision that is explained.
pub(super) fn stations(answer: &Value) -> Vec<Station> {
    let explained = answer["explained"].as_array();
    let mut stations: Vec<Station> = explained.into_iter().flatten().map(station).collect();
    if let Some(first) = stations.first_mut() {
        first.data = answer.clone();
    }
    stations
}

fn station(explanation: &Value) -> Station {
    let version = text(&explanation["rules_version"]);
    let place = &explanation["position"];
    let mut words = format!(
        "{}{} decided at {} under rules version {}",
        text(&explanation["input"]),
        spot(place).map_or_else(String::new, |spot| format!(" ({spot})")),
        text(&explanation["at"]),
        version.get(..6).unwrap_or(&version),
    );
    words.push_str(&brought(&explanation["rules_change"]));
    let rules = explanation["rules"].as_array().cloned().unwrap_or_default();
    let fired = rules
        .iter()
        .any(|rule| rule["answer"]["outcome"] == "fired");
    let state = if fired { State::Ok } else { State::Look };
    let mut station = Station::new("rules", state, words + ".");
    for rule in &rules {
        of_rule(&mut station, rule);
    }
    let emitted: Vec<String> = explanation["emitted_events"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|event| {
            let id = text(&event["event_id"]);
            format!("{} {}", text(&event["type"]), id.get(..6).unwrap_or(&id))
        })
        .collect();
    if !emitted.is_empty() {
        station.say(format!("emitted: {}", emitted.join(", ")));
    }
    if rules.iter().all(|rule| rule["matched"] == false) {
        station.say("No rule means this alert: nothing was done, and nothing will be.");
    }
    for later in explanation["followed"].as_array().into_iter().flatten() {
        for outcome in later["outcomes"].as_array().into_iter().flatten() {
            station.say(format!(
                "then, at {}, {}: {}",
                text(&later["at"]),
                text(&later["input"]),
                text(&outcome["reason"])
            ));
        }
    }
    station
}

/// `alert/3 offset 1`
fn spot(place: &Value) -> Option<String> {
    let offset = place["offset"].as_i64()?;
    let (topic, partition) = (text(&place["topic"]), text(&place["partition"]));
    Some(format!("{topic}/{partition} offset {offset}"))
}

/// Who made these the rules, and where that is in topic `rule`.
fn brought(change: &Value) -> String {
    let Some(number) = change["number"].as_i64() else {
        return String::new();
    };
    let actor = text(&change["actor"]);
    match spot(&change["position"]) {
        Some(spot) => format!(" (change {number} by {actor}, {spot})"),
        None => format!(" (change {number} by {actor})"),
    }
}

/// `condition_false (0.84 > 0.9)`
fn outcome(rule: &Value) -> String {
    let outcome = text(&rule["answer"]["outcome"]);
    match rule["condition"]["worked_out"].as_str() {
        Some(values) if outcome == "condition_false" => format!("{outcome} ({values})"),
        _ => outcome,
    }
}

fn of_rule(station: &mut Station, rule: &Value) {
    let version = text(&rule["version"]);
    let shadow = match rule["state"] == "shadow" {
        true => ", in shadow: it only says what it would do",
        false => "",
    };
    let name = text(&rule["rule"]);
    let digits = version.get(..6).unwrap_or(&version);
    let answer = &rule["answer"];
    station.say(if answer.is_null() {
        format!("{name} ({digits}{shadow}) was not asked here: it means the alert under another correlation key")
    } else {
        format!(
            "{name} ({digits}{shadow}): {}: {}",
            outcome(rule),
            text(&answer["reason"])
        )
    });
    if rule["matched"] == false {
        return;
    }
    for matcher in rule["matchers"].as_array().into_iter().flatten() {
        let value = match matcher["value"].as_str() {
            Some(value) => format!("{value:?}"),
            None => "not set".to_owned(),
        };
        let (matcher, label) = (text(&matcher["matcher"]), text(&matcher["label"]));
        station.say(format!("    {matcher}: {label} is {value}"));
    }
    for step in rule["condition"]["steps"].as_array().into_iter().flatten() {
        let value = match step["error"].as_str() {
            Some(error) => format!("cannot be told: {error}"),
            None => text(&step["value"]),
        };
        station.say(format!("    {} = {value}", text(&step["expression"])));
    }
    let action = &rule["action"];
    if action.is_null() {
        return;
    }
    let replicas = match action["replicas"].as_i64() {
        Some(count) => format!("{count} replicas"),
        None => "replicas not known yet".to_owned(),
    };
    let bounds = match (
        action["min_replicas"].as_i64(),
        action["max_replicas"].as_i64(),
    ) {
        (Some(min), Some(max)) => format!("bounds {min} to {max}"),
        (_, _) => "not in targets.yaml".to_owned(),
    };
    let mut words = format!(
        "    target {}: {replicas}, {bounds}",
        text(&action["target"])
    );
    for (name, label) in [
        ("cooldown_until", "cooldown until"),
        ("pending_action", "action under way"),
    ] {
        if let Some(value) = action[name].as_str() {
            words.push_str(&format!(", {label} {value}"));
        }
    }
    if action["paused"] == true {
        words.push_str(", paused by a person");
    }
    if !action["limit"].is_null() {
        words.push_str(&format!(", limit {}", action["limit"]));
    }
    station.say(words);
}
