//! A short `make torture` among the tests: the same faults by seed on real parts. `make test` starts
//! the parts that are broken here; a run of ten minutes is `make torture`.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use eventpulse_torture::{Mode, Plan, arena::Places, driver::Load, run};

/// Ports as of `make torture`, by the same variables.
#[derive(Debug, Parser)]
struct Here {
    #[command(flatten)]
    places: Places,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_run_loses_nothing_and_does_nothing_twice() -> Result<()> {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = crate_folder.parent().context("a workspace")?;
    let plan = Plan {
        seed: 7,
        duration: Duration::from_secs(45),
        mode: Mode::Faults,
        instances: 2,
        load: Load {
            rate: 20,
            groups: 10,
            services: 300,
        },
        patience: Duration::from_secs(300),
        places: Here::try_parse_from(["short"])?.places,
        folder: root.join(".cache/torture/short"),
    };
    let report = run(&plan).await?;
    print!("{}", report.text());
    ensure!(
        report.passed,
        "what is left of it: {}",
        plan.folder.display()
    );
    let (faults, alerts) = (report.faults_total, report.alerts_accepted);
    ensure!(faults >= 10, "{faults} faults show nothing");
    ensure!(alerts >= 200, "{alerts} alerts show nothing");
    Ok(())
}
