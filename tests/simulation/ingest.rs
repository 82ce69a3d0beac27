//! Ingest's states, and its transaction around the real core.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use chrono::TimeDelta;
use ingest::domain::{
    About, Journal, Notification, Phase, Policy, Series, Webhook, decide, decide::decide_silence,
};
use shared_events::{AlertId, Timestamp};

use crate::{log::Event, senders::SOURCE};

pub(crate) const REOPEN_AFTER: TimeDelta = TimeDelta::minutes(6);
pub(crate) const STALE_AFTER: TimeDelta = TimeDelta::hours(12);
const POLICY: Policy = Policy {
    reopen_after: REOPEN_AFTER,
    stale_after: STALE_AFTER,
};

/// Tables of Ingest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ingest {
    pub(crate) series: BTreeMap<AlertId, Series>,
    abouts: BTreeMap<AlertId, Arc<About>>,
    pub(crate) rejects: usize,
}

/// What a transaction would write.
#[derive(Default)]
pub(crate) struct Tx {
    series: BTreeMap<AlertId, Series>,
    abouts: BTreeMap<AlertId, Arc<About>>,
    rejects: usize,
    pub(crate) events: Vec<Event>,
}

impl Ingest {
    /// A body meets the database at `now`.
    pub(crate) fn accept(&self, body: &str, now: Timestamp) -> Tx {
        let bytes = Bytes::copy_from_slice(body.as_bytes());
        let webhook = Webhook::parse(SOURCE, &bytes).expect("the driver posts webhook bodies");
        let (mut tx, mut journal) = (Tx::default(), Journal::default());
        for alert in webhook.alerts {
            let Ok(notice) = alert else {
                tx.rejects += 1;
                continue;
            };
            let id = notice.alert_id;
            let known = tx.series.get(&id).or_else(|| self.series.get(&id));
            let series = known.copied().unwrap_or_else(|| Series::new(id, now));
            let notification = Notification {
                at: now,
                news: notice.news,
                about: &notice.about,
                receipt_id: None,
            };
            let decision = decide(&POLICY, &series, &notification);
            tx.series.insert(id, decision.series);
            tx.abouts.insert(id, Arc::clone(&notice.about));
            journal.record(decision.events);
        }
        tx.events = journal.events().iter().cloned().map(Event::Alert).collect();
        tx
    }

    /// An open series that was not heard of for too long.
    pub(crate) fn silent(&self, now: Timestamp) -> Option<AlertId> {
        let open = |series: &&Series| match series.phase {
            Phase::Open(_) => now - series.last_seen >= STALE_AFTER,
            Phase::Quiet | Phase::Closed(..) => false,
        };
        self.series
            .values()
            .find(open)
            .map(|series| series.alert_id)
    }

    /// The sweeper's transaction.
    pub(crate) fn sweep(&self, id: AlertId, now: Timestamp) -> Tx {
        let decision = decide_silence(&POLICY, &self.series[&id], &self.abouts[&id], now);
        Tx {
            series: [(id, decision.series)].into(),
            events: decision.events.into_iter().map(Event::Alert).collect(),
            ..Tx::default()
        }
    }

    pub(crate) fn commit(&mut self, tx: Tx) -> Vec<Event> {
        self.series.extend(tx.series);
        self.abouts.extend(tx.abouts);
        self.rejects += tx.rejects;
        tx.events
    }
}
