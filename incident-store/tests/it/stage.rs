//! A store to play facts to, with the shell's own transaction and no Kafka.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use incident_store::{IncidentStore, MIGRATOR, domain::Fact};
use service_kit::{
    Handled, Origin, Position, Record, Service, Trace, Work,
    batch::{self, Handler, Intake},
    outbox::Source,
    service::Delivery,
    testing::Database,
};
use shared_events::{ActionEvent, Envelope, IncidentEvent, TopicEvent, codec};
use uuid::Uuid;

pub(crate) struct Stage<const SAYS: bool = false> {
    pub(crate) database: Database,
    pub(crate) handler: Handler<IncidentStore<SAYS>>,
    offset: AtomicI64,
}

impl<const SAYS: bool> Stage<SAYS> {
    pub(crate) async fn fresh() -> Self {
        let database = Database::fresh(&[&MIGRATOR]).await;
        let pool = database.pool.clone();
        let mut conn = pool.acquire().await.expect("a connection");
        let name = IncidentStore::<SAYS>::NAME;
        let source = Source::read(&mut conn, name).await.expect("an incarnation");
        let handler = Handler {
            service: Arc::new(IncidentStore::<SAYS>),
            pool: pool.clone(),
            source,
            wake: Arc::default(),
        };
        Self {
            database,
            handler,
            offset: AtomicI64::new(0),
        }
    }

    /// Handles these works as one batch of a partition, each delivered from a new offset.
    pub(crate) async fn play(&self, works: impl IntoIterator<Item = Work<Fact>>) -> Handled<()> {
        let works = works.into_iter().map(|work| self.deliver(work)).collect();
        let intake = Intake {
            works,
            dead: Vec::new(),
            redriven: HashSet::new(),
            progress: Vec::new(),
        };
        let no_letter = Arc::new(|_, _: &service_kit::Poison| None);
        batch::handle(&self.handler, intake, no_letter)
            .await
            .expect("the batch is handled")
    }

    fn deliver(&self, mut work: Work<Fact>) -> Work<Fact> {
        if let Origin::Kafka(delivery) = &work.origin {
            let mut delivery = Delivery::clone(delivery);
            delivery.position.offset = self.offset.fetch_add(1, Ordering::Relaxed);
            work.origin = Origin::Kafka(Arc::new(delivery));
        }
        work
    }

    /// The hash over everything that follows from the facts.
    pub(crate) async fn hash(&self) -> incident_store::store::content::ContentHash {
        incident_store::store::content::hash(&self.handler.pool)
            .await
            .expect("the hash")
    }
}

/// An event of topic `incident`, as the consumer hands it over.
pub(crate) fn incident(event: impl Into<IncidentEvent>) -> Work<Fact> {
    work(&event.into())
}

/// An event of topic `action`, as the consumer hands it over.
pub(crate) fn action(event: impl Into<ActionEvent>) -> Work<Fact> {
    work(&event.into())
}

fn work<E: TopicEvent>(event: &E) -> Work<Fact> {
    let contract = codec::contract(event.event_type()).expect("a schema");
    let envelope = Envelope {
        id: event.event_id(),
        event_type: event.event_type().to_owned(),
        source: "/rules/test".to_owned(),
        at: event.at(),
        subject: event.subject(),
        dataschema: contract.dataschema(),
        correlation_id: event.correlation_id(),
        causation_id: Some(Uuid::from_u128(5)),
        sequence: 1,
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        tracestate: None,
    };
    let datum = event.encode().expect("it fits its schema");
    let writer = codec::writer(&envelope.dataschema).expect("compiled in");
    let record = Record {
        topic: E::TOPIC.name(),
        envelope: &envelope,
        writer: &writer,
        datum: &datum,
    };
    let input = IncidentStore::<false>.decode(&record).expect("it decodes");
    Work {
        id: event.event_id(),
        origin: Origin::Kafka(Arc::new(Delivery {
            position: Position {
                topic: E::TOPIC.name().to_owned(),
                partition: 0,
                offset: 0,
            },
            key: event.key().into_bytes(),
            envelope,
        })),
        trace: Trace::default(),
        input,
    }
}
