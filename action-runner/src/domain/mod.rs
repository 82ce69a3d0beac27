//! What Action Runner decides, without I/O: what an accepted request means, which steps lead from
//! what is observed to what is desired, and when an action is over.
//!
//! | to find | look in |
//! |---|---|
//! | what may be touched | [`target`] |
//! | what is seen | [`observed`] |
//! | observed and desired give steps | [`plan`] |
//! | when an action is over, and why | [`verdict`] |
//! | state, inputs, one terminal event per action | [`state`], [`decide`] |
//! | sentences for people | [`wording`] |

pub mod decide;
pub mod evidence;
pub mod observed;
pub mod plan;
pub mod state;
pub mod target;
pub mod verdict;
pub mod wording;

#[cfg(test)]
mod decide_tests;
#[cfg(test)]
mod plan_tests;
#[cfg(test)]
mod verdict_tests;
