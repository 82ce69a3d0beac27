//! Settings of Ingest beside those of every service.

use std::{path::PathBuf, time::Duration};

use chrono::TimeDelta;
use clap::Parser;
use secrecy::SecretString;
use service_kit::{Error, KitArgs, config::secret};

use crate::{
    domain::Policy,
    tokens::{self, Tokens},
};

/// Telemetry Ingest: takes Alertmanager's webhooks, keeps the state of each alert, and publishes
/// alert.raised and alert.resolved.
#[derive(Clone, Debug, Parser)]
#[command(name = "ingest", version, about)]
pub struct Config {
    #[command(flatten)]
    pub kit: KitArgs,
    /// Who may send: source=token pairs with commas between. Two tokens of one source are valid at
    /// once, for rotation
    #[arg(
        long,
        env = "EVENTPULSE_WEBHOOK_TOKENS",
        value_name = "PAIRS",
        hide_env_values = true,
        required_unless_present = "webhook_tokens_file"
    )]
    pub webhook_tokens: Option<SecretString>,
    /// File that holds the pairs, one a line or with commas between
    #[arg(long, env = "EVENTPULSE_WEBHOOK_TOKENS_FILE", value_name = "PATH")]
    pub webhook_tokens_file: Option<PathBuf>,
    /// Bytes of a webhook body at most
    #[arg(
        long,
        env = "EVENTPULSE_WEBHOOK_BODY_LIMIT",
        value_name = "BYTES",
        default_value_t = 10 * 1024 * 1024,
        value_parser = clap::value_parser!(u32).range(1024..=256 * 1024 * 1024)
    )]
    pub webhook_body_limit: u32,
    /// How long firings of an episode that was resolved are taken for replays of a peer; more than
    /// Alertmanager's group_interval and its peers' waits
    #[arg(long, env = "EVENTPULSE_REOPEN_AFTER", value_name = "DURATION", default_value = "6m",
        value_parser = humantime::parse_duration)]
    pub reopen_after: Duration,
    /// An alert that fires and is unheard of for so long is resolved as silent; several times
    /// Alertmanager's repeat_interval
    #[arg(long, env = "EVENTPULSE_STALE_AFTER", value_name = "DURATION", default_value = "12h",
        value_parser = humantime::parse_duration)]
    pub stale_after: Duration,
    /// How long webhook bodies and rejected alerts are kept
    #[arg(long, env = "EVENTPULSE_RECEIPT_RETENTION", value_name = "DURATION", default_value = "14d",
        value_parser = humantime::parse_duration)]
    pub receipt_retention: Duration,
}

impl AsRef<KitArgs> for Config {
    fn as_ref(&self) -> &KitArgs {
        &self.kit
    }
}

impl Config {
    /// Who may send.
    ///
    /// # Errors
    /// When no pair is given, or one is malformed.
    pub fn tokens(&self) -> Result<Tokens, Error> {
        let (direct, file) = (&self.webhook_tokens, &self.webhook_tokens_file);
        let pairs = secret(tokens::SETTING, direct.as_ref(), file.as_ref())?;
        Tokens::parse(&pairs.unwrap_or_default())
    }

    /// How long to believe what was heard.
    ///
    /// # Errors
    /// When a duration is beyond all measure.
    pub fn policy(&self) -> Result<Policy, Error> {
        Ok(Policy {
            reopen_after: delta("EVENTPULSE_REOPEN_AFTER", self.reopen_after)?,
            stale_after: delta("EVENTPULSE_STALE_AFTER", self.stale_after)?,
        })
    }

    /// How long bodies and rejected alerts are kept.
    ///
    /// # Errors
    /// When it is beyond all measure.
    pub fn retention(&self) -> Result<TimeDelta, Error> {
        delta("EVENTPULSE_RECEIPT_RETENTION", self.receipt_retention)
    }
}

/// Ten years are more than anybody means, and far from where times overflow.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

fn delta(name: &'static str, duration: Duration) -> Result<TimeDelta, Error> {
    let refuse = || Error::Setting {
        name,
        reason: "longer than ten years".to_owned(),
    };
    if duration > LONGEST {
        return Err(refuse());
    }
    TimeDelta::from_std(duration).map_err(|_| refuse())
}
