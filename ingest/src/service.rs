//! What the shell needs of Ingest: how a batch is loaded, folded through the domain, and saved.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use service_kit::{Error, Outgoing, Poison, Record, Saved, Service, Trace, Work};
use shared_events::{AlertEvent, AlertId, EventId, Timestamp, Topic};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    domain::{
        About, Decision, Journal, Notice, Notification, Outcome, Policy, Series, decide,
        decide::decide_silence,
        recall::{recall, series_of},
    },
    store::{self, Changed, NewReject, Receipt},
};

/// Telemetry Ingest.
#[derive(Debug)]
pub struct Ingest {
    policy: Policy,
}

impl Ingest {
    /// Ingest that believes what it heard for as long as `policy` says.
    #[must_use]
    pub const fn new(policy: Policy) -> Self {
        Self { policy }
    }

    /// How long it believes what it heard.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }
}

/// Something to be stored or decided.
#[derive(Clone, Debug)]
pub enum Input {
    /// A body as it came.
    Receipt(Arc<Receipt>),
    /// An alert that cannot be taken.
    Reject(Arc<NewReject>),
    /// A sound alert of a body.
    Notice {
        notice: Arc<Notice>,
        receipt_id: Uuid,
    },
    /// An open series that seems to be unheard of for too long.
    Silence(AlertId),
    /// What was said of a series after the dump that the database was restored from.
    Said(Arc<AlertEvent>),
}

/// Everything that a batch touches and has produced so far.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The database's clock, read once.
    now: Timestamp,
    series: BTreeMap<AlertId, Series>,
    /// Series that have no row yet.
    fresh: Vec<Uuid>,
    /// What was told last of the series that are asked about their silence.
    known: Arc<HashMap<AlertId, Arc<About>>>,
    changed: BTreeMap<AlertId, Changed>,
    journal: Journal,
    /// Cause and trace of each event of `journal`.
    causes: Vec<(EventId, Trace)>,
    receipts: Vec<Arc<Receipt>>,
    rejects: Vec<Arc<NewReject>>,
    tally: Tally,
}

/// What became of a batch, for the metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Notifications by what they did.
    pub outcomes: BTreeMap<Outcome, u64>,
}

impl Tally {
    /// Adds another batch's.
    pub fn add(&mut self, other: &Self) {
        for (outcome, count) in &other.outcomes {
            *self.outcomes.entry(*outcome).or_default() += count;
        }
    }
}

