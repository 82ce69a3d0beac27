//! Settings: where everything is, seen from inside the Compose network.

use std::path::PathBuf;

use clap::Parser;

use crate::profile::Profile;

/// Tells the story of load, scaling, recovery and failure, and checks each step of it.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// Durations that the stack runs with: `fast` or `full`.
    #[arg(long, env = "EVENTPULSE_PROFILE", default_value = "fast")]
    pub(crate) profile: Profile,
    /// Only puts the inputs back: load off, no bad file.
    #[arg(long)]
    pub(crate) reset: bool,
    /// Folder that the app reads its configuration from.
    #[arg(long, env = "STORY_APP_CONFIG", default_value = "/app-config")]
    pub(crate) app_config: PathBuf,
    /// Docker's socket: load is a container that is started and stopped.
    #[arg(long, env = "DOCKER_SOCKET", default_value = "/var/run/docker.sock")]
    pub(crate) docker: String,
    /// Compose project.
    #[arg(long, env = "COMPOSE_PROJECT_NAME", default_value = "eventpulse")]
    pub(crate) project: String,
    #[command(flatten)]
    pub(crate) urls: Urls,
    #[command(flatten)]
    pub(crate) ports: Ports,
}

/// Where the story reads.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Urls {
    #[arg(long, env = "STORY_TRAEFIK_URL", default_value = "http://traefik")]
    pub(crate) traefik: String,
    #[arg(
        long,
        env = "STORY_TRAEFIK_METRICS_URL",
        default_value = "http://traefik:8080/metrics"
    )]
    pub(crate) traefik_metrics: String,
    #[arg(
        long,
        env = "STORY_PROMETHEUS_URL",
        default_value = "http://prometheus:9090"
    )]
    pub(crate) prometheus: String,
    #[arg(
        long,
        env = "STORY_ALERTMANAGER_URL",
        default_value = "http://alertmanager:9093"
    )]
    pub(crate) alertmanager: String,
    #[arg(
        long,
        env = "EVENTPULSE_INGEST_URL",
        default_value = "http://ingest:8081"
    )]
    pub(crate) ingest: String,
    #[arg(
        long,
        env = "EVENTPULSE_RULES_URL",
        default_value = "http://rules:8082"
    )]
    pub(crate) rules: String,
    #[arg(
        long,
        env = "EVENTPULSE_ACTION_RUNNER_URL",
        default_value = "http://action-runner:8083"
    )]
    pub(crate) action_runner: String,
    #[arg(
        long,
        env = "EVENTPULSE_INCIDENT_STORE_URL",
        default_value = "http://incident-store:8084"
    )]
    pub(crate) incident_store: String,
}

/// Ports on the host, for the links that people get to read.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Ports {
    #[arg(long, env = "PROMETHEUS_PORT", default_value = "9090")]
    pub(crate) prometheus_port: u16,
    #[arg(long, env = "ALERTMANAGER_PORT", default_value = "9093")]
    pub(crate) alertmanager_port: u16,
    #[arg(long, env = "INGEST_PORT", default_value = "8081")]
    pub(crate) ingest_port: u16,
    #[arg(long, env = "RULES_PORT", default_value = "8082")]
    pub(crate) rules_port: u16,
    #[arg(long, env = "ACTION_RUNNER_PORT", default_value = "8083")]
    pub(crate) action_runner_port: u16,
    #[arg(long, env = "INCIDENT_STORE_PORT", default_value = "8084")]
    pub(crate) incident_store_port: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
