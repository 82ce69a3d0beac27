//! A service that notes numbers, and the records that it is sent.

use std::sync::atomic::{AtomicBool, Ordering};

use service_kit::{
    Origin, Outgoing, Poison, Record, Saved, Service, Trace, Work, service::Payload,
};
use shared_events::{Envelope, EventId, Timestamp, codec, ids::derive};
use sqlx::PgConnection;

use super::{TOPIC, TYPE};

/// A record to send past the outbox.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) key: Vec<u8>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) value: Vec<u8>,
}

/// What the relay would send for [`number`]; `sequence` is not of importance to consumers.
pub(crate) fn sent(key: &str, n: i64) -> Sent {
    let envelope = Envelope {
        id: EventId(derive(["number", key, &n.to_string()])),
        event_type: TYPE.to_owned(),
        source: "/test".to_owned(),
        at: at(),
        subject: key.to_owned(),
        dataschema: contract().dataschema(),
        correlation_id: derive([key]),
        causation_id: None,
        sequence: 1,
        traceparent: None,
        tracestate: None,
    };
    let headers = envelope.to_headers();
    Sent {
        key: key.into(),
        headers: headers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into_bytes()))
            .collect(),
        value: codec::frame(1, n.to_string().as_bytes()),
    }
}

impl Sent {
    pub(crate) fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(found, _)| found != name);
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// The schema whose name travels with the tests' records; their bytes are the tests' own.
pub(crate) fn contract() -> &'static codec::Contract {
    codec::contract(TYPE).expect("compiled in")
}

pub(crate) fn at() -> Timestamp {
    Timestamp::from_timestamp_micros(1_700_000_000_000_000).expect("in range")
}

/// An event of `key`; its datum is the number as text.
pub(crate) fn number(key: &str, n: i64) -> Outgoing {
    Outgoing {
        id: EventId(derive(["number", key, &n.to_string()])),
        topic: TOPIC.to_owned(),
        key: key.into(),
        payload: Payload::Event {
            contract: contract().event_type,
            at: at(),
            subject: key.to_owned(),
            correlation_id: derive([key]),
            causation_id: None,
            datum: n.to_string().into_bytes(),
        },
        trace: Trace::default(),
    }
}

/// A service that notes numbers. A negative number is poison to it, until it is `tolerant`.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) tolerant: AtomicBool,
}

#[derive(Clone, Debug)]
pub(crate) enum Said {
    Number { key: String, n: i64 },
    Aloud(Vec<Outgoing>),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Noted {
    ids: Vec<uuid::Uuid>,
    keys: Vec<String>,
    numbers: Vec<i64>,
    outgoing: Vec<Outgoing>,
}

impl Service for Numbers {
    const NAME: &'static str = "counter";
    const LISTENS: &'static [(&'static str, &'static [&'static str])] = &[(TOPIC, &[TYPE])];
    type Input = Said;
    type Batch = Noted;
    type Reply = ();

    fn decode(&self, record: &Record<'_>) -> Result<Said, Poison> {
        let bad = |reason: &str| Poison {
            stage: "decode",
            reason: reason.to_owned(),
        };
        let text = std::str::from_utf8(record.datum).map_err(|_| bad("no text"))?;
        Ok(Said::Number {
            key: record.envelope.subject.clone(),
            n: text.parse().map_err(|_| bad("no number"))?,
        })
    }

    async fn load(
        &self,
        _: &mut PgConnection,
        _: &mut Vec<Work<Said>>,
    ) -> Result<Noted, service_kit::Error> {
        Ok(Noted::default())
    }

    fn fold(&self, batch: &mut Noted, work: &Work<Said>) -> Result<(), Poison> {
        match (&work.input, &work.origin) {
            (Said::Aloud(outgoing), _) => batch.outgoing.extend(outgoing.iter().cloned()),
            (Said::Number { n, .. }, Origin::Kafka(_) | Origin::Redriven(_))
                if *n < 0 && !self.tolerant.load(Ordering::Relaxed) =>
            {
                return Err(Poison {
                    stage: "fold",
                    reason: "negative".to_owned(),
                });
            }
            (Said::Number { key, n }, _) => {
                batch.ids.push(work.id.uuid());
                batch.keys.push(key.clone());
                batch.numbers.push(*n);
            }
        }
        Ok(())
    }

    async fn save(
        &self,
        conn: &mut PgConnection,
        batch: Noted,
    ) -> Result<Saved<()>, service_kit::Error> {
        sqlx::query(
            "INSERT INTO effects (event_id, key, number)
             SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::bigint[])",
        )
        .bind(&batch.ids)
        .bind(&batch.keys)
        .bind(&batch.numbers)
        .execute(conn)
        .await
        .map_err(service_kit::Error::database("noting"))?;
        Ok(Saved {
            outgoing: batch.outgoing,
            reply: (),
        })
    }
}
