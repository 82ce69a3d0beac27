//! From delivered records to the inputs of one transaction.

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use shared_events::{Envelope, EventId, codec};
use uuid::Uuid;

use super::{breaker::Breaker, lane::Item};
use crate::{
    Error, Origin, Poison, Position, Record, Service, Trace, Work,
    batch::DeadLetter,
    dlq::{self, REDRIVE, Raw},
    inbox::Claim,
    kafka::Cluster,
    outbox::resend::RESENT,
    registry::Registry,
    service::Delivery,
};

/// The records of one batch, opened.
pub(super) struct Opened<I> {
    pub(super) works: Vec<Work<I>>,
    pub(super) dead: Vec<DeadLetter>,
    pub(super) redriven: HashSet<Uuid>,
    /// Every record that was opened, in order.
    pub(super) verdicts: Vec<Verdict>,
    /// Offset after the last item that belongs to the batch.
    pub(super) next: i64,
    /// Items that belong to it.
    pub(super) taken: usize,
    /// The breaker trips at the item after the last.
    pub(super) trips: bool,
}

/// Whether a record is poison, as far as its bytes tell.
pub(super) struct Verdict {
    pub(super) id: EventId,
    pub(super) offset: i64,
    pub(super) poison: Option<Poison>,
}

/// What opening needs.
pub(super) struct Opening<'a, S> {
    pub(super) service: &'a S,
    pub(super) registry: &'a Registry,
    pub(super) cluster: &'a Cluster,
}

impl<S> Clone for Opening<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Opening<'_, S> {}

/// Opens records in order, up to the one at which the breaker would trip.
///
/// # Errors
/// Class `Retry`: a schema must be fetched and the registry does not answer.
pub(super) async fn open<S: Service>(
    opening: Opening<'_, S>,
    topic: &str,
    items: &[Item],
    mut breaker: Breaker,
) -> Result<Opened<S::Input>, Error> {
    let mut opened = Opened {
        works: Vec::with_capacity(items.len()),
        dead: Vec::new(),
        redriven: HashSet::new(),
        verdicts: Vec::with_capacity(items.len()),
        next: items.first().map_or(0, Item::offset),
        taken: 0,
        trips: false,
    };
    for item in items {
        if let Item::Record(raw) = item {
            let outcome = open_one(opening, topic, raw).await?;
            if breaker.trips(outcome.is_err()) {
                opened.trips = true;
                break;
            }
            opened.add(opening, topic, raw, outcome);
        }
        opened.next = item.offset() + 1;
        opened.taken += 1;
    }
    Ok(opened)
}

impl<I> Opened<I> {
    fn add<S: Service<Input = I>>(
        &mut self,
        opening: Opening<'_, S>,
        topic: &str,
        raw: &Raw,
        outcome: Result<Work<I>, Poison>,
    ) {
        let redriven = raw.header(REDRIVE) == Some(S::NAME);
        let (id, poison) = match outcome {
            Ok(work) => {
                let id = work.id;
                if redriven {
                    self.redriven.insert(id.uuid());
                }
                self.works.push(work);
                (id, None)
            }
            Err(poison) => {
                let id = dlq::inbox_id(raw, topic, S::NAME);
                self.dead.push(DeadLetter {
                    claim: Claim {
                        id,
                        position: position(topic, raw),
                        redriven,
                        dead: Some(poison.to_string()),
                    },
                    letter: dlq::letter(opening.cluster, topic, raw, &poison),
                });
                (id, Some(poison))
            }
        };
        self.verdicts.push(Verdict {
            id,
            offset: raw.offset,
            poison,
        });
    }
}

fn position(topic: &str, raw: &Raw) -> Position {
    Position {
        topic: topic.to_owned(),
        partition: raw.partition,
        offset: raw.offset,
    }
}

async fn open_one<S: Service>(
    opening: Opening<'_, S>,
    topic: &str,
    raw: &Raw,
) -> Result<Result<Work<S::Input>, Poison>, Error> {
    let envelope = match Envelope::from_headers(&raw.headers) {
        Ok(envelope) => envelope,
        Err(error) => return Ok(Err(Poison::new("headers", &error))),
    };
    let (schema_id, datum) = match codec::unframe(&raw.value) {
        Ok(unframed) => unframed,
        Err(error) => return Ok(Err(Poison::new("frame", &error))),
    };
    let writer = match opening
        .registry
        .writer(&envelope.dataschema, schema_id)
        .await
    {
        Ok(writer) => writer,
        Err(Error::Poison(poison)) => return Ok(Err(poison)),
        Err(error) => return Err(error),
    };
    let record = Record {
        topic,
        envelope: &envelope,
        writer: &writer,
        datum,
    };
    let service = opening.service;
    let decoded = catch_unwind(AssertUnwindSafe(|| service.decode(&record))).unwrap_or_else(|_| {
        Err(Poison {
            stage: "decode",
            reason: "panicked".to_owned(),
        })
    });
    Ok(decoded.map(|input| Work {
        id: envelope.id,
        trace: Trace {
            traceparent: envelope.traceparent.clone(),
            tracestate: envelope.tracestate.clone(),
        },
        origin: origin(topic, raw, envelope),
        input,
    }))
}

/// What was sent a second time is claimed in the inbox like everything else. If it is new here, later
/// events of its key may have been handled before it: their sequence says nothing about it.
fn origin(topic: &str, raw: &Raw, envelope: Envelope) -> Origin {
    let delivery = Arc::new(Delivery {
        position: position(topic, raw),
        key: raw.key.clone(),
        envelope,
    });
    match raw.header(RESENT) {
        Some(_) => Origin::Redriven(delivery),
        None => Origin::Kafka(delivery),
    }
}
