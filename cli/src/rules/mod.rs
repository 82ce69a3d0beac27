//! `rules`: rules as code.

mod diff;
pub(crate) mod files;
mod remote;
pub(crate) mod sets;
mod test;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use rules::files::Error as FileError;
use serde_json::json;

use self::files::Settings;
use crate::{
    args::Because,
    client::Client,
    error::{Error, chain},
    list,
    output::{Output, line},
    verbs,
};

#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// The active rules
    #[command(visible_alias = "list")]
    Ls,
    /// One active rule, whole
    Show {
        /// Its name
        name: String,
    },
    /// Whether a file is valid; else where it is not and what was probably meant. Offline
    Check(CheckArgs),
    /// Run the tests beside a rules file. Offline
    Test {
        /// Tests: see docs/RULES.md
        file: PathBuf,
        #[command(flatten)]
        settings: Settings,
    },
    /// What changes between two rules files, field by field; one file: against the active rules
    Diff(DiffArgs),
    /// Make a file the active rules
    Apply(ApplyArgs),
    /// Every version there was, newest first
    Versions,
    /// Make an earlier version the active one again
    Rollback {
        /// Its hash, or the first 4 or more digits
        hash: String,
        #[command(flatten)]
        because: Because,
    },
    /// What rules in state `shadow` would have done, beside what the live ones did
    ShadowReport {
        /// Within this time (1h, 2d), or from this time on (RFC 3339)
        #[arg(long, default_value = "1d")]
        since: String,
    },
    /// Read the files of the Rule Engine again; an invalid one changes nothing
    Reload,
}

/// What to check.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Rules
    file: PathBuf,
    /// Targets; targets.yaml beside the rules when it is not given
    #[arg(long, value_name = "FILE")]
    targets: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

/// What to compare.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// Rules of before, or those that are to become active
    pub(super) one: PathBuf,
    /// Rules of after
    pub(super) other: Option<PathBuf>,
    #[command(flatten)]
    pub(super) settings: Settings,
}

/// What to apply.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// Rules
    pub(super) file: PathBuf,
    /// Only if the active rules have this hash; without, those that are active when this begins
    #[arg(long, value_name = "HASH")]
    pub(super) if_match: Option<String>,
    /// Only check it there, and say what would change
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) because: Because,
}

/// Runs it.
pub(crate) async fn run(
    client: &Client,
    output: Output,
    command: &RulesCommand,
) -> Result<(), Error> {
    match command {
        RulesCommand::Ls => list::rules(client, output).await,
        RulesCommand::Show { name } => remote::show(client, output, name).await,
        RulesCommand::Check(args) => check(output, args),
        RulesCommand::Test { file, settings } => test::run(output, file, settings),
        RulesCommand::Diff(args) => diff::run(client, output, args).await,
        RulesCommand::Apply(args) => remote::apply(client, output, args).await,
        RulesCommand::Versions => remote::versions(client, output).await,
        RulesCommand::Rollback { hash, because } => {
            remote::rollback(client, output, hash, because).await
        }
        RulesCommand::ShadowReport { since } => remote::shadow_report(client, output, since).await,
        RulesCommand::Reload => verbs::reload(client, output).await,
    }
}

/// `rules check`
fn check(output: Output, args: &CheckArgs) -> Result<(), Error> {
    match files::compiled(&args.file, args.targets.as_deref(), &args.settings) {
        Ok((set, _)) => {
            let names: Vec<&str> = set.rules.iter().map(|rule| rule.name.as_str()).collect();
            if output.is_json() {
                return output.json(&json!({"valid": true, "version": set.hash, "rules": names}));
            }
            line(&format!(
                "{}: valid, version {}: {}",
                args.file.display(),
                set.hash.get(..6).unwrap_or_default(),
                names.join(", ")
            ))
        }
        Err(Error::Rules(FileError::Invalid(fault))) if output.is_json() => {
            output.json(&json!({
                "valid": false, "file": fault.file, "line": fault.line, "column": fault.column,
                "message": fault.message, "hint": fault.hint,
            }))?;
            Err(Error::Unwell)
        }
        Err(Error::Rules(error)) => {
            eprintln!("{}", chain(&error));
            Err(Error::Unwell)
        }
        Err(error) => Err(error),
    }
}
