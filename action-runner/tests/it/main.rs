//! Action Runner against a real Docker engine and a real Postgres. Every container, network and
//! volume carries a project of its own and is removed at the end.

mod api;
mod converge;
mod faults;
mod gate;
mod host;
mod proxy;
mod readiness;
mod runner;
mod tls;
mod topics;
