//! EventPulse's own APIs. Fields that the story does not need are left out.

use chrono::{DateTime, Utc};
use serde::{Deserialize, de::DeserializeOwned};

use super::http::Reader;
use crate::{
    config::Urls,
    until::{Link, Seen},
};

#[derive(Clone, Debug)]
pub(crate) struct EventPulse {
    reader: Reader,
    urls: Urls,
}

#[derive(Debug, Deserialize)]
struct Page<T> {
    items: Vec<T>,
}

/// A series as Ingest keeps it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Alert {
    pub(crate) alert_id: String,
    pub(crate) episode_id: String,
    pub(crate) labels: std::collections::BTreeMap<String, String>,
    /// `firing` or `resolved`.
    pub(crate) status: String,
    pub(crate) starts_at: Option<DateTime<Utc>>,
}

/// A webhook that Ingest has accepted.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) received_at: DateTime<Utc>,
    pub(crate) user_agent: Option<String>,
    pub(crate) body: serde_json::Value,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Decision {
    pub(crate) episode_id: Option<String>,
    pub(crate) outcomes: Vec<RuleOutcome>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct RuleOutcome {
    /// `None` when the engine itself answers.
    pub(crate) rule: Option<String>,
    pub(crate) outcome: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Incident {
    #[serde(rename = "id")]
    pub(crate) incident_id: String,
    /// `open | mitigating | resolved | failed`
    pub(crate) status: String,
    pub(crate) reason: Option<Reason>,
    pub(crate) alerts: Vec<IncidentAlert>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Reason {
    pub(crate) code: String,
    pub(crate) message: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct IncidentAlert {
    pub(crate) episode_id: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Fact {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) recorded_at: DateTime<Utc>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Action {
    pub(crate) desired_replicas: Option<usize>,
    /// `requested`, then `completed` or `failed`.
    pub(crate) status: String,
    pub(crate) reason: Option<Reason>,
}

/// An action as the runner knows it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct RunnerAction {
    pub(crate) status: String,
}

impl Incident {
    pub(crate) fn is_over(&self) -> bool {
        self.status == "resolved"
    }

    pub(crate) fn reason_code(&self) -> &str {
        self.reason
            .as_ref()
            .map_or("no reason", |reason| &reason.code)
    }

    pub(crate) fn has_episode(&self, episode_id: &str) -> bool {
        self.alerts
            .iter()
            .any(|alert| alert.episode_id == episode_id)
    }
}

impl RunnerAction {
    pub(crate) fn ended(&self) -> bool {
        self.status == "completed" || self.status == "failed"
    }
}

impl Action {
    pub(crate) fn why(&self) -> &str {
        self.reason
            .as_ref()
            .map_or("no reason", |reason| &reason.message)
    }
}

impl EventPulse {
    pub(crate) fn new(reader: Reader, urls: Urls) -> Self {
        Self { reader, urls }
    }

    /// Every service says that it is ready.
    pub(crate) async fn ready(&self) -> Result<(), Seen> {
        for url in [
            &self.urls.ingest,
            &self.urls.rules,
            &self.urls.action_runner,
            &self.urls.incident_store,
        ] {
            self.reader
                .text(Link::Stack, &format!("{url}/readyz"), &[])
                .await?;
        }
        Ok(())
    }

    async fn page<T: DeserializeOwned>(
        &self,
        link: Link,
        url: String,
        query: &[(&str, &str)],
    ) -> Result<Vec<T>, Seen> {
        let page: Page<T> = self.reader.json(link, &url, query).await?;
        Ok(page.items)
    }

    pub(crate) async fn alerts(&self) -> Result<Vec<Alert>, Seen> {
        let url = format!("{}/api/v1/alerts", self.urls.ingest);
        self.page(Link::Ingest, url, &[]).await
    }

    /// The webhooks accepted last, newest first.
    pub(crate) async fn receipts(&self) -> Result<Vec<Receipt>, Seen> {
        let url = format!("{}/api/v1/receipts", self.urls.ingest);
        self.page(Link::Ingest, url, &[("limit", "50")]).await
    }

    pub(crate) async fn decisions(&self, alert_id: &str) -> Result<Vec<Decision>, Seen> {
        let url = format!("{}/api/v1/decisions", self.urls.rules);
        self.page(Link::Rules, url, &[("alert_id", alert_id)]).await
    }

    /// Incidents of the app, the newest first.
    pub(crate) async fn incidents(&self) -> Result<Vec<Incident>, Seen> {
        let url = format!("{}/api/v1/incidents", self.urls.incident_store);
        self.page(Link::IncidentStore, url, &[("service", "app")])
            .await
    }

    pub(crate) async fn incident(&self, id: &str) -> Result<Incident, Seen> {
        let url = format!("{}/api/v1/incidents/{id}", self.urls.incident_store);
        self.reader.json(Link::IncidentStore, &url, &[]).await
    }

    pub(crate) async fn timeline(&self, id: &str) -> Result<Vec<Fact>, Seen> {
        let url = format!(
            "{}/api/v1/incidents/{id}/timeline",
            self.urls.incident_store
        );
        self.page(Link::IncidentStore, url, &[]).await
    }

    pub(crate) async fn actions_of(&self, incident: &str) -> Result<Vec<Action>, Seen> {
        let url = format!(
            "{}/api/v1/incidents/{incident}/actions",
            self.urls.incident_store
        );
        self.page(Link::IncidentStore, url, &[]).await
    }

    /// Actions as the runner knows them, the newest first.
    pub(crate) async fn runner_actions(&self) -> Result<Vec<RunnerAction>, Seen> {
        let url = format!("{}/api/v1/actions", self.urls.action_runner);
        self.page(Link::ActionRunner, url, &[]).await
    }
}
