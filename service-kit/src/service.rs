//! What a service says of itself, and the values that pass between it and the shell.

use std::sync::Arc;

use shared_events::{
    Envelope, EventId, Timestamp, TopicEvent,
    codec::{self, Writer},
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Error, Poison};

/// One service. The shell turns inputs into one transaction per batch:
/// claim in the inbox, [`load`](Service::load), [`fold`](Service::fold) each input in order,
/// [`save`](Service::save), write the outbox, commit.
pub trait Service: Send + Sync + 'static {
    /// Name in the inbox, the consumer group, `ce_source`, logs and metrics.
    const NAME: &'static str;
    /// Topics (without prefix) and the event types of each that this service wants. Other types are
    /// skipped and counted before decoding: they are not poison (rolling upgrades).
    const LISTENS: &'static [(&'static str, &'static [&'static str])];
    /// Topics (without prefix) that this service writes and the event types that it says there: the
    /// shell creates the topics and registers the schemas.
    const SAYS: &'static [(&'static str, &'static [&'static str])] = &[];

    /// A decoded event, one item of a request, a due timer, a person's command.
    type Input: Clone + Send + Sync + 'static;
    /// Every state that a batch touches and everything that the fold has produced so far.
    /// Cloned before the fold, so that a bad input can be taken out and the rest folded again.
    type Batch: Clone + Send + 'static;
    /// What a caller of [`Kit::handle`](crate::Kit::handle) gets back after the commit.
    type Reply: Default + Send + 'static;

    /// The input that a record is. Called only for types in [`LISTENS`](Service::LISTENS).
    ///
    /// # Errors
    /// When the record can never be handled: it becomes a dead letter.
    fn decode(&self, record: &Record<'_>) -> Result<Self::Input, Poison>;

    /// Locks and reads every state that `works` touch, in the lock order of the design, set-based.
    /// May drop works that are no longer due (a timer that another instance has fired).
    fn load(
        &self,
        conn: &mut PgConnection,
        works: &mut Vec<Work<Self::Input>>,
    ) -> impl Future<Output = Result<Self::Batch, Error>> + Send;

    /// Applies one input, in order: pure, no clock, no I/O.
    ///
    /// # Errors
    /// When this input can never be handled. The shell takes it out and folds the rest again.
    fn fold(&self, batch: &mut Self::Batch, work: &Work<Self::Input>) -> Result<(), Poison>;

    /// Writes states and facts, one statement per table, and hands over what others must hear.
    fn save(
        &self,
        conn: &mut PgConnection,
        batch: Self::Batch,
    ) -> impl Future<Output = Result<Saved<Self::Reply>, Error>> + Send;

    /// Topics whose records are decided alone while a restored database catches up: after what was due
    /// before them, on what everything before them has written. Others share a transaction.
    const ALONE: &'static [&'static str] = &[];

    /// While a restored database catches up: decide as of this moment; `None`: as of now again.
    fn as_of(&self, _moment: Option<Timestamp>) {}

    /// While a restored database catches up: inputs of the service's own that were due before
    /// `moment` (timers), if any are left.
    fn due(
        &self,
        _conn: &mut PgConnection,
        _moment: Timestamp,
    ) -> impl Future<Output = Result<Vec<Work<Self::Input>>, Error>> + Send {
        async { Ok(Vec::new()) }
    }

    /// While a restored database catches up: what an event that this service said after the dump means
    /// for its state, as an input with its id, where that does not follow from what it reads again.
    ///
    /// # Errors
    /// When the record cannot be read.
    fn recall(&self, _record: &Record<'_>) -> Result<Option<(EventId, Self::Input)>, Poison> {
        Ok(None)
    }
}

/// What [`Service::save`] hands back to the shell.
#[derive(Debug, Default)]
pub struct Saved<R> {
    /// Events for the outbox, in the order in which they were decided.
    pub outgoing: Vec<Outgoing>,
    /// For the caller.
    pub reply: R,
}

/// W3C trace context of an input, handed on to what follows from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    pub traceparent: Option<String>,
    pub tracestate: Option<String>,
}

/// One input with where it came from.
#[derive(Clone, Debug)]
pub struct Work<I> {
    /// `ce_id`, or the derived id of a local input: cause of everything that follows from it.
    pub id: EventId,
    /// Where it came from.
    pub origin: Origin,
    /// Trace that it belongs to.
    pub trace: Trace,
    /// What it says.
    pub input: I,
}

