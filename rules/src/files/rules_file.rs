//! `rules.yaml`.

use chrono::TimeDelta;
use serde::Deserialize;
use serde_saphyr::Spanned;
use shared_events::{action::Direction, matcher::is_label_name};

use super::{Fault, Source, fault};
use crate::domain::{
    Action, Condition, Limits, Matcher, Role, Rule, Standing, condition,
    rule::{Size, Undo},
};

/// The largest limit: each action of the last hour is remembered.
const MOST_ACTIONS: u32 = 1000;
/// How long an action may take when its rule does not say.
const TIMEOUT: TimeDelta = TimeDelta::seconds(60);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: Spanned<u32>,
    rules: Vec<Spanned<RawRule>>,
    limits: Option<RawLimits>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    actions_per_hour: Option<Spanned<u32>>,
    actions_per_hour_per_target: Option<Spanned<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    name: Spanned<String>,
    matchers: Spanned<Vec<Spanned<String>>>,
    when: Option<Spanned<String>>,
    group_by: Spanned<Vec<Spanned<String>>>,
    incident: RawRole,
    state: Option<RawStanding>,
    action: Option<Spanned<RawAction>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawRole {
    Open,
    Attach,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawStanding {
    Live,
    Shadow,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAction {
    scale_docker: Spanned<RawScale>,
    timeout: Option<Spanned<String>>,
    cooldown: Option<Spanned<String>>,
    verify_within: Option<Spanned<String>>,
    on_failure: Option<RawUndo>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScale {
    target_label: Option<Spanned<String>>,
    replicas: Option<Spanned<i32>>,
    step: Option<Spanned<i32>>,
    direction: Option<RawDirection>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawDirection {
    Up,
    Down,
    Exact,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawUndo {
    ensure_replicas: Spanned<String>,
}

/// The rules of the file, in order, and its limits.
pub(super) fn parse(file: &Source) -> Result<(Vec<Rule>, Limits), Fault> {
    let raw: File = fault::read(file)?;
    if raw.version.value != 1 {
        return Err(Fault::of(file, &raw.version, "this build reads version 1"));
    }
    let mut rules: Vec<Rule> = Vec::with_capacity(raw.rules.len());
    for rule in raw.rules {
        let rule = rule.value;
        if rules.iter().any(|other| other.name == rule.name.value) {
            let message = format!("a second rule {:?}", rule.name.value);
            return Err(Fault::of(file, &rule.name, message));
        }
        rules.push(rule.checked(file)?);
    }
    let limits = raw.limits.map(|limits| limits.checked(file)).transpose()?;
    Ok((rules, limits.unwrap_or_default()))
}

impl RawLimits {
    fn checked(self, file: &Source) -> Result<Limits, Fault> {
        let count = |limit: Option<Spanned<u32>>| match limit {
            Some(limit) if limit.value == 0 => {
                let message = "a limit of 0 forbids every action; `eventpulse pause` does that";
                Err(Fault::of(file, &limit, message))
            }
            Some(limit) if limit.value > MOST_ACTIONS => {
                let message = format!("more than {MOST_ACTIONS} an hour is no limit");
                Err(Fault::of(file, &limit, message))
            }
            limit => Ok(limit.map(|limit| limit.value)),
        };
        Ok(Limits {
            actions_per_hour: count(self.actions_per_hour)?,
            actions_per_hour_per_target: count(self.actions_per_hour_per_target)?,
        })
    }
}

impl RawRule {
    fn checked(self, file: &Source) -> Result<Rule, Fault> {
        if !is_rule_name(&self.name.value) {
            let message = "a rule's name is made of letters, digits, _ . and -";
            return Err(Fault::of(file, &self.name, message));
        }
        let rule = Rule {
            matchers: matchers(file, &self.matchers)?,
            when: self.when.map(|when| compiled(file, &when)).transpose()?,
            group_by: group_by(file, &self.group_by)?,
            standing: match self.state {
                Some(RawStanding::Live) | None => Standing::Live,
                Some(RawStanding::Shadow) => Standing::Shadow,
            },
            incident: match self.incident {
                RawRole::Open => Role::Open,
                RawRole::Attach => Role::Attach,
            },
            action: self
                .action
                .map(|action| action.value.checked(file))
                .transpose()?,
            name: self.name.value,
            version: String::new(),
        };
        Ok(rule.sealed())
    }
}

fn is_rule_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    !name.is_empty() && name.chars().all(plain)
}

fn matchers(file: &Source, texts: &Spanned<Vec<Spanned<String>>>) -> Result<Vec<Matcher>, Fault> {
    let mut matchers = Vec::new();
    for text in &texts.value {
        let list =
            Matcher::parse_list(&text.value).map_err(|error| Fault::of(file, text, error))?;
        matchers.extend(list);
    }
    if matchers.is_empty() {
        return Err(Fault::of(file, texts, "a rule needs a matcher"));
    }
    Ok(matchers)
}

fn compiled(file: &Source, when: &Spanned<String>) -> Result<Condition, Fault> {
    Condition::compile(&when.value).map_err(|error| {
        let fault = Fault::of(file, when, &error);
        match &error {
            condition::Error::UnknownVariable { name } => fault.guess(name, condition::VARIABLES),
            condition::Error::TooLong(_)
            | condition::Error::TooDeep
            | condition::Error::Syntax(_)
            | condition::Error::UnknownFunction(_)
            | condition::Error::ExpressionTooDeep(_)
            | condition::Error::NestedMacro => fault,
        }
    })
}

fn group_by(file: &Source, names: &Spanned<Vec<Spanned<String>>>) -> Result<Vec<String>, Fault> {
    if let Some(bad) = names.value.iter().find(|name| !is_label_name(&name.value)) {
        let message = format!("{:?} is no label name", bad.value);
        return Err(Fault::of(file, bad, message));
    }
    let mut sorted: Vec<String> = names.value.iter().map(|name| name.value.clone()).collect();
    sorted.sort();
    sorted.dedup();
    if !sorted.iter().any(|name| name == "service") {
        let message = "group_by must contain \"service\": alerts of one service keep their order";
        return Err(Fault::of(file, names, message));
    }
    Ok(sorted)
}

impl RawAction {
    fn checked(self, file: &Source) -> Result<Action, Fault> {
        let scale = &self.scale_docker;
        let size = size(file, scale)?;
        let cooldown = maybe_duration(file, self.cooldown.as_ref())?;
        if let (Size::Step(_), None) = (size, cooldown) {
            let message = "a relative step needs a cooldown, or every notification takes another";
            return Err(Fault::of(file, scale, message));
        }
        let label = scale.value.target_label.as_ref();
        if let Some(label) = label.filter(|label| !is_label_name(&label.value)) {
            let message = format!("{:?} is no label name", label.value);
            return Err(Fault::of(file, label, message));
        }
        Ok(Action {
            target_label: label.map_or_else(|| "service".to_owned(), |label| label.value.clone()),
            size,
            direction: direction(file, scale, size)?,
            timeout: maybe_duration(file, self.timeout.as_ref())?.unwrap_or(TIMEOUT),
            cooldown,
            verify_within: maybe_duration(file, self.verify_within.as_ref())?,
            on_failure: self.on_failure.map(|undo| undo.checked(file)).transpose()?,
        })
    }
}

fn size(file: &Source, scale: &Spanned<RawScale>) -> Result<Size, Fault> {
    match (&scale.value.replicas, &scale.value.step) {
        (Some(replicas), None) if replicas.value < 0 => {
            Err(Fault::of(file, replicas, "replicas cannot be negative"))
        }
        (Some(replicas), None) => Ok(Size::Replicas(replicas.value)),
        (None, Some(step)) if step.value == 0 => {
            Err(Fault::of(file, step, "a step of 0 does nothing"))
        }
        (None, Some(step)) => Ok(Size::Step(step.value)),
        (Some(_), Some(step)) => Err(Fault::of(file, step, "either replicas or step, not both")),
        (None, None) => Err(Fault::of(file, scale, "replicas or step is missing")),
    }
}

fn direction(file: &Source, scale: &Spanned<RawScale>, size: Size) -> Result<Direction, Fault> {
    match (&scale.value.direction, size) {
        (Some(RawDirection::Up), Size::Step(by)) if by < 0 => {
            Err(Fault::of(file, scale, "a negative step does not go up"))
        }
        (Some(RawDirection::Down), Size::Step(by)) if by > 0 => {
            Err(Fault::of(file, scale, "a positive step does not go down"))
        }
        (Some(RawDirection::Up), _) => Ok(Direction::Up),
        (Some(RawDirection::Down), _) => Ok(Direction::Down),
        (Some(RawDirection::Exact), _) | (None, Size::Replicas(_)) => Ok(Direction::Exact),
        (None, Size::Step(by)) if by < 0 => Ok(Direction::Down),
        (None, Size::Step(_)) => Ok(Direction::Up),
    }
}

impl RawUndo {
    fn checked(self, file: &Source) -> Result<Undo, Fault> {
        let given = &self.ensure_replicas;
        if given.value == "previous" {
            return Ok(Undo::Previous);
        }
        match given.value.parse() {
            Ok(count) if count >= 0 => Ok(Undo::Replicas(count)),
            Ok(_) | Err(_) => {
                let message = format!("{:?} is neither a number nor \"previous\"", given.value);
                Err(Fault::of(file, given, message).guess(&given.value, ["previous"]))
            }
        }
    }
}

fn maybe_duration(
    file: &Source,
    text: Option<&Spanned<String>>,
) -> Result<Option<TimeDelta>, Fault> {
    text.map(|text| duration(file, text)).transpose()
}

/// `60s`, `5m`, `1h 30m`; more than nothing, at most 30 days.
fn duration(file: &Source, text: &Spanned<String>) -> Result<TimeDelta, Fault> {
    let parsed = humantime::parse_duration(&text.value)
        .ok()
        .and_then(|found| TimeDelta::from_std(found).ok())
        .filter(|found| *found > TimeDelta::zero() && *found <= TimeDelta::days(30));
    parsed.ok_or_else(|| {
        let message = format!("{:?} is no duration such as 60s, 5m or 1h30m", text.value);
        Fault::of(file, text, message)
    })
}
