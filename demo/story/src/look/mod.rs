//! Reading, never writing: what each part of the system says.

pub(crate) mod alertmanager;
pub(crate) mod docker;
pub(crate) mod eventpulse;
pub(crate) mod http;
pub(crate) mod prometheus;
