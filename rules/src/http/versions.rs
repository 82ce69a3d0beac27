//! Rules as code: what was in force when, and how it changes.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, Query as Pairs, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use service_kit::{Problem, Trace, Work, clock::Ticker};
use shared_events::{EventId, rule::RuleChanged};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Api, Page,
    commands::{check, now},
    decisions::{Place, place},
};
use crate::{
    active,
    changes::{Base, Proposal, Proposed},
    domain::Difference,
    files::{self, Source, Sources},
    service::{Input, local_id},
    store::{rule_changes, rule_sets},
};

/// Longest rules file, bytes: one event holds it.
const LONGEST: usize = 256 << 10;
/// Changes of one answer.
const LISTED: i64 = 500;
/// How long an answer waits for the change to come back through the topic.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);

/// One change of the rules.
#[derive(Debug, Serialize, ToSchema)]
// `Version` is what /version answers, of every service
#[schema(as = RulesVersion)]
pub(super) struct Version {
    number: i64,
    /// SHA-256 of the rules file
    hash: String,
    previous: Option<String>,
    /// `file` for the rules file that began the topic
    actor: String,
    reason: String,
    at: DateTime<Utc>,
    /// When it came back through the topic: what was decided later was decided under it
    applied_at: Option<DateTime<Utc>>,
    /// Where it is in topic `rule`
    position: Option<Place>,
    /// Hash of the rule set that it became
    version: Option<String>,
    /// Why it took no effect
    fault: Option<String>,
    active: bool,
    summary: Summary,
}

/// Names of rules that differ.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Summary {
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<String>,
}

/// What a change came to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Applied {
    hash: String,
    previous: Option<String>,
    /// Missing for a dry run, and when nothing changes
    number: Option<i64>,
    /// It is in force, for every instance
    applied: bool,
    /// These rules are in force already
    unchanged: bool,
    dry_run: bool,
    position: Option<Place>,
    /// Hash of the rule set
    version: Option<String>,
    rules: usize,
    summary: Summary,
}

/// Who changes the rules, and why.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    actor: Option<String>,
    reason: Option<String>,
    /// Only say what would happen
    #[serde(default)]
    dry_run: bool,
}

/// Which rules to go back to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rollback {
    /// Hash of a rules file that was in force, or how it begins
    #[schema(pattern = "^[0-9a-fA-F]{4,64}$")]
    hash: String,
    #[schema(min_length = 1, max_length = 1000)]
    actor: String,
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
}

impl From<Difference> for Summary {
    fn from(difference: Difference) -> Self {
        Self {
            added: difference.added,
            removed: difference.removed,
            changed: difference.changed,
        }
    }
}

/// Lists changes of the rules, newest first.
#[utoipa::path(get, path = "/api/v1/rules/versions", tag = "rules", responses(
    (status = 200, description = "every change", body = Page<Version>),
    (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(State(api): State<Api>) -> Result<Json<Page<Version>>, Problem> {
    let pool = api.kit.pool();
    let in_force = rule_changes::in_force(pool).await?.map(|file| file.number);
    let changes = rule_changes::all(pool, LISTED).await?;
    let item = |change: rule_changes::Change| Version {
        active: Some(change.number) == in_force && change.version.is_some(),
        position: at(&change),
        number: change.number,
        hash: change.hash,
        previous: change.previous,
        actor: change.actor,
        reason: change.reason,
        at: change.at,
        applied_at: change.applied_at,
        version: change.version,
        fault: change.fault,
        summary: change.summary.0.into(),
    };
    Ok(Json(Page {
        items: changes.into_iter().map(item).collect(),
        next_cursor: None,
    }))
}

fn at(change: &rule_changes::Change) -> Option<Place> {
    let topic = shared_events::Topic::Rule.name().to_owned();
    place(Some(topic), change.partition, change.kafka_offset)
}

/// The text of a rules file that is or was in force; `current` is the one that is.
#[utoipa::path(get, path = "/api/v1/rules/versions/{hash}", tag = "rules",
    params(("hash" = String, Path, description = "SHA-256 of the file, how it begins (4 digits or more), or `current`",
        pattern = "^(current|[0-9a-fA-F]{4,64})$")),
    responses(
        (status = 200, description = "the file", body = serde_json::Value, content_type = "application/yaml"),
        (status = 404, description = "no such file", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn text(
    State(api): State<Api>,
    Path(hash): Path<String>,
) -> Result<Response, Problem> {
    let (hash, text) = match hash.as_str() {
        "current" => current(&api).await?,
        hash => {
            let file = named(&api, hash).await?;
            (file.hash, file.content)
        }
    };
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/yaml"),
        ),
        (header::ETAG, tag(&hash)),
    ];
    Ok((headers, text).into_response())
}

/// The entity tag of a rules file.
pub(super) fn tag(hash: &str) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{hash}\"")).expect("hexadecimal digits in quotes")
}

