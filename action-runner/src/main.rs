//! The Action Runner as a process.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: service_kit::Allocator = service_kit::Allocator;

fn main() -> ExitCode {
    service_kit::main::<action_runner::Config>(action_runner::run)
}
