//! The tables: what the domain keeps, as rows.

pub mod action_row;
pub mod as_of;
pub mod content;
pub mod incident_row;
pub mod list;
pub mod load;
pub mod save;
pub mod story;
pub mod stream;

pub use action_row::ActionRow;
pub use incident_row::IncidentRow;
pub use load::Stored;
