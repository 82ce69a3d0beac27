//! Everything of a run: parts, proxies before them, services, and containers to scale.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use eventpulse_tests::{
    App,
    app::{Engine, connect, docker_host},
    stack::Parts,
};
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::{
    checker::evidence::{Bounds, Rule},
    clock::{self, Clock},
    docker::{Journal, Part},
    fleet::{Fleet, SERVICES, Slot},
    gate,
    gather::databases,
    proxy::{
        Protocol, Proxy,
        bridge::{self, Bridge},
    },
};

/// What a run is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Places {
    /// Compose project of Kafka, Postgres and registry: all of them are broken
    #[arg(long, env = "TORTURE_PROJECT", default_value = "eventpulse-torture")]
    pub project: String,
    #[arg(long, env = "TORTURE_POSTGRES_PORT", default_value_t = 25432)]
    pub postgres_port: u16,
    /// Kafka's listener of the services
    #[arg(long, env = "TORTURE_KAFKA_PORT", default_value_t = 29093)]
    pub kafka_port: u16,
    /// Where that listener says that it is: the proxy
    #[arg(long, env = "TORTURE_PROXY_PORT", default_value_t = 29090)]
    pub proxy_port: u16,
    /// Kafka's listener of those who check
    #[arg(long, env = "TORTURE_KAFKA_DIRECT_PORT", default_value_t = 29095)]
    pub kafka_direct_port: u16,
    #[arg(long, env = "TORTURE_REGISTRY_PORT", default_value_t = 28085)]
    pub registry_port: u16,
    /// Where the real Alertmanager listens
    #[arg(long, env = "TORTURE_ALERTMANAGER_PORT", default_value_t = 29193)]
    pub alertmanager_port: u16,
    /// Where it sends: to the run, which hands it on
    #[arg(long, env = "TORTURE_HOP_PORT", default_value_t = 29194)]
    pub hop_port: u16,
    /// Folder with the socket of the engine that the scaled services live in
    #[arg(long, env = "TORTURE_ENGINE_FOLDER")]
    pub engine_folder: Option<PathBuf>,
}

impl Places {
    /// Brokers for those who check.
    #[must_use]
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.kafka_direct_port)
    }

    #[must_use]
    pub fn registry(&self) -> String {
        format!("http://127.0.0.1:{}/apis/ccompat/v7", self.registry_port)
    }

    /// Where the run's own engine listens: of a checkout unless it was told otherwise.
    fn engine(&self) -> PathBuf {
        let folder = self.engine_folder.clone().unwrap_or_else(|| {
            let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            checkout.join(".cache/torture/engine").join(&self.project)
        });
        folder.join("docker.sock")
    }

    fn database(&self) -> String {
        self.database_named("postgres")
    }

    /// A database of the server of the services, reached directly.
    #[must_use]
    pub fn database_named(&self, name: &str) -> String {
        let port = self.postgres_port;
        format!("postgres://postgres:postgres@127.0.0.1:{port}/{name}")
    }
}

/// A service to scale.
#[derive(Debug)]
pub struct Target {
    pub name: String,
    pub app: App,
    /// How its containers' health is checked.
    pub healthy: &'static str,
}

/// One part, and the right to break it.
pub type Breakable<T> = Arc<Mutex<T>>;

#[derive(Debug)]
pub struct Arena {
    pub places: Places,
    pub fleet: Fleet,
    /// kafka, postgres, registry, engine
    pub parts: BTreeMap<&'static str, Breakable<Part>>,
    pub proxies: Vec<Breakable<Arc<Proxy>>>,
    /// Has the file system of Postgres mounted beside it.
    pub disk: Part,
    /// The databases' clocks, by service.
    pub clocks: BTreeMap<&'static str, Breakable<Clock>>,
    /// The same, for healing.
    pub edges: Vec<Arc<Proxy>>,
    pub targets: Vec<Target>,
    pub journal: Journal,
    /// Between Action Runner and the engine.
    pub gate: Arc<Slot>,
    /// The gate's way to the engine and back into a socket.
    _engine: ([Bridge; 2], TempDir),
}

/// Health checks of the targets: the last one's replicas never serve.
const HEALTH: [&str; 3] = ["true", "true", "test -e /healthy"];
/// Cooldown of the scaling rules.
const COOLDOWN: i64 = 4;
const BOUNDS: Bounds = Bounds { min: 1, max: 3 };

/// The rules of a run.
#[must_use]
pub fn rules() -> Vec<Rule> {
    let rule = |name: &str, alertname: &str, opens, acts: bool| Rule {
        name: name.to_owned(),
        alertname: alertname.to_owned(),
        opens,
        cooldown: acts.then_some(COOLDOWN * 1_000_000),
    };
    vec![
        rule("high-cpu", "HighCPU", true, true),
        rule("low-cpu", "LowCPU", false, true),
        rule("down", "Down", true, false),
    ]
}

fn rules_file() -> String {
    let action = format!("timeout: 30s, cooldown: {COOLDOWN}s");
    format!(
        r#"version: 1
rules:
- name: high-cpu
  matchers: ['alertname="HighCPU"']
  group_by: [service]
  incident: open
  action:
    {{scale_docker: {{target_label: service, replicas: 2, direction: up}}, {action},
     verify_within: 30s, on_failure: {{ensure_replicas: previous}}}}
- name: low-cpu
  matchers: ['alertname="LowCPU"']
  group_by: [service]
  incident: attach
  action: {{scale_docker: {{target_label: service, replicas: 1, direction: down}}, {action}}}
- {{name: down, matchers: ['alertname="Down"'], group_by: [service], incident: open}}
"#
    )
}

