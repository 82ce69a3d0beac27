//! A restored database takes in what its dump lacked, before the service does anything else.
//!
//! Everything that was written after the dump is read again in the order in which the broker got it,
//! over all topics and partitions: an outcome does not come before what it is the outcome of. What
//! was due in between is done in between, before records that stand alone and otherwise a quarter of
//! a second late at most. Inputs are decided as of then, so the same decisions
//! make the same event ids, and whoever has handled those events drops them.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use shared_events::{EventId, Timestamp};
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    lane::Item,
    open::{Opening, open},
    past::{Lacked, lacked},
    watermarks::Watermarks,
};
use crate::{
    Class, Error, Origin, Poison, Position, Record, Service, Trace, Work,
    batch::{Handled, Handler, Intake, Undertaker, handle},
    consumer::breaker::Breaker,
    database::{PATIENT, patiently},
    dlq,
    error::chain,
    failpoint,
    inbox::Progress,
    kafka::Cluster,
    pace::Backoff,
    registry::Registry,
    restore::{self, Baseline, Restoration},
};

/// Records of one transaction at most.
const MOST: usize = 500;
/// And the time that they may span, in milliseconds: what is due in between waits so long.
const SPAN: i64 = 250;
/// Events that a report names one by one.
const NAMED: usize = 500;

/// What catching up needs.
pub(crate) struct CatchUp<'a, S: Service> {
    pub(crate) handler: &'a Handler<S>,
    pub(crate) cluster: &'a Cluster,
    pub(crate) registry: &'a Registry,
    pub(crate) watermarks: &'a Watermarks,
}

