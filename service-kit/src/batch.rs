//! The one transaction: claim and advance, load, fold, save, emit, commit.

use std::{
    collections::{HashMap, HashSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use shared_events::EventId;
use sqlx::{PgConnection, PgPool};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{
    Class, Error, Poison, failpoint,
    inbox::{self, Claim, Progress},
    outbox::{self, Source},
    service::{Origin, Outgoing, Service, Work},
    tx::in_tx,
};

/// What handling needs: a service, its database, and the bell of its relay.
#[derive(Debug)]
pub struct Handler<S> {
    pub service: Arc<S>,
    pub pool: PgPool,
    pub source: Source,
    /// Rung after each commit that wrote to the outbox.
    pub wake: Arc<Notify>,
}

impl<S> Clone for Handler<S> {
    fn clone(&self) -> Self {
        Self {
            service: Arc::clone(&self.service),
            pool: self.pool.clone(),
            source: self.source.clone(),
            wake: Arc::clone(&self.wake),
        }
    }
}

/// An event that is dead before it reaches the fold, with the letter to write for it.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    pub claim: Claim,
    pub letter: Outgoing,
}

/// Inputs of one transaction.
#[derive(Debug)]
pub struct Intake<I> {
    /// In the order in which they are folded.
    pub works: Vec<Work<I>>,
    /// Dead on arrival.
    pub dead: Vec<DeadLetter>,
    /// Ids among `works` that a person asked for again.
    pub redriven: HashSet<Uuid>,
    /// Stored in the same transaction: of each partition that `works` and `dead` were read from, once.
    pub progress: Vec<Progress>,
}

impl<I> Intake<I> {
    /// Inputs that are not read from a topic now.
    pub fn local(works: Vec<Work<I>>) -> Self {
        Self {
            works,
            dead: Vec::new(),
            redriven: HashSet::new(),
            progress: Vec::new(),
        }
    }
}

/// Makes the dead letter of a work that the fold refused; holds the raw record.
pub type Undertaker<'a> = dyn Fn(EventId, &Poison) -> Option<Outgoing> + Send + Sync + 'a;

/// What became of an intake.
#[derive(Debug, Default)]
pub struct Handled<R> {
    pub reply: R,
    /// Works that were folded.
    pub folded: usize,
    /// Works that the inbox knew, or that met twice in the batch.
    pub duplicates: usize,
    /// Works that the fold refused, and why. Those from a topic are dead letters now.
    pub rejected: Vec<(EventId, Poison)>,
    /// Dead letters written.
    pub buried: usize,
    /// Events written to the outbox, dead letters included.
    pub emitted: usize,
}

/// Handles an intake in one transaction and rings the relay's bell.
///
/// When the database refuses the data of the batch (SQLSTATE classes 22 and 23), the works from
/// topics are handled one by one, and the one that is refused alone becomes a dead letter. A local
/// intake is returned with the error: its caller knows what to tell.
///
/// # Errors
/// Class `Retry`: nothing happened, or the outcome of the commit is unknown; do it again.
pub async fn handle<S: Service>(
    handler: &Handler<S>,
    intake: impl Into<Arc<Intake<S::Input>>>,
    undertaker: Arc<Undertaker<'static>>,
) -> Result<Handled<S::Reply>, Error> {
    let intake = intake.into();
    match attempt(handler, &intake, &undertaker).await {
        Err(error) if error.class() == Class::Park && !intake.progress.is_empty() => {
            tracing::warn!(error = %crate::error::chain(&error), works = intake.works.len(),
                "the database refuses this batch: handling its works one by one");
            one_by_one(handler, &intake, &undertaker).await
        }
        outcome => outcome,
    }
}

async fn attempt<S: Service>(
    handler: &Handler<S>,
    intake: &Arc<Intake<S::Input>>,
    undertaker: &Arc<Undertaker<'static>>,
) -> Result<Handled<S::Reply>, Error> {
    let (inner, intake, undertaker) = (handler.clone(), Arc::clone(intake), Arc::clone(undertaker));
    let handled = in_tx(&handler.pool, move |conn| {
        let (inner, intake, undertaker) =
            (inner.clone(), Arc::clone(&intake), Arc::clone(&undertaker));
        Box::pin(async move { transact(&inner, &intake, &*undertaker, conn).await })
    })
    .await?;
    failpoint::pass("batch.committed");
    if handled.emitted > 0 {
        handler.wake.notify_one();
    }
    Ok(handled)
}

async fn one_by_one<S: Service>(
    handler: &Handler<S>,
    intake: &Intake<S::Input>,
    undertaker: &Arc<Undertaker<'static>>,
) -> Result<Handled<S::Reply>, Error> {
    let mut sum = Handled::default();
    for work in &intake.works {
        let mut single = Intake::local(vec![work.clone()]);
        single.redriven.clone_from(&intake.redriven);
        let handled = match attempt(handler, &Arc::new(single), undertaker).await {
            Err(error) if error.class() == Class::Park => {
                let poison = Poison::new("database", &error);
                let dead = bury_alone(work, &poison, undertaker);
                let mut single = Intake::local(Vec::new());
                single.dead.extend(dead);
                let mut handled = attempt(handler, &Arc::new(single), undertaker).await?;
                handled.rejected.push((work.id, poison));
                handled
            }
            outcome => outcome?,
        };
        sum.add(handled);
    }
    let rest = Intake {
        works: Vec::new(),
        dead: intake.dead.clone(),
        redriven: HashSet::new(),
        progress: intake.progress.clone(),
    };
    sum.add(attempt(handler, &Arc::new(rest), undertaker).await?);
    Ok(sum)
}

fn bury_alone<I>(
    work: &Work<I>,
    poison: &Poison,
    undertaker: &Arc<Undertaker<'static>>,
) -> Option<DeadLetter> {
    Some(DeadLetter {
        claim: Claim {
            id: work.id,
            position: work.delivery()?.position.clone(),
            redriven: false,
            dead: Some(poison.to_string()),
        },
        letter: undertaker(work.id, poison)?,
    })
}

impl<R> Handled<R> {
    fn add(&mut self, other: Self) {
        self.reply = other.reply;
        self.folded += other.folded;
        self.duplicates += other.duplicates;
        self.rejected.extend(other.rejected);
        self.buried += other.buried;
        self.emitted += other.emitted;
    }
}

async fn transact<S: Service>(
    handler: &Handler<S>,
    intake: &Intake<S::Input>,
    undertaker: &Undertaker<'_>,
    conn: &mut PgConnection,
) -> Result<Handled<S::Reply>, Error> {
    let claimed = inbox::claim(conn, &claims(intake), &intake.progress).await?;
    failpoint::pass("batch.claimed");
    let mut works = fresh(intake, &claimed);
    let mut handled = Handled {
        duplicates: intake.works.len() - works.len(),
        ..Handled::default()
    };
    let mut outgoing = Vec::new();
    if !works.is_empty() {
        let loaded = handler.service.load(conn, &mut works).await?;
        let (folded, rejected) = fold_all(&*handler.service, &loaded, &works);
        handled.folded = works.len() - rejected.len();
        handled.rejected = rejected;
        let saved = handler.service.save(conn, folded).await?;
        failpoint::pass("batch.saved");
        outgoing = saved.outgoing;
        handled.reply = saved.reply;
        bury_rejected(conn, &works, &mut handled, &mut outgoing, undertaker).await?;
    }
    for dead in &intake.dead {
        if claimed.contains(&dead.claim.id.uuid()) {
            outgoing.push(dead.letter.clone());
            handled.buried += 1;
        }
    }
    handled.emitted = outgoing.len();
    outbox::emit(conn, &handler.source, outgoing).await?;
    failpoint::pass("batch.written");
    Ok(handled)
}

fn claims<I>(intake: &Intake<I>) -> Vec<Claim> {
    let mut seen = HashSet::new();
    let works = intake.works.iter().filter_map(|work| {
        Some(Claim {
            id: work.id,
            position: work.position()?.clone(),
            redriven: intake.redriven.contains(&work.id.uuid()),
            dead: None,
        })
    });
    let dead = intake.dead.iter().map(|dead| dead.claim.clone());
    works
        .chain(dead)
        .filter(|claim| seen.insert(claim.id))
        .collect()
}

/// Works to fold: claimed now, each once, in order; local ones always.
fn fresh<I: Clone>(intake: &Intake<I>, claimed: &HashSet<Uuid>) -> Vec<Work<I>> {
    let mut seen = HashSet::new();
    intake
        .works
        .iter()
        .filter(|work| match work.origin {
            Origin::Kafka(_) | Origin::Redriven(_) | Origin::Recalled(_) => {
                claimed.contains(&work.id.uuid()) && seen.insert(work.id)
            }
            Origin::Local => true,
        })
        .map(|work| marked(work, intake.redriven.contains(&work.id.uuid())))
        .collect()
}

/// A copy that says whether it is redriven.
fn marked<I: Clone>(work: &Work<I>, redriven: bool) -> Work<I> {
    let mut work = work.clone();
    if let (Origin::Kafka(delivery), true) = (&work.origin, redriven) {
        work.origin = Origin::Redriven(Arc::clone(delivery));
    }
    work
}

/// Folds every work that can be folded; a refused one is taken out and the rest folded again from
/// the loaded states, so that nothing half-done of it remains.
fn fold_all<S: Service>(
    service: &S,
    loaded: &S::Batch,
    works: &[Work<S::Input>],
) -> (S::Batch, Vec<(EventId, Poison)>) {
    let mut rejected: HashMap<EventId, Poison> = HashMap::new();
    'again: loop {
        let mut batch = loaded.clone();
        for work in works {
            if rejected.contains_key(&work.id) {
                continue;
            }
            if let Err(poison) = fold_one(service, &mut batch, work) {
                rejected.insert(work.id, poison);
                continue 'again;
            }
        }
        return (batch, rejected.into_iter().collect());
    }
}

