//! Which rows of the log answer a question.

use service_kit::Error;
use sqlx::{PgPool, types::Json};
use uuid::Uuid;

use crate::domain::Phase;

/// Most rows of one answer.
const MOST: i64 = 50;

/// What a question is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum About {
    Alert(Uuid),
    Event(Uuid),
    Incident(Uuid),
}

/// The row of this decision; an input that was decided under one key only has the same id.
pub(crate) async fn decision(pool: &PgPool, id: Uuid) -> Result<Option<i64>, Error> {
    sqlx::query_scalar!(
        // found first and ordered then: in the order of the log it would be read from its beginning
        r#"WITH found AS MATERIALIZED (
               SELECT id FROM decisions_log WHERE decision_id = $1
               UNION ALL
               SELECT id FROM decisions_log WHERE input_id = $1
           )
           SELECT id AS "id!" FROM found ORDER BY id LIMIT 1"#,
        id
    )
    .fetch_optional(pool)
    .await
    .map_err(Error::database("looking a decision up"))
}

/// The rows that answer: of an event its own, of an alert those of its last firing, of an incident
/// those of the first firing of each of its alerts.
pub(crate) async fn answering(pool: &PgPool, about: About) -> Result<Vec<i64>, Error> {
    let rows = match about {
        About::Event(id) => {
            sqlx::query_scalar!(
                "WITH found AS MATERIALIZED (SELECT id FROM decisions_log WHERE input_id = $1)
                 SELECT id FROM found ORDER BY id LIMIT $2",
                id,
                MOST
            )
            .fetch_all(pool)
            .await
        }
        About::Alert(id) => {
            sqlx::query_scalar!(
                "WITH last AS MATERIALIZED (
                     SELECT input_id FROM decisions_log WHERE alert_id = $1
                     ORDER BY input = 'alert.raised' DESC, id DESC LIMIT 1
                 )
                 SELECT id FROM decisions_log JOIN last USING (input_id)
                 -- all that is decided about an input is decided about one alert
                 WHERE alert_id = $1
                 ORDER BY id LIMIT $2",
                id,
                MOST
            )
            .fetch_all(pool)
            .await
        }
        About::Incident(id) => {
            sqlx::query_scalar!(
                "SELECT min(id) AS \"id!\" FROM decisions_log
                 WHERE incident_id = $1 AND input = 'alert.raised' GROUP BY episode_id
                 ORDER BY 1 LIMIT $2",
                id,
                MOST
            )
            .fetch_all(pool)
            .await
        }
    };
    rows.map_err(Error::database("looking decisions up"))
}

/// What happened in the incident after this row: its actions, timers, commands and ends of alerts.
pub(crate) async fn followed(pool: &PgPool, incident: Uuid, after: i64) -> Result<Vec<i64>, Error> {
    sqlx::query_scalar!(
        "SELECT id FROM decisions_log
         WHERE incident_id = $1 AND id > $2 AND input <> 'alert.raised'
         ORDER BY id LIMIT $3",
        incident,
        after,
        MOST
    )
    .fetch_all(pool)
    .await
    .map_err(Error::database("reading what followed"))
}

/// Where the incident is in its life, while it is the latest of its key.
pub(crate) async fn phase(pool: &PgPool, incident: Uuid) -> Result<Option<Phase>, Error> {
    let phase = sqlx::query_scalar!(
        "SELECT phase FROM correlations WHERE incident_id = $1 LIMIT 1",
        incident
    )
    .fetch_optional(pool)
    .await
    .map_err(Error::database("reading an incident's phase"))?;
    Ok(match phase.flatten().as_deref() {
        Some("open") => Some(Phase::Open),
        Some("failed") => Some(Phase::Failed),
        Some(_) => Some(Phase::Closed),
        None => None,
    })
}

/// A change of the rules, as the log has it.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) at: shared_events::Timestamp,
    pub(crate) detail: Option<Json<crate::domain::RulesLoaded>>,
    pub(crate) topic: Option<String>,
    pub(crate) partition: Option<i32>,
    pub(crate) kafka_offset: Option<i64>,
}

/// The change of rules that was in force at this row.
pub(crate) async fn change_before(pool: &PgPool, id: i64) -> Result<Option<Change>, Error> {
    sqlx::query_as!(
        Change,
        r#"SELECT at, detail AS "detail: Json<crate::domain::RulesLoaded>", topic, partition,
                  kafka_offset
           FROM decisions_log
           WHERE correlation_key = $1 AND id <= $2 AND input = 'rules.loaded'
             AND NOT outcomes @> '[{"outcome": "refused"}]'
           ORDER BY seq DESC LIMIT 1"#,
        crate::service::RULES_KEY,
        id
    )
    .fetch_optional(pool)
    .await
    .map_err(Error::database("reading which rules were in force"))
}
