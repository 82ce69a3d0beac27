//! Breaks everything for a while, heals it, and checks that nothing was lost and nothing done twice.

pub mod arena;
pub mod checker;
pub mod clock;
pub mod dice;
pub mod docker;
pub mod driver;
pub mod faults;
pub mod fleet;
pub mod gate;
pub mod gather;
pub mod proxy;
pub mod report;
pub mod restoring;
pub mod run;
pub mod soak;

pub use run::{Mode, Plan, run};
