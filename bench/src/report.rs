//! The figures, as a table and as JSON.

use std::collections::BTreeMap;

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde::{Deserialize, Serialize};

use crate::{floor::Floor, latency::Quantiles, usage::Cost};

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    /// What was measured: a version, for instance.
    pub(crate) label: String,
    /// Alerts that were stored before.
    pub(crate) size: u64,
    pub(crate) floor: Option<Floor>,
    pub(crate) runs: Vec<Run>,
}

/// One workload.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) workload: String,
    /// Accepted.
    pub(crate) alerts: u64,
    /// Of them that opened an incident.
    pub(crate) incidents: u64,
    pub(crate) bytes: u64,
    /// Answers 503.
    pub(crate) refused: u64,
    /// Connections that ended without an answer.
    pub(crate) cut: u64,
    pub(crate) posting_seconds: f64,
    /// From the first post until nothing waited anywhere.
    pub(crate) drained_seconds: f64,
    pub(crate) post_ms: Option<Quantiles>,
    /// Webhook due to incident visible.
    pub(crate) way_ms: Option<Quantiles>,
    /// Of it: until the alert's record can be read, from there until the incident's, and from there
    /// until it is visible.
    #[serde(default)]
    pub(crate) hops_ms: BTreeMap<String, Quantiles>,
    /// Alerts a second that were to be posted, where the load is paced.
    pub(crate) rate: Option<u32>,
    pub(crate) costs: BTreeMap<String, Cost>,
}

impl Run {
    /// Alerts a second from the first post until everything was stored.
    pub(crate) fn stored_a_second(&self) -> f64 {
        self.alerts as f64 / self.drained_seconds
    }

    /// Milliseconds of all cores for an alert, whoever used them.
    pub(crate) fn cpu_ms(&self) -> Option<f64> {
        let machine = self.costs.get("machine")?;
        Some(machine.cpu_seconds * 1000.0 / self.alerts as f64)
    }
}

impl Report {
    pub(crate) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header([
            "workload",
            "alerts",
            "posted/s",
            "stored/s",
            "drain s",
            "503, cut",
            "POST ms p50/p99/max",
            "way ms p50/p99/max",
            "CPU s, RSS MiB",
        ]);
        for run in &self.runs {
            table.add_row([
                run.workload.clone(),
                run.alerts.to_string(),
                posted(run),
                self.beside_floor(run),
                format!("{:.1}", run.drained_seconds - run.posting_seconds),
                format!("{}, {}", run.refused, run.cut),
                quantiles(run.post_ms),
                ways(run),
                costs(&run.costs),
            ]);
        }
        let floor = self.floor.map_or_else(String::new, |floor| {
            format!(
                "floor, alerts/s: Postgres alone {:.0}, Kafka alone {:.0} (a storm uses both, and more)\n\
                 floor, way ms p50/p99/max of one alert at a time, three commits and two records: {}\n",
                floor.postgres,
                floor.kafka,
                quantiles(floor.way_ms)
            )
        });
        format!("{floor}{table}")
    }

    /// A rate, and its ratio to the lower floor where every alert leaves all its rows.
    fn beside_floor(&self, run: &Run) -> String {
        let rate = run.stored_a_second();
        match self.floor {
            Some(floor) if run.alerts == run.incidents => {
                format!("{rate:.0} ({:.2} of Postgres)", rate / floor.postgres)
            }
            Some(_) | None => format!("{rate:.0}"),
        }
    }
}

fn posted(run: &Run) -> String {
    if run.posting_seconds > 0.0 {
        format!("{:.0}", run.alerts as f64 / run.posting_seconds)
    } else {
        "-".to_owned()
    }
}

fn quantiles(of: Option<Quantiles>) -> String {
    of.map_or_else(
        || "-".to_owned(),
        |q| format!("{:.1} / {:.1} / {:.1}", q.p50, q.p99, q.max),
    )
}

fn ways(run: &Run) -> String {
    let hops = run.hops_ms.iter();
    let hops = hops.map(|(name, hop)| format!("\n{name}: {}", quantiles(Some(*hop))));
    hops.fold(quantiles(run.way_ms), |text, hop| text + &hop)
}

fn costs(costs: &BTreeMap<String, Cost>) -> String {
    let lines: Vec<String> = costs
        .iter()
        .map(|(name, cost)| format!("{name}: {:.1}, {:.0}", cost.cpu_seconds, cost.rss_mib))
        .collect();
    lines.join("\n")
}
