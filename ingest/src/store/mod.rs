//! The tables of Ingest. Whatever belongs to a batch takes the connection of its transaction; one
//! statement per table, whatever the size of the batch.

mod read;
mod receipts;
mod series;

pub use read::{
    AlertFilter, AlertRow, Place, ReceiptRow, RejectRow, alert, alerts, receipt, receipts, rejects,
};
pub use receipts::{NewReject, Receipt, insert_receipts, insert_rejects, prune};
pub use series::{Changed, abouts, lock, now, save, unheard};

/// Why the columns of an episode are there whenever `episode` is above 0.
const CHECKED: &str = "the constraint alerts_episode holds the columns of an episode together";
