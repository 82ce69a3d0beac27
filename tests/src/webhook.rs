//! Bodies as Alertmanager's webhook v4 has them, unknown fields of newer versions included.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

/// One alert of a body.
#[derive(Clone, Debug)]
pub struct Alert {
    name: String,
    service: String,
    labels: Vec<(String, String)>,
    starts_at: DateTime<Utc>,
    ends_at: Option<DateTime<Utc>>,
}

impl Alert {
    /// A firing alert of a service that started at `starts_at`.
    #[must_use]
    pub fn firing(name: &str, service: &str, starts_at: DateTime<Utc>) -> Self {
        Self {
            name: name.to_owned(),
            service: service.to_owned(),
            labels: Vec::new(),
            starts_at,
            ends_at: None,
        }
    }

    /// The same alert, over at `ends_at`.
    #[must_use]
    pub fn resolved(mut self, ends_at: DateTime<Utc>) -> Self {
        self.ends_at = Some(ends_at);
        self
    }

    /// With one more label.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.push((name.to_owned(), value.to_owned()));
        self
    }

    fn json(&self) -> Value {
        let mut labels = json!({
            "alertname": self.name, "service": self.service, "severity": "warning",
        });
        for (name, value) in &self.labels {
            labels[name] = value.clone().into();
        }
        let rfc = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
        json!({
            "status": if self.ends_at.is_some() { "resolved" } else { "firing" },
            "labels": labels,
            "annotations": {"summary": format!("{} of {}", self.name, self.service), "value": "0.84"},
            "startsAt": rfc(self.starts_at),
            "endsAt": self.ends_at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), rfc),
            "generatorURL": "http://prometheus:9090/graph?g0.expr=up",
            "fingerprint": "c0ffee0000000001",
        })
    }
}

/// A body with these alerts.
#[must_use]
pub fn body(alerts: &[Alert]) -> Value {
    json!({
        "version": "4",
        "groupKey": "{}:{alertname=\"HighCPU\"}",
        "truncatedAlerts": 0,
        "receiver": "eventpulse",
        "status": if alerts.iter().any(|alert| alert.ends_at.is_none()) { "firing" } else { "resolved" },
        "notification_reason": "group changed",
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "routeLabels": {},
        "externalURL": "http://alertmanager:9093",
        "alerts": alerts.iter().map(Alert::json).collect::<Vec<_>>(),
    })
}
