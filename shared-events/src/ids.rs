//! Ids are derived from what they name, never drawn or counted: the same work done again, in
//! whatever batches, gives the same ids, and the next inbox drops the repeat.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Namespace of every id of EventPulse.
pub const NAMESPACE: Uuid = Uuid::from_u128(0x5b0f_6d1e_1c1f_5c57_9a3e_e0e1_7e57_0001);

/// UUIDv5 over length-prefixed parts, so that `["ab", "c"]` and `["a", "bc"]` differ.
#[must_use]
pub fn derive<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Uuid {
    let mut name = Vec::with_capacity(128);
    for part in parts {
        let part = part.as_ref();
        name.extend_from_slice(&(part.len() as u64).to_be_bytes());
        name.extend_from_slice(part);
    }
    Uuid::new_v5(&NAMESPACE, &name)
}

/// Id of an event: who says it, what kind, about what, and which one of those.
#[must_use]
pub fn event_id(producer: &str, event_type: &str, entity: Uuid, discriminator: &str) -> EventId {
    let entity = entity.to_string();
    EventId(derive([
        "event",
        producer,
        event_type,
        entity.as_str(),
        discriminator,
    ]))
}

/// Id of the dead letter of one record in front of one consumer.
#[must_use]
pub fn dead_letter_id(topic: &str, partition: i32, offset: i64, consumer: &str) -> EventId {
    let (partition, offset) = (partition.to_string(), offset.to_string());
    EventId(derive([
        "dead-letter",
        topic,
        partition.as_str(),
        offset.as_str(),
        consumer,
    ]))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The UUID itself, as databases bind it.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }
        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

id!(
    /// One event on a topic: `ce_id`.
    EventId
);
id!(
    /// One series: a source and its sorted labels.
    AlertId
);
id!(
    /// One stretch of firing of a series.
    EpisodeId
);
id!(
    /// One incident.
    IncidentId
);
id!(
    /// One action on a target.
    ActionId
);

impl AlertId {
    /// The series of these labels as this source sends them.
    #[must_use]
    pub fn of(source: &str, labels: &crate::Labels) -> Self {
        let mut parts = vec!["alert", source];
        for (name, value) in labels {
            parts.push(name);
            parts.push(value);
        }
        Self(derive(parts))
    }
}

impl EpisodeId {
    /// The `number`th episode of a series; `starts_at` as the sender gave it.
    #[must_use]
    pub fn of(alert: AlertId, number: i64, starts_at: crate::Timestamp) -> Self {
        let (number, at) = (number.to_string(), starts_at.timestamp_micros().to_string());
        Self(derive([
            "episode",
            &alert.to_string(),
            number.as_str(),
            at.as_str(),
        ]))
    }
}

impl IncidentId {
    /// The incident that `first` opened under this correlation key.
    #[must_use]
    pub fn of(correlation_key: &str, first: EpisodeId) -> Self {
        Self(derive([
            "incident",
            correlation_key,
            first.to_string().as_str(),
        ]))
    }
}

impl ActionId {
    /// The action of an incident that had `earlier` actions before it.
    #[must_use]
    pub fn of(incident: IncidentId, earlier: u32) -> Self {
        Self(derive([
            "action",
            incident.to_string().as_str(),
            earlier.to_string().as_str(),
        ]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_length_prefixed() {
        assert_ne!(derive(["ab", "c"]), derive(["a", "bc"]));
        assert_ne!(derive(["a"]), derive(["a", ""]));
        assert_eq!(derive(["a", "b"]), derive(["a", "b"]));
    }

    #[test]
    fn a_series_is_its_source_and_labels() {
        let one: crate::Labels = [("a".to_owned(), "b".to_owned())].into();
        assert_eq!(AlertId::of("x", &one), AlertId::of("x", &one));
        assert_ne!(AlertId::of("x", &one), AlertId::of("y", &one));
    }

    /// Ids are on topics and in databases for ever: a change here splits every series in two.
    #[test]
    fn derivation_is_frozen() {
        let labels: crate::Labels = [("service".to_owned(), "app".to_owned())].into();
        let alert = AlertId::of("demo", &labels);
        let starts = crate::Timestamp::from_timestamp_micros(1_700_000_000_000_000).expect("valid");
        let episode = EpisodeId::of(alert, 1, starts);
        let incident = IncidentId::of("service=app", episode);
        insta::assert_snapshot!(format!(
            "{alert}\n{episode}\n{incident}\n{}\n{}\n{}",
            ActionId::of(incident, 0),
            event_id("ingest", "alert.raised", episode.0, "1"),
            dead_letter_id("alert", 0, 7, "rules"),
        ));
    }
}
