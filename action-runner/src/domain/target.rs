//! What may be touched, as `targets.yaml` declares it.

use std::{collections::BTreeMap, time::Duration};

/// Label by which Compose names a container's project.
pub const COMPOSE_PROJECT: &str = "com.docker.compose.project";

/// One scalable service on one Docker host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub name: String,
    /// `unix:///path` or `tcp://host:port` (TLS).
    pub docker_host: String,
    /// Labels that every container of the target carries. Contains the Compose project, or
    /// `any_project` was said.
    pub selector: BTreeMap<String, String>,
    pub bounds: Bounds,
    pub readiness: Readiness,
    /// How long a replica may take to stop before it is killed.
    pub stop_grace_period: Duration,
}

/// How few and how many replicas a target may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub min_replicas: u32,
    pub max_replicas: u32,
}

impl Bounds {
    /// Whether `replicas` may be asked for.
    #[must_use]
    pub fn allow(self, replicas: u32) -> bool {
        (self.min_replicas..=self.max_replicas).contains(&replicas)
    }

    /// The nearest count that is allowed.
    #[must_use]
    pub fn nearest(self, replicas: u32) -> u32 {
        replicas.max(self.min_replicas).min(self.max_replicas)
    }
}

/// When a replica counts as serving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The container's own HEALTHCHECK says `healthy`.
    Healthcheck,
    /// `GET` on the container's address answers 200 to 399.
    HttpGet { path: String, port: u16 },
    /// A connection to the container's address is accepted.
    TcpSocket { port: u16 },
}

impl Readiness {
    /// How `targets.yaml` calls it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Healthcheck => "healthcheck",
            Self::HttpGet { .. } => "http_get",
            Self::TcpSocket { .. } => "tcp_socket",
        }
    }
}

impl Target {
    /// Whether a container with these labels belongs to the target.
    #[must_use]
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.selector
            .iter()
            .all(|(name, value)| labels.get(name) == Some(value))
    }
}
