//! Table `incidents`, there and back.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use service_kit::Error;
use shared_events::{IncidentId, Timestamp};
use uuid::Uuid;

use crate::domain::{
    Incident, Reason,
    incident::{Next, Opening, Said, Stamp, Verdict},
};

/// One row; the columns are documented in the migration.
#[derive(Clone, Debug, Default, Serialize)]
pub struct IncidentRow {
    pub incident_id: Uuid,
    /// Not part of the content: it counts how facts came.
    #[serde(skip)]
    pub version: i64,
    pub status: Option<String>,
    pub needs_attention: bool,
    pub revision: Option<i64>,
    pub status_stamp: Option<i64>,
    pub status_at: Option<Timestamp>,
    pub reason_code: Option<String>,
    pub reason_message: Option<String>,
    pub opened_at: Option<Timestamp>,
    pub mitigating_at: Option<Timestamp>,
    pub resolved_at: Option<Timestamp>,
    pub failed_at: Option<Timestamp>,
    pub opened_stamp: Option<i64>,
    pub correlation_key: Option<String>,
    pub service: Option<String>,
    pub rule: Option<String>,
    pub rule_version: Option<String>,
    pub generator_url: Option<String>,
    pub runbook_url: Option<String>,
    pub trace_id: Option<String>,
    pub labels: Option<Value>,
    pub severity: Option<String>,
    pub severity_stamp: Option<i64>,
    pub title: Option<String>,
    pub title_stamp: Option<i64>,
    pub alerts: Option<Value>,
    pub alerts_stamp: Option<i64>,
    pub next_step: Option<String>,
    pub next_due_at: Option<Timestamp>,
    pub next_stamp: Option<i64>,
    pub actions: i32,
}

impl IncidentRow {
    /// The row of `incident` after `version` facts.
    pub(crate) fn of(incident: &Incident, version: i64) -> Self {
        let ending = incident.verdict.as_ref().map(|said| &said.value);
        let reason = incident.reason();
        let opening = incident.opened.as_ref().map(|said| &said.value);
        let next = incident.next.as_ref().and_then(|said| said.value.as_ref());
        let alerts = incident.alerts.as_ref().map(|said| json(&said.value));
        Self {
            incident_id: incident.id.uuid(),
            version,
            status: incident.status().map(|status| status.as_str().to_owned()),
            needs_attention: incident.needs_attention(),
            revision: incident.verdict.as_ref().map(|said| said.stamp.revision()),
            status_stamp: stamp(incident.verdict.as_ref()),
            status_at: ending.map(|verdict| verdict.at),
            reason_code: reason.map(|reason| reason.code.clone()),
            reason_message: reason.map(|reason| reason.message.clone()),
            opened_at: opening.map(|opening| opening.at),
            mitigating_at: incident.mitigating_at(),
            resolved_at: incident.resolved_at,
            failed_at: incident.failed_at,
            opened_stamp: stamp(incident.opened.as_ref()),
            correlation_key: opening.map(|opening| opening.correlation_key.clone()),
            service: opening.and_then(|opening| opening.service.clone()),
            rule: opening.and_then(|opening| opening.rule.clone()),
            rule_version: opening.and_then(|opening| opening.rule_version.clone()),
            generator_url: opening.and_then(|opening| opening.generator_url.clone()),
            runbook_url: opening.and_then(|opening| opening.runbook_url.clone()),
            trace_id: opening.and_then(|opening| opening.trace_id.clone()),
            labels: opening.map(|opening| json(&opening.labels)),
            severity: incident
                .severity
                .as_ref()
                .and_then(|said| said.value.clone()),
            severity_stamp: stamp(incident.severity.as_ref()),
            title: incident.title.as_ref().map(|said| said.value.clone()),
            title_stamp: stamp(incident.title.as_ref()),
            alerts,
            alerts_stamp: stamp(incident.alerts.as_ref()),
            next_step: next.map(|next| next.step.clone()),
            next_due_at: next.and_then(|next| next.due_at),
            next_stamp: stamp(incident.next.as_ref()),
            actions: i32::try_from(incident.actions.len()).unwrap_or(i32::MAX),
        }
    }

    /// The incident of this row, without its actions.
    ///
    /// # Errors
    /// When a JSON column holds something else than this service writes.
    pub(crate) fn incident(self) -> Result<Incident, Error> {
        let id = IncidentId(self.incident_id);
        let opened = match (self.opened_stamp, self.opened_at) {
            (Some(at_stamp), Some(at)) => Some(said(
                at_stamp,
                Opening {
                    at,
                    correlation_key: self.correlation_key.unwrap_or_default(),
                    service: self.service,
                    rule: self.rule,
                    rule_version: self.rule_version,
                    generator_url: self.generator_url,
                    runbook_url: self.runbook_url,
                    labels: read(id, "labels", self.labels)?,
                    trace_id: self.trace_id,
                },
            )),
            _ => None,
        };
        let reason = Reason::new(
            self.reason_code.unwrap_or_default(),
            self.reason_message.unwrap_or_default(),
        );
        let verdict = match (self.status_stamp, self.status_at) {
            (Some(at_stamp), Some(at)) => {
                let ending = Stamp(at_stamp).ending(reason);
                Some(said(at_stamp, Verdict { at, ending }))
            }
            _ => None,
        };
        let due_at = self.next_due_at;
        let next = self.next_step.map(|step| Next { step, due_at });
        let alerts = match self.alerts_stamp {
            Some(at_stamp) => Some(said(at_stamp, read(id, "alerts", self.alerts)?)),
            None => None,
        };
        Ok(Incident {
            opened,
            verdict,
            resolved_at: self.resolved_at,
            failed_at: self.failed_at,
            alerts,
            severity: self.severity_stamp.map(|stamp| said(stamp, self.severity)),
            title: self
                .title_stamp
                .map(|stamp| said(stamp, self.title.unwrap_or_default())),
            next: self.next_stamp.map(|stamp| said(stamp, next)),
            ..Incident::stub(id)
        })
    }
}

fn stamp<T>(said: Option<&Said<T>>) -> Option<i64> {
    said.map(|said| said.stamp.0)
}

const fn said<T>(stamp: i64, value: T) -> Said<T> {
    Said {
        stamp: Stamp(stamp),
        value,
    }
}

pub(super) fn json<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).expect("lists and maps with string keys only")
}

pub(super) fn read<T: DeserializeOwned + Default>(
    id: impl std::fmt::Display,
    column: &str,
    value: Option<Value>,
) -> Result<T, Error> {
    value.map_or_else(
        || Ok(T::default()),
        |value| {
            serde_json::from_value(value).map_err(|error| Error::Database {
                doing: format!("reading {column} of {id}").into(),
                source: sqlx::Error::Decode(error.into()),
            })
        },
    )
}