fn targets_file(targets: &[Target], engine: &Path) -> String {
    let mut text = "version: 1\ntargets:\n".to_owned();
    for target in targets {
        text.push_str(&format!(
            "- name: {}\n  docker_host: unix://{}\n  selector: {{service: app, com.docker.compose.project: {}}}\n  \
             min_replicas: {}\n  max_replicas: {}\n  readiness: {{healthcheck: true}}\n  stop_grace_period: 1s\n",
            target.name,
            engine.display(),
            target.app.project,
            BOUNDS.min,
            BOUNDS.max,
        ));
    }
    text
}

impl Arena {
    /// Starts all of it, healthy.
    pub async fn build(
        places: Places,
        instances: usize,
        forgets: Option<Duration>,
    ) -> Result<Self> {
        let engine = Engine {
            host: format!("unix://{}", places.engine().display()),
            starts_again: true,
        };
        let mut targets = Vec::new();
        for (number, healthy) in HEALTH.into_iter().enumerate() {
            targets.push(Target {
                name: format!("app-{number}"),
                app: App::start_in(engine.clone(), healthy).await?,
                healthy,
            });
        }
        let names = targets
            .iter()
            .map(|t| (t.app.project.clone(), t.name.clone()));
        let journal = Journal::begin(&targets[0].app.docker, names.collect());
        let docker = connect(&docker_host()).await?;
        let mut parts = BTreeMap::new();
        for service in ["kafka", "postgres", "registry", "engine"] {
            let part = Part::find(&docker, &places.project, service).await?;
            parts.insert(service, Arc::new(Mutex::new(part)));
        }
        let disk = Part::find(&docker, &places.project, "disk").await?;
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("rules.yaml"), rules_file())?;
        let socket = tempfile::tempdir()?;
        let (engine, gate) = (
            socket.path().join("engine.sock"),
            socket.path().join("docker.sock"),
        );
        let written = targets_file(&targets, &gate);
        std::fs::write(folder.path().join("targets.yaml"), written)?;
        let (edges, behind) = proxies(&places).await?;
        let before = bridge::from_socket(&engine, at(&edges, "docker")?)?;
        let gate = gate::start(folder.path(), &engine, &gate)?;
        let fleet = Fleet::start(folder, through(&places, &edges, forgets)?, instances).await?;
        let clocks = databases(&fleet.databases)
            .into_iter()
            .map(|(service, pool)| (service, Arc::new(Mutex::new(Clock::of(pool)))));
        let clocks = clocks.collect();
        let proxies = edges
            .iter()
            .map(|proxy| Arc::new(Mutex::new(Arc::clone(proxy))));
        Ok(Self {
            places,
            fleet,
            parts,
            disk,
            clocks,
            proxies: proxies.collect(),
            edges,
            targets,
            journal,
            gate,
            _engine: ([before, behind], socket),
        })
    }

    /// Every process of ours that may be broken.
    pub fn processes(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.fleet.slots.iter().chain([&self.gate])
    }

    /// Bounds by target, for the checker.
    #[must_use]
    pub fn bounds(&self) -> BTreeMap<String, Bounds> {
        let names = self.targets.iter().map(|target| target.name.clone());
        names.map(|name| (name, BOUNDS)).collect()
    }

    /// Where the logs of the services are.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.fleet.folder.path().to_owned()
    }
}

/// The edges, and the bridge behind the engine's.
async fn proxies(places: &Places) -> Result<(Vec<Arc<Proxy>>, Bridge)> {
    let (engine, bridge) = bridge::to_socket(&places.engine()).await?;
    let server = |port: u16| format!("127.0.0.1:{port}");
    let mut edges = vec![
        Proxy::start(
            "kafka",
            &server(places.proxy_port),
            &server(places.kafka_port),
            Protocol::Kafka,
        )
        .await?,
        Proxy::start(
            "registry",
            "127.0.0.1:0",
            &server(places.registry_port),
            Protocol::Http,
        )
        .await?,
        Proxy::start("docker", "127.0.0.1:0", &engine.to_string(), Protocol::Http).await?,
    ];
    for service in SERVICES {
        let postgres = server(places.postgres_port);
        edges.push(Proxy::start(service, "127.0.0.1:0", &postgres, Protocol::Postgres).await?);
    }
    Ok((edges.into_iter().map(Arc::new).collect(), bridge))
}

fn at(edges: &[Arc<Proxy>], name: &str) -> Result<SocketAddr> {
    let edge = edges.iter().find(|edge| edge.name == name);
    Ok(edge.with_context(|| format!("no edge {name}"))?.address)
}

/// How the services reach the parts: through the proxies.
fn through(places: &Places, edges: &[Arc<Proxy>], forgets: Option<Duration>) -> Result<Parts> {
    let mut settings = vec![
        ("EVENTPULSE_ACTION_GRACE", "5s".to_owned()),
        ("EVENTPULSE_SWEEP_INTERVAL", "3s".to_owned()),
        ("EVENTPULSE_SETTLE", "10s".to_owned()),
    ];
    if let Some(after) = forgets {
        let after = format!("{}s", after.as_secs());
        settings.push(("EVENTPULSE_INBOX_RETENTION", after.clone()));
        settings.push(("EVENTPULSE_RECEIPT_RETENTION", after));
    }
    let mut databases = BTreeMap::new();
    for service in SERVICES {
        databases.insert(service, at(edges, service)?.to_string());
    }
    Ok(Parts {
        kafka: places.brokers(),
        database: places.database(),
        services_kafka: at(edges, "kafka")?.to_string(),
        services_registry: format!("http://{}/apis/ccompat/v7", at(edges, "registry")?),
        services_database: databases,
        before: clock::MAKE,
        settings,
    })
}
