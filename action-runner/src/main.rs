//! The Action Runner as a process.

use std::process::ExitCode;

fn main() -> ExitCode {
    service_kit::main::<action_runner::Config>(action_runner::run)
}
