//! CloudEvents 1.0 in Kafka's binary mode: what every record says of itself in its headers.

use chrono::SecondsFormat;
use uuid::Uuid;

use crate::{EventId, Timestamp};

/// `content-type` of every event.
pub const CONTENT_TYPE: &str = "application/avro";

/// The headers of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// `ce_id`
    pub id: EventId,
    /// `ce_type`
    pub event_type: String,
    /// `ce_source`: service and incarnation of its database, `/ingest/<uuid>`
    pub source: String,
    /// `ce_time`
    pub at: Timestamp,
    /// `ce_subject`
    pub subject: String,
    /// `ce_dataschema`: record name and fingerprint
    pub dataschema: String,
    /// `ce_correlationid`
    pub correlation_id: Uuid,
    /// `ce_causationid`: the event that this one answers
    pub causation_id: Option<Uuid>,
    /// `ce_sequence`: gapless per topic, key and source, from 1
    pub sequence: i64,
    /// W3C trace context
    pub traceparent: Option<String>,
    /// W3C trace context
    pub tracestate: Option<String>,
}

/// What can be wrong with headers.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("header {0} is missing")]
    Missing(&'static str),
    #[error("header {name} is not {expected}: {value:?}")]
    Invalid {
        name: &'static str,
        expected: &'static str,
        value: String,
    },
}

impl Envelope {
    /// Headers in the order of the CloudEvents specification.
    #[must_use]
    pub fn to_headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", self.id.to_string()),
            ("ce_type", self.event_type.clone()),
            ("ce_source", self.source.clone()),
            (
                "ce_time",
                self.at.to_rfc3339_opts(SecondsFormat::Micros, true),
            ),
            ("ce_subject", self.subject.clone()),
            ("ce_dataschema", self.dataschema.clone()),
            ("content-type", CONTENT_TYPE.to_owned()),
            ("ce_correlationid", self.correlation_id.to_string()),
            ("ce_sequence", self.sequence.to_string()),
        ];
        if let Some(cause) = self.causation_id {
            headers.push(("ce_causationid", cause.to_string()));
        }
        for (name, value) in [
            ("traceparent", &self.traceparent),
            ("tracestate", &self.tracestate),
        ] {
            if let Some(value) = value {
                headers.push((name, value.clone()));
            }
        }
        headers
    }

    /// The envelope in a record's headers; unknown headers are ignored.
    ///
    /// # Errors
    /// When one that we stand on is missing or malformed. `ce_subject`, `ce_causationid` and the
    /// trace context may be missing.
    pub fn from_headers(headers: &[(String, Vec<u8>)]) -> Result<Self, Error> {
        let required = |name| find(headers, name).ok_or(Error::Missing(name));
        let uuid = |name, value: String| {
            value
                .parse::<Uuid>()
                .map_err(|_| invalid(name, "a UUID", value))
        };
        let time = required("ce_time")?;
        let sequence = required("ce_sequence")?;
        Ok(Self {
            id: EventId(uuid("ce_id", required("ce_id")?)?),
            event_type: required("ce_type")?,
            source: required("ce_source")?,
            at: chrono::DateTime::parse_from_rfc3339(&time)
                .map_err(|_| invalid("ce_time", "RFC 3339", time))?
                .to_utc(),
            subject: find(headers, "ce_subject").unwrap_or_default(),
            dataschema: required("ce_dataschema")?,
            correlation_id: uuid("ce_correlationid", required("ce_correlationid")?)?,
            causation_id: find(headers, "ce_causationid")
                .map(|value| uuid("ce_causationid", value))
                .transpose()?,
            sequence: sequence
                .parse()
                .map_err(|_| invalid("ce_sequence", "a number", sequence))?,
            traceparent: find(headers, "traceparent"),
            tracestate: find(headers, "tracestate"),
        })
    }

    /// `ce_type` alone: what a consumer needs to skip what it does not list.
    #[must_use]
    pub fn type_of(headers: &[(String, Vec<u8>)]) -> Option<String> {
        find(headers, "ce_type")
    }

    /// `ce_id` alone.
    #[must_use]
    pub fn id_of(headers: &[(String, Vec<u8>)]) -> Option<EventId> {
        find(headers, "ce_id")?.parse().ok()
    }
}

fn find(headers: &[(String, Vec<u8>)], name: &str) -> Option<String> {
    let (_, value) = headers.iter().find(|(found, _)| found == name)?;
    String::from_utf8(value.clone()).ok()
}

fn invalid(name: &'static str, expected: &'static str, value: String) -> Error {
    Error::Invalid {
        name,
        expected,
        value,
    }
}