impl Service for Ingest {
    const NAME: &'static str = "ingest";
    const LISTENS: &'static [(&'static str, &'static [&'static str])] = &[];
    const SAYS: &'static [(&'static str, &'static [&'static str])] =
        &[(Topic::Alert.name(), AlertEvent::TYPES)];

    type Input = Input;
    type Batch = Batch;
    type Reply = Tally;

    fn decode(&self, record: &Record<'_>) -> Result<Input, Poison> {
        Err(Poison {
            stage: "type",
            reason: format!("ingest hears nothing, not even {}", record.topic),
        })
    }

    async fn load(
        &self,
        conn: &mut PgConnection,
        works: &mut Vec<Work<Input>>,
    ) -> Result<Batch, Error> {
        let (mut told, mut silent) = (BTreeSet::new(), Vec::new());
        for work in works.iter() {
            match &work.input {
                Input::Notice { notice, .. } => {
                    told.insert(notice.alert_id);
                }
                Input::Silence(alert_id) => silent.push(alert_id.uuid()),
                Input::Said(event) => {
                    told.insert(series_of(event));
                }
                Input::Receipt(_) | Input::Reject(_) => {}
            }
        }
        let mut ids: Vec<Uuid> = told.iter().map(|id| id.uuid()).collect();
        ids.extend(&silent);
        let (mut locked, mut known) = (Vec::new(), Vec::new());
        if !ids.is_empty() {
            locked = store::lock(conn, &ids).await?;
        }
        if !silent.is_empty() {
            known = store::abouts(conn, &silent).await?;
        }
        let known = known.into_iter().map(|(id, about)| (id, Arc::new(about)));
        let now = store::now(conn).await?;
        let locked = locked.into_iter().map(|one| (one.alert_id, one));
        let mut series: BTreeMap<AlertId, Series> = locked.collect();
        told.retain(|id| !series.contains_key(id));
        series.extend(told.iter().map(|&id| (id, Series::new(id, now))));
        Ok(Batch {
            now,
            series,
            fresh: told.into_iter().map(AlertId::uuid).collect(),
            known: Arc::new(known.collect()),
            changed: BTreeMap::new(),
            journal: Journal::default(),
            causes: Vec::new(),
            receipts: Vec::new(),
            rejects: Vec::new(),
            tally: Tally::default(),
        })
    }

    fn fold(&self, batch: &mut Batch, work: &Work<Input>) -> Result<(), Poison> {
        match &work.input {
            Input::Receipt(receipt) => batch.receipts.push(Arc::clone(receipt)),
            Input::Reject(reject) => batch.rejects.push(Arc::clone(reject)),
            Input::Notice { notice, receipt_id } => {
                let series = batch.locked(notice.alert_id)?;
                let notification = Notification {
                    at: batch.now,
                    news: notice.news,
                    about: &notice.about,
                    receipt_id: Some(*receipt_id),
                };
                let decision = decide(&self.policy, &series, &notification);
                let cause = EventId(*receipt_id);
                batch.take(
                    decision,
                    &notice.about,
                    Some(*receipt_id),
                    cause,
                    &work.trace,
                );
            }
            Input::Silence(alert_id) => {
                let series = batch.locked(*alert_id)?;
                let about = batch.known.get(alert_id).ok_or_else(not_loaded)?.clone();
                let decision = decide_silence(&self.policy, &series, &about, batch.now);
                batch.take(decision, &about, None, work.id, &work.trace);
            }
            Input::Said(event) => {
                let series = batch.locked(series_of(event))?;
                let decision = Decision {
                    series: recall(&series, event),
                    events: Vec::new(),
                    outcome: Outcome::Heard,
                };
                let about = Arc::new(About::said(event));
                batch.take(decision, &about, None, work.id, &work.trace);
            }
        }
        Ok(())
    }

    async fn save(&self, conn: &mut PgConnection, batch: Batch) -> Result<Saved<Tally>, Error> {
        let changed: Vec<Changed> = batch.changed.into_values().collect();
        store::save(conn, &changed, &batch.fresh).await?;
        store::insert_receipts(conn, &batch.receipts, batch.now).await?;
        store::insert_rejects(conn, &batch.rejects, batch.now).await?;
        let events = batch.journal.events().iter().zip(&batch.causes);
        let outgoing = events.map(|(event, (cause, trace))| Outgoing::event(event, *cause, trace));
        Ok(Saved {
            outgoing: outgoing.collect::<Result<_, _>>()?,
            reply: batch.tally,
        })
    }

    /// Nothing else knows of an episode that began or ended after the dump: its number, and with it
    /// the ids of the next, follow from here.
    fn recall(&self, record: &Record<'_>) -> Result<Option<(EventId, Input)>, Poison> {
        let event: AlertEvent = record.event()?;
        Ok(Some((record.envelope.id, Input::Said(Arc::new(event)))))
    }
}

impl Batch {
    fn locked(&self, alert_id: AlertId) -> Result<Series, Poison> {
        self.series.get(&alert_id).copied().ok_or_else(not_loaded)
    }

    fn take(
        &mut self,
        decision: Decision,
        about: &Arc<About>,
        receipt_id: Option<Uuid>,
        cause: EventId,
        trace: &Trace,
    ) {
        *self.tally.outcomes.entry(decision.outcome).or_default() += 1;
        let alert_id = decision.series.alert_id;
        let before = self.series.insert(alert_id, decision.series);
        if before != Some(decision.series) {
            let changed = Changed {
                series: decision.series,
                about: Arc::clone(about),
                receipt_id,
            };
            self.changed.insert(alert_id, changed);
        }
        self.journal.record(decision.events);
        let said = self.journal.events().len();
        self.causes.resize_with(said, || (cause, trace.clone()));
    }
}

/// A row of `alerts` is never deleted: only somebody else's hand can make this happen.
fn not_loaded() -> Poison {
    Poison {
        stage: "fold",
        reason: "its series is not in the database".to_owned(),
    }
}
