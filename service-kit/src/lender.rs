//! Connections that are lent again at once.
//!
//! sqlx asks every connection that comes back to a pool whether it lives: a trip to the server after
//! each transaction, which for one alert is as much as it writes. A connection whose work succeeded
//! has just shown that it lives.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sqlx::{PgConnection, PgPool, Postgres, pool::PoolConnection};

use crate::Error;

/// A connection that rested longer is tried before it is lent.
pub(crate) const RESTED: Duration = Duration::from_secs(1);
/// How long a connection is kept from its pool, which gives each an end.
const KEPT: Duration = Duration::from_secs(60);

/// Lends the connections of a pool and keeps those whose work succeeded at hand.
#[derive(Clone, Debug)]
pub struct Lender {
    pool: PgPool,
    at_hand: Arc<Mutex<Vec<Kept>>>,
}

#[derive(Debug)]
struct Kept {
    connection: PoolConnection<Postgres>,
    /// When the pool gave it.
    since: Instant,
    /// When it came back.
    back: Instant,
}

impl From<PgPool> for Lender {
    fn from(pool: PgPool) -> Self {
        Self {
            pool,
            at_hand: Arc::default(),
        }
    }
}

impl From<&PgPool> for Lender {
    fn from(pool: &PgPool) -> Self {
        pool.clone().into()
    }
}

impl From<&Self> for Lender {
    fn from(lender: &Self) -> Self {
        lender.clone()
    }
}

impl Lender {
    /// The pool whose connections these are.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// # Errors
    /// No connection came free in time, or none could be made.
    pub async fn lend(&self) -> Result<Lent, Error> {
        let kept = self.at_hand().pop();
        let (connection, since) = match kept {
            Some(kept) if kept.back.elapsed() < RESTED && kept.since.elapsed() < KEPT => {
                (kept.connection, kept.since)
            }
            kept => {
                // the pool tries them before it lends them again
                drop(kept);
                let connection = self.pool.acquire().await;
                let connection = connection.map_err(Error::database("waiting for a connection"))?;
                (connection, Instant::now())
            }
        };
        Ok(Lent {
            connection: Some(connection),
            since,
            lender: self.clone(),
        })
    }

    /// Connections that rest here.
    pub(crate) fn resting(&self) -> usize {
        self.at_hand().len()
    }

    /// Ends the pool, and with it all connections once they are back.
    pub async fn close(&self) {
        let closing = self.pool.close();
        self.at_hand().clear();
        closing.await;
    }

    fn at_hand(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.at_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is closed when it is dropped: a statement may have been given up for want of an
/// answer, and the pool would wait for that answer, too.
#[derive(Debug)]
pub struct Lent {
    connection: Option<PoolConnection<Postgres>>,
    since: Instant,
    lender: Lender,
}

impl Lent {
    pub fn connection(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("lent until its end")
    }

    /// Its work succeeded: it may be lent again as it is.
    pub fn keep(mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        let mut at_hand = self.lender.at_hand();
        let pool = &self.lender.pool;
        // one is left to those who ask the pool itself
        let room = at_hand.len() + 1 < pool.options().get_max_connections() as usize;
        // looked at under the lock: what comes after `close` has emptied the rest must not stay
        if room && !pool.is_closed() {
            at_hand.push(Kept {
                connection,
                since: self.since,
                back: Instant::now(),
            });
        }
    }

    /// Its work failed, with an answer: it and those that rest go back to the pool, which tries them.
    /// What ended this one, such as a restart of the server, may have ended them all.
    pub fn hand_in(mut self) {
        drop(self.connection.take());
        self.lender.at_hand().clear();
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
            self.lender.at_hand().clear();
        }
    }
}
