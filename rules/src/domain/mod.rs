//! The Rule Engine's mind: pure and synchronous. It knows no database, no broker and no clock.
//!
//! [`decide()`] takes a rule set, a state and an input, and gives a decision. Replay, explanation and
//! simulation call that same function.
//!
//! | to find | look in |
//! |---|---|
//! | what a rule is, and its version | [`rule`], [`matcher`], [`condition`] |
//! | which incidents an alert belongs to | [`key`], [`route()`] |
//! | what is remembered | [`state`], [`incident`] |
//! | what comes in, what goes out | [`input`], [`decision`], [`outcome`] |
//! | an alert fires, an alert clears | `raised`, `resolved` |
//! | an action ends, a timer is due, a person commands | `ended`, `woken`, `command` |
//! | whether and how a rule acts | `step`, `act` |
//! | how an incident opens, closes and fails | `life` |
//! | every sentence for people | [`sentence`] |

mod act;
mod command;
pub mod condition;
mod condition_check;
mod condition_steps;
mod condition_text;
mod decide;
pub mod decision;
mod draft;
mod ended;
pub mod explain;
pub mod incident;
pub mod input;
pub mod key;
mod life;
pub mod limit;
pub mod outcome;
mod raised;
mod resolved;
mod route;
pub mod rule;
mod rule_difference;
pub mod sentence;
mod shadow;
pub mod state;
mod step;
mod woken;

#[cfg(test)]
mod tests;

pub use condition::Condition;
pub use decide::{decide, decide_owned};
pub use decision::{Answer, Decision, Effect, Event, Facts, Snapshot};
pub use incident::{Alert, Failure, Incident, Next, Phase, Requested, Verify};
pub use input::{ChangedBy, Command, Input, Kind, RulesLoaded, Timer, TimerKind, Verb};
pub use key::correlation_key;
pub use limit::{Budget, Limits, Opened};
pub use outcome::{Outcome, RuleRef, Verdict};
pub use route::{Route, route};
pub use rule::{Action, Bounds, Policy, Role, Rule, RuleSet, Standing};
pub use rule_difference::Difference;
pub use shared_events::matcher::Matcher;
pub use state::{Busy, Correlation, Evidence, Memory, Over, Pause, Sequence, State, Target};