impl<S: Service> CatchUp<'_, S> {
    /// Catches up, if a person has said that the database was restored. Tries until Kafka answers.
    ///
    /// # Errors
    /// When the service stops, or cannot go on.
    pub(crate) async fn run(&self, stop: &CancellationToken) -> Result<(), Error> {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        loop {
            let attempt = tokio::select! {
                () = stop.cancelled() => return Err(Error::Stopping),
                attempt = self.attempt() => attempt,
            };
            match attempt {
                Ok(()) => return Ok(()),
                Err(error) if error.class() == Class::Retry => {
                    tracing::warn!(
                        error = chain(&error),
                        "looking whether the database was restored, or catching up, fails: again soon"
                    );
                }
                Err(error) => return Err(error),
            }
            if backoff.wait(stop).await.is_err() {
                return Err(Error::Stopping);
            }
        }
    }

    async fn attempt(&self) -> Result<(), Error> {
        let mut conn = self
            .watermarks
            .pool()
            .acquire()
            .await
            .map_err(Error::database("waiting for a connection"))?;
        while let Some(restoration) = restore::open(&mut conn).await? {
            // one instance at a time; the lock ends with the connection, too
            let options = (*self.watermarks.pool().connect_options()).clone();
            let mut own = PgConnection::connect_with(&options.options(PATIENT))
                .await
                .map_err(Error::database("connecting"))?;
            sqlx::query!("SELECT pg_advisory_lock(hashtext('eventpulse restoration'))::text")
                .fetch_one(&mut own)
                .await
                .map_err(Error::database("locking a restoration"))?;
            let still = restore::open(&mut conn).await?;
            if still.is_some_and(|still| still.id == restoration.id) {
                let report = self.take_in(&mut own, &restoration).await;
                self.handler.service.as_of(None);
                let report = report?;
                failpoint::pass("restore.taken");
                let closing = restore::close(&mut own, restoration.id, &report);
                patiently("ending a restoration", closing).await?;
            }
            drop(own.close().await);
        }
        Ok(())
    }

    async fn take_in(
        &self,
        own: &mut PgConnection,
        restoration: &Restoration,
    ) -> Result<Value, Error> {
        let Restoration {
            id,
            incarnation_before,
            incarnation,
            ..
        } = restoration;
        tracing::warn!(%incarnation_before, %incarnation, "the database was restored: catching up");
        self.registry.load().await?;
        let keeping = restore::baseline(own, *id);
        let baseline = patiently("keeping what a dump knows", keeping).await?;
        let before = *incarnation_before;
        let past = lacked::<S>(own, self.cluster, self.watermarks, before, &baseline);
        let (lacked, ends) = past.await?;
        let mut rest = lacked.as_slice();
        while let Some(first) = rest.first() {
            let (group, later) = rest.split_at(together(first, rest, S::ALONE));
            self.before(first.millis).await?;
            self.take(group).await?;
            rest = later;
        }
        for ((topic, partition), next_offset) in ends {
            let mut nothing = Intake::local(Vec::new());
            nothing.progress.push(Progress {
                topic,
                partition,
                next_offset,
            });
            self.handle(nothing, &[]).await?;
        }
        let waiting = patiently("reading the outbox", waiting(own, &baseline)).await?;
        let report = report(&lacked, &waiting);
        tracing::warn!(
            read = report["read"].as_u64(),
            said = report["said"].as_u64(),
            said_anew = report["said_anew"].as_u64(),
            "caught up: `eventpulse db lacked` lists what the dump lacked"
        );
        Ok(report)
    }

    /// What was due before the next record.
    async fn before(&self, millis: i64) -> Result<(), Error> {
        let Some(moment) = Timestamp::from_timestamp_millis(millis) else {
            return Ok(());
        };
        loop {
            let due = {
                let mut conn = self
                    .watermarks
                    .pool()
                    .acquire()
                    .await
                    .map_err(Error::database("waiting for a connection"))?;
                self.handler.service.due(&mut conn, moment).await?
            };
            if due.is_empty() {
                return Ok(());
            }
            self.handler.service.as_of(Some(moment));
            self.handle(Intake::local(due), &[]).await?;
        }
    }

    /// Records in the order in which the broker got them, those of several partitions in one
    /// transaction.
    async fn take(&self, group: &[Lacked]) -> Result<(), Error> {
        let Some(last) = group.last() else {
            return Ok(());
        };
        let moment = Timestamp::from_timestamp_millis(last.millis);
        self.handler.service.as_of(moment);
        let mut unread: Vec<&Lacked> = Vec::new();
        let mut recalled = Vec::new();
        for lacked in group {
            if let Some(work) = self.recalled(lacked).await? {
                self.take_unread(&mut unread).await?;
                recalled.push(work);
            }
            if lacked.unread {
                self.take_recalled(&mut recalled).await?;
                unread.push(lacked);
            }
        }
        self.take_recalled(&mut recalled).await?;
        self.take_unread(&mut unread).await
    }

    async fn take_recalled(&self, works: &mut Vec<Work<S::Input>>) -> Result<(), Error> {
        if works.is_empty() {
            return Ok(());
        }
        let intake = Intake::local(std::mem::take(works));
        self.handle(intake, &[]).await.map(drop)
    }

    async fn take_unread(&self, unread: &mut Vec<&Lacked>) -> Result<(), Error> {
        if unread.is_empty() {
            return Ok(());
        }
        let unread = std::mem::take(unread);
        let opening = Opening {
            service: &*self.handler.service,
            registry: self.registry,
            cluster: self.cluster,
        };
        let mut intake = Intake::local(Vec::with_capacity(unread.len()));
        let mut next = BTreeMap::new();
        for run in unread.chunk_by(|one, other| one.place() == other.place()) {
            let (topic, partition) = run[0].place();
            let items: Vec<Item> = run
                .iter()
                .map(|lacked| Item::Record(lacked.raw.clone()))
                .collect();
            // the poison of the past is known: nothing is drained now
            let opened = open(opening, topic, &items, Breaker::patient()).await?;
            intake.works.extend(opened.works);
            intake.dead.extend(opened.dead);
            intake.redriven.extend(opened.redriven);
            next.insert((self.cluster.topic(topic), partition), opened.next);
        }
        let read = next.into_iter();
        let read = read.map(|((topic, partition), next_offset)| Progress {
            topic,
            partition,
            next_offset,
        });
        intake.progress = read.collect();
        self.handle(intake, &unread).await.map(drop)
    }

    /// What an event of its own means that the dump does not know of.
    async fn recalled(&self, lacked: &Lacked) -> Result<Option<Work<S::Input>>, Error> {
        let Lacked {
            topic, raw, said, ..
        } = lacked;
        if !said {
            return Ok(None);
        }
        let Ok(envelope) = shared_events::Envelope::from_headers(&raw.headers) else {
            return Ok(None);
        };
        let Ok((id, datum)) = shared_events::codec::unframe(&raw.value) else {
            return Ok(None);
        };
        let record = Record {
            topic,
            writer: &self.registry.writer(&envelope.dataschema, id).await?,
            envelope: &envelope,
            datum,
        };
        let recalled = self
            .handler
            .service
            .recall(&record)
            .unwrap_or_else(|poison| {
                tracing::error!(id = %envelope.id, %poison, "an event of its own is unreadable");
                None
            });
        Ok(recalled.map(|(id, input)| Work {
            id,
            origin: Origin::Recalled(Position {
                topic: topic.clone(),
                partition: raw.partition,
                offset: raw.offset,
            }),
            trace: Trace::default(),
            input,
        }))
    }

    async fn handle(
        &self,
        intake: Intake<S::Input>,
        group: &[&Lacked],
    ) -> Result<Handled<S::Reply>, Error> {
        let cluster = self.cluster.clone();
        let raws: Vec<_> = group
            .iter()
            .map(|lacked| (lacked.topic.clone(), lacked.raw.clone()))
            .collect();
        let undertaker: Arc<Undertaker<'static>> = Arc::new(move |id: EventId, poison: &Poison| {
            let (topic, raw) = raws
                .iter()
                .find(|(topic, raw)| dlq::inbox_id(raw, topic, S::NAME) == id)?;
            Some(dlq::letter(&cluster, topic, raw, poison))
        });
        handle(self.handler, intake, undertaker).await
    }
}