fn fold_one<S: Service>(
    service: &S,
    batch: &mut S::Batch,
    work: &Work<S::Input>,
) -> Result<(), Poison> {
    // A panic leaves `batch` half-changed; fold_all throws it away.
    catch_unwind(AssertUnwindSafe(|| service.fold(batch, work))).unwrap_or_else(|panic| {
        let words = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Poison {
            stage: "fold",
            reason: format!("panicked: {}", words.unwrap_or("without words")),
        })
    })
}

async fn bury_rejected<I, R>(
    conn: &mut PgConnection,
    works: &[Work<I>],
    handled: &mut Handled<R>,
    outgoing: &mut Vec<Outgoing>,
    undertaker: &Undertaker<'_>,
) -> Result<(), Error> {
    let from_topic: HashSet<EventId> = works
        .iter()
        .filter(|work| work.delivery().is_some())
        .map(|work| work.id)
        .collect();
    let (mut ids, mut errors) = (Vec::new(), Vec::new());
    for (id, poison) in &handled.rejected {
        if !from_topic.contains(id) {
            continue;
        }
        ids.push(id.uuid());
        errors.push(poison.to_string());
        outgoing.extend(undertaker(*id, poison));
    }
    handled.buried += ids.len();
    inbox::bury(conn, &ids, &errors).await
}
