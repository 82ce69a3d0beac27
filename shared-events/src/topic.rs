//! The topics, and what an event must tell of itself.

use uuid::Uuid;

use crate::{EventId, Timestamp, codec};

/// A topic of EventPulse, by its family of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Written by Telemetry Ingest; key: label `service`, else the series id.
    Alert,
    /// Written by Rules; key: incident id.
    Incident,
    /// Written by Rules (requests, pauses) and Action Runner (outcomes); key: target.
    Action,
    /// Written by Incident Store, only when switched on; key: incident id.
    IncidentStatus,
    /// Written and read by Rules; key: always the same, so that changes have one order.
    Rule,
}

impl Topic {
    /// Every topic there is.
    pub const ALL: [Self; 5] = [
        Self::Alert,
        Self::Incident,
        Self::Action,
        Self::IncidentStatus,
        Self::Rule,
    ];

    /// Name without the cluster's prefix.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Incident => "incident",
            Self::Action => "action",
            Self::IncidentStatus => "incident.status",
            Self::Rule => "rule",
        }
    }

    /// The topic of this (unprefixed) name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.name() == name)
    }
}

/// A closed enum of the events of one topic.
pub trait TopicEvent: Sized + Send + Sync + 'static {
    /// Where these events are.
    const TOPIC: Topic;

    /// `ce_type`, as people say it: `alert.raised`.
    fn event_type(&self) -> &'static str;
    /// Kafka key: events of one key keep their order.
    fn key(&self) -> String;
    /// Derived from the content alone.
    fn event_id(&self) -> EventId;
    /// The entity it is about: `ce_subject`.
    fn subject(&self) -> String;
    /// What belongs together for people: the incident, or the series before there is one.
    fn correlation_id(&self) -> Uuid;
    /// The `at` of the event, `ce_time`.
    fn at(&self) -> Timestamp;
    /// Avro datum under the current schema of the event, without framing.
    ///
    /// # Errors
    /// When the value does not fit the schema.
    fn encode(&self) -> Result<Vec<u8>, codec::Error>;
    /// Decodes a datum that was written under `writer`. `None`: this enum lists no such type.
    ///
    /// # Errors
    /// When the bytes are not a datum of `writer`, or its fields do not fit the event.
    fn decode(
        event_type: &str,
        writer: &codec::Writer,
        datum: &[u8],
    ) -> Result<Option<Self>, codec::Error>;
}

/// Writes the part of [`TopicEvent`] that is the same for each variant: type names and Avro.
macro_rules! topic_event {
    ($enum:ident, $topic:expr, { $($variant:ident($payload:ty) = $type:literal),+ $(,)? }) => {
        impl $enum {
            /// Every `ce_type` of this topic.
            pub const TYPES: &'static [&'static str] = &[$($type),+];
        }
        $(impl From<$payload> for $enum {
            fn from(event: $payload) -> Self {
                Self::$variant(event)
            }
        })+
        impl $crate::topic::TopicEvent for $enum {
            const TOPIC: $crate::Topic = $topic;

            fn event_type(&self) -> &'static str {
                match self { $(Self::$variant(_) => $type),+ }
            }
            fn key(&self) -> String {
                match self { $(Self::$variant(event) => event.key()),+ }
            }
            fn event_id(&self) -> $crate::EventId {
                match self { $(Self::$variant(event) => event.event_id()),+ }
            }
            fn subject(&self) -> String {
                match self { $(Self::$variant(event) => event.subject()),+ }
            }
            fn correlation_id(&self) -> uuid::Uuid {
                match self { $(Self::$variant(event) => event.correlation_id()),+ }
            }
            fn at(&self) -> $crate::Timestamp {
                match self { $(Self::$variant(event) => event.at),+ }
            }
            fn encode(&self) -> Result<Vec<u8>, $crate::codec::Error> {
                match self { $(Self::$variant(event) => $crate::codec::encode($type, event)),+ }
            }
            fn decode(
                event_type: &str,
                writer: &$crate::codec::Writer,
                datum: &[u8],
            ) -> Result<Option<Self>, $crate::codec::Error> {
                Ok(match event_type {
                    $($type => Some(Self::$variant($crate::codec::decode($type, writer, datum)?)),)+
                    _ => None,
                })
            }
        }
    };
}
pub(crate) use topic_event;
