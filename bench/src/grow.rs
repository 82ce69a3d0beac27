//! Fills the databases with what alerts of the past would have left: series that are over, incidents
//! that are resolved, and what was decided and received for them.

use futures::future::try_join_all;
use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions};

use crate::error::Error;

/// Alerts of one statement.
const CHUNK: u64 = 20_000;

/// What makes a copy of a row another row: SQL for each column that is not copied; `n` is a text that
/// no other copy has.
struct Table {
    name: &'static str,
    columns: &'static [(&'static str, &'static str)],
}

const ID: &str = "gen_random_uuid()";
/// Derived, as the ids of a correlation's rows in different tables are the same text.
const KEY: &str = "'service=' || n";

// what every service has
const INBOX: Table = Table {
    name: "inbox_events",
    columns: &[("event_id", ID)],
};
const KEYS: Table = Table {
    name: "outbox_keys",
    columns: &[("key", "convert_to(n, 'UTF8')")],
};

const INGEST: &[Table] = &[
    Table {
        name: "alerts",
        columns: &[
            ("alert_id", ID),
            ("episode_id", ID),
            ("labels", "jsonb_set(labels, '{service}', to_jsonb(n))"),
            ("status", "'resolved'"),
            ("resolve_reason", "'notified'"),
        ],
    },
    KEYS,
];
const RULES: &[Table] = &[
    INBOX,
    Table {
        name: "series",
        columns: &[("alert_id", ID)],
    },
    Table {
        name: "correlations",
        columns: &[("key", KEY), ("incident_id", ID), ("phase", "'closed'")],
    },
    Table {
        name: "decisions_log",
        columns: &[
            ("correlation_key", KEY),
            ("input_id", ID),
            ("alert_id", ID),
            ("episode_id", ID),
            ("incident_id", ID),
        ],
    },
    KEYS,
];
const INCIDENT_STORE: &[Table] = &[
    INBOX,
    Table {
        name: "incidents",
        columns: &[
            ("incident_id", ID),
            ("correlation_key", KEY),
            ("service", "n"),
            ("status", "'resolved'"),
        ],
    },
    Table {
        name: "incident_events",
        columns: &[("event_id", ID), ("incident_id", ID)],
    },
];

/// The databases to fill.
#[derive(Debug, clap::Args)]
pub(crate) struct Databases {
    #[arg(long, env = "EVENTPULSE_BENCH_DATABASE_URL", hide_env_values = true)]
    ingest: String,
    #[arg(
        long,
        env = "EVENTPULSE_BENCH_RULES_DATABASE_URL",
        hide_env_values = true
    )]
    rules: String,
    #[arg(
        long,
        env = "EVENTPULSE_BENCH_INCIDENT_STORE_DATABASE_URL",
        hide_env_values = true
    )]
    incident_store: String,
}

/// Adds `alerts` alerts of the past. Every table must have a row to copy: a short w2 leaves one.
pub(crate) async fn grow(databases: &Databases, alerts: u64) -> Result<(), Error> {
    try_join_all([
        fill(&databases.ingest, INGEST, alerts),
        fill(&databases.rules, RULES, alerts),
        fill(&databases.incident_store, INCIDENT_STORE, alerts),
    ])
    .await?;
    Ok(())
}

async fn fill(url: &str, tables: &[Table], alerts: u64) -> Result<(), Error> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect(url)
        .await
        .map_err(Error::database("connecting"))?;
    for table in tables {
        let copy = table.copy(&pool).await?;
        let mut left = alerts;
        while left > 0 {
            let count = left.min(CHUNK);
            let copied = sqlx::query(AssertSqlSafe(copy.clone()))
                .bind(i64::try_from(count).unwrap_or(i64::MAX))
                .execute(&pool)
                .await
                .map_err(Error::database("copying rows"))?;
            if copied.rows_affected() != count {
                return Err(Error::NothingToCopy { table: table.name });
            }
            left -= count;
        }
        // what autovacuum would do meanwhile and beside the next measurement
        let tidy = format!("VACUUM (ANALYZE) {}", table.name);
        sqlx::query(AssertSqlSafe(tidy))
            .execute(&pool)
            .await
            .map_err(Error::database("vacuuming"))?;
        eprintln!("{alerts} rows more in {}", table.name);
    }
    Ok(())
}

impl Table {
    /// The statement that copies the newest row `$1` times.
    async fn copy(&self, pool: &PgPool) -> Result<String, Error> {
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT attname::text FROM pg_attribute
             WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped
               AND attgenerated = '' AND attidentity = ''
             ORDER BY attnum",
        )
        .bind(self.name)
        .fetch_all(pool)
        .await
        .map_err(Error::database("reading columns"))?;
        let values: Vec<&str> = names
            .iter()
            .map(|name| {
                let other = self.columns.iter().find(|(column, _)| column == name);
                other.map_or(name.as_str(), |(_, sql)| sql)
            })
            .collect();
        let (table, names, values) = (self.name, names.join(", "), values.join(", "));
        Ok(format!(
            "INSERT INTO {table} ({names})
             SELECT {values}
             FROM (SELECT * FROM {table} ORDER BY ctid DESC LIMIT 1) AS newest,
                  (SELECT gen_random_uuid()::text AS n FROM generate_series(1, $1)) AS numbers"
        ))
    }
}
