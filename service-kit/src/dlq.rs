//! Dead letters: records that this service can never handle, where a person finds them.
//!
//! They go through the outbox, in the transaction that marks the inbox row dead. The original
//! headers and bytes stay as they were; `ep.dlq.*` says what happened.

use shared_events::{Envelope, EventId, ids::dead_letter_id};

use sha2::{Digest, Sha256};

use crate::{
    Poison, Trace,
    error::storable,
    kafka::{Cluster, RECORD_LIMIT},
    service::{Outgoing, Payload},
};

/// Names the only consumer that may handle a dead event again.
pub const REDRIVE: &str = "ep.redrive.consumer";

/// Beginning of the names of the headers that this module adds.
const PREFIX: &str = "ep.dlq.";
/// Room for what the broker adds to a record.
const OVERHEAD: usize = 50_000;
/// A reason is cut to this many bytes.
const REASON_LIMIT: usize = 1024;
/// Longest key that the outbox has an index entry for, with room for the topic.
const KEY_LIMIT: usize = 1024;
/// The key that the record had, when its letter has another.
pub const KEY: &str = "ep.dlq.key";

/// A record as it was delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raw {
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since 1970, as the broker keeps it.
    pub timestamp: Option<i64>,
    pub key: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub value: Vec<u8>,
}

impl Raw {
    /// Header of this name, as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(found, _)| found == name)?;
        std::str::from_utf8(value).ok()
    }

    fn size(&self) -> usize {
        let headers = self.headers.iter();
        self.value.len()
            + self.key.len()
            + headers
                .map(|(name, value)| name.len() + value.len() + 8)
                .sum::<usize>()
    }
}

/// The id under which the inbox knows a record: its `ce_id`, else that of its dead letter.
#[must_use]
pub fn inbox_id(raw: &Raw, topic: &str, consumer: &str) -> EventId {
    Envelope::id_of(&raw.headers)
        .unwrap_or_else(|| dead_letter_id(topic, raw.partition, raw.offset, consumer))
}

/// The dead letter of `raw` from `topic` (without prefix).
#[must_use]
pub fn letter(cluster: &Cluster, topic: &str, raw: &Raw, poison: &Poison) -> Outgoing {
    let consumer = cluster.service();
    let mut added = vec![
        ("topic", topic.to_owned()),
        ("partition", raw.partition.to_string()),
        ("offset", raw.offset.to_string()),
        ("consumer", consumer.to_owned()),
        ("stage", poison.stage.to_owned()),
        ("error", cut(&poison.reason).to_owned()),
        // what is poison now is poison the next time
        ("attempts", "1".to_owned()),
    ];
    if let Some(timestamp) = raw.timestamp {
        added.push(("timestamp", timestamp.to_string()));
    }
    let mut added: Vec<(String, Vec<u8>)> = added
        .into_iter()
        .map(|(name, value)| (format!("{PREFIX}{name}"), value.into_bytes()))
        .collect();
    let whole = raw.size() + OVERHEAD <= RECORD_LIMIT;
    let key = if raw.key.len() > KEY_LIMIT {
        if whole {
            added.push((KEY.to_owned(), raw.key.clone()));
        }
        Sha256::digest(&raw.key).to_vec()
    } else {
        raw.key.clone()
    };
    let (headers, value) = if whole {
        // a letter of a letter speaks of the last death only; and it is redriven anew
        let kept = raw
            .headers
            .iter()
            .filter(|(name, _)| !name.starts_with(PREFIX) && name != REDRIVE);
        (kept.cloned().chain(added).collect(), raw.value.clone())
    } else {
        (added, Vec::new())
    };
    Outgoing {
        id: dead_letter_id(topic, raw.partition, raw.offset, consumer),
        topic: cluster.dead_letter_topic(topic),
        key,
        payload: Payload::Raw {
            event_type: storable(raw.header("ce_type").unwrap_or("unknown")),
            headers,
            value,
        },
        trace: Trace::default(),
    }
}

fn cut(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_LIMIT)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw() -> Raw {
        Raw {
            partition: 3,
            offset: 9,
            timestamp: Some(17),
            key: b"k".to_vec(),
            headers: vec![
                ("ce_type".into(), b"x.y".to_vec()),
                (REDRIVE.into(), b"svc".to_vec()),
                ("ep.dlq.error".into(), b"earlier".to_vec()),
            ],
            value: b"\xff\x00".to_vec(),
        }
    }

    type Headers = Vec<(String, Vec<u8>)>;

    fn dead(raw: &Raw) -> (Outgoing, Headers, Vec<u8>) {
        let cluster = Cluster::new("", "p.", "svc");
        let poison = Poison {
            stage: "decode",
            reason: "é".repeat(1000),
        };
        let letter = letter(&cluster, "t", raw, &poison);
        let Payload::Raw { headers, value, .. } = letter.payload.clone() else {
            panic!("a letter is raw");
        };
        (letter, headers, value)
    }

    #[test]
    fn a_letter_keeps_bytes_and_headers_and_says_what_happened() {
        let (letter, headers, value) = dead(&raw());
        assert_eq!(letter.topic, "t.dlq.svc");
        assert_eq!(
            (letter.key.as_slice(), value.as_slice()),
            (&b"k"[..], &b"\xff\x00"[..])
        );
        let find = |name: &str| {
            let found: Vec<_> = headers.iter().filter(|(n, _)| n == name).collect();
            assert!(found.len() < 2, "{name} once");
            found
                .first()
                .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        };
        assert_eq!(find("ce_type").as_deref(), Some("x.y"));
        assert_eq!(find("ep.dlq.offset").as_deref(), Some("9"));
        assert_eq!(find("ep.dlq.timestamp").as_deref(), Some("17"));
        assert_eq!(find("ep.dlq.error").expect("why").len(), 1024);
        assert_eq!(find(REDRIVE), None);
    }

    #[test]
    fn what_no_column_holds_is_replaced_and_kept_beside() {
        let strange = Raw {
            key: vec![7; 5000],
            headers: vec![("ce_type".into(), b"x\0y".to_vec())],
            ..raw()
        };
        let (letter, headers, _) = dead(&strange);
        assert_eq!(letter.key.len(), 32);
        assert!(headers.contains(&(KEY.to_owned(), strange.key)));
        assert!(headers.contains(&strange.headers[0]));
        let Payload::Raw { event_type, .. } = letter.payload else {
            panic!("a letter is raw");
        };
        assert_eq!(event_type, "x\u{fffd}y");
    }

    #[test]
    fn a_letter_that_would_not_fit_names_the_place_only() {
        let large = Raw {
            value: vec![0; RECORD_LIMIT],
            ..raw()
        };
        let (_, headers, value) = dead(&large);
        assert!(value.is_empty());
        assert!(headers.iter().all(|(name, _)| name.starts_with(PREFIX)));
        assert!(headers.iter().any(|(name, _)| name == "ep.dlq.offset"));
    }
}