/// How many of `rest` are taken in at once with the first.
fn together(first: &Lacked, rest: &[Lacked], alone: &[&str]) -> usize {
    let alone = |lacked: &Lacked| lacked.unread && alone.contains(&&*lacked.topic);
    if alone(first) {
        return 1;
    }
    let soon = |lacked: &&Lacked| lacked.millis - first.millis <= SPAN && !alone(lacked);
    rest.iter().take(MOST).take_while(soon).count().max(1)
}

/// Events that wait for Kafka.
struct Waiting {
    id: Uuid,
    kind: String,
    /// Written while catching up.
    anew: bool,
}

async fn waiting(conn: &mut PgConnection, baseline: &Baseline) -> Result<Vec<Waiting>, Error> {
    sqlx::query_as!(
        Waiting,
        r#"SELECT event_id AS id, event_type AS kind, id > $1 AS "anew!" FROM outbox_events"#,
        baseline.last_outbox_id
    )
    .fetch_all(conn)
    .await
    .map_err(Error::database("reading the outbox"))
}

/// What the dump lacked, and what became of it.
fn report(lacked: &[Lacked], waiting: &[Waiting]) -> Value {
    let described = |lacked: &Lacked| {
        let header = |name: &str| lacked.raw.header(name).map(str::to_owned);
        json!({
            "event_id": header("ce_id"),
            "type": header("ce_type"),
            "topic": lacked.topic,
            "key": String::from_utf8_lossy(&lacked.raw.key),
            "partition": lacked.raw.partition,
            "offset": lacked.raw.offset,
            "at": header("ce_time"),
        })
    };
    let heard = || lacked.iter().filter(|lacked| lacked.heard);
    let said = || lacked.iter().filter(|lacked| lacked.said);
    let ids: BTreeSet<String> = said()
        .filter_map(|lacked| lacked.raw.header("ce_id").map(str::to_owned))
        .collect();
    let anew = waiting
        .iter()
        .filter(|event| event.anew && !ids.contains(&event.id.to_string()));
    let named = anew.clone().take(NAMED);
    let again: HashSet<String> = waiting.iter().map(|event| event.id.to_string()).collect();
    let dropped = said().filter(|lacked| {
        let id = lacked.raw.header("ce_id").unwrap_or_default();
        !again.contains(id)
    });
    json!({
        "read": heard().count(),
        "read_events": heard().take(NAMED).map(described).collect::<Vec<_>>(),
        "said": said().count(),
        "said_events": said().take(NAMED).map(described).collect::<Vec<_>>(),
        "not_said_again": dropped.count(),
        "said_anew": anew.count(),
        "said_anew_events": named
            .map(|event| json!({"event_id": event.id, "type": event.kind}))
            .collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dlq::Raw;

    fn lacked(partition: i32, millis: i64) -> Lacked {
        let raw = Raw {
            partition,
            ..Raw::default()
        };
        Lacked {
            topic: "alert".to_owned(),
            raw,
            millis,
            heard: true,
            unread: true,
            said: false,
        }
    }

    #[test]
    fn partitions_are_taken_in_together_but_not_what_is_apart_in_time() {
        let rest = [
            lacked(0, 1000),
            lacked(1, 1001),
            lacked(0, 1250),
            lacked(0, 1251),
            lacked(1, 1252),
        ];
        assert_eq!(together(&rest[0], &rest, &[]), 3);
        assert_eq!(together(&rest[3], &rest[3..], &[]), 2);
        let many: Vec<Lacked> = (0..2000).map(|n| lacked(n % 6, 1000)).collect();
        assert_eq!(together(&many[0], &many, &[]), MOST);
    }
    #[test]
    fn what_stands_alone_is_taken_in_alone() {
        let mut rest = [lacked(0, 1000), lacked(1, 1001), lacked(0, 1002)];
        rest[1].topic = "rule".to_owned();
        let sizes =
            |rest: &[Lacked]| [0, 1, 2].map(|at| together(&rest[at], &rest[at..], &["rule"]));
        assert_eq!(sizes(&rest), [1, 1, 1]);
        // one that was read before is not decided again
        rest[1].unread = false;
        assert_eq!(sizes(&rest), [3, 2, 1]);
    }
}
