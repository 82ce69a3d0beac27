//! Rules' own tables: one statement per batch and table. Lock order: `decide_under`,
//! correlations by key, targets by name, timers.

pub(crate) mod content;
pub(crate) mod correlations;
pub(crate) mod decisions;
pub(crate) mod explain;
pub(crate) mod lookups;
pub(crate) mod read;
pub(crate) mod rule_changes;
pub(crate) mod rule_sets;
pub(crate) mod shadows;
pub(crate) mod targets;
pub(crate) mod timers;