/// Hash and text of the rules file in force.
pub(super) async fn current(api: &Api) -> Result<(String, String), Problem> {
    let pool = api.kit.pool();
    if !api.kit.service().file_rules
        && let Some(file) = rule_changes::in_force(pool).await?
    {
        return Ok((file.hash, file.content));
    }
    let none = || Problem::unavailable("no rules are loaded yet");
    let hash = rule_sets::active(pool).await?.hash.ok_or_else(none)?;
    let stored = rule_sets::stored(pool, &hash).await?.ok_or_else(none)?;
    let text = stored.sources.rules.text;
    Ok((files::content_hash(&text), text))
}

async fn named(api: &Api, prefix: &str) -> Result<rule_changes::File, Problem> {
    let prefix = prefix.to_ascii_lowercase();
    if prefix.len() < 4 || !prefix.chars().all(|c| c.is_ascii_hexdigit()) {
        let detail = format!("{prefix:?} is no hash: 4 hexadecimal digits or more");
        return Err(Problem::bad_request(detail));
    }
    let mut found = rule_changes::files(api.kit.pool(), &prefix).await?;
    match (found.pop(), found.pop()) {
        (Some(file), None) => Ok(file),
        (None, _) => Err(Problem::not_found(format!("no rules file {prefix}"))),
        (Some(_), Some(_)) => Err(Problem::conflict(format!(
            "several files begin with {prefix}"
        ))),
    }
}

/// Makes this file the rules, for every instance, from the point of topic `rule` at which the change
/// is written. State and cooldowns stay.
#[utoipa::path(put, path = "/api/v1/rules", tag = "rules",
    params(("actor" = Option<String>, Query, description = "who"), ("reason" = Option<String>, Query, description = "why"),
        ("dry_run" = Option<bool>, Query, description = "only say what would happen"), ("If-Match" = String, Header, description = "`\"hash\"` of the file that it takes the place of, or `*`")),
    request_body(content = serde_json::Value, content_type = "application/yaml"),
    responses(
        (status = 200, description = "in force (or, for a dry run, valid)", body = Applied),
        (status = 202, description = "accepted; it has not come back through the topic yet", body = Applied),
        (status = 409, description = "rules come from the file here", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "another change was first; `hash` is the file that is there", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "the file is not valid; `line`, `column` and `hint` say where", body = Problem, content_type = "application/problem+json"),
        (status = 428, description = "If-Match is missing", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn put(
    State(api): State<Api>,
    Pairs(asked): Pairs<Asked>,
    headers: HeaderMap,
    text: String,
) -> Result<Response, Problem> {
    let base = match base(&headers)? {
        Some(base) => base,
        None if asked.dry_run => Base::Any,
        None => {
            let detail =
                "If-Match is missing: the hash of the rules that this file takes the place of";
            return Err(Problem::new(StatusCode::PRECONDITION_REQUIRED, detail));
        }
    };
    let because = match asked.dry_run {
        true => (
            asked.actor.unwrap_or_default(),
            asked.reason.unwrap_or_default(),
        ),
        false => because(asked.actor, asked.reason)?,
    };
    change(&api, text, base, (because, asked.dry_run)).await
}

/// Makes an earlier rules file the rules again.
#[utoipa::path(post, path = "/api/v1/rules/rollback", tag = "rules",
    request_body = Rollback,
    responses(
        (status = 200, description = "in force", body = Applied),
        (status = 202, description = "accepted; it has not come back through the topic yet", body = Applied),
        (status = 404, description = "no such file", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "a problem", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn rollback(
    State(api): State<Api>,
    headers: HeaderMap,
    Json(order): Json<Rollback>,
) -> Result<Response, Problem> {
    let because = because(Some(order.actor), Some(order.reason))?;
    let file = named(&api, &order.hash).await?;
    let base = base(&headers)?.unwrap_or(Base::Any);
    change(&api, file.content, base, (because, false)).await
}

fn because(actor: Option<String>, reason: Option<String>) -> Result<(String, String), Problem> {
    let (actor, reason) = (actor.unwrap_or_default(), reason.unwrap_or_default());
    check("actor", &actor)?;
    check("reason", &reason)?;
    Ok((actor.trim().to_owned(), reason.trim().to_owned()))
}

fn base(headers: &HeaderMap) -> Result<Option<Base>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(Some(Base::Any));
    }
    let hash = text.trim_matches('"').to_owned();
    if hash.len() == 64 && hash.chars().all(|c| c.is_ascii_hexdigit()) {
        return Ok(Some(Base::Hash(hash)));
    }
    let detail = format!("If-Match: {text:?} is neither \"<hash>\" nor *");
    Err(Problem::bad_request(detail))
}

async fn change(
    api: &Api,
    text: String,
    base: Base,
    ((actor, reason), dry_run): ((String, String), bool),
) -> Result<Response, Problem> {
    if api.kit.service().file_rules {
        let detail =
            "rules come from the file here (EVENTPULSE_RULES_SOURCE=file): change that and reload";
        return Err(Problem::conflict(detail));
    }
    let pool = api.kit.pool();
    let before = api.kit.service().rules.read(pool).await?;
    let set = compiled(api, &before.hash, &text).await?;
    let summary = Difference::between(Some(&before), &set);
    let (in_force, _) = current(api).await?;
    let newest = rule_changes::newest(pool).await?.map(|file| file.hash);
    let there = newest.unwrap_or_else(|| in_force.clone());
    let mut answer = Applied {
        hash: files::content_hash(&text),
        previous: Some(there.clone()),
        number: None,
        applied: false,
        unchanged: false,
        dry_run,
        position: None,
        version: Some(set.hash.clone()),
        rules: set.rules.len(),
        summary: summary.clone().into(),
    };
    if let Base::Hash(wanted) = &base
        && *wanted != there
    {
        return Err(overtaken(Some(there)));
    }
    answer.unchanged = answer.hash == there;
    if dry_run || answer.unchanged && there == in_force {
        answer.applied = !dry_run;
        return Ok(Json(answer).into_response());
    }
    let change = RuleChanged {
        hash: answer.hash.clone(),
        text,
        at: now(api).await?,
        number: 0,
        previous: None,
        actor,
        reason,
    };
    let proposal = Proposal {
        change,
        summary,
        based_on: base,
    };
    let (event_id, number, previous) = propose(api, proposal).await?;
    answer.number = Some(number);
    answer.previous = previous;
    answered(api, event_id, answer).await
}

async fn compiled(api: &Api, active: &str, text: &str) -> Result<crate::domain::RuleSet, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail);
    if text.len() > LONGEST || text.contains('\0') {
        let detail = format!("a rules file has at most {LONGEST} bytes and no NUL character");
        return Err(bad(detail));
    }
    let stored = rule_sets::stored(api.kit.pool(), active).await?;
    let stored = stored.ok_or_else(|| Problem::unavailable("no rules are loaded yet"))?;
    let sources = Sources {
        rules: Source {
            name: "rules.yaml".to_owned(),
            text: text.to_owned(),
        },
        ..stored.sources
    };
    match active::in_background(sources, stored.policy).await? {
        Ok(set) => Ok(set),
        Err(files::Error::Invalid(fault)) => Err(bad(fault.to_string())
            .with("file", fault.file)
            .with("line", fault.line)
            .with("column", fault.column)
            .with("message", fault.message)
            .with(
                "hint",
                fault.hint.map_or(serde_json::Value::Null, Into::into),
            )),
        Err(error @ files::Error::Read { .. }) => Err(bad(error.to_string())),
    }
}

