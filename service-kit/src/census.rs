//! Counting what a table holds, as often as that may cost.

use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::{Connection, PgConnection, PgPool, postgres::PgConnectOptions};
use tokio_util::sync::CancellationToken;

use crate::{
    Error,
    clock::Stopwatch,
    database::{LOOK, at_leisure},
    error::chain,
    pace::wait,
};

/// Rest after a look, in lengths of that look: of all time a twentieth is spent looking at most.
const RESTS: u32 = 19;

/// Looks that take the longer the more there is, such as `count(*)`: on a connection of its own, whose
/// statements may take a minute, and seldom enough to cost next to nothing however much there is.
#[derive(Debug)]
pub struct Census {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
    period: Duration,
    rest: Duration,
    stop: CancellationToken,
}

impl Census {
    /// A look at once, and then every `period` or less often, until `stop`.
    #[must_use]
    pub fn new(pool: &PgPool, period: Duration, stop: CancellationToken) -> Self {
        Self {
            options: (*pool.connect_options()).clone().options(LOOK),
            connection: None,
            period,
            rest: Duration::ZERO,
            stop,
        }
    }

    /// Waits for the next look; false when the service stops.
    pub async fn due(&mut self) -> bool {
        wait(self.rest, &self.stop).await.is_ok()
    }

    /// What `count` gave; nothing when it failed, which is logged, or when the service stops.
    pub async fn look<T>(
        &mut self,
        doing: &'static str,
        count: impl for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Error>>,
    ) -> Option<T> {
        let began = Stopwatch::start();
        let stop = self.stop.clone();
        let looking = at_leisure(doing, Box::pin(self.counted(count)));
        let outcome = stop.run_until_cancelled(looking).await?;
        self.rest = rest(self.period, began.elapsed());
        match outcome {
            Ok((counted, connection)) => {
                self.connection = Some(connection);
                Some(counted)
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), doing, "not counted");
                None
            }
        }
    }

    /// Takes the connection: one that failed, or did not answer, is not used again.
    async fn counted<T>(
        &mut self,
        count: impl for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Error>>,
    ) -> Result<(T, PgConnection), Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => PgConnection::connect_with(&self.options)
                .await
                .map_err(Error::database("connecting"))?,
        };
        let counted = count(&mut connection).await?;
        Ok((counted, connection))
    }
}

fn rest(period: Duration, took: Duration) -> Duration {
    period.max(took * RESTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_fast_is_counted_in_its_rhythm_and_what_is_not_a_twentieth_of_the_time() {
        let period = Duration::from_secs(5);
        assert_eq!(rest(period, Duration::from_millis(2)), period);
        let took = Duration::from_millis(1500);
        assert_eq!(rest(period, took) + took, took * 20);
    }
}
