//! Incident Store as a process.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: service_kit::Allocator = service_kit::Allocator;

fn main() -> ExitCode {
    service_kit::main::<incident_store::Config>(incident_store::run)
}
