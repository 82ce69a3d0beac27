//! Prometheus: figures, and its view of the alerts.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::http::Reader;
use crate::until::{Link, Seen};

#[derive(Clone, Debug)]
pub(crate) struct Prometheus {
    reader: Reader,
    url: String,
}

#[derive(Debug, Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Debug, Deserialize)]
struct Vector {
    result: Vec<Sample>,
}

#[derive(Debug, Deserialize)]
struct Sample {
    /// Time in seconds, value as text.
    value: (f64, String),
}

#[derive(Debug, Deserialize)]
struct Alerts {
    alerts: Vec<Alert>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Alert {
    pub(crate) labels: BTreeMap<String, String>,
    /// `pending` or `firing`.
    pub(crate) state: String,
    pub(crate) active_at: DateTime<Utc>,
}

impl Alert {
    pub(crate) fn name(&self) -> &str {
        self.labels.get("alertname").map_or("", String::as_str)
    }
}

impl Prometheus {
    pub(crate) fn new(reader: Reader, url: String) -> Self {
        Self { reader, url }
    }

    /// First value of an instant query; `None` without a series.
    async fn value(&self, query: &str) -> Result<Option<f64>, Seen> {
        let url = format!("{}/api/v1/query", self.url);
        let answer: Answer<Vector> = self
            .reader
            .json(Link::Prometheus, &url, &[("query", query)])
            .await?;
        let first = answer.data.result.first();
        Ok(first.and_then(|sample| sample.value.1.parse().ok()))
    }

    /// CPU of the app as part of its limit.
    pub(crate) async fn cpu(&self) -> Result<f64, Seen> {
        let cpu = self
            .value("service:cpu_of_limit:avg{service=\"app\"}")
            .await?;
        cpu.ok_or_else(|| Seen::new(Link::CpuSeries, "no CPU series for service=app"))
    }

    /// When the CPU figures of the app were last scraped, in Prometheus's seconds.
    pub(crate) async fn scraped_at(&self) -> Result<f64, Seen> {
        let query = "max(timestamp(container_cpu_usage_seconds_total{service=\"app\"}))";
        let at = self.value(query).await?;
        at.ok_or_else(|| Seen::new(Link::CpuSeries, "no CPU series for service=app"))
    }

    /// The demo's alerts that are pending or firing.
    pub(crate) async fn alerts(&self) -> Result<Vec<Alert>, Seen> {
        let url = format!("{}/api/v1/alerts", self.url);
        let answer: Answer<Alerts> = self.reader.json(Link::Prometheus, &url, &[]).await?;
        let ours = |alert: &Alert| super::alertmanager::NAMES.contains(&alert.name());
        Ok(answer.data.alerts.into_iter().filter(ours).collect())
    }
}