/// Where an input came from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A record of a topic: claimed in the inbox.
    Kafka(Arc<Delivery>),
    /// A record that was a dead letter or that the broker had lost, and that a person asked for
    /// again: claimed in the inbox, and out of the order of its key.
    Redriven(Arc<Delivery>),
    /// An event of its own that a restored database does not know of: claimed in the inbox, so that
    /// it is recalled once.
    Recalled(Position),
    /// This service itself (HTTP, timer, worker): not claimed in the inbox.
    Local,
}

/// A record's place and envelope.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub position: Position,
    pub key: Vec<u8>,
    pub envelope: Envelope,
}

/// A place in a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Without prefix.
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

/// A record of a listed type, ready to be decoded.
#[derive(Debug)]
pub struct Record<'a> {
    /// Without prefix.
    pub topic: &'a str,
    pub envelope: &'a Envelope,
    /// Schema that the datum was written with.
    pub writer: &'a Writer,
    /// Avro datum without framing.
    pub datum: &'a [u8],
}

impl Record<'_> {
    /// The event of enum `E` that this record is.
    ///
    /// # Errors
    /// When the bytes are not what the headers promise.
    pub fn event<E: TopicEvent>(&self) -> Result<E, Poison> {
        match E::decode(&self.envelope.event_type, self.writer, self.datum) {
            Ok(Some(event)) => Ok(event),
            Ok(None) => Err(Poison {
                stage: "type",
                reason: format!(
                    "{} is not an event of {}",
                    self.envelope.event_type, self.topic
                ),
            }),
            Err(error) => Err(Poison::new("decode", &error)),
        }
    }
}

impl<I> Work<I> {
    /// An input of this service's own making.
    pub fn local(id: EventId, trace: Trace, input: I) -> Self {
        Self {
            id,
            origin: Origin::Local,
            trace,
            input,
        }
    }

    /// Place and envelope, for an input that came from a topic.
    pub fn delivery(&self) -> Option<&Delivery> {
        match &self.origin {
            Origin::Kafka(delivery) | Origin::Redriven(delivery) => Some(delivery),
            Origin::Recalled(_) | Origin::Local => None,
        }
    }

    /// What the inbox keeps of it, for an input that is claimed there.
    pub(crate) fn position(&self) -> Option<&Position> {
        match &self.origin {
            Origin::Kafka(delivery) | Origin::Redriven(delivery) => Some(&delivery.position),
            Origin::Recalled(position) => Some(position),
            Origin::Local => None,
        }
    }

    /// Whether a person asked for it again: it may come after later events of its key.
    pub fn is_redriven(&self) -> bool {
        matches!(self.origin, Origin::Redriven(_))
    }
}

/// An event for the outbox. The shell adds source and sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    pub id: EventId,
    /// Without prefix.
    pub topic: String,
    pub key: Vec<u8>,
    pub payload: Payload,
    pub trace: Trace,
}

/// The body of an outgoing event.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// An event: CloudEvents headers, Avro datum; the relay adds the Confluent framing.
    Event {
        contract: &'static str,
        at: Timestamp,
        subject: String,
        correlation_id: Uuid,
        causation_id: Option<Uuid>,
        datum: Vec<u8>,
    },
    /// Bytes and headers as they are: a dead letter.
    Raw {
        event_type: String,
        headers: Vec<(String, Vec<u8>)>,
        value: Vec<u8>,
    },
}

impl Outgoing {
    /// `event`, said because of `cause`.
    ///
    /// # Errors
    /// When the event does not fit its schema.
    pub fn event<E: TopicEvent>(event: &E, cause: EventId, trace: &Trace) -> Result<Self, Error> {
        let datum = event
            .encode()
            .map_err(|source| Error::Encode(Box::new(source)))?;
        let contract = codec::contract(event.event_type()).ok_or_else(|| {
            Error::Encode(Box::new(codec::Error::UnknownType(
                event.event_type().to_owned(),
            )))
        })?;
        Ok(Self {
            id: event.event_id(),
            topic: E::TOPIC.name().to_owned(),
            key: event.key().into_bytes(),
            payload: Payload::Event {
                contract: contract.event_type,
                at: event.at(),
                subject: event.subject(),
                correlation_id: event.correlation_id(),
                causation_id: Some(cause.uuid()),
                datum,
            },
            trace: trace.clone(),
        })
    }
}
