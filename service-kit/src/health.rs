//! Whether this service can work: what `/readyz` says.
//!
//! The database, its migrations and the API being open are gates. Others report what
//! they see, and close nothing unless the service says so with [`gate`](Health::gate).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use serde::Serialize;
use sqlx::PgPool;

use crate::{Error, clock::Stopwatch, error::chain};

/// How long an answer of the database counts.
const FRESH: Duration = Duration::from_millis(500);
/// How long the database may take.
const PATIENCE: Duration = Duration::from_secs(2);

const DATABASE: &str = "database";
const MIGRATIONS: &str = "migrations";
const API: &str = "api";

/// What is known of the parts that this service stands on. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Health(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    checks: Mutex<BTreeMap<&'static str, Check>>,
    pool: OnceLock<PgPool>,
    probed: tokio::sync::Mutex<Option<Stopwatch>>,
}

/// One line of `/readyz?verbose`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Check {
    /// `database`, `migrations`, `broker` and the like
    #[schema(example = "database")]
    pub name: &'static str,
    /// Whether the service is not ready while this is not ok
    pub gates: bool,
    pub ok: bool,
    /// What was seen
    #[schema(example = "connected")]
    pub detail: String,
}

impl Default for Health {
    fn default() -> Self {
        let waiting = |name| {
            let detail = "not reached yet".to_owned();
            (
                name,
                Check {
                    name,
                    gates: true,
                    ok: false,
                    detail,
                },
            )
        };
        Self(Arc::new(Inner {
            checks: Mutex::new([waiting(DATABASE), waiting(MIGRATIONS), waiting(API)].into()),
            pool: OnceLock::new(),
            probed: tokio::sync::Mutex::default(),
        }))
    }
}

impl Health {
    /// Says how `name` is: `Ok` and `Err` carry what was seen.
    pub fn report(&self, name: &'static str, state: Result<impl Into<String>, impl Into<String>>) {
        let (ok, detail) = match state {
            Ok(detail) => (true, detail.into()),
            Err(detail) => (false, detail.into()),
        };
        self.change(name, |check| {
            check.ok = ok;
            check.detail = detail;
        });
    }

    /// Makes `name` a gate: the service is not ready until it is reported well. For a service that
    /// is useless without it.
    pub fn gate(&self, name: &'static str) {
        self.change(name, |check| check.gates = true);
    }

    /// There is nothing to say of `name` any more.
    pub(crate) fn lift(&self, name: &'static str) {
        let mut checks = self.0.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.remove(name);
    }

    fn change(&self, name: &'static str, change: impl FnOnce(&mut Check)) {
        let mut checks = self.0.checks.lock().unwrap_or_else(PoisonError::into_inner);
        change(checks.entry(name).or_insert_with(|| Check {
            name,
            gates: false,
            ok: false,
            detail: "not reported yet".to_owned(),
        }));
    }

    /// From now on the database is asked whenever somebody wants to know.
    pub(crate) fn watch(&self, pool: PgPool) {
        // set once, by the start
        drop(self.0.pool.set(pool));
    }

    pub(crate) fn database(&self, state: Result<&str, &Error>) {
        self.report(DATABASE, state.map_err(chain_of));
    }

    pub(crate) fn migrations(&self, state: Result<&str, &Error>) {
        self.report(MIGRATIONS, state.map_err(chain_of));
    }

    pub(crate) fn open(&self) {
        self.report(API, Ok::<_, String>("open"));
    }

    /// Every check by name, the database asked just now.
    pub async fn check(&self) -> Vec<Check> {
        if let Some(pool) = self.0.pool.get() {
            self.probe(pool).await;
        }
        let checks = self.0.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.values().cloned().collect()
    }

    /// Asks once for all who want to know at the same time.
    async fn probe(&self, pool: &PgPool) {
        let mut probed = self.0.probed.lock().await;
        if probed.is_some_and(|since| since.elapsed() < FRESH) {
            return;
        }
        let asked = sqlx::query_scalar!(r#"SELECT pg_is_in_recovery() AS "standby!""#);
        let state = match tokio::time::timeout(PATIENCE, asked.fetch_one(pool)).await {
            Ok(Ok(false)) => Ok("connected".to_owned()),
            Ok(Ok(true)) => Err("it is a standby, and refuses writes".to_owned()),
            Ok(Err(error)) => Err(chain(&error)),
            Err(_) => Err(format!("no answer for {PATIENCE:?}")),
        };
        self.report(DATABASE, state);
        *probed = Some(Stopwatch::start());
    }
}

fn chain_of(error: &Error) -> String {
    chain(error)
}
