//! (see tx)
