//! What a decision answers, rule by rule: the codes, and the verdict that carries one.

use std::collections::BTreeMap;

use serde_json::Value;
use shared_events::EventId;

macro_rules! outcomes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal),+ $(,)?) => {
        /// The answer of one rule, or of the engine, to one input. Each code has a row in
        /// `docs/OPERATING.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Outcome {
            $($(#[$doc])* $variant,)+
        }

        impl Outcome {
            /// Every outcome there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// Every code there is.
            pub const CODES: &'static [&'static str] = &[$($code),+];

            /// The code, as people read it.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code),+ }
            }
        }
    };
}
outcomes! {
    /// The rule did what it says: opened an incident, asked for an action, or both.
    Fired = "fired",
    /// The alert joined an incident that it does not hold.
    Attached = "attached",
    /// `when` is false, or cannot be told.
    ConditionFalse = "condition_false",
    /// The rule acted on the target not long ago; it is decided again when the cooldown ends.
    Cooldown = "cooldown",
    /// The target has the count that the rule wants, or its bound.
    AtLimit = "at_limit",
    /// The target is busy with an action; it is decided again when that ends.
    ActionPending = "action_pending",
    /// The incident is there already and the alert holds it; nothing more is due.
    AlreadyOpen = "already_open",
    /// There is no incident that the alert could join.
    NothingToAttach = "nothing_to_attach",
    /// The episode was over before it was heard of, or its incident is.
    AlreadyOver = "already_over",
    /// A person paused the target; it is decided again when the pause ends.
    Paused = "paused",
    /// There were too many actions in the last hour: nothing more until a person closes the limit.
    LimitReached = "limit_reached",
    /// The incident's automation gave up; only a person's retry tries again.
    GaveUp = "gave_up",
    /// The alert names no target, or one that `targets.yaml` does not declare.
    NoTarget = "no_target",
    /// The rule does not mean this alert. Worked out on reading, never stored.
    NoMatch = "no_match",
    /// The alert fires no more.
    Cleared = "cleared",
    /// The action has ended well.
    ActionCompleted = "action_completed",
    /// The action has failed.
    ActionFailed = "action_failed",
    /// The action gave no news until its deadline and grace had passed.
    ActionTimedOut = "action_timed_out",
    /// The action was replaced by a newer one.
    Superseded = "superseded",
    /// After an action nothing fires any more, or the incident is settled.
    Recovered = "recovered",
    /// After an action the alert still fires.
    StillFiring = "still_firing",
    /// The input came too late to matter: what it speaks of has ended.
    Stale = "stale",
    /// A person's command was carried out.
    Obeyed = "obeyed",
    /// A person's command could not be carried out.
    Refused = "refused",
    /// A rule set became active.
    RulesLoaded = "rules_loaded",
}

/// The answer of one rule (or, without a rule, of the engine) to one input.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub rule: Option<RuleRef>,
    pub outcome: Outcome,
    /// A sentence for people: cause, state, next step.
    pub reason: String,
    /// Values that were looked at.
    pub inputs: BTreeMap<String, Value>,
    /// Events that follow from it.
    pub emitted: Vec<EventId>,
    /// Of a rule in state shadow: nothing of it happened.
    pub shadow: bool,
}

/// A rule as it was when it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleRef {
    pub name: String,
    pub version: String,
}

impl From<&super::Rule> for RuleRef {
    fn from(rule: &super::Rule) -> Self {
        Self {
            name: rule.name.clone(),
            version: rule.version.clone(),
        }
    }
}
