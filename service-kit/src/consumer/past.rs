//! The records that a restored database has not seen, from the topics.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
    error::KafkaError,
    message::BorrowedMessage,
};
use shared_events::Envelope;
use sqlx::PgConnection;
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    intake::{item, raw},
    lane::Item,
    watermarks::{Place, Scope, Watermarks},
};
use crate::{Error, Service, database::patiently, dlq::Raw, kafka::Cluster, restore::Baseline};

/// How long the broker may be silent.
const PATIENCE: Duration = Duration::from_secs(20);

/// Keys whose sequences are asked for at once.
const KEYS: usize = 1000;
/// Records that are held before it is looked which of them the dump knows.
const HELD: usize = 10_000;

/// One record, and what it is to the service.
pub(super) struct Lacked {
    /// Without prefix.
    pub(super) topic: String,
    pub(super) raw: Raw,
    /// When the broker got it, in milliseconds: never before an earlier one of its partition.
    /// Records without a time are first.
    pub(super) millis: i64,
    /// Of a type that the service listens to, and not read before the dump.
    pub(super) heard: bool,
    /// Not read since either: catching up may have begun before.
    pub(super) unread: bool,
    /// Said by the service itself after the dump.
    pub(super) said: bool,
}

impl Lacked {
    pub(super) fn place(&self) -> (&str, i32) {
        (&self.topic, self.raw.partition)
    }
}

