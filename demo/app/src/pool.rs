//! The workers: few burn, some wait, the rest is turned away. Health never stands in this queue.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task};

use crate::burn::burn;

#[derive(Clone, Debug)]
pub(crate) struct Pool {
    room: Arc<Semaphore>,
    workers: Arc<Semaphore>,
    cpu: Duration,
}

/// More requests wait than the queue holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Pool {
    pub(crate) fn new(workers: NonZeroUsize, queue: usize, cpu: Duration) -> Self {
        Self {
            room: Arc::new(Semaphore::new(workers.get() + queue)),
            workers: Arc::new(Semaphore::new(workers.get())),
            cpu,
        }
    }

    /// Waits for a worker and burns one request's CPU time on it. Returns what was burnt.
    pub(crate) async fn work(&self) -> Result<Duration, Full> {
        let _place = self.room.try_acquire().map_err(|_| Full)?;
        // Owned by the blocking task: a client that goes away does not free a worker that still burns.
        let worker = Arc::clone(&self.workers)
            .acquire_owned()
            .await
            .expect("never closed");
        let cpu = self.cpu;
        let burnt = task::spawn_blocking(move || {
            let _worker = worker;
            burn(cpu)
        });
        Ok(burnt.await.expect("burning does not panic"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_full_queue_turns_away_and_recovers() {
        let pool = Pool::new(NonZeroUsize::MIN, 1, Duration::from_millis(20));
        let (a, b, c) = tokio::join!(pool.work(), pool.work(), pool.work());
        assert!(a.expect("a worker") >= Duration::from_millis(20));
        assert!(b.expect("a place in the queue") >= Duration::from_millis(20));
        assert_eq!(c, Err(Full));
        pool.work().await.expect("room again");
    }
}
