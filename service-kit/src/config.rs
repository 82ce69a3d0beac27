//! Settings that every service has. Each is an option and an environment variable; `--help` is
//! their documentation, and defaults stand nowhere but here.
//!
//! A service flattens [`KitArgs`] into its own struct:
//!
//! ```
//! #[derive(Clone, Debug, clap::Parser)]
//! #[command(name = "example", version, about = "What it does")]
//! pub struct Config {
//!     #[command(flatten)]
//!     pub kit: service_kit::KitArgs,
//!     /// How many of something.
//!     #[arg(long, env = "EVENTPULSE_SOMETHING", default_value_t = 3)]
//!     pub something: u32,
//! }
//!
//! impl AsRef<service_kit::KitArgs> for Config {
//!     fn as_ref(&self) -> &service_kit::KitArgs {
//!         &self.kit
//!     }
//! }
//! ```
//!
//! A secret of a service's own takes two options, `X` and `X_FILE`, both with
//! `hide_env_values = true`, and [`secret`] reads whichever is given.

use std::{convert::Infallible, fmt, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

pub use secrecy::{ExposeSecret, SecretString};

use crate::Error;

/// What every service can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct KitArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub kafka: KafkaArgs,
    #[command(flatten)]
    pub registry: RegistryArgs,
    #[command(flatten)]
    pub http: HttpArgs,
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    #[command(flatten)]
    pub retention: RetentionArgs,
    /// Events that may wait for Kafka before intake is refused with 503
    #[arg(
        long,
        env = "EVENTPULSE_OUTBOX_LIMIT",
        value_name = "EVENTS",
        default_value_t = 1_000_000,
        help_heading = "Kafka"
    )]
    pub outbox_limit: i64,
}

/// The service's own Postgres database.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Database")]
pub struct DatabaseArgs {
    /// Postgres URL of this service's own database, password included
    #[arg(
        long,
        env = "EVENTPULSE_DATABASE_URL",
        value_name = "URL",
        hide_env_values = true,
        required_unless_present = "database_url_file"
    )]
    pub database_url: Option<SecretString>,
    /// File that holds the Postgres URL
    #[arg(long, env = "EVENTPULSE_DATABASE_URL_FILE", value_name = "PATH")]
    pub database_url_file: Option<PathBuf>,
    /// Connections that this process opens at most for batches, and as many for everything else
    #[arg(
        long,
        env = "EVENTPULSE_DATABASE_CONNECTIONS",
        value_name = "COUNT",
        default_value_t = 16,
        value_parser = clap::value_parser!(u32).range(4..)
    )]
    pub database_connections: u32,
    /// Start although the server may lose committed transactions in a crash (fsync,
    /// synchronous_commit or full_page_writes is off). For tests: a 2xx means nothing then
    #[arg(
        long,
        env = "EVENTPULSE_ALLOW_UNSAFE_DATABASE",
        action = clap::ArgAction::SetTrue,
        value_parser = clap::builder::FalseyValueParser::new()
    )]
    pub allow_unsafe_database: bool,
}

impl DatabaseArgs {
    /// The URL, from the variable or from the file.
    ///
    /// # Errors
    /// When neither or both are given, or the file cannot be read.
    pub fn url(&self) -> Result<SecretString, Error> {
        secret(
            "EVENTPULSE_DATABASE_URL",
            self.database_url.as_ref(),
            self.database_url_file.as_ref(),
        )?
        .ok_or_else(|| Error::Setting {
            name: "EVENTPULSE_DATABASE_URL",
            reason: "it is empty".to_owned(),
        })
    }
}

/// The Kafka cluster and our names in it.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Kafka")]
pub struct KafkaArgs {
    /// Brokers to begin with: host:port, with commas between
    #[arg(
        long,
        env = "EVENTPULSE_KAFKA_BROKERS",
        value_name = "BROKERS",
        default_value = "127.0.0.1:9092"
    )]
    pub kafka_brokers: String,
    /// Put before the name of every topic and consumer group, for shared clusters
    #[arg(
        long,
        env = "EVENTPULSE_TOPIC_PREFIX",
        value_name = "PREFIX",
        default_value = ""
    )]
    pub topic_prefix: String,
    /// Partitions of a topic that this service creates; one that exists keeps its own
    #[arg(
        long,
        env = "EVENTPULSE_TOPIC_PARTITIONS",
        value_name = "COUNT",
        default_value_t = 6,
        value_parser = clap::value_parser!(i32).range(1..)
    )]
    pub topic_partitions: i32,
    /// Copies of each partition of a topic that this service creates; -1: the brokers' default
    #[arg(
        long,
        env = "EVENTPULSE_TOPIC_REPLICATION",
        value_name = "COUNT",
        default_value_t = -1,
        allow_negative_numbers = true
    )]
    pub topic_replication: i32,
}

