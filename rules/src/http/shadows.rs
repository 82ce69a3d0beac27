//! What rules in state `shadow` would have done.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Query as Pairs, State},
};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use service_kit::Problem;
use utoipa::ToSchema;

use super::{Api, commands::now};
use crate::store::shadows::{self, Beside, Tally};

/// How far a report looks back when nobody says.
const LOOK_BACK: TimeDelta = TimeDelta::hours(24);

/// From when on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Since {
    since: Option<DateTime<Utc>>,
}

/// Rules in shadow beside live ones.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShadowReport {
    since: DateTime<Utc>,
    /// Each rule that decided in shadow since then
    items: Vec<ShadowItem>,
}

/// One rule in shadow.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShadowItem {
    rule: String,
    /// Firing alerts that it decided about
    inputs: i64,
    would_have_fired: i64,
    /// Count of each answer
    outcomes: BTreeMap<String, i64>,
    /// It would have fired, and no live rule did
    only_shadow: i64,
    /// A live rule fired, and it would not have
    only_live: i64,
    both: i64,
    /// What live rules answered to the same alerts
    live: Vec<LiveAnswer>,
}

/// Answers of a live rule.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LiveAnswer {
    rule: String,
    outcome: String,
    count: i64,
}

/// Compares what rules in state `shadow` would have done with what live rules did for the same alerts.
#[utoipa::path(get, path = "/api/v1/rules/shadow-report", tag = "rules", params(
    ("since" = Option<DateTime<Utc>>, Query, description = "decided since then; else the last 24 hours"),
), responses(
    (status = 200, description = "each rule in shadow", body = ShadowReport),
    (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn report(
    State(api): State<Api>,
    Pairs(asked): Pairs<Since>,
) -> Result<Json<ShadowReport>, Problem> {
    let since = match asked.since {
        Some(since) => since,
        None => now(&api).await? - LOOK_BACK,
    };
    let mut items = BTreeMap::new();
    for tally in shadows::tallies(api.kit.pool(), since).await? {
        count(&mut items, &tally);
    }
    for beside in shadows::beside(api.kit.pool(), since).await? {
        if let Some(item) = items.get_mut(&beside.shadow) {
            item.live.push(beside.into());
        }
    }
    Ok(Json(ShadowReport {
        since,
        items: items.into_values().collect(),
    }))
}

fn count(items: &mut BTreeMap<String, ShadowItem>, tally: &Tally) {
    let new = || ShadowItem {
        rule: tally.rule.clone(),
        inputs: 0,
        would_have_fired: 0,
        outcomes: BTreeMap::new(),
        only_shadow: 0,
        only_live: 0,
        both: 0,
        live: Vec::new(),
    };
    let item = items.entry(tally.rule.clone()).or_insert_with(new);
    item.inputs += tally.inputs;
    *item.outcomes.entry(tally.outcome.clone()).or_default() += tally.inputs;
    match (tally.outcome == "fired", tally.live_fired) {
        (true, true) => item.both += tally.inputs,
        (true, false) => item.only_shadow += tally.inputs,
        (false, true) => item.only_live += tally.inputs,
        (false, false) => {}
    }
    item.would_have_fired = item.both + item.only_shadow;
}

impl From<Beside> for LiveAnswer {
    fn from(beside: Beside) -> Self {
        Self {
            rule: beside.rule,
            outcome: beside.outcome,
            count: beside.count,
        }
    }
}
