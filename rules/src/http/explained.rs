//! One rule in front of one alert, as the API shows it.

use chrono::{DateTime, Utc};
use serde::Serialize;
use service_kit::Problem;
use shared_events::Labels;
use utoipa::ToSchema;
use uuid::Uuid;

use super::decisions::RuleOutcome;
use crate::{
    domain::{
        Role, RuleSet, Snapshot,
        explain::{self, ActionSeen, ConditionSeen, MatcherSeen, Seen},
    },
    store::{decisions::StoredOutcome, read::Logged},
};

/// One rule, and why it did what it did.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RuleExplained {
    rule: String,
    version: String,
    /// `live` or `shadow`
    state: &'static str,
    /// `open` or `attach`
    incident: &'static str,
    matched: bool,
    matchers: Vec<MatcherItem>,
    condition: Option<ConditionItem>,
    action: Option<ActionItem>,
    /// Missing when the rule was not asked: it means the alert under another correlation key
    answer: Option<RuleOutcome>,
}

/// A matcher and what it looked at.
#[derive(Debug, Serialize, ToSchema)]
struct MatcherItem {
    #[schema(example = "alertname=\"HighCPU\"")]
    matcher: String,
    label: String,
    /// Missing when the alert has no such label, which counts as empty
    value: Option<String>,
    matched: bool,
}

/// `when`, worked out.
#[derive(Debug, Serialize, ToSchema)]
struct ConditionItem {
    source: String,
    /// Missing when it cannot be told, which counts as false
    value: Option<bool>,
    error: Option<String>,
    /// With values in the place of what it compares
    #[schema(example = "0.84 > 0.9")]
    worked_out: String,
    /// Each sub-expression, inner ones first
    steps: Vec<StepItem>,
}

/// A sub-expression.
#[derive(Debug, Serialize, ToSchema)]
struct StepItem {
    #[schema(example = "double(annotations.value)")]
    expression: String,
    value: serde_json::Value,
    /// Why it cannot be told
    error: Option<String>,
}

/// The rule's action in front of its target, as both were when it was decided.
#[derive(Debug, Serialize, ToSchema)]
struct ActionItem {
    target: Option<String>,
    min_replicas: Option<i32>,
    max_replicas: Option<i32>,
    replicas: Option<i32>,
    cooldown_until: Option<DateTime<Utc>>,
    pending_action: Option<Uuid>,
    paused: bool,
    /// Why nothing may be asked for: a limit is reached
    limit: Option<String>,
}

/// Every rule of the set in front of the alert of `row`; `only` this one, if one is named.
pub(super) fn explained(
    set: &RuleSet,
    row: &Logged,
    labels: &Labels,
    only: Option<&str>,
) -> Result<Vec<RuleExplained>, Problem> {
    let read: Snapshot = serde_json::from_value(row.read.clone())
        .map_err(|error| Problem::unavailable(format!("the log of another build: {error}")))?;
    let annotations = row.annotations.clone().unwrap_or_default().0;
    let seen = Seen {
        labels,
        annotations: &annotations,
        at: row.at,
        occurrence: row.occurrence.unwrap_or_default(),
        fires: row.occurrence.is_some(),
        read: &read,
    };
    let all = explain::explain(set, &seen).into_iter();
    let wanted = all.filter(|one| only.is_none_or(|only| only == one.rule.name));
    Ok(wanted.map(|one| item(one, &row.outcomes.0)).collect())
}

fn item(explained: explain::Explained, logged: &[StoredOutcome]) -> RuleExplained {
    let name = explained.rule.name;
    let logged = logged
        .iter()
        .find(|outcome| outcome.rule.as_ref() == Some(&name));
    let silent = explained.silent.map(StoredOutcome::from);
    RuleExplained {
        answer: logged.cloned().or(silent).map(Into::into),
        rule: name,
        version: explained.rule.version,
        state: explained.standing.as_str(),
        incident: match explained.incident {
            Role::Open => "open",
            Role::Attach => "attach",
        },
        matched: explained.matched,
        matchers: explained.matchers.into_iter().map(Into::into).collect(),
        condition: explained.condition.map(Into::into),
        action: explained.action.map(Into::into),
    }
}

impl From<MatcherSeen> for MatcherItem {
    fn from(seen: MatcherSeen) -> Self {
        Self {
            matcher: seen.matcher,
            label: seen.label,
            value: seen.value,
            matched: seen.matched,
        }
    }
}

impl From<ConditionSeen> for ConditionItem {
    fn from(seen: ConditionSeen) -> Self {
        let steps = seen.steps.into_iter().map(|step| StepItem {
            expression: step.expression,
            value: step.value,
            error: step.error,
        });
        Self {
            source: seen.source,
            value: seen.value,
            error: seen.error,
            worked_out: seen.worked_out,
            steps: steps.collect(),
        }
    }
}

impl From<ActionSeen> for ActionItem {
    fn from(seen: ActionSeen) -> Self {
        Self {
            target: seen.target,
            min_replicas: seen.min_replicas,
            max_replicas: seen.max_replicas,
            replicas: seen.replicas,
            cooldown_until: seen.cooldown_until,
            pending_action: seen.pending_action.map(shared_events::ActionId::uuid),
            paused: seen.paused,
            limit: seen.limit,
        }
    }
}
