//! The records that a restored database has not seen, from the topics.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
    error::KafkaError,
};
use shared_events::Envelope;
use sqlx::PgPool;
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    intake::{item, raw},
    lane::Item,
    watermarks::{Place, Scope, Watermarks},
};
use crate::{Error, Service, dlq::Raw, kafka::Cluster};

/// How long the broker may be silent.
const PATIENCE: Duration = Duration::from_secs(20);

/// One record, and what it is to the service.
pub(super) struct Lacked {
    /// Without prefix.
    pub(super) topic: String,
    pub(super) raw: Raw,
    /// Of a type that the service listens to, and not read before the dump.
    pub(super) heard: bool,
    /// Said by the service itself after the dump.
    pub(super) said: bool,
}

impl Lacked {
    /// When the broker got it; records without a time are first.
    pub(super) fn millis(&self) -> i64 {
        self.raw.timestamp.unwrap_or_default()
    }
}

/// Everything that was written after the dump, as far as it concerns the service, in the order in
/// which the broker got it; and the ends of the topics that the service listens to.
pub(super) async fn lacked<S: Service>(
    pool: &PgPool,
    cluster: &Cluster,
    watermarks: &Watermarks,
    before: Uuid,
) -> Result<(Vec<Lacked>, HashMap<Place, i64>), Error> {
    let known = Known::read::<S>(pool, before).await?;
    let names: BTreeSet<&str> = S::LISTENS
        .iter()
        .chain(S::SAYS)
        .map(|(topic, _)| *topic)
        .collect();
    let topics: Vec<String> = names.iter().map(|name| cluster.topic(name)).collect();
    let mut ends = watermarks.ends(Scope::Topics(topics)).await?;
    let places: Vec<Place> = ends.keys().cloned().collect();
    let begins = watermarks
        .offsets(Scope::Places(places), Offset::Beginning)
        .await?;
    let mut open = HashMap::new();
    for (place, end) in &ends {
        let from = known.from::<S>(cluster, place);
        let from = from.max(begins.get(place).copied().unwrap_or_default());
        if from < *end {
            open.insert(place.clone(), (from, *end));
        }
    }
    let mut found = read::<S>(cluster, open, &known).await?;
    found.sort_by(|one, other| {
        let place = |lacked: &Lacked| {
            let raw = &lacked.raw;
            (
                lacked.millis(),
                lacked.topic.clone(),
                raw.partition,
                raw.offset,
            )
        };
        place(one).cmp(&place(other))
    });
    ends.retain(|(topic, _), _| listens::<S>(cluster, topic));
    Ok((found, ends))
}

fn listens<S: Service>(cluster: &Cluster, topic: &str) -> bool {
    let name = cluster.unprefixed(topic);
    S::LISTENS.iter().any(|(wanted, _)| Some(*wanted) == name)
}

/// What the dump knows.
struct Known {
    /// `ce_source` of the service until the dump was made.
    source: String,
    /// By topic with prefix and partition: the next offset to read.
    read: HashMap<Place, i64>,
    /// By topic without prefix and partition: after the last event that was sent.
    sent: HashMap<Place, i64>,
    /// By topic without prefix and key: the last sequence.
    sequences: HashMap<(String, Vec<u8>), i64>,
}

impl Known {
    async fn read<S: Service>(pool: &PgPool, before: Uuid) -> Result<Self, Error> {
        let failed = || Error::database("reading what the dump knows");
        let read = sqlx::query!("SELECT topic, partition, next_offset FROM consumer_offsets")
            .fetch_all(pool)
            .await
            .map_err(failed())?;
        let sent = sqlx::query!(
            r#"SELECT topic, partition, max(kafka_offset) + 1 AS "next!" FROM outbox_sent
               GROUP BY topic, partition"#
        )
        .fetch_all(pool)
        .await
        .map_err(failed())?;
        let sequences = sqlx::query!("SELECT topic, key, seq FROM outbox_keys")
            .fetch_all(pool)
            .await
            .map_err(failed())?;
        Ok(Self {
            source: format!("/{}/{before}", S::NAME),
            read: read
                .into_iter()
                .map(|row| ((row.topic, row.partition), row.next_offset))
                .collect(),
            sent: sent
                .into_iter()
                .map(|row| ((row.topic, row.partition), row.next))
                .collect(),
            sequences: sequences
                .into_iter()
                .map(|row| ((row.topic, row.key), row.seq))
                .collect(),
        })
    }

    /// Where to begin with a partition.
    fn from<S: Service>(&self, cluster: &Cluster, (topic, partition): &Place) -> i64 {
        let name = cluster.unprefixed(topic).unwrap_or_default().to_owned();
        let says = S::SAYS.iter().any(|(said, _)| *said == name);
        let read = self.read.get(&(topic.clone(), *partition)).copied();
        let read = listens::<S>(cluster, topic).then(|| read.unwrap_or_default());
        let sent = self.sent.get(&(name, *partition)).copied();
        let sent = says.then(|| sent.unwrap_or_default());
        [read, sent].into_iter().flatten().min().unwrap_or_default()
    }

    fn was_said_later(&self, topic: &str, raw: &Raw) -> bool {
        let Ok(envelope) = Envelope::from_headers(&raw.headers) else {
            return false;
        };
        let key = (topic.to_owned(), raw.key.clone());
        let last = self.sequences.get(&key).copied().unwrap_or_default();
        envelope.source == self.source && envelope.sequence > last
    }
}

async fn read<S: Service>(
    cluster: &Cluster,
    mut open: HashMap<Place, (i64, i64)>,
    known: &Known,
) -> Result<Vec<Lacked>, Error> {
    let failed = || Error::kafka("reading what a dump lacks");
    let consumer: StreamConsumer = cluster
        .probe()
        .set("group.id", cluster.group())
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .create()
        .map_err(failed())?;
    let mut list = TopicPartitionList::with_capacity(open.len());
    for ((topic, partition), (from, _)) in &open {
        list.add_partition_offset(topic, *partition, Offset::Offset(*from))
            .map_err(failed())?;
    }
    consumer.assign(&list).map_err(failed())?;
    let mut found = Vec::new();
    while !open.is_empty() {
        let message = timeout(PATIENCE, consumer.recv())
            .await
            .map_err(|_| failed()(KafkaError::NoMessageReceived))?
            .map_err(failed())?;
        let (place, offset) = (
            (message.topic().to_owned(), message.partition()),
            message.offset(),
        );
        let Some((_, end)) = open.get(&place).copied() else {
            continue;
        };
        if offset < end {
            let name = cluster.unprefixed(&place.0).unwrap_or_default().to_owned();
            let listed = S::LISTENS.iter().find(|(topic, _)| *topic == name);
            let unread = known.read.get(&place).is_none_or(|next| offset >= *next);
            let wanted =
                listed.is_some_and(|(_, types)| matches!(item(&message, types), Item::Record(_)));
            let raw = raw(&message);
            let said = known.was_said_later(&name, &raw);
            if (wanted && unread) || said {
                found.push(Lacked {
                    topic: name,
                    raw,
                    heard: wanted && unread,
                    said,
                });
            }
        }
        if offset + 1 >= end {
            open.remove(&place);
        }
    }
    Ok(found)
}
