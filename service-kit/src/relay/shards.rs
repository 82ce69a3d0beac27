//! Which shards this instance sends, agreed through advisory locks on one connection; and the bell
//! between instances.
//!
//! Two relays on one shard would be harmless (duplicates only): the locks save work.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, Interval, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{Error, error::chain, outbox::SHARDS, pace::Backoff};

/// First key of the locks of shards; the second is the shard.
const SHARD_LOCKS: i32 = 0x4550_0001;
/// First key of the lock that every live instance holds, shared.
const MEMBER_LOCKS: i32 = 0x4550_0002;
/// Rung by an instance that has written for shards of others.
const CHANNEL: &str = "outbox";
/// How often an instance looks who else lives.
const CALM: Duration = Duration::from_millis(500);
/// How often while shards change hands.
const BUSY: Duration = Duration::from_millis(50);
/// How long closing the connection may take.
const CLOSE: Duration = Duration::from_millis(300);
/// A connection that does not answer for this long is lost, and its locks with it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The same on the server's side, in its words: many times what passes between two looks.
const IDLE: &str = "10s";

/// One instance's part in sharing out the shards.
#[derive(Debug)]
pub(super) struct Shards {
    pub(super) options: PgConnectOptions,
    /// Shards to send now.
    pub(super) owned: watch::Sender<Vec<i16>>,
    /// Another instance has written for shards of this one.
    pub(super) heard: Notify,
    /// Asks to wake the others.
    pub(super) bell: Notify,
}

impl Shards {
    /// Takes part until `stop` is cancelled. Without its connection it owns nothing.
    pub(super) async fn run(&self, stop: &CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            let started = Instant::now();
            let outcome = self.connected(stop).await;
            self.owned.send_replace(Vec::new());
            match outcome {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "the relay has lost its shards");
                }
            }
            if started.elapsed() > PATIENCE {
                backoff.reset();
            }
            if backoff.wait(stop).await.is_err() {
                return;
            }
        }
    }

    async fn connected(&self, stop: &CancellationToken) -> Result<(), Error> {
        let options = self.options.clone().application_name("relay shards");
        // An instance that freezes or vanishes says nothing, and its locks would stay as long as the
        // server takes the session for alive: who does not look for so long has lost them.
        let options = options.options([("idle_session_timeout", IDLE)]);
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(PATIENCE)
            .connect_lazy_with(options);
        let outcome = match PgListener::connect_with(&pool).await {
            Ok(mut listener) => {
                listener.eager_reconnect(false);
                self.take_part(&mut listener, stop).await
            }
            Err(source) => Err(Error::database("connecting for the relay's shards")(source)),
        };
        // The locks end with the connection, which must not live on in a pool.
        drop(timeout(CLOSE, pool.close()).await);
        outcome
    }

    async fn take_part(
        &self,
        listener: &mut PgListener,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let pid = in_time(join(listener)).await?;
        let mut mine = Vec::new();
        let mut ticks = interval(CALM);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = ticks.tick() => {
                    let settled = in_time(self.share_out(listener, pid, &mut mine)).await?;
                    hurry(&mut ticks, settled);
                }
                () = self.bell.notified() => in_time(ring(listener)).await?,
                heard = listener.try_recv() => match heard {
                    // our own ringing is heard here too
                    Ok(Some(rung)) if i64::from(rung.process_id()) == i64::from(pid) => {}
                    Ok(Some(_)) => self.heard.notify_one(),
                    Ok(None) => return Err(lost()),
                    Err(source) => return Err(Error::database("listening for the bell")(source)),
                },
            }
        }
    }

    /// One step towards the even share; whether it is reached.
    async fn share_out(
        &self,
        listener: &mut PgListener,
        pid: i32,
        mine: &mut Vec<i16>,
    ) -> Result<bool, Error> {
        let due = share(&members(listener).await?, pid);
        let sending = self.owned.borrow().clone();
        let Step { stop, give, take } = Step::towards(&due, &sending, mine);
        if !stop.is_empty() {
            self.owned
                .send_modify(|owned| owned.retain(|shard| !stop.contains(shard)));
            return Ok(false);
        }
        if !give.is_empty() {
            unlock(listener, &give).await?;
            mine.retain(|shard| !give.contains(shard));
        }
        if !take.is_empty() {
            mine.extend(try_lock(listener, &take).await?);
            mine.sort_unstable();
        }
        // Also when nothing was taken: what was about to be let go may be due again.
        self.owned.send_if_modified(|owned| {
            let changed = owned != mine;
            owned.clone_from(mine);
            changed
        });
        Ok(mine.len() == due.len())
    }
}

