//! What can be asked of alerts, actions, targets, decisions, topics and dead letters.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{Because, Limit};
use crate::alert::SendArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum AlertCommand {
    /// Last heard of first
    #[command(visible_alias = "list")]
    Ls {
        /// firing or resolved
        #[arg(long)]
        status: Option<String>,
        #[command(flatten)]
        limit: Limit,
    },
    /// One series, whole
    Show {
        /// Its id
        id: String,
    },
    /// Send one to Ingest, as Alertmanager does
    Send(SendArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ActionCommand {
    /// Newest first
    #[command(visible_alias = "list")]
    Ls {
        /// Only of this incident: id, or its first 6 or more digits
        #[arg(long)]
        incident: Option<String>,
        #[command(flatten)]
        limit: Limit,
    },
    /// One action, with what was seen of it
    Show {
        /// Id, or its first 6 or more digits
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TargetCommand {
    /// Bounds, desired and running replicas, pauses
    #[command(visible_alias = "list")]
    Ls,
    /// Read targets.yaml again, in Action Runner and in Rules; a broken file changes nothing
    Reload,
    /// Remove managed containers of targets that are not declared any more
    Prune {
        /// Do it; without, only say what would be removed
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DecisionCommand {
    /// Newest first
    #[command(visible_alias = "list")]
    Ls {
        /// Only about this alert
        #[arg(long)]
        alert_id: Option<String>,
        /// Only by this rule
        #[arg(long)]
        rule: Option<String>,
        #[command(flatten)]
        limit: Limit,
    },
    /// One decision: each rule, each matcher, each value
    Show {
        /// Its id, or that of its event
        id: String,
    },
}

/// What to pause.
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    pub(crate) what: What,
    /// How long: 30m, 1h, 2d; without, until `resume`
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub(crate) how_long: Option<Duration>,
    #[command(flatten)]
    pub(crate) because: Because,
}

/// What to resume.
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    pub(crate) what: What,
    #[command(flatten)]
    pub(crate) because: Because,
}

/// One target or all.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct What {
    /// Name in targets.yaml
    pub(crate) target: Option<String>,
    /// Every target
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// Topics with partitions and messages; dead letters too
    #[command(visible_alias = "list")]
    Ls,
    /// Events of a topic, decoded, one JSON object a line; by default the last 10
    Tail(TailArgs),
}

/// What to print of a topic.
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// alert, incident, action, incident.status, rule, or a dead letter topic: alert.dlq.rules
    pub(crate) topic: String,
    /// From the first message on
    #[arg(long)]
    pub(crate) from_beginning: bool,
    /// Go on with new messages
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Stop after so many
    #[arg(short = 'n', long)]
    pub(crate) count: Option<usize>,
    /// Only messages with this key
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Only events of this type: action.failed
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) event_type: Option<String>,
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}: write 30m, 1h or 2d"))
}

#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// What died, where and why; newest first
    #[command(visible_alias = "list")]
    Ls(DlqList),
    /// One letter: its headers, and its event decoded if that is possible
    Show {
        /// Event id or its first 6 or more digits, or the place FROM of `dlq ls`
        id: String,
    },
    /// Give dead events to their consumer again, once the cause is mended
    Redrive(Redrive),
}

/// Which dead letters.
#[derive(Debug, Args)]
pub(crate) struct DlqList {
    /// Only of this service: rules, action-runner, incident-store
    #[arg(long)]
    pub(crate) consumer: Option<String>,
    #[command(flatten)]
    pub(crate) limit: Limit,
}

/// Which events to give again.
#[derive(Debug, Args)]
pub(crate) struct Redrive {
    /// Event ids or their first 6 or more digits, or places FROM of `dlq ls`
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) ids: Vec<String>,
    /// Every event that has a dead letter
    #[arg(long)]
    pub(crate) all: bool,
    /// Only of this service
    #[arg(long)]
    pub(crate) consumer: Option<String>,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) because: Because,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OutboxCommand {
    /// Events that Kafka refused or that were put off; oldest first
    List(OutboxList),
    /// Send held events once more, once the cause is mended
    Retry(OutboxRetry),
    /// Never send a parked event, so that those behind it go; its bytes are kept
    Skip {
        /// Event id or its first 6 or more digits
        id: String,
        #[command(flatten)]
        because: Because,
    },
    /// Send events again that a broker has lost with its disk: what was handled is known by its id
    Resend(OutboxResend),
    /// Who retried, skipped and resent what, and why; newest first
    Log {
        #[command(flatten)]
        limit: Limit,
    },
}

/// Which waiting events.
#[derive(Debug, Args)]
pub(crate) struct OutboxList {
    /// Only of this service; repeatable
    #[arg(long)]
    pub(crate) service: Vec<Service>,
    /// Everything that waits
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) limit: Limit,
}

/// Which held events to send.
#[derive(Debug, Args)]
pub(crate) struct OutboxRetry {
    /// Event ids or their first 6 or more digits
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) ids: Vec<String>,
    /// Every parked event
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) because: Because,
}

/// What to send again.
#[derive(Debug, Args)]
pub(crate) struct OutboxResend {
    /// Events that were sent from this time on (RFC 3339), or since so long ago (2h)
    #[arg(long)]
    pub(crate) since: String,
    /// Only of this service; repeatable
    #[arg(long)]
    pub(crate) service: Vec<Service>,
    /// Only count them
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) because: Because,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DbCommand {
    /// Say that a service's database was restored from a dump, before the service is started again
    Restored(DbRestored),
    /// What dumps lacked that databases were restored from
    Lacked {
        /// Only of this service; repeatable
        #[arg(long)]
        service: Vec<Service>,
    },
}

/// Which database was restored.
#[derive(Debug, Args)]
pub(crate) struct DbRestored {
    /// Postgres URL of the service's database, as the service has it
    #[arg(
        long,
        env = "EVENTPULSE_DATABASE_URL",
        value_name = "URL",
        hide_env_values = true
    )]
    pub(crate) database_url: String,
    #[command(flatten)]
    pub(crate) because: Because,
}

/// A service, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Service {
    Ingest,
    Rules,
    ActionRunner,
    IncidentStore,
}
