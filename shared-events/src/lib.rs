//! What EventPulse says on the wire, and nothing else: ids, the envelope, the topics, one closed
//! enum per topic and their Avro form.
//!
//! Pure: no runtime, no database, no Kafka client. A `domain` module may use every type of it.
//!
//! | to find | look in |
//! |---|---|
//! | how ids are derived, so that work done twice makes the same ids | [`ids`] |
//! | CloudEvents headers | [`envelope`] |
//! | topics and what an event must tell of itself | [`topic`] |
//! | the events | [`alert`], [`incident`], [`action`], [`rule`] |
//! | Avro, Confluent framing, compiled-in schemas | [`codec`] |

pub mod action;
pub mod alert;
pub mod codec;
pub mod envelope;
pub mod ids;
pub mod incident;
pub mod matcher;
pub mod rule;
pub mod topic;
mod wire_enum;

pub use action::ActionEvent;
pub use alert::AlertEvent;
pub use envelope::Envelope;
pub use ids::{ActionId, AlertId, EpisodeId, EventId, IncidentId};
pub use incident::IncidentEvent;
pub use rule::RuleEvent;
pub use topic::{Topic, TopicEvent};

/// A point in time, UTC, whole microseconds: what Avro and Postgres keep without loss.
pub type Timestamp = chrono::DateTime<chrono::Utc>;

/// String pairs in a stable order: labels, annotations.
pub type Labels = std::collections::BTreeMap<String, String>;
