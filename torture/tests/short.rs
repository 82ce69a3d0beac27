//! A short run of everything: load and faults for a minute, then heal, drain, check.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use clap::Parser;
use eventpulse_torture::{Plan, arena::Places, driver::Load, run};

/// Reads the ports from the environment, as the program does.
#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    places: Places,
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_done_twice() -> Result<()> {
    let plan = Plan {
        seed: 7,
        duration: Duration::from_secs(60),
        instances: 2,
        load: Load {
            rate: 40,
            groups: 10,
            services: 1000,
        },
        patience: Duration::from_secs(300),
        places: Options::parse_from(["short"]).places,
        folder: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.cache/torture/short"),
    };
    let report = run(&plan).await?;
    println!("{}", report.text());
    assert!(report.passed, "{}", report.text());
    assert!(report.alerts_accepted >= 200, "{}", report.text());
    assert!(report.faults_total >= 10, "{}", report.text());
    Ok(())
}
