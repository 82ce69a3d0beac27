//! What the services say of themselves on `/metrics`.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{net::lookup_host, sync::watch, task::JoinHandle};

use crate::{Servers, error::Error};

/// What a workload cost one service.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Cost {
    pub(crate) cpu_seconds: f64,
    /// Largest that was seen of all its instances together, in MiB.
    pub(crate) rss_mib: f64,
}

/// The URLs of the instances of a service: the addresses of its host.
pub(crate) async fn instances(url: &str) -> Result<Vec<String>, Error> {
    let place = url.trim_start_matches("http://");
    let found = lookup_host(place).await.map_err(Error::unknown(url))?;
    Ok(found.map(|address| format!("http://{address}")).collect())
}

/// One look at every instance of a service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look(String);

impl Look {
    pub(crate) async fn at(url: &str) -> Result<Self, Error> {
        let mut texts = Self::default();
        for instance in instances(url).await? {
            let page = format!("{instance}/metrics");
            let what = format!("GET {page}");
            let answer = reqwest::get(&page).await.map_err(Error::http(&what))?;
            let text = answer.text().await.map_err(Error::http(&what))?;
            texts.0.push_str(&text);
        }
        Ok(texts)
    }

    /// The sum of all samples of `name` whose labels contain `with`.
    pub(crate) fn sum(&self, name: &str, with: &str) -> f64 {
        let lines = self.0.lines().filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('{') && rest.contains(with))
        });
        lines
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }
}

/// How far the services are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standing {
    /// Events in an outbox or in a topic, as of up to five seconds ago: services look that often.
    pub(crate) waiting: f64,
    /// Events published and records handled since they started, as of now.
    pub(crate) done: f64,
}

impl Servers {
    /// Those that run.
    fn all(&self) -> Vec<(&'static str, &str)> {
        let mut all = vec![("ingest", self.ingest.as_str())];
        if !self.alone {
            all.extend([
                ("rules", self.rules.as_str()),
                ("action-runner", &self.action_runner),
                ("incident-store", &self.incident_store),
            ]);
        }
        all
    }

    /// What waits and what was done, of all that run.
    pub(crate) async fn standing(&self) -> Result<Standing, Error> {
        let mut standing = Standing::default();
        for (_, url) in self.all() {
            let look = Look::at(url).await?;
            standing.waiting += look.sum("eventpulse_outbox_depth", "");
            standing.waiting += look.sum("eventpulse_consumer_lag", "");
            standing.done += look.sum("eventpulse_outbox_published_total", "");
            standing.done += look.sum("eventpulse_consumer_records_total", "");
        }
        Ok(standing)
    }
}

/// Seconds that the machine's cores were busy since it started, whoever used them; 0 where it does not
/// say.
fn machine() -> f64 {
    /// `USER_HZ`: what the kernel counts in for programs, on every architecture that Rust runs on.
    const TICKS: f64 = 100.0;
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    [0, 1, 2, 5, 6]
        .iter()
        .filter_map(|&at| ticks.get(at))
        .sum::<f64>()
        / TICKS
}

/// Watches what the services use until it is asked.
pub(crate) struct Watch {
    machine: f64,
    before: BTreeMap<&'static str, f64>,
    stop: watch::Sender<bool>,
    task: JoinHandle<BTreeMap<&'static str, f64>>,
    servers: Servers,
}

impl Watch {
    pub(crate) async fn begin(servers: &Servers) -> Result<Self, Error> {
        let mut before = BTreeMap::new();
        for (name, url) in servers.all() {
            before.insert(name, cpu(&Look::at(url).await?));
        }
        let (stop, mut stopped) = watch::channel(false);
        let watched = servers.clone();
        let task = tokio::spawn(async move {
            let mut peaks = BTreeMap::new();
            loop {
                for (name, url) in watched.all() {
                    if let Ok(look) = Look::at(url).await {
                        let peak: &mut f64 = peaks.entry(name).or_default();
                        *peak = peak.max(look.sum("process_resident_memory_bytes", ""));
                    }
                }
                let pause = tokio::time::timeout(Duration::from_secs(1), stopped.changed());
                if pause.await.is_ok() {
                    return peaks;
                }
            }
        });
        Ok(Self {
            machine: machine(),
            before,
            stop,
            task,
            servers: servers.clone(),
        })
    }

    pub(crate) async fn end(self) -> Result<BTreeMap<String, Cost>, Error> {
        self.stop.send_replace(true);
        let peaks = self.task.await.map_err(Error::Panic)?;
        let everything = Cost {
            cpu_seconds: machine() - self.machine,
            rss_mib: 0.0,
        };
        // Postgres, Kafka, the registry and the bench itself are the rest of it
        let mut costs = BTreeMap::from([("machine".to_owned(), everything)]);
        for (name, url) in self.servers.all() {
            let after = cpu(&Look::at(url).await?);
            let cost = Cost {
                cpu_seconds: after - self.before.get(name).copied().unwrap_or_default(),
                rss_mib: peaks.get(name).copied().unwrap_or_default() / f64::from(1 << 20),
            };
            costs.insert(name.to_owned(), cost);
        }
        Ok(costs)
    }
}

fn cpu(look: &Look) -> f64 {
    look.sum("process_cpu_seconds_total", "")
}
