//! Any rule set over the recorded past, in memory: the same plans, the same fold and the same
//! [`decide`](crate::domain::decide()) as the running engine, without database, broker and clock.
//!
//! | to find | look in |
//! |---|---|
//! | what is read: messages, and decisions in their recorded order | `log` |
//! | the tables of a running engine, in memory | `world` |
//! | in which order what is folded | `steps`, `replay` |
//! | how actions end that never happened | `assume` |
//! | the tables once more, from the recorded order | `rebuild` |
//! | what differs from what was decided then | `report` |

mod assume;
mod log;
mod rebuild;
mod replay;
mod report;
mod steps;
mod world;

pub use assume::Assume;
pub use log::{Answer, Decision, Event, Message, Recorded};
pub use rebuild::{Events, Gap, Rebuilt, rebuild};
pub use replay::{Assumed, Replayed, Tried, replay};
pub use report::{Difference, DifferenceKind, Report, TableRow, Window, report};
pub use steps::Order;
pub(crate) use steps::command;
