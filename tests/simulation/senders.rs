//! The truth about the series, and two peers of Alertmanager that tell it, late and more than once.

use chrono::{SecondsFormat, TimeDelta};
use shared_events::{AlertId, Labels, Timestamp};

use crate::script::SERIES;

/// alertname, service, zone
const TABLE: [(&str, &str, &str); SERIES] = [
    ("HighCPU", "app", ""),
    ("LowCPU", "app", ""),
    ("CPUDataMissing", "app", ""),
    ("ZoneCPU", "app", "a"),
    ("ZoneCPU", "app", "b"),
    ("HighCPU", "shop", ""),
    ("Nobody", "app", ""),
];

/// Name of the credential of both peers.
pub(crate) const SOURCE: &str = "sim";

/// What is known of a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum View {
    #[default]
    Never,
    Firing(Timestamp),
    Resolved(Timestamp, Timestamp),
}

/// Alerts of one body.
pub(crate) type Body = Vec<(usize, View)>;

/// Prometheus and the peers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Senders {
    pub(crate) truth: [View; SERIES],
    peers: [[View; SERIES]; 2],
    /// Bodies that were not answered with 2xx.
    pub(crate) retries: Vec<Body>,
}

pub(crate) fn labels(series: usize) -> Labels {
    let (name, service, zone) = TABLE[series];
    let mut labels: Labels = [
        ("alertname", name),
        ("service", service),
        ("severity", "warning"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    if !zone.is_empty() {
        labels.insert("zone".to_owned(), zone.to_owned());
    }
    labels
}

/// People's name of a series.
pub(crate) fn name(series: usize) -> String {
    let (name, service, zone) = TABLE[series];
    format!("{name}/{service}{zone}")
}

/// The series of an alert id.
pub(crate) fn alert_id(series: usize) -> AlertId {
    AlertId::of(SOURCE, &labels(series))
}

impl Senders {
    /// A later stretch begins after the one before has ended.
    pub(crate) fn fire(&mut self, series: usize, now: Timestamp) {
        self.truth[series] = match self.truth[series] {
            View::Never => View::Firing(now),
            View::Resolved(_, end) => View::Firing(now.max(end + TimeDelta::milliseconds(1))),
            firing @ View::Firing(_) => firing,
        };
    }

    pub(crate) fn clear(&mut self, series: usize, now: Timestamp) {
        if let View::Firing(start) = self.truth[series] {
            self.truth[series] = View::Resolved(start, now.max(start));
        }
    }

    pub(crate) fn restart(&mut self, series: usize, now: Timestamp) {
        if let View::Firing(start) = self.truth[series] {
            self.truth[series] = View::Firing(now.max(start));
        }
    }

    /// The load of `app` is not low while it is high.
    pub(crate) fn settle_contradiction(&mut self, now: Timestamp) {
        let fires = |series: usize| matches!(self.truth[series], View::Firing(_));
        if [0, 3, 4].into_iter().any(fires) {
            self.clear(1, now);
        }
    }

    /// What a peer would post of the series in `mask`.
    pub(crate) fn body(&mut self, peer: usize, mask: u8, fresh: bool) -> Body {
        let chosen = (0..SERIES).filter(|series| mask & (1 << series) != 0);
        let mut body = Body::new();
        for series in chosen {
            if fresh {
                self.peers[peer][series] = self.truth[series];
            }
            body.push((series, self.peers[peer][series]));
        }
        body.retain(|(_, view)| *view != View::Never);
        body
    }
}

/// The body as bytes; `bad`: with an alert in it that nobody can take.
pub(crate) fn json(body: &Body, bad: bool) -> String {
    let rfc = |at: Timestamp| at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let mut alerts: Vec<String> = body
        .iter()
        .map(|&(series, view)| {
            let labels = labels(series).into_iter();
            let labels: Vec<String> = labels.map(|(n, v)| format!("\"{n}\":\"{v}\"")).collect();
            let labels = labels.join(",");
            let (status, starts, ends) = match view {
                View::Never => unreachable!("a body tells what is known"),
                View::Firing(start) => ("firing", start, "0001-01-01T00:00:00Z".to_owned()),
                View::Resolved(start, end) => ("resolved", start, rfc(end)),
            };
            format!(
                "{{\"status\":\"{status}\",\"labels\":{{{labels}}},\"annotations\":{{}},\
                 \"startsAt\":\"{}\",\"endsAt\":\"{ends}\"}}",
                rfc(starts)
            )
        })
        .collect();
    if bad {
        alerts.push("{\"status\":\"on fire\",\"labels\":{\"alertname\":\"Bad\"}}".to_owned());
    }
    format!("{{\"version\":\"4\",\"alerts\":[{}]}}", alerts.join(","))
}
