//! `eventpulse`: EventPulse from the command line.

mod alert;
mod args;
mod backtest;
mod client;
mod db;
mod dlq;
mod doctor;
mod error;
mod export;
mod incident;
mod kafka;
mod list;
mod outbox;
mod output;
mod profile;
mod rebuild;
mod rules;
mod topic;
mod verbs;
mod watch;
mod why;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::{
    args::{
        ActionCommand, AlertCommand, Cli, Command, DecisionCommand, DlqCommand, IncidentCommand,
        LimitsCommand, TargetCommand, TopicCommand,
    },
    client::Client,
    error::{Error, chain},
    output::Output,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let cli = match profile::with_profile(Cli::command(), &arguments) {
        Ok(command) => Cli::from_arg_matches(&command.get_matches()),
        Err(error) => {
            eprintln!("eventpulse: {}", chain(&error));
            return error.exit_code();
        }
    };
    let cli = cli.unwrap_or_else(|error| error.exit());
    // Both rustls providers may be compiled in by somebody's feature; one must be chosen.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(Box::pin(run(cli))),
        Err(error) => Err(Error::Output(error)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            let words = chain(&error);
            if !words.is_empty() {
                eprintln!("eventpulse: {words}");
            }
            error.exit_code()
        }
    }
}

async fn run(cli: Cli) -> Result<(), Error> {
    let output = Output::new(&cli.global);
    let servers = cli.global.servers;
    let client = Client::new(servers.clone())?;
    match cli.command {
        Command::Incident(command) => match command {
            IncidentCommand::Ls(list) => incident::list(&client, output, &list).await,
            IncidentCommand::Show { id, as_of } => {
                incident::show(&client, output, (&id, as_of.as_deref())).await
            }
            IncidentCommand::Export { id, format } => {
                export::export(&client, output, (&id, format)).await
            }
            IncidentCommand::Timeline { id } => incident::timeline(&client, output, &id).await,
            IncidentCommand::Retry(order) => {
                verbs::incident(&client, output, "retry", &order).await
            }
            IncidentCommand::Close(order) => {
                verbs::incident(&client, output, "close", &order).await
            }
            IncidentCommand::Watch { id } => watch::watch(&client, output, id.as_deref()).await,
        },
        Command::Alert(AlertCommand::Show { id }) => alert::show(&client, output, &id).await,
        Command::Alert(AlertCommand::Send(args)) => alert::send(&client, output, &args).await,
        Command::Alert(command) => list::alerts(&client, output, &command).await,
        Command::Action(ActionCommand::Show { id }) => alert::action(&client, output, &id).await,
        Command::Action(command) => list::actions(&client, output, &command).await,
        Command::Target(TargetCommand::Ls) => list::targets(&client, output).await,
        Command::Target(TargetCommand::Reload) => verbs::reload_targets(&client, output).await,
        Command::Target(TargetCommand::Prune { yes }) => verbs::prune(&client, output, yes).await,
        Command::Why(args) => why::why(&servers, &client, output, &args).await,
        Command::Rules(command) => rules::run(&client, output, &command).await,
        Command::Backtest(args) => backtest::run(&servers, &client, output, &args).await,
        Command::Decision(DecisionCommand::Show { id }) => {
            alert::decision(&client, output, &id).await
        }
        Command::Decision(command) => list::decisions(&client, output, &command).await,
        Command::Limits(LimitsCommand::Ls) => list::limits(&client, output).await,
        Command::Limits(LimitsCommand::Close { target, because }) => {
            verbs::close_limit(&client, output, target.as_deref(), &because).await
        }
        Command::Pause(args) => verbs::pause(&client, output, &args).await,
        Command::Resume(args) => verbs::resume(&client, output, &args).await,
        Command::Topic(TopicCommand::Ls) => topic::list(&servers, output).await,
        Command::Topic(TopicCommand::Tail(args)) => topic::tail(&servers, &client, &args).await,
        Command::Dlq(command) => match command {
            DlqCommand::Ls(args) => dlq::list(&servers, output, &args).await,
            DlqCommand::Show { id } => dlq::show(&servers, &client, output, &id).await,
            DlqCommand::Redrive(args) => dlq::redrive(&servers, output, &args).await,
        },
        Command::Outbox(command) => outbox::run(&client, output, &command).await,
        Command::Rebuild(args) => rebuild::run(&servers, &client, output, &args).await,
        Command::Db(command) => db::run(&client, output, &command).await,
        Command::Doctor => doctor::doctor(&servers, &client, output).await,
        Command::Completions { shell } => {
            let mut command = Cli::command();
            clap_complete::generate(shell, &mut command, "eventpulse", &mut std::io::stdout());
            Ok(())
        }
    }
}
