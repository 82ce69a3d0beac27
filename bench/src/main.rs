//! Drives a running EventPulse, measures it, and measures the floor of the same machine in the same
//! run: what Postgres and Kafka alone take for the same rows and bytes.

mod alerts;
mod compare;
mod drive;
mod error;
mod floor;
mod grow;
mod hops;
mod latency;
mod plot;
mod report;
mod sight;
mod usage;
mod workload;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};

use crate::{
    error::Error,
    grow::Databases,
    plot::Picture,
    report::Report,
    workload::{Bench, Storm},
};

/// Loads the services, and prints throughput, latency, CPU and memory beside the machine's floor.
#[derive(Debug, Parser)]
#[command(
    name = "eventpulse-bench",
    version,
    args_conflicts_with_subcommands = true
)]
struct Args {
    #[command(subcommand)]
    also: Option<Also>,
    /// Workloads, in this order
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "floor,w2,w3,w4,w5,w8"
    )]
    workloads: Vec<Workload>,
    /// How long each workload posts
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Posts at once, where the load is not paced
    #[arg(long, default_value_t = 8)]
    posts: usize,
    /// Alerts a second of w4, one a body
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    /// Longest wait for the last event, once nothing is posted any more
    #[arg(long, default_value_t = 120)]
    patience: u64,
    /// Also writes the figures there, a line for each run; `-`: to standard output, the table to
    /// standard error
    #[arg(long)]
    json: Option<PathBuf>,
    /// Name of what is measured, written beside the figures
    #[arg(long, default_value = "here")]
    label: String,
    /// Alerts that are stored before, written beside the figures
    #[arg(long, default_value_t = 0)]
    size: u64,
    #[command(flatten)]
    servers: Servers,
}

#[derive(Debug, Subcommand)]
enum Also {
    /// Fills the databases with what so many alerts of the past would have left
    Grow {
        alerts: u64,
        #[command(flatten)]
        databases: Databases,
    },
    /// Reads figures, a line each, and sets versions side by side
    Compare,
    /// Reads figures, a line each, and writes them as SVG
    Plot {
        #[arg(value_enum)]
        picture: Picture,
    },
}

/// Where everything is.
#[derive(Clone, Debug, clap::Args)]
struct Servers {
    #[arg(
        long,
        env = "EVENTPULSE_INGEST_URL",
        default_value = "http://127.0.0.1:8081"
    )]
    ingest: String,
    #[arg(
        long,
        env = "EVENTPULSE_RULES_URL",
        default_value = "http://127.0.0.1:8082"
    )]
    rules: String,
    #[arg(
        long,
        env = "EVENTPULSE_ACTION_RUNNER_URL",
        default_value = "http://127.0.0.1:8083"
    )]
    action_runner: String,
    #[arg(
        long,
        env = "EVENTPULSE_INCIDENT_STORE_URL",
        default_value = "http://127.0.0.1:8084"
    )]
    incident_store: String,
    #[arg(
        long,
        env = "EVENTPULSE_KAFKA_BROKERS",
        default_value = "127.0.0.1:9092"
    )]
    kafka: String,
    /// A Postgres for the floor: a table is made there, and dropped
    #[arg(long, env = "EVENTPULSE_BENCH_DATABASE_URL", hide_env_values = true)]
    database: Option<String>,
    #[arg(
        long,
        env = "EVENTPULSE_WEBHOOK_TOKEN",
        default_value = "demo-only-change-me",
        hide_env_values = true
    )]
    token: String,
    /// Only Ingest runs.
    #[arg(skip)]
    alone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// The same rows into Postgres, the same bytes through Kafka, without EventPulse
    Floor,
    /// Ingest alone, the other services are stopped; 100 a body, unique series
    W1,
    /// Every alert opens an incident; 100 a body, unique series
    W2,
    /// One alert in a hundred matches a rule; 100 a body, unique series, 1,000 services
    W3,
    /// Paced, one a body, every alert opens an incident: webhook sent to incident on the stream
    W4,
    /// 200 series that fire again as fast as they are taken
    W5,
    /// What w1 left in the topic, once the services are started again; nothing is posted
    W6,
    /// 5,000 alerts of one service, which all belong to one incident
    W8,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {}", error::chain(&error));
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<(), Error> {
    let input = || compare::read(std::io::stdin().lock());
    match &args.also {
        None => measure(args).await,
        Some(Also::Grow { alerts, databases }) => grow::grow(databases, *alerts).await,
        Some(Also::Compare) => {
            println!("{}", compare::table(&input()?));
            Ok(())
        }
        Some(Also::Plot { picture }) => {
            println!("{}", plot::svg(*picture, &input()?).map_err(Error::Plot)?);
            Ok(())
        }
    }
}

async fn measure(args: &Args) -> Result<(), Error> {
    let bench = Bench::new(args.servers.clone(), Duration::from_secs(args.patience))?;
    let mut report = Report {
        label: args.label.clone(),
        size: args.size,
        ..Report::default()
    };
    let outcome = work(args, &bench, &mut report).await;
    // what was measured before something failed is told all the same
    tell(args, &report)?;
    outcome
}

fn tell(args: &Args, report: &Report) -> Result<(), Error> {
    let Some(path) = &args.json else {
        println!("{}", report.table());
        return Ok(());
    };
    let line = serde_json::to_string(report).map_err(Error::Json)?;
    if path.as_os_str() == "-" {
        eprintln!("{}", report.table());
        println!("{line}");
        return Ok(());
    }
    println!("{}", report.table());
    std::fs::write(path, line + "\n").map_err(|source| Error::Write {
        path: path.clone(),
        source,
    })
}

async fn work(args: &Args, bench: &Bench, report: &mut Report) -> Result<(), Error> {
    let posting = Duration::from_secs(args.seconds);
    for workload in &args.workloads {
        eprintln!("{workload:?}: {} s ...", args.seconds);
        let run = match workload {
            Workload::Floor => {
                report.floor = Some(floor::measure(&args.servers).await?);
                continue;
            }
            Workload::W1 => {
                let storm = Storm::every("w1", posting).one_in(100);
                bench.alone().await?.storm(storm, args.posts).await?
            }
            Workload::W6 => bench.backlog("w6").await?,
            Workload::W2 => bench.storm(Storm::every("w2", posting), args.posts).await?,
            Workload::W3 => {
                let storm = Storm::every("w3", posting).one_in(100);
                bench.storm(storm, args.posts).await?
            }
            Workload::W4 => bench.paced("w4", posting, args.rate).await?,
            Workload::W5 => {
                let storm = Storm::every("w5", posting).repeating(200);
                bench.storm(storm, args.posts).await?
            }
            Workload::W8 => {
                let storm = Storm::every("w8", posting).one_key(5000);
                bench.storm(storm, args.posts).await?
            }
        };
        report.runs.push(run);
    }
    Ok(())
}
