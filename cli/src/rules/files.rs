//! Rule files on this machine.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::TimeDelta;
use clap::Args;
use rules::{
    domain::{Policy, RuleSet},
    files::{self, Source, Sources, compile},
};

use crate::error::Error;

/// Settings of the Rule Engine that decisions depend on; the defaults are its own.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Settings {
    /// As the Rule Engine has it
    #[arg(long, env = "EVENTPULSE_SETTLE", value_name = "DURATION", default_value = "1m",
        value_parser = humantime::parse_duration)]
    settle: Duration,
    /// As the Rule Engine has it
    #[arg(long, env = "EVENTPULSE_ACTION_GRACE", value_name = "DURATION", default_value = "15s",
        value_parser = humantime::parse_duration)]
    action_grace: Duration,
}

impl Settings {
    pub(crate) fn policy(&self) -> Result<Policy, Error> {
        let delta = |time| {
            TimeDelta::from_std(time)
                .map_err(|error| Error::Usage(format!("{time:?} is too long: {error}")))
        };
        Ok(Policy {
            settle: delta(self.settle)?,
            action_grace: delta(self.action_grace)?,
        })
    }
}

/// The rule set of a file, with the targets beside it (or at `targets`).
pub(crate) fn compiled(
    rules: &Path,
    targets: Option<&Path>,
    settings: &Settings,
) -> Result<(RuleSet, Sources), Error> {
    let sources = Sources {
        rules: Source::read(rules)?,
        targets: targets_of(rules, targets)?,
    };
    let set = compile(&sources, settings.policy()?)?;
    Ok((set, sources))
}

/// Where no file is given and none lies beside the rules, no target is declared.
pub(super) fn targets_of(rules: &Path, targets: Option<&Path>) -> Result<Source, files::Error> {
    let beside: PathBuf = rules.with_file_name("targets.yaml");
    match targets {
        Some(given) => Source::read(given),
        None if beside.exists() => Source::read(&beside),
        None => Ok(Source {
            name: "(no targets)".to_owned(),
            text: "version: 1\ntargets: []\n".to_owned(),
        }),
    }
}
