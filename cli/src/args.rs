//! What can be asked on the command line.

mod nouns;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::nouns::{
    ActionCommand, AlertCommand, DbCommand, DbRestored, DecisionCommand, DlqCommand, DlqList,
    OutboxCommand, OutboxList, OutboxResend, OutboxRetry, PauseArgs, Redrive, ResumeArgs, Service,
    TailArgs, TargetCommand, TopicCommand, What,
};
use crate::{
    backtest::BacktestArgs, export::ExportFormat, rebuild::RebuildArgs, rules::RulesCommand,
    why::WhyArgs,
};

/// EventPulse from the command line: incidents, people's verbs, topics, and what is wrong.
#[derive(Debug, Parser)]
#[command(name = "eventpulse", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed or something is wrong, 2 wrong usage, \
3 there is no such thing, 4 the state of things does not allow it, 5 a server is not reachable";

/// Where the servers are and how to print.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// How to print: a table for people, JSON for programs
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// Times in UTC instead of local time
    #[arg(long, global = true)]
    pub(crate) utc: bool,
    /// Servers of this profile of ~/.config/eventpulse/config.toml; options and environment go first
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "EVENTPULSE_CLI_PROFILE"
    )]
    pub(crate) profile: Option<String>,
    /// No colours, even on a terminal
    #[arg(long, global = true, env = "NO_COLOR", action = clap::ArgAction::SetTrue,
        value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) no_color: bool,
    #[command(flatten)]
    pub(crate) servers: Servers,
}

/// Addresses; the defaults are those of the Compose stack.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Servers")]
pub(crate) struct Servers {
    /// Telemetry Ingest
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "EVENTPULSE_INGEST_URL",
        default_value = "http://127.0.0.1:8081"
    )]
    pub(crate) ingest_url: String,
    /// Rule Engine
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "EVENTPULSE_RULES_URL",
        default_value = "http://127.0.0.1:8082"
    )]
    pub(crate) rules_url: String,
    /// Action Runner
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "EVENTPULSE_ACTION_RUNNER_URL",
        default_value = "http://127.0.0.1:8083"
    )]
    pub(crate) action_runner_url: String,
    /// Incident Store
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "EVENTPULSE_INCIDENT_STORE_URL",
        default_value = "http://127.0.0.1:8084"
    )]
    pub(crate) incident_store_url: String,
    /// Kafka: host:port, with commas between
    #[arg(
        long,
        global = true,
        value_name = "BROKERS",
        env = "EVENTPULSE_KAFKA_BROKERS",
        default_value = "127.0.0.1:9092"
    )]
    pub(crate) brokers: String,
    /// Put before the name of every topic, as the services do
    #[arg(
        long,
        global = true,
        value_name = "PREFIX",
        env = "EVENTPULSE_TOPIC_PREFIX",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) topic_prefix: String,
    /// Schema registry that speaks the Confluent API
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "EVENTPULSE_REGISTRY_URL",
        default_value = "http://127.0.0.1:8085/apis/ccompat/v7"
    )]
    pub(crate) registry_url: String,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Incidents: list, read their story, retry, close
    #[command(subcommand)]
    Incident(IncidentCommand),
    /// Alerts as Ingest knows them
    #[command(subcommand)]
    Alert(AlertCommand),
    /// What was done to targets
    #[command(subcommand)]
    Action(ActionCommand),
    /// What may be scaled
    #[command(subcommand)]
    Target(TargetCommand),
    /// Why an alert led to something, or to nothing: through all four services
    Why(WhyArgs),
    /// Rules as code: check, test, compare, apply, roll back
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Try rules on the real past, in memory: what would have been decided
    Backtest(BacktestArgs),
    /// Why a rule fired, or did not
    #[command(subcommand)]
    Decision(DecisionCommand),
    /// How many actions an hour may be asked for, and what stands at its limit
    #[command(subcommand)]
    Limits(LimitsCommand),
    /// Stop the automation of a target, or of all: incidents still open, nothing is scaled
    Pause(PauseArgs),
    /// End a pause
    Resume(ResumeArgs),
    /// Topics and the events in them
    #[command(subcommand)]
    Topic(TopicCommand),
    /// Dead letters: events that a service could not handle
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Events that wait for Kafka, and those that it refused or lost
    #[command(subcommand)]
    Outbox(OutboxCommand),
    /// Fold the topics once more and compare with what a service has
    Rebuild(RebuildArgs),
    /// Databases that were restored from a dump
    #[command(subcommand)]
    Db(DbCommand),
    /// Look at every part and say what to do about what is wrong
    Doctor,
    /// Completions for a shell, on standard output
    Completions { shell: clap_complete::Shell },
}

