//! Tells the demo's story live. Its only inputs are: load on, load off, and a bad file shipped to the app;
//! everything else it reads, and says what broke when something does not happen.

mod acts;
mod config;
mod figures;
mod hey;
mod inputs;
mod look;
mod profile;
mod stage;
mod teller;
mod traffic;
mod until;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    acts::play(config::Args::parse()).await
}
