//! The Rule Engine: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    service_kit::main::<rules::Config>(rules::run)
}