/// Everything that was written after the dump, as far as it concerns the service, in the order in
/// which the broker got it; and the ends of the topics that the service listens to.
pub(super) async fn lacked<S: Service>(
    conn: &mut PgConnection,
    cluster: &Cluster,
    watermarks: &Watermarks,
    before: Uuid,
    baseline: &Baseline,
) -> Result<(Vec<Lacked>, HashMap<Place, i64>), Error> {
    let knowing = Known::read::<S>(conn, before, baseline);
    let known = patiently("reading what the dump knows", knowing).await?;
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
            open.insert(place.clone(), Stretch::new(from, *end));
        }
    }
    let mut found = read::<S>((&mut *conn, baseline), cluster, open, &known).await?;
    found.sort_by(|one, other| {
        let place = |lacked: &Lacked| {
            let raw = &lacked.raw;
            (
                lacked.millis,
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
    /// By topic with prefix and partition: the next offset to read, as the dump has it.
    read: HashMap<Place, i64>,
    /// The same as it is now.
    read_since: HashMap<Place, i64>,
    /// By topic without prefix and partition: after the last event that was sent. Nothing is sent
    /// while a database catches up.
    sent: HashMap<Place, i64>,
}

impl Known {
    async fn read<S: Service>(
        conn: &mut PgConnection,
        before: Uuid,
        baseline: &Baseline,
    ) -> Result<Self, Error> {
        let failed = || Error::database("reading what the dump knows");
        let read_since = sqlx::query!("SELECT topic, partition, next_offset FROM consumer_offsets")
            .fetch_all(&mut *conn)
            .await
            .map_err(failed())?;
        let sent = sqlx::query!(
            r#"SELECT topic, partition, max(kafka_offset) + 1 AS "next!" FROM outbox_sent
               GROUP BY topic, partition"#
        )
        .fetch_all(conn)
        .await
        .map_err(failed())?;
        let read = baseline.read_until.iter();
        Ok(Self {
            source: format!("/{}/{before}", S::NAME),
            read: read
                .map(|row| ((row.topic.clone(), row.partition), row.next_offset))
                .collect(),
            read_since: read_since
                .into_iter()
                .map(|row| ((row.topic, row.partition), row.next_offset))
                .collect(),
            sent: sent
                .into_iter()
                .map(|row| ((row.topic, row.partition), row.next))
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

    /// What a record is to the service, if it is anything. What the service itself said is taken for
    /// said after the dump.
    fn judge<S: Service>(
        &self,
        cluster: &Cluster,
        message: &BorrowedMessage<'_>,
        place: &Place,
        millis: i64,
    ) -> Option<Lacked> {
        let name = cluster.unprefixed(&place.0).unwrap_or_default();
        let listed = S::LISTENS.iter().find(|(topic, _)| *topic == name);
        let wanted =
            listed.is_some_and(|(_, types)| matches!(item(message, types), Item::Record(_)));
        let after = |read: &HashMap<Place, i64>| {
            let known = read.get(place);
            wanted && known.is_none_or(|next| message.offset() >= *next)
        };
        let raw = raw(message);
        let said = Envelope::from_headers(&raw.headers)
            .is_ok_and(|envelope| envelope.source == self.source);
        let heard = after(&self.read);
        (heard || said).then(|| Lacked {
            topic: name.to_owned(),
            raw,
            millis,
            heard,
            unread: after(&self.read_since),
            said,
        })
    }
}

/// What is still to be read of a partition.
struct Stretch {
    next: i64,
    end: i64,
    /// Latest time of a record so far.
    millis: i64,
}

impl Stretch {
    fn new(next: i64, end: i64) -> Self {
        let millis = 0;
        Self { next, end, millis }
    }
}

/// Reads it all, but for what the service itself had said when the dump was made.
async fn read<S: Service>(
    (conn, baseline): (&mut PgConnection, &Baseline),
    cluster: &Cluster,
    mut open: HashMap<Place, Stretch>,
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
    for ((topic, partition), stretch) in &open {
        list.add_partition_offset(topic, *partition, Offset::Offset(stretch.next))
            .map_err(failed())?;
    }
    consumer.assign(&list).map_err(failed())?;
    let (mut found, mut fresh) = (Vec::new(), Vec::new());
    while !open.is_empty() {
        let message = timeout(PATIENCE, consumer.recv())
            .await
            .map_err(|_| failed()(KafkaError::NoMessageReceived))?
            .map_err(failed())?;
        let place = (message.topic().to_owned(), message.partition());
        let Some(stretch) = open.get_mut(&place) else {
            continue;
        };
        let millis = message.timestamp().to_millis().unwrap_or_default();
        stretch.millis = stretch.millis.max(millis);
        if message.offset() < stretch.end {
            fresh.extend(known.judge::<S>(cluster, &message, &place, stretch.millis));
        }
        if message.offset() + 1 >= stretch.end {
            open.remove(&place);
        }
        if fresh.len() == HELD || open.is_empty() {
            forget_known(conn, &mut fresh, baseline).await?;
            found.append(&mut fresh);
        }
    }
    Ok(found)
}

/// Leaves out what the service had said when the dump was made.
async fn forget_known(
    conn: &mut PgConnection,
    found: &mut Vec<Lacked>,
    baseline: &Baseline,
) -> Result<(), Error> {
    let key = |lacked: &Lacked| (lacked.topic.clone(), lacked.raw.key.clone());
    let keys: BTreeSet<_> = found.iter().filter(|l| l.said).map(key).collect();
    let keys: Vec<_> = keys.into_iter().collect();
    let mut last = HashMap::new();
    for keys in keys.chunks(KEYS) {
        let reading = sequences(conn, keys, baseline);
        last.extend(patiently("reading the sequences of a dump", reading).await?);
    }
    for lacked in found.iter_mut().filter(|lacked| lacked.said) {
        let last = last.get(&key(lacked)).copied().unwrap_or_default();
        lacked.said = Envelope::from_headers(&lacked.raw.headers)
            .is_ok_and(|envelope| envelope.sequence > last);
    }
    found.retain(|lacked| lacked.heard || lacked.said);
    Ok(())
}

/// The last sequence of each key when the dump was made: without what was said while catching up,
/// all of which still waits in the outbox.
async fn sequences(
    conn: &mut PgConnection,
    keys: &[(String, Vec<u8>)],
    baseline: &Baseline,
) -> Result<Vec<((String, Vec<u8>), i64)>, Error> {
    let (topics, keys): (Vec<String>, Vec<Vec<u8>>) = keys.iter().cloned().unzip();
    let rows = sqlx::query!(
        r#"WITH since AS (
               SELECT topic, key, count(*) AS events FROM outbox_events
               WHERE id > $3 GROUP BY topic, key
           )
           SELECT topic AS "topic!", key AS "key!", seq - COALESCE(since.events, 0) AS "seq!"
           FROM outbox_keys LEFT JOIN since USING (topic, key)
           WHERE (topic, key) IN (SELECT * FROM UNNEST($1::text[], $2::bytea[]))"#,
        &topics,
        &keys,
        baseline.last_outbox_id
    )
    .fetch_all(conn)
    .await
    .map_err(Error::database("reading the sequences of a dump"))?;
    Ok(rows
        .into_iter()
        .map(|row| ((row.topic, row.key), row.seq))
        .collect())
}
