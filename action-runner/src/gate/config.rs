//! Settings of the gate.

use std::path::PathBuf;

use service_kit::config::TelemetryArgs;

/// Holds the Docker engine's socket, and lets Action Runner do with it what targets.yaml declares
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "docker-gate", version)]
pub struct Config {
    /// The engine's socket
    #[arg(
        long,
        env = "EVENTPULSE_DOCKER_SOCKET",
        value_name = "PATH",
        default_value = "/var/run/docker.sock"
    )]
    pub docker_socket: PathBuf,
    /// Socket to listen on: what Action Runner takes for the engine's
    #[arg(
        long,
        env = "EVENTPULSE_GATE_SOCKET",
        value_name = "PATH",
        default_value = "/run/docker-gate/docker.sock"
    )]
    pub gate_socket: PathBuf,
    /// What may be touched, and its bounds; a change counts at once
    #[arg(
        long,
        env = "EVENTPULSE_TARGETS_FILE",
        value_name = "PATH",
        default_value = "targets.yaml"
    )]
    pub targets_file: PathBuf,
    /// Folder for templates: replicas can be made when the container that they are made from is gone
    #[arg(
        long,
        env = "EVENTPULSE_GATE_STATE",
        value_name = "PATH",
        default_value = "/var/lib/docker-gate"
    )]
    pub state_folder: PathBuf,
    /// Only asks the gate that runs, and through it the engine, whether they answer
    #[arg(long)]
    pub check: bool,
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}
