//! What Ingest decides, as plain functions: what a webhook body says ([`webhook`], [`notice`]),
//! what a notification does to its series ([`series`], [`decide`]), and what a batch of them makes
//! others hear ([`journal`]).
//!
//! No clock: `at` and the arrival of a body come in. `startsAt` and `endsAt` are the sender's and
//! are compared only with each other.

pub mod decide;
#[cfg(test)]
mod decide_tests;
pub mod journal;
#[cfg(test)]
mod laws_tests;
pub mod notice;
pub mod recall;
pub mod series;
pub mod webhook;

pub use decide::{Decision, Notification, Outcome, Policy, decide};
pub use journal::Journal;
pub use notice::{About, News, Notice, Reason, Reject};
pub use series::{Closing, Episode, Phase, Series};
pub use webhook::{BodyError, Webhook};
