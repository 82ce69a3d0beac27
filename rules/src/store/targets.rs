//! One row for each target, and one (`*`) for the pause of all.

use std::collections::{BTreeMap, BTreeSet};

use service_kit::Error;
use shared_events::{ActionId, Timestamp, action::ALL_TARGETS};
use sqlx::{PgConnection, PgExecutor, types::Json};
use uuid::Uuid;

use crate::domain::{Budget, Busy, Pause, Target};

/// Names of every target that is known here.
pub(crate) async fn names(conn: &mut PgConnection) -> Result<Vec<String>, Error> {
    sqlx::query_scalar!("SELECT name FROM targets WHERE name <> '*' ORDER BY name")
        .fetch_all(conn)
        .await
        .map_err(Error::database("reading the names of targets"))
}

/// Locks the targets of these names, new ones included, and reads them.
pub(crate) async fn lock(
    conn: &mut PgConnection,
    names: &BTreeSet<String>,
) -> Result<BTreeMap<String, Target>, Error> {
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    sqlx::query!(
        "INSERT INTO targets (name)
         SELECT name FROM UNNEST($1::text[]) AS wanted (name) ORDER BY name
         ON CONFLICT (name) DO NOTHING",
        &names as &[&str]
    )
    .execute(&mut *conn)
    .await
    .map_err(Error::database("adding targets"))?;
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT name, replicas, pending AS "pending: Json<Busy>", latest_action,
                  asked_at AS "asked_at: Json<BTreeMap<String, Timestamp>>",
                  waiting AS "waiting: Json<BTreeSet<String>>", pause AS "pause: Json<Pause>",
                  budget AS "budget: Json<Budget>"
           FROM targets WHERE name = ANY($1) ORDER BY name FOR UPDATE"#,
        &names as &[&str]
    )
    .fetch_all(conn)
    .await
    .map_err(Error::database("locking targets"))?;
    Ok(rows.into_iter().map(Row::target).collect())
}

/// Every target, and the row of all of them.
pub(crate) async fn all(conn: &mut PgConnection) -> Result<Vec<(String, Target)>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT name, replicas, pending AS "pending: Json<Busy>", latest_action,
                  asked_at AS "asked_at: Json<BTreeMap<String, Timestamp>>",
                  waiting AS "waiting: Json<BTreeSet<String>>", pause AS "pause: Json<Pause>",
                  budget AS "budget: Json<Budget>"
           FROM targets ORDER BY name"#
    )
    .fetch_all(conn)
    .await
    .map_err(Error::database("reading targets"))?;
    Ok(rows.into_iter().map(Row::target).collect())
}

/// One row; the columns are documented in the migration.
struct Row {
    name: String,
    replicas: Option<i32>,
    pending: Option<Json<Busy>>,
    latest_action: Option<Uuid>,
    asked_at: Json<BTreeMap<String, Timestamp>>,
    waiting: Json<BTreeSet<String>>,
    pause: Option<Json<Pause>>,
    budget: Json<Budget>,
}

impl Row {
    fn target(self) -> (String, Target) {
        let target = Target {
            replicas: self.replicas,
            pending: self.pending.map(|pending| pending.0),
            latest: self.latest_action.map(ActionId),
            asked_at: self.asked_at.0,
            waiting: self.waiting.0,
            pause: self.pause.map(|pause| pause.0),
            budget: self.budget.0,
        };
        (self.name, target)
    }
}

/// Writes them back.
pub(crate) async fn save(
    conn: &mut PgConnection,
    changed: &[(&str, &Target)],
) -> Result<(), Error> {
    if changed.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = changed.iter().map(|(name, _)| *name).collect();
    let replicas: Vec<Option<i32>> = changed.iter().map(|(_, t)| t.replicas).collect();
    let pending: Vec<Option<Json<&Busy>>> = changed
        .iter()
        .map(|(_, t)| t.pending.as_ref().map(Json))
        .collect();
    let latest: Vec<Option<Uuid>> = changed
        .iter()
        .map(|(_, t)| t.latest.map(ActionId::uuid))
        .collect();
    let asked: Vec<Json<&BTreeMap<String, Timestamp>>> =
        changed.iter().map(|(_, t)| Json(&t.asked_at)).collect();
    let waiting: Vec<Json<&BTreeSet<String>>> =
        changed.iter().map(|(_, t)| Json(&t.waiting)).collect();
    let pauses: Vec<Option<Json<&Pause>>> = changed
        .iter()
        .map(|(_, t)| t.pause.as_ref().map(Json))
        .collect();
    let budgets: Vec<Json<&Budget>> = changed.iter().map(|(_, t)| Json(&t.budget)).collect();
    sqlx::query!(
        "UPDATE targets
         SET replicas = new.replicas, pending = new.pending, latest_action = new.latest_action,
             asked_at = new.asked_at, waiting = new.waiting, pause = new.pause,
             budget = new.budget,
             updated_at = clock_timestamp()
         FROM UNNEST($1::text[], $2::int[], $3::jsonb[], $4::uuid[], $5::jsonb[], $6::jsonb[],
                     $7::jsonb[], $8::jsonb[])
              AS new (name, replicas, pending, latest_action, asked_at, waiting, pause, budget)
         WHERE targets.name = new.name",
        &names as &[&str],
        &replicas as &[Option<i32>],
        &pending as &[Option<Json<&Busy>>],
        &latest as &[Option<Uuid>],
        &asked as &[Json<&BTreeMap<String, Timestamp>>],
        &waiting as &[Json<&BTreeSet<String>>],
        &pauses as &[Option<Json<&Pause>>],
        &budgets as &[Json<&Budget>],
    )
    .execute(conn)
    .await
    .map_err(Error::database("saving targets"))?;
    Ok(())
}

/// Writes back what was asked of all targets together.
pub(crate) async fn save_total(conn: &mut PgConnection, total: &Budget) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE targets SET budget = $1, updated_at = clock_timestamp()
         WHERE name = $2 AND budget <> $1",
        Json(total) as Json<&Budget>,
        ALL_TARGETS
    )
    .execute(conn)
    .await
    .map_err(Error::database("saving the limit of all targets"))?;
    Ok(())
}

/// What was asked of late of each target, and of all (`*`), the first by name first.
pub(crate) async fn budgets(executor: impl PgExecutor<'_>) -> Result<Vec<(String, Budget)>, Error> {
    let rows =
        sqlx::query!(r#"SELECT name, budget AS "budget: Json<Budget>" FROM targets ORDER BY name"#)
            .fetch_all(executor)
            .await
            .map_err(Error::database("reading limits"))?;
    Ok(rows
        .into_iter()
        .map(|row| (row.name, row.budget.0))
        .collect())
}

/// Writes the pause of all targets back.
pub(crate) async fn save_everything(
    conn: &mut PgConnection,
    pause: Option<&Pause>,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE targets SET pause = $1, updated_at = clock_timestamp() WHERE name = $2",
        pause.map(Json) as Option<Json<&Pause>>,
        ALL_TARGETS
    )
    .execute(conn)
    .await
    .map_err(Error::database("saving the pause of all targets"))?;
    Ok(())
}