/// What to do on the way to the due shards. First stop sending, then, a step later, let go: what is
/// in the air lands meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Step {
    /// Nothing else is done while there are some.
    stop: Vec<i16>,
    give: Vec<i16>,
    take: Vec<i16>,
}

impl Step {
    fn towards(due: &[i16], sending: &[i16], mine: &[i16]) -> Self {
        let without = |these: &[i16], those: &[i16]| -> Vec<i16> {
            let others = these.iter().filter(|shard| !those.contains(shard));
            others.copied().collect()
        };
        Self {
            stop: without(sending, due),
            give: without(mine, due),
            take: without(due, mine),
        }
    }
}

fn hurry(ticks: &mut Interval, settled: bool) {
    if !settled {
        ticks.reset_after(BUSY);
    }
}

/// Every `members.len()`th shard, beginning at this member's rank.
fn share(members: &[i32], pid: i32) -> Vec<i16> {
    let Some(rank) = members.iter().position(|member| *member == pid) else {
        return Vec::new();
    };
    (0..SHARDS).skip(rank).step_by(members.len()).collect()
}

fn lost() -> Error {
    Error::Database {
        doing: "holding the relay's shards".into(),
        source: sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into()),
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(PATIENCE, work).await.map_err(|_| lost())?
}

/// Becomes a member; returns this connection's process id on the server.
async fn join(listener: &mut PgListener) -> Result<i32, Error> {
    let doing = || Error::database("joining the relays");
    listener.listen(CHANNEL).await.map_err(doing())?;
    sqlx::query!("SELECT pg_advisory_lock_shared($1, 0)", MEMBER_LOCKS)
        .execute(&mut *listener)
        .await
        .map_err(doing())?;
    sqlx::query_scalar!(r#"SELECT pg_backend_pid() AS "pid!""#)
        .fetch_one(&mut *listener)
        .await
        .map_err(doing())
}

async fn members(listener: &mut PgListener) -> Result<Vec<i32>, Error> {
    sqlx::query_scalar!(
        r#"SELECT pid AS "pid!" FROM pg_locks
           WHERE locktype = 'advisory' AND granted AND classid::bigint = $1 AND objsubid = 2
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
             AND pid IS NOT NULL
           ORDER BY pid"#,
        i64::from(MEMBER_LOCKS)
    )
    .fetch_all(listener)
    .await
    .map_err(Error::database("counting the relays"))
}

async fn try_lock(listener: &mut PgListener, shards: &[i16]) -> Result<Vec<i16>, Error> {
    sqlx::query_scalar!(
        r#"SELECT shard AS "shard!" FROM UNNEST($2::smallint[]) AS wanted (shard)
           WHERE pg_try_advisory_lock($1, shard::int)"#,
        SHARD_LOCKS,
        shards
    )
    .fetch_all(listener)
    .await
    .map_err(Error::database("taking shards"))
}

async fn unlock(listener: &mut PgListener, shards: &[i16]) -> Result<(), Error> {
    sqlx::query!(
        "SELECT pg_advisory_unlock($1, shard::int) FROM UNNEST($2::smallint[]) AS given (shard)",
        SHARD_LOCKS,
        shards
    )
    .fetch_all(listener)
    .await
    .map(drop)
    .map_err(Error::database("letting go of shards"))
}

/// A statement of its own: NOTIFY takes a lock of the whole database at commit, which the
/// transactions that write events must not wait for.
async fn ring(listener: &mut PgListener) -> Result<(), Error> {
    sqlx::query!("SELECT pg_notify($1, '')", CHANNEL)
        .execute(listener)
        .await
        .map(drop)
        .map_err(Error::database("waking other relays"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_shared_evenly_and_completely() {
        for count in 1..=20_i32 {
            let members: Vec<i32> = (0..count).map(|n| 100 + n * 7).collect();
            let shares: Vec<Vec<i16>> = members.iter().map(|pid| share(&members, *pid)).collect();
            let mut all = shares.concat();
            all.sort_unstable();
            assert_eq!(all, (0..SHARDS).collect::<Vec<_>>());
            let sizes: Vec<usize> = shares.iter().map(Vec::len).collect();
            let (least, most) = (sizes.iter().min(), sizes.iter().max());
            assert!(most.expect("some") - least.expect("some") <= 1);
        }
        assert!(share(&[1, 2], 3).is_empty());
    }
}
