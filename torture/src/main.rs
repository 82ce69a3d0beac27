//! `make torture`: breaks everything for a while and checks what is left.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Parser;
use eventpulse_torture::{Mode, Plan, arena::Places, driver::Load, run};

/// Load and faults for a while, then heal, drain, check.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Load and faults: so many seconds
    #[arg(long, default_value_t = 600)]
    duration: u64,
    /// The same seed chooses the same alerts and faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Of each service
    #[arg(long, default_value_t = 2)]
    instances: usize,
    /// No faults: the load alone, and whether what services hold stays bounded
    #[arg(long)]
    calm: bool,
    /// No faults but this: each database in turn is lost, and restored from a dump that is so many
    /// seconds old at least
    #[arg(long, value_name = "SECONDS", conflicts_with = "calm")]
    restore: Option<u64>,
    /// New series a second; without it 160, and 30 where nothing is broken, which does not fill the
    /// machine
    #[arg(long)]
    rate: Option<usize>,
    /// Where the report goes, and what a failure leaves
    #[arg(long, default_value = ".cache/torture")]
    folder: PathBuf,
    #[command(flatten)]
    places: Places,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let (kind, mode) = match options.restore {
        Some(age) => ("restore", Mode::Restore(Duration::from_secs(age))),
        None if options.calm => ("soak", Mode::Calm),
        None => ("seed", Mode::Faults),
    };
    let rate = if mode == Mode::Faults { 160 } else { 30 };
    let folder = options.folder.join(format!("{kind}-{}", options.seed));
    let plan = Plan {
        seed: options.seed,
        duration: Duration::from_secs(options.duration),
        mode,
        instances: options.instances,
        load: Load {
            rate: options.rate.unwrap_or(rate),
            groups: 20,
            services: 2500,
        },
        patience: Duration::from_secs(300),
        places: options.places,
        folder: folder.clone(),
    };
    let report = run(&plan).await?;
    print!("{}", report.text());
    println!("  report    {}", folder.display());
    Ok(if report.passed {
        ExitCode::SUCCESS
    } else {
        println!("  seed {}, journals and logs stay there", options.seed);
        ExitCode::FAILURE
    })
}
