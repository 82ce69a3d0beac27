//! What goes wrong, by seed.

mod broker;
mod clocks;
mod containers;
mod disk;
mod network;
mod process;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Result;
use eventpulse_tests::stack::patiently;
use serde::Serialize;
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{arena::Arena, dice::Dice, driver::Pair};

/// How long the Docker engine may take to start.
const ENGINE: Duration = Duration::from_secs(60);

/// A kind of fault, and how often it is chosen among the others.
const KINDS: [(Kind, usize); 26] = [
    (Kind::Kill, 22),
    (Kind::Terminate, 5),
    (Kind::Freeze, 9),
    (Kind::KafkaDies, 3),
    (Kind::KafkaFreezes, 2),
    (Kind::PostgresDies, 3),
    (Kind::PostgresFreezes, 2),
    (Kind::RegistryDies, 1),
    (Kind::RegistryFreezes, 1),
    (Kind::EngineDies, 2),
    (Kind::EngineRestarts, 1),
    (Kind::EngineFreezes, 1),
    (Kind::DiskFull, 3),
    (Kind::ClockSteps, 8),
    (Kind::Network, 20),
    (Kind::CommitReplies, 9),
    (Kind::ProduceReplies, 6),
    (Kind::EngineReplies, 5),
    (Kind::Handles, 5),
    (Kind::Connections, 6),
    (Kind::OffsetsReset, 3),
    (Kind::Republish, 4),
    (Kind::Poison, 5),
    (Kind::ContainerGone, 6),
    (Kind::ContainerAdded, 3),
    (Kind::Alertmanager, 8),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// kill -9 of a service
    Kill,
    /// SIGTERM of a service
    Terminate,
    /// SIGSTOP, then SIGCONT
    Freeze,
    KafkaDies,
    KafkaFreezes,
    PostgresDies,
    PostgresFreezes,
    RegistryDies,
    RegistryFreezes,
    /// kill -9 of the Docker engine with all that runs in it, as when its machine goes down
    EngineDies,
    /// SIGTERM of the Docker engine: it ends its containers
    EngineRestarts,
    EngineFreezes,
    /// Nothing is left on the file system of Postgres.
    DiskFull,
    /// The clock of a service's database goes ahead or falls behind, and is put right again.
    ClockSteps,
    /// An edge is cut, stalls one way, is late, or half open.
    Network,
    /// The reply to COMMIT is dropped.
    CommitReplies,
    /// The reply to a produce request is dropped.
    ProduceReplies,
    /// The reply to a command to the Docker engine is dropped.
    EngineReplies,
    /// A service may open hardly any more files and connections.
    Handles,
    /// `pg_terminate_backend` of a service's connections
    Connections,
    /// A group begins again at an earlier offset.
    OffsetsReset,
    /// Records are published a second time.
    Republish,
    /// A record that nobody can read
    Poison,
    /// A container is removed by hand.
    ContainerGone,
    /// A container is added by hand, and removed later.
    ContainerAdded,
    /// A member of the pair restarts, or the pair is parted.
    Alertmanager,
}

/// One that was done.
#[derive(Clone, Debug, Serialize)]
pub struct Done {
    pub at: String,
    pub kind: Kind,
    /// What was done, or why it could not be.
    pub what: String,
    pub worked: bool,
}

/// Breaks things.
#[derive(Debug)]
pub struct Nemesis {
    arena: Arc<Arena>,
    pair: Arc<Pair>,
    /// The edges that wear out: poison of one partition, so that no breaker trips.
    poisoned: Mutex<BTreeMap<(String, i32), usize>>,
    done: Mutex<Vec<Done>>,
}

impl Nemesis {
    #[must_use]
    pub fn new(arena: Arc<Arena>, pair: Arc<Pair>) -> Self {
        Self {
            arena,
            pair,
            poisoned: Mutex::default(),
            done: Mutex::default(),
        }
    }

