//! The demo's web application: each request to `/work` costs a fixed amount of CPU time.

mod burn;
mod config;
mod drain;
mod healthcheck;
mod http;
mod pool;
mod upstream;

use std::process::ExitCode;

use clap::Parser;
use config::{Args, Command};

fn main() -> ExitCode {
    let args = Args::parse();
    match args.command {
        Some(Command::Healthcheck { url }) => healthcheck::run(&url),
        None => http::run(args.serve),
    }
}
