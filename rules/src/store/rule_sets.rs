//! Versions of rules, and the active set.

use chrono::TimeDelta;
use service_kit::Error;
use sqlx::{PgConnection, PgExecutor, types::Json};

use crate::{
    domain::{Pause, Policy, RuleSet, RulesLoaded},
    files::{Source, Sources},
};

/// A rule set as it is kept: enough to compile it again.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) sources: Sources,
    pub(crate) policy: Policy,
}

/// The active set, and the activations so far.
#[derive(Clone, Debug)]
pub(crate) struct Active {
    pub(crate) hash: Option<String>,
    pub(crate) activation: i64,
}

/// What every decision of a batch is made under.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    pub(crate) active: Active,
    /// The pause of all targets.
    pub(crate) everything: Option<Pause>,
}

/// Locks and reads what a batch is decided under: shared, or alone what it changes.
pub(crate) async fn decide_under(
    conn: &mut PgConnection,
    activates: bool,
    pauses_all: bool,
) -> Result<Moment, Error> {
    let row = sqlx::query!(
        r#"SELECT hash, activation AS "activation!", pause AS "pause: Json<Pause>"
           FROM decide_under($1, $2)"#,
        activates,
        pauses_all
    )
    .fetch_one(conn)
    .await
    .map_err(Error::database("locking what a batch is decided under"))?;
    Ok(Moment {
        active: Active {
            hash: row.hash,
            activation: row.activation,
        },
        everything: row.pause.map(|pause| pause.0),
    })
}

/// The active set at this moment.
pub(crate) async fn active(executor: impl PgExecutor<'_>) -> Result<Active, Error> {
    sqlx::query_as!(Active, "SELECT hash, activation FROM active_rules")
        .fetch_one(executor)
        .await
        .map_err(Error::database("reading the active rules"))
}

/// When the active set became it.
pub(crate) async fn loaded_at(
    executor: impl PgExecutor<'_>,
) -> Result<Option<shared_events::Timestamp>, Error> {
    sqlx::query_scalar!("SELECT activated_at FROM active_rules")
        .fetch_one(executor)
        .await
        .map_err(Error::database("reading the active rules"))
}

/// The set of this hash.
pub(crate) async fn stored(
    executor: impl PgExecutor<'_>,
    hash: &str,
) -> Result<Option<Stored>, Error> {
    let row = sqlx::query!(
        "SELECT rules_name, rules_text, targets_name, targets_text, settle_ms, action_grace_ms
         FROM rule_sets WHERE hash = $1",
        hash
    )
    .fetch_optional(executor)
    .await
    .map_err(Error::database("reading a rule set"))?;
    Ok(row.map(|row| Stored {
        sources: Sources {
            rules: Source {
                name: row.rules_name,
                text: row.rules_text,
            },
            targets: Source {
                name: row.targets_name,
                text: row.targets_text,
            },
        },
        policy: Policy {
            settle: TimeDelta::milliseconds(row.settle_ms),
            action_grace: TimeDelta::milliseconds(row.action_grace_ms),
        },
    }))
}

/// Keeps the rules and the set, and makes it the active one. Episodes that fire now and belong to a
/// correlation are noted as strays: they stay there, wherever the new rules would see them.
pub(crate) async fn activate(
    conn: &mut PgConnection,
    set: &RuleSet,
    sources: &Sources,
    loaded: &RulesLoaded,
) -> Result<(), Error> {
    keep_rules(conn, set).await?;
    sqlx::query!(
        "INSERT INTO rule_sets (hash, rules_name, rules_text, targets_name, targets_text,
                                settle_ms, action_grace_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (hash) DO NOTHING",
        set.hash,
        sources.rules.name,
        sources.rules.text,
        sources.targets.name,
        sources.targets.text,
        set.policy.settle.num_milliseconds(),
        set.policy.action_grace.num_milliseconds(),
    )
    .execute(&mut *conn)
    .await
    .map_err(Error::database("keeping a rule set"))?;
    sqlx::query!(
        "UPDATE active_rules SET hash = $1, activation = activation + 1, activated_at = $2",
        set.hash,
        loaded.at
    )
    .execute(&mut *conn)
    .await
    .map_err(Error::database("activating a rule set"))?;
    // as `Memory::belonging`
    sqlx::query!(
        "WITH held AS (
             SELECT key, phase, memory FROM correlations WHERE phase IN ('open', 'failed')
             UNION ALL SELECT key, phase, memory FROM correlations WHERE lingers
         ),
         belonging AS (
             SELECT (alert ->> 'episode_id')::uuid AS episode_id, key, true AS stays
             FROM held, jsonb_array_elements(memory #> '{incident,alerts}') AS alert
             WHERE (alert ->> 'firing')::boolean
               AND (phase <> 'closed' OR (alert ->> 'holds')::boolean)
             UNION ALL
             SELECT (over ->> 'episode_id')::uuid, key, true
             FROM held, jsonb_array_elements(memory -> 'over') AS over
             WHERE (over ->> 'fires')::boolean
             UNION ALL
             SELECT said::uuid, key, false
             FROM held, jsonb_object_keys(memory -> 'evidence') AS said
         )
         INSERT INTO strays (episode_id, correlation_key, holds)
         SELECT episode_id, key, bool_or(stays) FROM belonging GROUP BY episode_id, key
         ON CONFLICT (episode_id, correlation_key)
         DO UPDATE SET holds = strays.holds OR excluded.holds"
    )
    .execute(conn)
    .await
    .map_err(Error::database("noting what fires while the rules change"))?;
    Ok(())
}

async fn keep_rules(conn: &mut PgConnection, set: &RuleSet) -> Result<(), Error> {
    let names: Vec<&str> = set.rules.iter().map(|rule| rule.name.as_str()).collect();
    let versions: Vec<&str> = set.rules.iter().map(|rule| rule.version.as_str()).collect();
    let contents: Vec<String> = set.rules.iter().map(crate::domain::Rule::content).collect();
    sqlx::query!(
        "INSERT INTO rules (name, version, content)
         SELECT name, version, content::jsonb
         FROM UNNEST($1::text[], $2::text[], $3::text[]) AS new (name, version, content)
         ON CONFLICT (name, version) DO NOTHING",
        &names as &[&str],
        &versions as &[&str],
        &contents
    )
    .execute(conn)
    .await
    .map_err(Error::database("keeping rules"))?;
    Ok(())
}
