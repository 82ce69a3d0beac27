//! What others must hear, written in the transaction that decided it.
//!
//! Order comes from one row per (topic, key) in `outbox_keys`: taking the next sequence locks it
//! to the end of the transaction, so sequence order is commit order, whoever writes.

pub mod held;
pub mod resend;

use std::collections::BTreeMap;

use shared_events::{Envelope, codec};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    Error,
    service::{Outgoing, Payload},
};

/// Header of an event's place among those of its topic, key and source.
const SEQUENCE: &str = "ce_sequence";
/// Shards of the outbox; a relay owns whole shards.
pub const SHARDS: i16 = 16;

/// Who says it: first and second part of `ce_source`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Name of the service.
    pub service: &'static str,
    /// Row of table `incarnation`.
    pub incarnation: Uuid,
}

impl Source {
    /// Reads the incarnation of this database.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn read(conn: &mut PgConnection, service: &'static str) -> Result<Self, Error> {
        let incarnation = sqlx::query_scalar!("SELECT id FROM incarnation")
            .fetch_one(conn)
            .await
            .map_err(Error::database("reading the incarnation"))?;
        Ok(Self {
            service,
            incarnation,
        })
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "/{}/{}", self.service, self.incarnation)
    }
}

/// The shard of a key: all rows of a key are in one shard.
#[must_use]
pub fn shard(topic: &str, key: &[u8]) -> i16 {
    // FNV-1a: stable across builds, which std's hasher does not promise.
    let hash = topic
        .bytes()
        .chain([0])
        .chain(key.iter().copied())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    i16::try_from(hash % 16).expect("below 16")
}

/// Headers as one bytea: pairs of u16-prefixed name and u32-prefixed value, big-endian.
#[must_use]
pub fn encode_headers<'a>(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    for (name, value) in headers {
        let name_length = u16::try_from(name.len()).unwrap_or(u16::MAX);
        let name = &name.as_bytes()[..usize::from(name_length)];
        bytes.extend_from_slice(&name_length.to_be_bytes());
        bytes.extend_from_slice(name);
        let value_length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&value_length.to_be_bytes());
        bytes.extend_from_slice(&value[..value_length as usize]);
    }
    bytes
}

/// The pairs in what [`encode_headers`] wrote; `None` when the bytes are something else.
#[must_use]
pub fn borrow_headers(mut bytes: &[u8]) -> Option<Vec<(&str, &[u8])>> {
    let mut headers = Vec::with_capacity(16);
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let (name, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        headers.push((std::str::from_utf8(name).ok()?, value));
        bytes = rest;
    }
    Some(headers)
}

/// [`borrow_headers`], owned.
#[must_use]
pub fn decode_headers(bytes: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    let headers = borrow_headers(bytes)?;
    Some(
        headers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_vec()))
            .collect(),
    )
}

/// Writes `outgoing` in its order. The last thing before `COMMIT`: it locks keys.
pub(crate) async fn emit(
    conn: &mut PgConnection,
    source: &Source,
    outgoing: Vec<Outgoing>,
) -> Result<(), Error> {
    if outgoing.is_empty() {
        return Ok(());
    }
    let keys = Keys::of(&outgoing);
    let source = source.to_string();
    let mut rows = Rows::default();
    for event in outgoing {
        rows.push(event, &source);
    }
    rows.insert(conn, &keys).await
}

/// The distinct (topic, key) of a batch, in the order in which they are locked, and where each event
/// is among those of its key.
#[derive(Debug, Default, PartialEq, Eq)]
struct Keys {
    topics: Vec<String>,
    keys: Vec<Vec<u8>>,
    /// Events of each.
    counts: Vec<i64>,
    /// Of each event: place of its key, from 1.
    places: Vec<i32>,
    /// Of each event: how many of its key come after it.
    behind: Vec<i64>,
}

impl Keys {
    fn of(outgoing: &[Outgoing]) -> Self {
        let mut members: BTreeMap<(&str, &[u8]), Vec<usize>> = BTreeMap::new();
        for (at, event) in outgoing.iter().enumerate() {
            let key = (event.topic.as_str(), event.key.as_slice());
            members.entry(key).or_default().push(at);
        }
        let mut keys = Self {
            places: vec![0; outgoing.len()],
            behind: vec![0; outgoing.len()],
            ..Self::default()
        };
        for (place, ((topic, key), events)) in (1..).zip(members) {
            keys.topics.push(topic.to_owned());
            keys.keys.push(key.to_owned());
            keys.counts.push(events.len() as i64);
            for (behind, at) in (0..).zip(events.into_iter().rev()) {
                keys.places[at] = place;
                keys.behind[at] = behind;
            }
        }
        keys
    }
}

/// Columns of `outbox_events`, one vector each, for UNNEST.
#[derive(Default)]
struct Rows {
    ids: Vec<Uuid>,
    topics: Vec<String>,
    keys: Vec<Vec<u8>>,
    shards: Vec<i16>,
    types: Vec<String>,
    /// Without the sequence, which is not known yet.
    headers: Vec<Vec<u8>>,
    records: Vec<Option<String>>,
    payloads: Vec<Vec<u8>>,
}

