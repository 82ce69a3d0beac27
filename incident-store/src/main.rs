//! Incident Store as a process.

use std::process::ExitCode;

fn main() -> ExitCode {
    service_kit::main::<incident_store::Config>(incident_store::run)
}
