//! Settings of Rules beside those of every service.

use std::{path::PathBuf, time::Duration};

use chrono::TimeDelta;
use clap::{Parser, ValueEnum};
use service_kit::{Error, KitArgs};

use crate::domain::Policy;

/// Rule Engine: decides what alerts mean, opens and closes incidents, and asks for actions.
#[derive(Clone, Debug, Parser)]
#[command(name = "rules", version, about)]
pub struct Config {
    #[command(flatten)]
    pub kit: KitArgs,
    /// Where rules come from. topic: the rules file begins an empty topic `rule`, and after that
    /// changes come by PUT /api/v1/rules; file: the rules file, at each reload
    #[arg(
        long,
        env = "EVENTPULSE_RULES_SOURCE",
        value_name = "SOURCE",
        default_value = "topic"
    )]
    pub rules_source: RulesSource,
    /// Rules; read at start, by SIGHUP and by POST /-/reload
    #[arg(
        long,
        env = "EVENTPULSE_RULES_FILE",
        value_name = "PATH",
        default_value = "rules.yaml"
    )]
    pub rules_file: PathBuf,
    /// Targets and their bounds: the file that Action Runner has too
    #[arg(
        long,
        env = "EVENTPULSE_TARGETS_FILE",
        value_name = "PATH",
        default_value = "targets.yaml"
    )]
    pub targets_file: PathBuf,
    /// How long no alert must hold an incident after its last action has ended, before it closes
    #[arg(long, env = "EVENTPULSE_SETTLE", value_name = "DURATION", default_value = "1m",
        value_parser = humantime::parse_duration)]
    pub settle: Duration,
    /// How long after its deadline an action without news counts as timed out
    #[arg(long, env = "EVENTPULSE_ACTION_GRACE", value_name = "DURATION", default_value = "15s",
        value_parser = humantime::parse_duration)]
    pub action_grace: Duration,
    /// How long decisions are kept; without it for ever. What is pruned cannot be explained or
    /// replayed any more
    #[arg(long, env = "EVENTPULSE_DECISION_RETENTION", value_name = "DURATION",
        value_parser = humantime::parse_duration)]
    pub decision_retention: Option<Duration>,
}

/// Where rules come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RulesSource {
    /// Changes are events of topic `rule`.
    #[default]
    Topic,
    /// The rules file is what counts.
    File,
}

impl AsRef<KitArgs> for Config {
    fn as_ref(&self) -> &KitArgs {
        &self.kit
    }
}

/// More than anybody means, and far from where times overflow.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

impl Config {
    /// The settings that decisions depend on.
    ///
    /// # Errors
    /// When a duration is longer than a year.
    pub fn policy(&self) -> Result<Policy, Error> {
        Ok(Policy {
            settle: delta("EVENTPULSE_SETTLE", self.settle)?,
            action_grace: delta("EVENTPULSE_ACTION_GRACE", self.action_grace)?,
        })
    }
}

fn delta(name: &'static str, duration: Duration) -> Result<TimeDelta, Error> {
    if duration > LONGEST {
        let reason = "longer than a year".to_owned();
        return Err(Error::Setting { name, reason });
    }
    Ok(TimeDelta::milliseconds(
        i64::try_from(duration.as_millis()).expect("at most a year"),
    ))
}
