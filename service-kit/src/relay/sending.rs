//! From a row to a record in the client's hands.

use std::{collections::HashMap, sync::Arc, time::Instant};

use prometheus_client::metrics::counter::Counter;
use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
};
use shared_events::codec;

use super::{
    engine::Engine,
    lanes::{LaneKey, Row},
    metrics::{Metrics, Published},
    producer::{Outbound, Ticket},
};
use crate::{Trace, failpoint, kafka::Cluster, outbox::borrow_headers};

const DATASCHEMA: &str = "ce_dataschema";
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// What all events of one type on one topic share.
#[derive(Debug)]
pub(super) struct Kind {
    /// With prefix.
    topic: String,
    event_type: String,
    pub(super) published: Counter,
}

/// Kinds by topic without prefix, then type.
#[derive(Debug, Default)]
pub(super) struct Kinds(HashMap<String, HashMap<String, Arc<Kind>>>);

impl Kinds {
    fn of(&mut self, row: &Row, cluster: &Cluster, metrics: &Metrics) -> Arc<Kind> {
        let known = self
            .0
            .get(&row.topic)
            .and_then(|types| types.get(&row.event_type));
        if let Some(kind) = known {
            return Arc::clone(kind);
        }
        let label = Published {
            topic: row.topic.clone(),
            event_type: row.event_type.clone(),
        };
        let kind = Arc::new(Kind {
            topic: cluster.topic(&row.topic),
            event_type: row.event_type.clone(),
            published: metrics.published.get_or_create_owned(&label),
        });
        let types = self.0.entry(row.topic.clone()).or_default();
        types.insert(row.event_type.clone(), Arc::clone(&kind));
        kind
    }
}

/// Why a row did not go.
enum Unsent {
    Full,
    NoSchemaId,
    Refused(KafkaError),
}

impl Engine {
    /// Hands every row that may go to the client.
    pub(super) fn send_ready(&mut self) {
        if self.full {
            return;
        }
        while let Some((lane, row)) = self.lanes.take(self.producer.number()) {
            if self.has_stopped(&row.topic) {
                self.drop_lane(&lane);
                continue;
            }
            match self.send(&lane, &row) {
                Ok(()) => {}
                Err(Unsent::Full) => {
                    // the next report makes room
                    self.full = true;
                    self.lanes.put_back(lane, row);
                    return;
                }
                Err(Unsent::NoSchemaId) => {
                    self.stop_topic(&row.topic, "its schemas were never registered");
                    self.drop_lane(&lane);
                }
                Err(Unsent::Refused(error)) => {
                    self.failed(&lane, row.id, self.producer.number(), &error);
                }
            }
        }
    }

    fn send(&mut self, lane: &LaneKey, row: &Row) -> Result<(), Unsent> {
        let stored = borrow_headers(&row.headers).ok_or(Unsent::Refused(
            KafkaError::MessageProduction(RDKafkaErrorCode::InvalidRecord),
        ))?;
        let framed;
        let value = if row.framed {
            framed = codec::frame(self.schema_id(&stored)?, &row.payload);
            &framed
        } else {
            &row.payload
        };
        let kind = self.kinds.of(row, &self.cluster, &self.metrics);
        let (span, headers) =
            match self
                .spans
                .publish(&trace(&stored), &kind.topic, &kind.event_type)
            {
                Some((span, sent)) => (Some(span), native(&stored, Some(&sent))),
                None => (None, native(&stored, None)),
            };
        let record = Outbound {
            topic: &kind.topic,
            key: &row.key,
            headers,
            value,
        };
        let ticket = Ticket {
            lane: Arc::clone(lane),
            id: row.id,
            producer: self.producer.number(),
            kind: Arc::clone(&kind),
            sent: Instant::now(),
            span,
        };
        failpoint::pass("relay.sending");
        self.producer
            .send(record, ticket)
            .inspect(|()| failpoint::pass("relay.sent"))
            .map_err(|error| match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => Unsent::Full,
                Some(_) | None => Unsent::Refused(error),
            })
    }

    fn schema_id(&self, headers: &[(&str, &[u8])]) -> Result<u32, Unsent> {
        let name = text(headers, DATASCHEMA).ok_or(Unsent::NoSchemaId)?;
        self.registry.id_to_write(name).ok_or(Unsent::NoSchemaId)
    }
}

fn text<'a>(headers: &[(&str, &'a [u8])], name: &str) -> Option<&'a str> {
    let (_, value) = headers.iter().find(|(found, _)| *found == name)?;
    std::str::from_utf8(value).ok()
}

fn trace(headers: &[(&str, &[u8])]) -> Trace {
    Trace {
        traceparent: text(headers, TRACEPARENT).map(str::to_owned),
        tracestate: text(headers, TRACESTATE).map(str::to_owned),
    }
}

/// The client's headers; with another trace context than the stored one, if there is one.
fn native(stored: &[(&str, &[u8])], sent: Option<&Trace>) -> OwnedHeaders {
    let add = |native: OwnedHeaders, key, value: &[u8]| {
        native.insert(Header {
            key,
            value: Some(value),
        })
    };
    let mut native = OwnedHeaders::new_with_capacity(stored.len());
    for (name, value) in stored {
        if sent.is_none() || (*name != TRACEPARENT && *name != TRACESTATE) {
            native = add(native, name, value);
        }
    }
    if let Some(sent) = sent {
        for (name, value) in [
            (TRACEPARENT, &sent.traceparent),
            (TRACESTATE, &sent.tracestate),
        ] {
            if let Some(value) = value {
                native = add(native, name, value.as_bytes());
            }
        }
    }
    native
}
