//! Bodies that wait at the same time share a transaction: its dear part is the commit, which waits for
//! the disk. Nobody waits for others to come: what is there is taken.

use std::{collections::HashMap, sync::Arc};

use service_kit::{Error, Kit};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::{
    intake::{self, Stored, Works},
    service::Ingest,
};

/// Transactions at once: while one waits for the disk the next is made ready.
const TURNS: usize = 2;
/// Works of a transaction, but for a single larger body.
const MOST: usize = 1000;

/// Stores what several requests want stored.
#[derive(Clone, Debug)]
pub(crate) struct Queue(mpsc::UnboundedSender<Waiting>);

/// One request's works, and who waits for them.
#[derive(Debug)]
struct Waiting {
    works: Works,
    answer: oneshot::Sender<Result<Stored, Arc<Error>>>,
}

type Line = Arc<Mutex<mpsc::UnboundedReceiver<Waiting>>>;

impl Queue {
    /// Begins to serve. It ends when the last clone is dropped and everything is answered. How many
    /// can wait is bounded by the requests that the server lets in.
    pub(crate) fn serve(kit: &Kit<Ingest>) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let line = Arc::new(Mutex::new(receiver));
        for _ in 0..TURNS {
            drop(tokio::spawn(turns(kit.clone(), Arc::clone(&line))));
        }
        Self(sender)
    }

    /// As [`intake::store`], with what others want stored now.
    ///
    /// # Errors
    /// Class `Retry`, and the same for all that shared the transaction. The works are stored even if
    /// the caller goes away.
    pub(crate) async fn store(&self, works: Works) -> Result<Stored, Arc<Error>> {
        let (answer, answered) = oneshot::channel();
        let ended = || {
            Arc::new(Error::Panic {
                task: "storing bodies".into(),
            })
        };
        let waiting = Waiting { works, answer };
        self.0.send(waiting).map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

async fn turns(kit: Kit<Ingest>, line: Line) {
    loop {
        let group = next(&mut *line.lock().await).await;
        if group.is_empty() {
            return;
        }
        serve(&kit, group).await;
    }
}

/// Everything that waits, up to a limit; nothing when nobody can come any more.
async fn next(line: &mut mpsc::UnboundedReceiver<Waiting>) -> Vec<Waiting> {
    let mut group: Vec<Waiting> = line.recv().await.into_iter().collect();
    let mut works = group.iter().map(|one| one.works.len()).sum::<usize>();
    while works < MOST {
        let Ok(waiting) = line.try_recv() else {
            break;
        };
        works += waiting.works.len();
        group.push(waiting);
    }
    group
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
