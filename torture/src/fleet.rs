//! The services as processes, two or more of each, started again when they end.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use eventpulse_tests::{
    Member, Stack,
    stack::{Databases, Parts, patiently},
};
use service_kit::testing::TestTopics;
use tempfile::TempDir;
use tokio::{
    sync::{Mutex, MutexGuard},
    time::{interval, timeout},
};
use tokio_util::sync::CancellationToken;

/// The services, by their binaries.
pub const SERVICES: [&str; 4] = ["ingest", "rules", "action-runner", "incident-store"];

const LOOK: Duration = Duration::from_millis(250);

/// All processes, and what they stand on.
#[derive(Debug)]
pub struct Fleet {
    pub slots: Vec<Arc<Slot>>,
    pub topics: TestTopics,
    pub databases: Databases,
    pub folder: TempDir,
}

/// One process, or the place of one.
#[derive(Debug)]
pub struct Slot {
    pub service: &'static str,
    pub url: String,
    member: Mutex<Member>,
}

impl Slot {
    pub(crate) fn new(member: Member) -> Arc<Self> {
        Arc::new(Self {
            service: member.name,
            url: member.url.clone(),
            member: Mutex::new(member),
        })
    }

    /// Has it to oneself: the supervisor leaves it alone meanwhile.
    pub async fn take(&self) -> MutexGuard<'_, Member> {
        self.member.lock().await
    }

    /// Waits until it has said that it is ready.
    pub async fn until_ready(&self, patience: Duration) -> Result<()> {
        let what = format!("{} to be ready", self.service);
        patiently(patience, &what, async || self.ready().await).await
    }

    async fn ready(&self) -> Result<()> {
        let asked = reqwest::get(format!("{}/readyz?verbose", self.url));
        let answer = timeout(Duration::from_secs(20), asked).await??;
        let status = answer.status();
        let words = answer.text().await.unwrap_or_default();
        ensure!(status.is_success(), "{words}");
        Ok(())
    }

    /// Has it to oneself, if nobody else has.
    pub fn try_take(&self) -> Option<MutexGuard<'_, Member>> {
        self.member.try_lock().ok()
    }
}

impl Fleet {
    /// Starts `instances` of each service.
    pub async fn start(folder: TempDir, parts: Parts, instances: usize) -> Result<Self> {
        let stack = Stack::start_in(folder, parts).await?;
        let mut others = Vec::new();
        for name in SERVICES {
            for _ in 1..instances {
                others.push(stack.another(name)?);
            }
        }
        let (members, topics, databases, folder) = stack.into_parts();
        Ok(Self {
            slots: members.into_iter().chain(others).map(Slot::new).collect(),
            topics,
            databases,
            folder,
        })
    }

    /// Where a service listens.
    #[must_use]
    pub fn urls(&self, service: &str) -> Vec<String> {
        let of_it = self.slots.iter().filter(|slot| slot.service == service);
        of_it.map(|slot| slot.url.clone()).collect()
    }

    /// Starts again what ends by itself, as an init system does, until `stop`; tells of each end.
    pub async fn supervise(slots: Vec<Arc<Slot>>, stop: CancellationToken) -> Vec<String> {
        let mut ends = Vec::new();
        let mut looks = interval(LOOK);
        while !stop.is_cancelled() {
            looks.tick().await;
            for slot in &slots {
                let Some(mut member) = slot.try_take() else {
                    continue;
                };
                if let Ok(Some(how)) = member.is_down() {
                    ends.push(format!("{} ended by itself: {how}", slot.service));
                    if let Err(error) = member.restart(&[]) {
                        ends.push(format!("{} not started: {error:#}", slot.service));
                    }
                }
            }
        }
        ends
    }

    /// Waits until every process has said that it is ready: on a slow machine not all of them say
    /// so at the same moment.
    pub async fn ready(&self, patience: Duration) -> Result<()> {
        for slot in &self.slots {
            slot.until_ready(patience).await?;
        }
        Ok(())
    }
}
