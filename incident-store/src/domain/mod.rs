//! What an incident is, derived from the facts that are known of it. Pure: no clock, no I/O.
//!
//! | to find | look in |
//! |---|---|
//! | the facts | [`fact`] |
//! | how a fact changes an incident, whatever the order | [`incident`], [`action`] |
//! | what people are shown of it | [`view`] |
//! | a fact as a line of the story | [`entry`], [`summary`] |

pub mod action;
pub mod entry;
pub mod fact;
pub mod incident;
pub mod summary;
pub mod view;

pub use action::Action;
pub use entry::Entry;
pub use fact::{Body, Fact};
pub use incident::{Incident, Reason, Status, apply};

#[cfg(test)]
mod laws_tests;
#[cfg(test)]
mod samples_tests;
