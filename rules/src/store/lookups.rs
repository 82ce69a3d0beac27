//! What an input does not say of itself: the correlation of an action, of a stray, of an incident.

use std::collections::{BTreeMap, HashMap};

use service_kit::Error;
use shared_events::{
    ActionId, AlertId, EpisodeId, IncidentId, Labels, Timestamp, action::ActionRequested,
};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

/// Correlation and target of each action that was asked for here.
pub(crate) async fn actions(
    conn: &mut PgConnection,
    ids: &[Uuid],
) -> Result<HashMap<ActionId, (String, String)>, Error> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query!(
        "SELECT action_id, correlation_key, target FROM actions WHERE action_id = ANY($1)",
        ids
    )
    .fetch_all(conn)
    .await
    .map_err(Error::database("looking up actions"))?;
    let known = rows
        .into_iter()
        .map(|row| (ActionId(row.action_id), (row.correlation_key, row.target)));
    Ok(known.collect())
}

/// Notes actions that are asked for.
pub(crate) async fn add_actions(
    conn: &mut PgConnection,
    actions: &[&ActionRequested],
) -> Result<(), Error> {
    if actions.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = actions
        .iter()
        .map(|action| action.action_id.uuid())
        .collect();
    let keys: Vec<&str> = actions
        .iter()
        .map(|action| action.correlation_key.as_str())
        .collect();
    let incidents: Vec<Uuid> = actions
        .iter()
        .map(|action| action.incident_id.uuid())
        .collect();
    let targets: Vec<&str> = actions
        .iter()
        .map(|action| action.target.as_str())
        .collect();
    let ats: Vec<Timestamp> = actions.iter().map(|action| action.at).collect();
    sqlx::query!(
        "INSERT INTO actions (action_id, correlation_key, incident_id, target, requested_at)
         SELECT action_id, correlation_key, incident_id, target, requested_at
         FROM UNNEST($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::timestamptz[])
              AS new (action_id, correlation_key, incident_id, target, requested_at)",
        &ids,
        &keys as &[&str],
        &incidents,
        &targets as &[&str],
        &ats,
    )
    .execute(conn)
    .await
    .map_err(Error::database("noting actions"))?;
    Ok(())
}

/// The correlations to which an episode belonged when the rules changed, and whether it stays there;
/// else only its end is heard there.
pub(crate) type Strays = BTreeMap<String, bool>;

pub(crate) async fn strays(
    conn: &mut PgConnection,
    episodes: &[Uuid],
) -> Result<HashMap<EpisodeId, Strays>, Error> {
    if episodes.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query!(
        "SELECT episode_id, correlation_key, holds FROM strays WHERE episode_id = ANY($1)",
        episodes
    )
    .fetch_all(conn)
    .await
    .map_err(Error::database("looking up strays"))?;
    let mut strays: HashMap<EpisodeId, Strays> = HashMap::new();
    for row in rows {
        let keys = strays.entry(EpisodeId(row.episode_id)).or_default();
        keys.insert(row.correlation_key, row.holds);
    }
    Ok(strays)
}

/// Forgets strays that are over.
pub(crate) async fn forget_strays(conn: &mut PgConnection, episodes: &[Uuid]) -> Result<(), Error> {
    if episodes.is_empty() {
        return Ok(());
    }
    sqlx::query!("DELETE FROM strays WHERE episode_id = ANY($1)", episodes)
        .execute(conn)
        .await
        .map_err(Error::database("forgetting strays"))?;
    Ok(())
}

/// Correlations of incidents that are current or the latest of theirs.
pub(crate) async fn incidents(
    conn: &mut PgConnection,
    ids: &[Uuid],
) -> Result<HashMap<IncidentId, String>, Error> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query!(
        r#"SELECT incident_id AS "incident_id!", key FROM correlations WHERE incident_id = ANY($1)"#,
        ids
    )
    .fetch_all(conn)
    .await
    .map_err(Error::database("looking up incidents"))?;
    Ok(rows
        .into_iter()
        .map(|row| (IncidentId(row.incident_id), row.key))
        .collect())
}

/// Keeps the labels of series, which never change.
pub(crate) async fn add_series(
    conn: &mut PgConnection,
    series: &BTreeMap<AlertId, Labels>,
) -> Result<(), Error> {
    if series.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = series.keys().map(|id| id.uuid()).collect();
    let labels: Vec<Json<&Labels>> = series.values().map(Json).collect();
    sqlx::query!(
        "INSERT INTO series (alert_id, labels)
         SELECT alert_id, labels FROM UNNEST($1::uuid[], $2::jsonb[]) AS new (alert_id, labels)
         ORDER BY alert_id
         ON CONFLICT (alert_id) DO NOTHING",
        &ids,
        &labels as &[Json<&Labels>]
    )
    .execute(conn)
    .await
    .map_err(Error::database("keeping the labels of series"))?;
    Ok(())
}
