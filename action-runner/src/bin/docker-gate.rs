//! The gate as a process.

use std::process::ExitCode;

use action_runner::gate::{Config, check, run};
use clap::Parser;

fn main() -> ExitCode {
    let config = Config::parse();
    if config.check {
        return service_kit::lifecycle::report(check(&config.gate_socket));
    }
    let telemetry = config.telemetry.clone();
    service_kit::lifecycle::process("docker-gate", &telemetry, async |shutdown| {
        run(config, shutdown).await
    })
}
