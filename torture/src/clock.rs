//! The clock of a service's database, which can be moved.
//!
//! Services decide by `clock_timestamp()` of their own database. Each database
//! of a run has a function of that name which is found before Postgres' own, so the clocks of the
//! four move apart as those of four servers do, and may step back.

use std::time::Duration;

use anyhow::Result;
use sqlx::{AssertSqlSafe, PgPool};

/// Run in each database before anything is created in it: defaults of columns go by this clock, too.
pub const MAKE: &[&str] = &[
    "CREATE SCHEMA clock",
    "CREATE FUNCTION clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE
     AS $$ SELECT pg_catalog.clock_timestamp() $$",
    // "public" first: tables are made in it
    "DO $$ BEGIN
         EXECUTE format('ALTER DATABASE %I SET search_path = public, clock, pg_catalog', current_database());
     END $$",
];

/// A database's clock.
#[derive(Debug)]
pub struct Clock(PgPool);

/// A step of a clock, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Ahead(Duration),
    Behind(Duration),
    Right,
}

impl Clock {
    #[must_use]
    pub fn of(pool: &PgPool) -> Self {
        Self(pool.clone())
    }

    /// Sets it so much ahead of the machine's, or behind.
    pub async fn set(&self, step: Step) -> Result<()> {
        let by = match step {
            Step::Ahead(by) => format!("+ interval '{} s'", by.as_secs()),
            Step::Behind(by) => format!("- interval '{} s'", by.as_secs()),
            Step::Right => String::new(),
        };
        // the planner writes a function as short as this into the statement: it costs nothing
        let function = format!(
            "CREATE OR REPLACE FUNCTION clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
             PARALLEL SAFE AS $$ SELECT pg_catalog.clock_timestamp() {by} $$"
        );
        sqlx::query(AssertSqlSafe(function))
            .execute(&self.0)
            .await?;
        Ok(())
    }
}
