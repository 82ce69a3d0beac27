//! The right to touch a target, for a while. Docker cannot check it, so safety does not rest on it:
//! names make creates converge. It keeps two instances from doing everything twice.

use std::time::Duration;

use service_kit::{Error, clock::Stopwatch, in_time};
use sqlx::{PgPool, postgres::types::PgInterval};
use uuid::Uuid;

/// How long a lease holds after its last renewal.
const HOLDS: Duration = Duration::from_secs(12);
/// It is renewed when it is older.
const FRESH: Duration = Duration::from_secs(4);
/// No step begins with less than this left.
const MARGIN: Duration = Duration::from_secs(3);

/// Who takes leases.
#[derive(Clone, Copy, Debug)]
pub struct Holder {
    /// The process; it shows that it lives, see [`super::show`].
    pub instance: Uuid,
    /// One keeper of it.
    pub keeper: Uuid,
}

/// A lease that was taken. The database's clock decides between instances; this process trusts it
/// only until a deadline of its own, counted from *before* the renewal was sent.
#[derive(Debug)]
pub struct Lease {
    pool: PgPool,
    target: String,
    owner: Uuid,
    renewed: Stopwatch,
    holds: Duration,
}

impl Lease {
    /// Takes the lease of a target unless somebody else who lives holds it. Waits for a transaction that is
    /// changing the target.
    pub async fn take(pool: &PgPool, target: &str, holder: Holder) -> Result<Option<Self>, Error> {
        let renewed = Stopwatch::start();
        let taken = sqlx::query_scalar!(
            r#"
            INSERT INTO targets (name, lease_owner, lease_until, lease_instance)
            VALUES ($1, $2, clock_timestamp() + $3::interval, $4)
            ON CONFLICT (name) DO UPDATE
            SET lease_owner = excluded.lease_owner, lease_until = excluded.lease_until,
                lease_instance = excluded.lease_instance
            WHERE targets.lease_owner IS NULL OR targets.lease_owner = excluded.lease_owner
               OR targets.lease_until < clock_timestamp()
               -- the lock is free when its holder's session is gone; ours ends with this statement
               OR pg_try_advisory_xact_lock(hashtextextended(targets.lease_instance::text, 0))
            RETURNING true AS "taken!"
            "#,
            target,
            holder.keeper,
            interval(HOLDS),
            holder.instance,
        )
        .fetch_optional(pool);
        let taken = in_time("taking a lease", async {
            taken.await.map_err(Error::database("taking a lease"))
        })
        .await?;
        Ok(taken.map(|_| Self {
            pool: pool.clone(),
            target: target.to_owned(),
            owner: holder.keeper,
            renewed,
            holds: HOLDS,
        }))
    }

    /// Makes sure that it holds for `needed` and a margin from now; false: it is lost.
    pub async fn hold(&mut self, needed: Duration) -> Result<bool, Error> {
        let left = self.renewed.left_of(self.holds);
        if self.renewed.elapsed() < FRESH && left > needed + MARGIN {
            return Ok(true);
        }
        let (renewed, holds) = (Stopwatch::start(), HOLDS + needed);
        let renewal = sqlx::query!(
            "UPDATE targets SET lease_until = clock_timestamp() + $3::interval
             WHERE name = $1 AND lease_owner = $2",
            self.target,
            self.owner,
            interval(holds),
        )
        .execute(&self.pool);
        let renewal = in_time("renewing a lease", async {
            renewal.await.map_err(Error::database("renewing a lease"))
        })
        .await?;
        if renewal.rows_affected() == 0 {
            return Ok(false);
        }
        (self.renewed, self.holds) = (renewed, holds);
        Ok(self.renewed.left_of(self.holds) > needed + MARGIN)
    }

    /// Gives it back, so that another instance need not wait.
    pub async fn release(self) -> Result<(), Error> {
        let release = sqlx::query!(
            "UPDATE targets SET lease_owner = NULL, lease_until = NULL
             WHERE name = $1 AND lease_owner = $2",
            self.target,
            self.owner
        )
        .execute(&self.pool);
        in_time("releasing a lease", async {
            release
                .await
                .map(drop)
                .map_err(Error::database("releasing a lease"))
        })
        .await
    }
}

fn interval(duration: Duration) -> PgInterval {
    PgInterval {
        months: 0,
        days: 0,
        microseconds: i64::try_from(duration.as_micros()).unwrap_or(i64::MAX),
    }
}
