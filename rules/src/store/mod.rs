//! Rules' own tables: one statement per batch and table. Lock order: active rules, correlations by
//! key, the pause of all targets, targets by name, timers.

pub(crate) mod correlations;
pub(crate) mod decisions;
pub(crate) mod lookups;
pub(crate) mod read;
pub(crate) mod rule_sets;
pub(crate) mod targets;
pub(crate) mod timers;