/// How long a database remembers what it sent and handled. Topics keep events for ever.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Retention")]
pub struct RetentionArgs {
    /// How long sent events are kept, by whole days (UTC): as far back as `eventpulse outbox resend`
    /// reaches
    #[arg(
        long,
        env = "EVENTPULSE_SENT_RETENTION",
        value_name = "DURATION",
        default_value = "14d",
        value_parser = humantime::parse_duration
    )]
    pub sent_retention: Duration,
    /// How long the ids of handled events are kept; without it for ever, at about 150 bytes each.
    /// What Kafka delivers again after that is told by the state that it changed
    #[arg(
        long,
        env = "EVENTPULSE_INBOX_RETENTION",
        value_name = "DURATION",
        value_parser = humantime::parse_duration
    )]
    pub inbox_retention: Option<Duration>,
}

/// The schema registry.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Schema registry")]
pub struct RegistryArgs {
    /// Base URL of a registry that speaks the Confluent API
    #[arg(
        long,
        env = "EVENTPULSE_REGISTRY_URL",
        value_name = "URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8085/apis/ccompat/v7"
    )]
    pub registry_url: Endpoint,
}

/// The HTTP server.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "HTTP")]
pub struct HttpArgs {
    /// Address and port to listen on
    #[arg(
        long,
        env = "EVENTPULSE_LISTEN",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:8080"
    )]
    pub listen: SocketAddr,
}

/// Logs and traces.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Telemetry")]
pub struct TelemetryArgs {
    /// What is logged: a level (error, warn, info, debug, trace), or target=level with commas
    #[arg(
        long,
        env = "EVENTPULSE_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    pub log: String,
    /// How it is logged: json for machines, text for a terminal
    #[arg(
        long,
        env = "EVENTPULSE_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "json"
    )]
    pub log_format: LogFormat,
    /// OpenTelemetry collector that traces are sent to over gRPC; without it none are sent.
    /// The other OTEL_* variables of the OpenTelemetry SDK are honoured too
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        value_name = "URL",
        hide_env_values = true
    )]
    pub otlp_endpoint: Option<Endpoint>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people in front of a terminal.
    Text,
}

/// A URL that may carry a password, which [`Debug`](fmt::Debug) and [`Display`](fmt::Display) hide.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(String);

impl Endpoint {
    /// The whole URL, password included.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether nothing is given: compose files pass an unset variable as an empty one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Endpoint {
    type Err = Infallible;
    fn from_str(url: &str) -> Result<Self, Self::Err> {
        Ok(Self(url.trim().to_owned()))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority
            .rsplit_once('@')
            .map_or(0, |(user, _)| user.len() + 1);
        if !scheme.is_empty() {
            write!(f, "{scheme}://")?;
        }
        if host > 0 {
            f.write_str("***@")?;
        }
        f.write_str(&rest[host..])
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A secret that is given directly or as a file: the file's content without surrounding white
/// space. Empty values count as not given. `name` is the variable's, for the error.
///
/// # Errors
/// When both are given, or the file cannot be read or is empty.
pub fn secret(
    name: &'static str,
    direct: Option<&SecretString>,
    file: Option<&PathBuf>,
) -> Result<Option<SecretString>, Error> {
    let refuse = |reason: String| Error::Setting { name, reason };
    let direct = direct.filter(|secret| !secret.expose_secret().is_empty());
    let file = file.filter(|path| !path.as_os_str().is_empty());
    match (direct, file) {
        (Some(_), Some(_)) => Err(refuse(format!("give it or {name}_FILE, not both"))),
        (Some(secret), None) => Ok(Some(secret.clone())),
        (None, None) => Ok(None),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| refuse(format!("reading {}: {error}", path.display())))?;
            match text.trim() {
                "" => Err(refuse(format!("{} is empty", path.display()))),
                text => Ok(Some(text.into())),
            }
        }
    }
}