impl Rows {
    fn push(&mut self, event: Outgoing, source: &str) {
        let Outgoing {
            id,
            topic,
            key,
            payload,
            trace,
        } = event;
        self.ids.push(id.uuid());
        self.shards.push(shard(&topic, &key));
        self.topics.push(topic);
        self.keys.push(key);
        match payload {
            Payload::Event {
                contract,
                at,
                subject,
                correlation_id,
                causation_id,
                datum,
            } => {
                let contract = codec::contract(contract)
                    .expect("Outgoing::event takes the name from a contract");
                let headers = Envelope {
                    id,
                    event_type: contract.event_type.to_owned(),
                    source: source.to_owned(),
                    at,
                    subject,
                    dataschema: contract.dataschema(),
                    correlation_id,
                    causation_id,
                    sequence: 0,
                    traceparent: trace.traceparent,
                    tracestate: trace.tracestate,
                }
                .to_headers();
                self.types.push(contract.event_type.to_owned());
                let but_sequence = headers.iter().filter(|(name, _)| *name != SEQUENCE);
                self.headers.push(encode_headers(
                    but_sequence.map(|(name, value)| (*name, value.as_bytes())),
                ));
                self.records.push(Some(contract.record.clone()));
                self.payloads.push(datum);
            }
            Payload::Raw {
                event_type,
                headers,
                value,
            } => {
                self.types.push(event_type);
                self.headers.push(encode_headers(
                    headers
                        .iter()
                        .map(|(name, value)| (name.as_str(), value.as_slice())),
                ));
                self.records.push(None);
                self.payloads.push(value);
            }
        }
    }

    async fn insert(self, conn: &mut PgConnection, keys: &Keys) -> Result<(), Error> {
        sqlx::query!(
            r#"
            WITH taken AS (
                INSERT INTO outbox_keys (topic, key, seq)
                SELECT topic, key, wanted
                FROM UNNEST($1::text[], $2::bytea[], $3::bigint[]) AS taken (topic, key, wanted)
                -- C collation: the order in which the caller sorted, the same in every instance
                ORDER BY topic COLLATE "C", key
                ON CONFLICT (topic, key) DO UPDATE SET seq = outbox_keys.seq + excluded.seq
                RETURNING topic, key, seq
            ), last AS (
                SELECT array_agg(seq ORDER BY topic COLLATE "C", key) AS seqs FROM taken
            ), said AS (
                SELECT said.*, last.seqs[place] - behind AS key_seq
                FROM last, UNNEST($4::int[], $5::bigint[], $6::uuid[], $7::text[], $8::bytea[],
                                  $9::smallint[], $10::text[], $11::bytea[], $12::text[],
                                  $13::bytea[])
                     WITH ORDINALITY AS said (place, behind, event_id, topic, key, shard,
                                              event_type, headers, schema_record, payload, position)
            )
            INSERT INTO outbox_events
                (event_id, topic, key, key_seq, shard, event_type, headers, schema_record, payload)
            SELECT event_id, topic, key, key_seq, shard, event_type,
                   -- as `encode_headers` writes a pair; what is no event of ours has its headers
                   CASE WHEN schema_record IS NULL THEN headers
                        ELSE headers || int2send($14::smallint) || convert_to($15, 'UTF8')
                             || int4send(length(key_seq::text)) || convert_to(key_seq::text, 'UTF8')
                   END,
                   schema_record, payload
            FROM said
            -- Ids are given in this order: within a key, id order is sequence order. And they are
            -- given when all keys are locked: `last` takes in every key before there is a first row.
            ORDER BY position
            "#,
            &keys.topics,
            &keys.keys,
            &keys.counts,
            &keys.places,
            &keys.behind,
            &self.ids,
            &self.topics,
            &self.keys,
            &self.shards,
            &self.types,
            &self.headers,
            &self.records as &[Option<String>],
            &self.payloads,
            SEQUENCE.len() as i16,
            SEQUENCE
        )
        .execute(conn)
        .await
        .map_err(Error::database("writing the outbox"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_and_garbage_is_refused() {
        let pairs: [(&str, &[u8]); 2] = [("ce_id", b"x"), ("empty", b"")];
        let bytes = encode_headers(pairs);
        let back = decode_headers(&bytes).expect("what was encoded");
        assert_eq!(back[0], ("ce_id".to_owned(), b"x".to_vec()));
        assert_eq!(back[1], ("empty".to_owned(), Vec::new()));
        assert_eq!(decode_headers(&bytes[..bytes.len() - 1]), None);
    }

    fn said(topic: &str, key: &str) -> Outgoing {
        Outgoing {
            id: shared_events::EventId(Uuid::nil()),
            topic: topic.to_owned(),
            key: key.into(),
            payload: Payload::Raw {
                event_type: String::new(),
                headers: Vec::new(),
                value: Vec::new(),
            },
            trace: crate::Trace::default(),
        }
    }

    #[test]
    fn events_count_down_to_the_last_of_their_key() {
        let keys = Keys::of(&[
            said("b", "1"),
            said("a", "1"),
            said("b", "1"),
            said("a", "0"),
        ]);
        let locked: Vec<_> = keys.topics.iter().zip(&keys.keys).collect();
        let sorted = [("a", b"0"), ("a", b"1"), ("b", b"1")];
        for ((topic, key), (sorted_topic, sorted_key)) in locked.iter().zip(sorted) {
            assert_eq!(
                (topic.as_str(), key.as_slice()),
                (sorted_topic, &sorted_key[..])
            );
        }
        assert_eq!((locked.len(), &*keys.counts), (3, &[1, 1, 2][..]));
        assert_eq!(keys.places, [3, 2, 3, 1]);
        assert_eq!(keys.behind, [1, 0, 0, 0]);
    }

    #[test]
    fn shards_are_stable_and_all_used() {
        assert_eq!(shard("alert", b"app"), shard("alert", b"app"));
        let used: std::collections::BTreeSet<i16> = (0..1000)
            .map(|n: i32| shard("alert", &n.to_be_bytes()))
            .collect();
        assert_eq!(used, (0..SHARDS).collect());
    }
}
