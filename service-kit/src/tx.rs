//! Transactions that survive a dropped caller.