fn overtaken(there: Option<String>) -> Problem {
    let detail = match &there {
        Some(hash) => format!("the rules are another file by now: {hash}"),
        None => "there are no rules that this could take the place of".to_owned(),
    };
    let hash = there.map_or(serde_json::Value::Null, Into::into);
    Problem::new(StatusCode::PRECONDITION_FAILED, detail).with("hash", hash)
}

async fn propose(api: &Api, proposal: Proposal) -> Result<(EventId, i64, Option<String>), Problem> {
    let change = &proposal.change;
    let id = local_id(&[
        "propose",
        &change.hash,
        &change.at.to_rfc3339(),
        &change.actor,
    ]);
    let input = Input::Propose(Arc::new(proposal));
    let work = Work::local(id, Trace::current(), input);
    let mut handled = api.kit.handle(vec![work]).await?;
    match handled.reply.proposed.remove(&id) {
        Some(Proposed::Accepted {
            event_id,
            number,
            previous,
        }) => Ok((event_id, number, previous)),
        Some(Proposed::Overtaken(there)) => Err(overtaken(there)),
        None => Err(Problem::unavailable("the change was not decided about")),
    }
}

/// Waits a while for the change to come back.
async fn answered(api: &Api, id: EventId, mut answer: Applied) -> Result<Response, Problem> {
    let mut ticker = Ticker::new(LOOK, api.kit.shutdown().clone());
    let mut looks = PATIENCE.as_millis() / LOOK.as_millis();
    while looks > 0 && ticker.tick().await {
        looks -= 1;
        let id: Uuid = id.uuid();
        let Some(change) = rule_changes::of(api.kit.pool(), id).await? else {
            continue;
        };
        if let Some(fault) = change.fault {
            return Err(Problem::conflict(format!("it took no effect: {fault}")));
        }
        if change.applied_at.is_some() {
            answer.applied = true;
            answer.position = at(&change);
            answer.version = change.version;
            return Ok(Json(answer).into_response());
        }
    }
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}
