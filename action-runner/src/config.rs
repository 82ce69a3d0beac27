//! Settings of Action Runner.

use std::{path::PathBuf, time::Duration};

use service_kit::KitArgs;

/// Scales containers as Rules ask, proves that they serve, and keeps them so.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "action-runner", version)]
pub struct Config {
    #[command(flatten)]
    pub kit: KitArgs,
    /// What may be touched, and its bounds; read again on SIGHUP and POST /-/reload
    #[arg(
        long,
        env = "EVENTPULSE_TARGETS_FILE",
        value_name = "PATH",
        default_value = "targets.yaml"
    )]
    pub targets_file: PathBuf,
    /// Folder with ca.pem, cert.pem and key.pem for engines at tcp:// addresses
    #[arg(long, env = "EVENTPULSE_DOCKER_CERT_PATH", value_name = "PATH")]
    pub docker_cert_path: Option<PathBuf>,
    /// Between two looks at a target where nothing is due
    #[arg(
        long,
        env = "EVENTPULSE_SWEEP_INTERVAL",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = humantime::parse_duration
    )]
    pub sweep_interval: Duration,
}

impl AsRef<KitArgs> for Config {
    fn as_ref(&self) -> &KitArgs {
        &self.kit
    }
}
