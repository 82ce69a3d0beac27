//! Alertmanager: what it has been told, and still passes on.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::http::Reader;
use crate::until::{Link, Seen};

/// The alerts of the demo's rules.
pub(crate) const NAMES: [&str; 3] = ["HighCPU", "LowCPU", "CPUDataMissing"];

#[derive(Clone, Debug)]
pub(crate) struct Alertmanager {
    reader: Reader,
    url: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Alert {
    labels: BTreeMap<String, String>,
    pub(crate) starts_at: DateTime<Utc>,
    #[serde(rename = "generatorURL")]
    pub(crate) generator_url: String,
}

impl Alert {
    pub(crate) fn name(&self) -> &str {
        self.labels.get("alertname").map_or("", String::as_str)
    }
}

impl Alertmanager {
    pub(crate) fn new(reader: Reader, url: String) -> Self {
        Self { reader, url }
    }

    /// The demo's alerts that fire.
    pub(crate) async fn alerts(&self) -> Result<Vec<Alert>, Seen> {
        let url = format!("{}/api/v2/alerts", self.url);
        let query = [
            ("active", "true"),
            ("silenced", "true"),
            ("inhibited", "true"),
        ];
        let alerts: Vec<Alert> = self.reader.json(Link::Alertmanager, &url, &query).await?;
        Ok(alerts
            .into_iter()
            .filter(|alert| NAMES.contains(&alert.name()))
            .collect())
    }
}
