//! A rule: which alerts it means, what it makes of them, what it does.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use shared_events::{Labels, action::Direction};

use super::{Condition, Limits, Matcher, correlation_key};

/// One rule. Its version is the hash of everything else that it says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rule {
    pub name: String,
    #[serde(rename = "state", skip_serializing_if = "Standing::is_live")]
    pub standing: Standing,
    /// SHA-256 of the rest, hexadecimal.
    #[serde(skip)]
    pub version: String,
    pub matchers: Vec<Matcher>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
    /// Label names, sorted; `service` is among them.
    pub group_by: Vec<String>,
    pub incident: Role,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
}

/// Whether what a rule decides happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It does.
    #[default]
    Live,
    /// It is logged only.
    Shadow,
}

impl Standing {
    /// As it is written in a rules file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Shadow => "shadow",
        }
    }

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde hands over a reference"
    )]
    fn is_live(&self) -> bool {
        *self == Self::Live
    }
}

/// What an alert is to the incident of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It opens and holds the incident.
    Open,
    /// It joins the incident, and never holds it.
    Attach,
}

/// What a rule does to a target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Action {
    /// The label whose value names the target.
    pub target_label: String,
    #[serde(flatten)]
    pub size: Size,
    pub direction: Direction,
    #[serde(rename = "timeout_ms", serialize_with = "as_millis")]
    pub timeout: TimeDelta,
    #[serde(rename = "cooldown_ms", serialize_with = "as_maybe_millis")]
    pub cooldown: Option<TimeDelta>,
    #[serde(rename = "verify_within_ms", serialize_with = "as_maybe_millis")]
    pub verify_within: Option<TimeDelta>,
    pub on_failure: Option<Undo>,
}

/// How many replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// This many.
    Replicas(i32),
    /// This many more (or fewer) than are known to run.
    Step(i32),
}

/// How a failed action is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// Back to the count before the action.
    Previous,
    /// To this count.
    Replicas(i32),
}

impl Rule {
    /// The rule with its version worked out.
    #[must_use]
    pub fn sealed(mut self) -> Self {
        self.version = hex::encode(Sha256::digest(self.content()));
        self
    }

    /// What it says, without its version, as JSON: what the version is the hash of.
    #[must_use]
    pub fn content(&self) -> String {
        serde_json::to_string(self).expect("a rule holds strings, numbers and lists only")
    }

    /// Whether what it decides happens.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.standing.is_live()
    }

    /// Under which name a target remembers when it last asked: what a rule did in shadow is no
    /// cooldown for the live one.
    #[must_use]
    pub fn cooldown_key(&self) -> String {
        match self.standing {
            Standing::Live => self.name.clone(),
            Standing::Shadow => format!("shadow/{}", self.name),
        }
    }

    /// Whether an alert with these labels is meant.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.is_match(labels))
    }

    /// The correlation key of an alert with these labels.
    #[must_use]
    pub fn key(&self, labels: &Labels) -> String {
        correlation_key(labels, &self.group_by)
    }
}

/// The bounds of a target, from `targets.yaml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bounds {
    pub min_replicas: i32,
    pub max_replicas: i32,
}

/// Settings that decisions depend on: part of what a rule set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// How long no holding alert must fire after a pending action has ended.
    #[serde(rename = "settle_ms", serialize_with = "as_millis")]
    pub settle: TimeDelta,
    /// How long after its deadline an action without news counts as timed out.
    #[serde(rename = "action_grace_ms", serialize_with = "as_millis")]
    pub action_grace: TimeDelta,
}

/// Everything that decisions depend on besides state and input: immutable, known by its hash.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleSet {
    /// SHA-256 of rules, targets and policy, hexadecimal.
    pub hash: String,
    /// In the order in which they are evaluated.
    pub rules: Vec<Rule>,
    pub targets: BTreeMap<String, Bounds>,
    pub policy: Policy,
    pub limits: Limits,
}

impl RuleSet {
    /// A rule set with its hash worked out.
    #[must_use]
    pub fn new(rules: Vec<Rule>, targets: BTreeMap<String, Bounds>, policy: Policy) -> Self {
        let versions: Vec<[&str; 2]> = rules
            .iter()
            .map(|rule| [rule.name.as_str(), rule.version.as_str()])
            .collect();
        let content =
            serde_json::to_string(&(versions, &targets, policy)).expect("strings and numbers only");
        Self {
            hash: hex::encode(Sha256::digest(content)),
            rules,
            targets,
            policy,
            limits: Limits::default(),
        }
    }

    /// The same set with these limits, which are part of its hash.
    #[must_use]
    pub fn limited(mut self, limits: Limits) -> Self {
        if limits.is_set() {
            let content = serde_json::to_string(&(&self.hash, limits)).expect("numbers only");
            self.hash = hex::encode(Sha256::digest(content));
            self.limits = limits;
        }
        self
    }

    /// The rules that mean an alert with these labels, in order.
    pub fn matching(&self, labels: &Labels) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(|rule| rule.matches(labels))
    }

    /// The rule of this name.
    #[must_use]
    pub fn rule(&self, name: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.name == name)
    }
}

fn as_millis<S: Serializer>(delta: &TimeDelta, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(delta.num_milliseconds())
}

fn as_maybe_millis<S: Serializer>(
    delta: &Option<TimeDelta>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    delta
        .map(|delta| delta.num_milliseconds())
        .serialize(serializer)
}
