//! Bodies that wait at the same time share a transaction: its dear part is the commit, which waits for
//! the disk. Nobody waits for others to come: what is there is taken.
//!
//! Senders give up after some seconds and send the same again. So that more load than can be stored
//! does not become work for nobody, who has gone before his turn is passed over, and nobody is let in
//! behind one who has waited for long.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use service_kit::{Error, Kit, clock::Stopwatch};
use tokio::sync::{Notify, oneshot};

use crate::{
    intake::{self, Stored, Works},
    service::Ingest,
};

/// Transactions at once: while one waits for the disk the next is made ready.
const TURNS: usize = 2;
/// Works of a transaction, but for a single larger body.
const MOST: usize = 1000;
/// Nobody is let in behind one who has waited for so long: well below the 10 s after which an
/// Alertmanager gives up at the earliest.
const PATIENCE: Duration = Duration::from_secs(2);

/// Stores what several requests want stored.
#[derive(Clone, Debug)]
pub(crate) struct Queue(Arc<Door>);

/// The senders' side. When the last of them has gone, who serves is told.
#[derive(Debug)]
struct Door(Arc<Line>);

impl Drop for Door {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.bell.notify_one();
    }
}

/// Who waits, the first one first.
#[derive(Debug, Default)]
struct Line {
    waiting: Mutex<VecDeque<Waiting>>,
    bell: Notify,
    closed: AtomicBool,
}

/// One request's works, and who waits for them.
#[derive(Debug)]
struct Waiting {
    works: Works,
    answer: oneshot::Sender<Result<Stored, Arc<Error>>>,
    since: Stopwatch,
}

impl Queue {
    /// Begins to serve. It ends when the last clone is dropped and everything is answered.
    pub(crate) fn serve(kit: &Kit<Ingest>) -> Self {
        let line = Arc::new(Line::default());
        for _ in 0..TURNS {
            drop(tokio::spawn(turns(kit.clone(), Arc::clone(&line))));
        }
        Self(Arc::new(Door(line)))
    }

    /// As [`intake::store`], with what others want stored now.
    ///
    /// # Errors
    /// Class `Retry`, and the same for all that shared the transaction. Once their turn has come the
    /// works are stored even if the caller goes away.
    pub(crate) async fn store(&self, works: Works) -> Result<Stored, Arc<Error>> {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting {
            works,
            answer,
            since: Stopwatch::start(),
        };
        self.0.0.enter(waiting, PATIENCE).map_err(Arc::new)?;
        answered.await.map_err(|_| {
            Arc::new(Error::Panic {
                task: "storing bodies".into(),
            })
        })?
    }
}

impl Line {
    /// Lets in, unless the first has waited for longer than `patience`.
    fn enter(&self, newcomer: Waiting, patience: Duration) -> Result<(), Error> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while waiting.pop_front_if(|one| one.answer.is_closed()).is_some() {}
        let waited = waiting.front().map(|first| first.since.elapsed());
        if let Some(waited) = waited.filter(|waited| *waited > patience) {
            return Err(Error::Busy { waited });
        }
        waiting.push_back(newcomer);
        drop(waiting);
        self.bell.notify_one();
        Ok(())
    }

    /// Everybody who still waits, up to a limit.
    fn take(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut group, mut works) = (Vec::new(), 0);
        while works < MOST
            && let Some(next) = waiting.pop_front()
        {
            if !next.answer.is_closed() {
                works += next.works.len();
                group.push(next);
            }
        }
        if !waiting.is_empty() {
            self.bell.notify_one();
        }
        group
    }

    /// Waits for somebody; nobody when nobody can come any more.
    async fn next(&self) -> Vec<Waiting> {
        loop {
            let group = self.take();
            if !group.is_empty() {
                return group;
            }
            if self.closed.load(Ordering::Acquire) {
                // the next one who serves has to be told, too
                self.bell.notify_one();
                return group;
            }
            self.bell.notified().await;
        }
    }
}

async fn turns(kit: Kit<Ingest>, line: Arc<Line>) {
    loop {
        let group = line.next().await;
        if group.is_empty() {
            return;
        }
        serve(&kit, group).await;
    }
}

async fn serve(kit: &Kit<Ingest>, mut group: Vec<Waiting>) {
    let mut of = HashMap::new();
    let mut works = Vec::new();
    for (place, waiting) in group.iter_mut().enumerate() {
        let own = std::mem::take(&mut waiting.works);
        of.extend(own.iter().map(|work| (work.id, place)));
        works.extend(own);
    }
    match intake::store(kit, works).await {
        Ok(all) => {
            let mut answers: Vec<Stored> = group.iter().map(|_| Stored::default()).collect();
            for (id, poison) in all.refused {
                let place = of.get(&id).copied();
                if let Some(answer) = place.and_then(|place| answers.get_mut(place)) {
                    answer.refused.push((id, poison));
                }
            }
            // the tally is the transaction's: told once
            if let Some(first) = answers.first_mut() {
                first.tally = all.tally;
            }
            for (waiting, answer) in group.into_iter().zip(answers) {
                // who has gone away needs no answer
                drop(waiting.answer.send(Ok(answer)));
            }
        }
        Err(error) => {
            let error = Arc::new(error);
            for waiting in group {
                drop(waiting.answer.send(Err(Arc::clone(&error))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answered = oneshot::Receiver<Result<Stored, Arc<Error>>>;

    fn come(line: &Line, patience: Duration) -> Result<Answered, Error> {
        let (answer, answered) = oneshot::channel();
        let newcomer = Waiting {
            works: Vec::new(),
            answer,
            since: Stopwatch::start(),
        };
        line.enter(newcomer, patience).map(|()| answered)
    }

    #[test]
    fn who_has_gone_is_passed_over_and_keeps_nobody_out() {
        let line = Line::default();
        let gone = come(&line, Duration::ZERO).expect("the first is let in");
        assert!(matches!(
            come(&line, Duration::ZERO),
            Err(Error::Busy { .. })
        ));
        drop(gone);
        let _stays = come(&line, Duration::ZERO).expect("nobody waits any more");
        let goes = come(&line, Duration::MAX).expect("there is time");
        drop(goes);
        let _last = come(&line, Duration::MAX).expect("there is time");
        let group = line.take();
        assert_eq!(group.len(), 2, "one of three has gone");
        assert!(group.iter().all(|one| !one.answer.is_closed()));
    }
}
