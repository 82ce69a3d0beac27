//! Telemetry Ingest: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    service_kit::main::<ingest::Config>(ingest::run)
}