    /// One fault after the other, several at a time, until `stop`; returns when all are over.
    pub async fn rage(self: Arc<Self>, mut dice: Dice, stop: CancellationToken) {
        let mut under_way = JoinSet::new();
        loop {
            let pause = Duration::from_millis(dice.between(700, 3000));
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(pause) => {}
            }
            let (kind, dice) = (choose(&mut dice), dice.fork());
            under_way.spawn(Arc::clone(&self).strike(kind, dice));
        }
        while under_way.join_next().await.is_some() {}
    }

    async fn strike(self: Arc<Self>, kind: Kind, mut dice: Dice) {
        let at = chrono::Utc::now().to_rfc3339();
        match self.inflict(kind, &mut dice).await {
            Ok(Some(what)) => self.note(at, kind, what, true),
            Ok(None) => {} // it is broken already, or there was nothing to break
            Err(error) => self.note(at, kind, format!("{error:#}"), false),
        }
    }

    /// What was done; nothing where another fault has it in hand, or where there was nothing to do it to.
    async fn inflict(&self, kind: Kind, dice: &mut Dice) -> Result<Option<String>> {
        match kind {
            Kind::Kill => process::kill(&self.arena, dice).await,
            Kind::Terminate => process::terminate(&self.arena, dice).await,
            Kind::Freeze => process::freeze(&self.arena, dice).await,
            Kind::KafkaDies => process::part_dies(&self.arena, "kafka", dice).await,
            Kind::KafkaFreezes => process::part_freezes(&self.arena, "kafka", dice).await,
            Kind::PostgresDies => process::part_dies(&self.arena, "postgres", dice).await,
            Kind::PostgresFreezes => process::part_freezes(&self.arena, "postgres", dice).await,
            Kind::RegistryDies => process::part_dies(&self.arena, "registry", dice).await,
            Kind::RegistryFreezes => process::part_freezes(&self.arena, "registry", dice).await,
            Kind::EngineDies => process::part_dies(&self.arena, "engine", dice).await,
            Kind::EngineRestarts => process::part_restarts(&self.arena, "engine", dice).await,
            Kind::EngineFreezes => process::part_freezes(&self.arena, "engine", dice).await,
            Kind::DiskFull => disk::full(&self.arena, dice).await,
            Kind::ClockSteps => clocks::step(&self.arena, dice).await,
            Kind::Network => network::disturb(&self.arena, dice).await,
            Kind::CommitReplies => network::commit_replies(&self.arena, dice).await,
            Kind::ProduceReplies => network::produce_replies(&self.arena, dice).await,
            Kind::EngineReplies => network::engine_replies(&self.arena, dice).await,
            Kind::Handles => process::handles(&self.arena, dice).await,
            Kind::Connections => network::connections(&self.arena, dice).await,
            Kind::OffsetsReset => broker::reset(&self.arena, dice).await,
            Kind::Republish => broker::republish(&self.arena, dice).await,
            Kind::Poison => broker::poison(&self.arena, &self.poisoned, dice).await,
            Kind::ContainerGone => containers::remove(&self.arena, dice).await,
            Kind::ContainerAdded => containers::add(&self.arena, dice).await,
            Kind::Alertmanager => Ok(Some(self.senders(dice))),
        }
    }

    fn senders(&self, dice: &mut Dice) -> String {
        let member = dice.below(2);
        match dice.below(3) {
            0 => {
                self.pair.restart(member);
                self.pair.snapshot(1 - member);
                format!("Alertmanager {member} restarts")
            }
            1 => {
                let seconds = dice.between(5, 15);
                self.pair.part(Duration::from_secs(seconds));
                format!("the Alertmanagers do not hear each other for {seconds} s")
            }
            _ => {
                self.pair.restart(0);
                self.pair.restart(1);
                "both Alertmanagers restart".to_owned()
            }
        }
    }

    /// Everything works again: edges pass, parts run and have room, clocks are right, no container of a
    /// person is left.
    pub async fn heal(&self) -> Result<()> {
        for edge in &self.arena.edges {
            edge.heal();
        }
        disk::make_room(&self.arena).await?;
        for part in self.arena.parts.values() {
            // one that runs stays as it is
            part.lock().await.start().await?;
        }
        for clock in self.arena.clocks.values() {
            clocks::right(&*clock.lock().await).await?;
        }
        // an engine that was just started does not answer yet
        let tidy = async || containers::tidy(&self.arena).await;
        patiently(ENGINE, "the Docker engine to answer", tidy).await
    }

    /// What is left is read with the registry: it answers once this returns.
    pub async fn wake_registry(&self) -> Result<()> {
        let at = chrono::Utc::now().to_rfc3339();
        if let Some(what) = process::wake_registry(&self.arena).await? {
            self.note(at, Kind::RegistryDies, what, true);
        }
        Ok(())
    }

    fn note(&self, at: String, kind: Kind, what: String, worked: bool) {
        let done = Done {
            at,
            kind,
            what,
            worked,
        };
        self.done.lock().expect("no writer panics").push(done);
    }

    /// What was done so far.
    #[must_use]
    pub fn done(&self) -> Vec<Done> {
        self.done.lock().expect("no writer panics").clone()
    }
}

fn choose(dice: &mut Dice) -> Kind {
    let total = KINDS.iter().map(|(_, weight)| weight).sum();
    let mut at = dice.below(total);
    for (kind, weight) in KINDS {
        if at < weight {
            return kind;
        }
        at -= weight;
    }
    Kind::Kill
}
