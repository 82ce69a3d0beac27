//! Webhook v4 bodies, as Alertmanager's template data has them.

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use crate::checker::evidence::{Labels, Told};

pub(super) fn rfc(micros: i64) -> String {
    DateTime::from_timestamp_micros(micros)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn alert(told: &Told, labels: &Labels) -> Value {
    json!({
        "status": if told.ends_at.is_some() { "resolved" } else { "firing" },
        "labels": labels,
        "annotations": {"summary": format!("{} of {}", labels["alertname"], labels["service"])},
        "startsAt": rfc(told.starts_at),
        "endsAt": told.ends_at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), rfc),
        "generatorURL": "http://prometheus:9090/graph?g0.expr=up",
        "fingerprint": format!("{:016x}", told.series),
    })
}

/// One that can only be rejected: Postgres refuses NUL.
fn bad(mark: &str) -> Value {
    json!({
        "status": "firing",
        "labels": {"alertname": "Bad", "service": "bad", "mark": mark, "nul": "a\u{0}b"},
        "annotations": {},
        "startsAt": "2026-01-01T00:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "",
        "fingerprint": "bad",
    })
}

pub(super) fn body(
    (group, member): (usize, usize),
    told: &[Told],
    labels: &[Labels],
    marks: &[String],
) -> Vec<u8> {
    let alerts = told
        .iter()
        .zip(labels)
        .map(|(told, labels)| alert(told, labels));
    let alerts: Vec<Value> = alerts.chain(marks.iter().map(|mark| bad(mark))).collect();
    let firing = told.iter().any(|told| told.ends_at.is_none());
    let body = json!({
        "version": "4",
        "groupKey": format!("{{}}:{{group=\"{group}\"}}"),
        "truncatedAlerts": 0,
        "receiver": "eventpulse",
        "status": if firing { "firing" } else { "resolved" },
        "notification_reason": "group changed",
        "groupLabels": {"group": group.to_string()},
        "commonLabels": {}, "commonAnnotations": {}, "routeLabels": {},
        "externalURL": format!("http://alertmanager-{member}:9093"),
        "alerts": alerts,
    });
    body.to_string().into_bytes()
}