#[derive(Debug, Subcommand)]
pub(crate) enum IncidentCommand {
    /// Newest first
    #[command(visible_alias = "list")]
    Ls(IncidentList),
    /// State, reason, what comes next, actions and story
    Show {
        /// Id, or its first 6 or more digits
        id: String,
        /// As it was then (RFC 3339), or so long ago (2h)
        #[arg(long)]
        as_of: Option<String>,
    },
    /// A post-mortem to start from: summary, actions, timeline with durations, decisions
    Export {
        /// Id, or its first 6 or more digits
        id: String,
        /// Markdown, if not -o json
        #[arg(long, value_enum)]
        format: Option<ExportFormat>,
    },
    /// The story alone
    Timeline {
        /// Id, or its first 6 or more digits
        id: String,
    },
    /// The rule's action once more, after a failure
    Retry(Order),
    /// Close an incident whose resolve was lost
    Close(Order),
    /// What happens, as it happens
    Watch {
        /// Only this incident: id, or its first 6 or more digits
        id: Option<String>,
    },
}

/// What to list.
#[derive(Debug, Args)]
pub(crate) struct IncidentList {
    /// open, mitigating, resolved, failed; several with commas
    #[arg(long)]
    pub(crate) status: Option<String>,
    /// Label service; several with commas
    #[arg(long)]
    pub(crate) service: Option<String>,
    /// Several with commas
    #[arg(long)]
    pub(crate) severity: Option<String>,
    /// Incidents as they were then (RFC 3339), or so long ago (2h)
    #[arg(long)]
    pub(crate) as_of: Option<String>,
    /// Only what waits for a person
    #[arg(long)]
    pub(crate) needs_attention: bool,
    /// Opened within this time (1h, 2d), or at or after this time (RFC 3339)
    #[arg(long)]
    pub(crate) since: Option<String>,
    /// Opened before this time, or longer ago than this
    #[arg(long)]
    pub(crate) until: Option<String>,
    /// Alertmanager's matchers over the labels: alertname="HighCPU"; repeatable
    #[arg(short, long = "matcher", value_name = "MATCHER")]
    pub(crate) matchers: Vec<String>,
    #[command(flatten)]
    pub(crate) limit: Limit,
}

/// How much of a list.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Limit {
    /// At most so many
    #[arg(short = 'n', long, default_value_t = 50)]
    pub(crate) limit: usize,
}

/// A person's order, which goes into the log with name and reason.
#[derive(Debug, Args)]
pub(crate) struct Order {
    /// Id, or its first 6 or more digits
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) because: Because,
}

/// Who wants it and why.
#[derive(Debug, Args)]
pub(crate) struct Because {
    /// Why: it is kept with the event
    #[arg(long)]
    pub(crate) reason: String,
    /// Who: your name, if it is not the login's
    #[arg(long, env = "EVENTPULSE_ACTOR")]
    pub(crate) actor: Option<String>,
    #[arg(long, env = "USER", hide = true)]
    pub(crate) login: Option<String>,
}

impl Because {
    /// Who it is, as far as that is known.
    pub(crate) fn actor(&self) -> &str {
        let actor = self.actor.as_ref().or(self.login.as_ref());
        actor.map_or("unknown", String::as_str)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum LimitsCommand {
    /// Of all targets together (*) and of each
    #[command(visible_alias = "list")]
    Ls,
    /// Let actions be asked for again, once it is clear why there were so many
    Close {
        /// Name in targets.yaml; without, the limit of all targets together
        target: Option<String>,
        #[command(flatten)]
        because: Because,
    },
}
