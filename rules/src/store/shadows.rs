//! What rules in state shadow would have done, beside what live rules did for the same inputs.

use service_kit::Error;
use shared_events::Timestamp;
use sqlx::PgPool;

/// How often a rule in shadow gave an answer, and whether a live rule fired for the same input.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) rule: String,
    pub(crate) outcome: String,
    pub(crate) live_fired: bool,
    pub(crate) inputs: i64,
}

/// What a live rule answered to the inputs of a rule in shadow.
#[derive(Clone, Debug)]
pub(crate) struct Beside {
    pub(crate) shadow: String,
    pub(crate) rule: String,
    pub(crate) outcome: String,
    pub(crate) count: i64,
}

/// Answers of rules in shadow since then.
pub(crate) async fn tallies(pool: &PgPool, since: Timestamp) -> Result<Vec<Tally>, Error> {
    sqlx::query_as!(
        Tally,
        r#"
        WITH judged AS (
            SELECT d.input_id, answer ->> 'rule' AS rule,
                   answer ->> 'outcome' AS outcome
            FROM decisions_log AS d, jsonb_array_elements(d.outcomes) AS answer
            WHERE d.recorded_at >= $1 AND d.input = 'alert.raised'
              AND d.outcomes @> '[{"shadow": true}]' AND answer @> '{"shadow": true}'
        ),
        -- by time, not one by one: all that is decided about an input is written by one statement
        fired AS MATERIALIZED (
            SELECT DISTINCT l.input_id
            FROM decisions_log AS l, jsonb_array_elements(l.outcomes) AS answer
            WHERE l.recorded_at >= $1 - interval '1 minute' AND l.input = 'alert.raised'
              AND l.outcomes @> '[{"outcome": "fired"}]'
              AND answer ->> 'outcome' = 'fired' AND NOT answer @> '{"shadow": true}'
        )
        SELECT rule AS "rule!", outcome AS "outcome!",
               fired.input_id IS NOT NULL AS "live_fired!", count(*) AS "inputs!"
        FROM judged LEFT JOIN fired USING (input_id)
        GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        "#,
        since
    )
    .fetch_all(pool)
    .await
    .map_err(Error::database("reading what rules in shadow decided"))
}

/// Answers of live rules to the same inputs.
pub(crate) async fn beside(pool: &PgPool, since: Timestamp) -> Result<Vec<Beside>, Error> {
    sqlx::query_as!(
        Beside,
        r#"
        WITH judged AS (
            SELECT DISTINCT d.input_id, answer ->> 'rule' AS rule
            FROM decisions_log AS d, jsonb_array_elements(d.outcomes) AS answer
            WHERE d.recorded_at >= $1 AND d.input = 'alert.raised'
              AND d.outcomes @> '[{"shadow": true}]' AND answer @> '{"shadow": true}'
        ),
        -- by time, as above
        live AS MATERIALIZED (
            SELECT l.input_id, answer ->> 'rule' AS rule, answer ->> 'outcome' AS outcome
            FROM decisions_log AS l, jsonb_array_elements(l.outcomes) AS answer
            WHERE l.recorded_at >= $1 - interval '1 minute' AND l.input = 'alert.raised'
              AND answer ->> 'rule' IS NOT NULL AND NOT answer @> '{"shadow": true}'
        )
        SELECT judged.rule AS "shadow!", live.rule AS "rule!", live.outcome AS "outcome!",
               count(*) AS "count!"
        FROM judged JOIN live USING (input_id)
        GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        "#,
        since
    )
    .fetch_all(pool)
    .await
    .map_err(Error::database("reading what live rules decided beside"))
}
