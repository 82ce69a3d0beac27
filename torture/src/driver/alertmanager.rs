//! Two Alertmanagers as a cluster, each with a loop per group.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{Book, World, body::body, now, world::MEMBERS};
use crate::{checker::evidence::Told, dice::Dice};

/// Alertmanager's settings, shorter than in life.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub group_interval: Duration,
    pub repeat_interval: Duration,
    /// `--cluster.peer-timeout`: a member waits so long for each one before it.
    pub peer_timeout: Duration,
}

/// Of the notification log: what one group was told last.
#[derive(Clone, Debug, Default)]
struct Entry {
    at: i64,
    firing: BTreeSet<usize>,
    resolved: BTreeSet<usize>,
}

type Log = HashMap<usize, Entry>;

/// The pair.
#[derive(Debug)]
pub struct Pair {
    timing: Timing,
    world: Arc<World>,
    book: Arc<Book>,
    /// Where Ingest listens.
    urls: Vec<String>,
    token: String,
    client: reqwest::Client,
    logs: [Mutex<Log>; MEMBERS],
    /// What was last written to disk.
    kept: [Mutex<Log>; MEMBERS],
    /// Raised by each restart.
    lives: [watch::Sender<u64>; MEMBERS],
    /// Until then (microseconds) the peers do not hear each other.
    apart_until: Mutex<i64>,
    bad: AtomicUsize,
}

/// How long a request may take, as the shipped configuration has it.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Pair {
    #[must_use]
    pub fn new(
        timing: Timing,
        world: Arc<World>,
        book: Arc<Book>,
        urls: Vec<String>,
        token: &str,
    ) -> Self {
        Self {
            timing,
            world,
            book,
            urls,
            token: token.to_owned(),
            client: reqwest::Client::new(),
            logs: Default::default(),
            kept: Default::default(),
            lives: std::array::from_fn(|_| watch::Sender::new(0)),
            apart_until: Mutex::new(0),
            bad: AtomicUsize::new(0),
        }
    }

    /// Runs every group of both members until `stop`; a flush that is under way comes to its end.
    pub async fn run(self: Arc<Self>, groups: usize, dice: &mut Dice, stop: CancellationToken) {
        let loops = (0..MEMBERS).flat_map(|member| (0..groups).map(move |group| (member, group)));
        let loops: Vec<_> = loops
            .map(|(member, group)| {
                let (pair, dice, stop) = (Arc::clone(&self), dice.fork(), stop.clone());
                tokio::spawn(pair.group(member, group, dice, stop))
            })
            .collect();
        drop(join_all(loops).await);
    }

    /// A member is killed and starts again: its requests are cut off, its alerts forgotten, its
    /// notification log the peer's, or, while they do not hear each other, its last snapshot.
    pub fn restart(&self, member: usize) {
        let apart = now() < *self.apart_until.lock().expect("no writer panics");
        let source = match apart {
            true => &self.kept[member],
            false => &self.logs[1 - member],
        };
        let kept = source.lock().expect("no writer panics").clone();
        *self.logs[member].lock().expect("no writer panics") = kept;
        self.world.forgotten_by(member);
        self.lives[member].send_modify(|lives| *lives += 1);
    }

    /// Writes a member's notification log to disk, as Alertmanager does now and then.
    pub fn snapshot(&self, member: usize) {
        let log = self.logs[member].lock().expect("no writer panics").clone();
        *self.kept[member].lock().expect("no writer panics") = log;
    }

    /// The peers do not hear each other for so long: both notify.
    pub fn part(&self, how_long: Duration) {
        let until = now() + i64::try_from(how_long.as_micros()).unwrap_or(i64::MAX);
        *self.apart_until.lock().expect("no writer panics") = until;
    }

    async fn group(
        self: Arc<Self>,
        member: usize,
        group: usize,
        mut dice: Dice,
        stop: CancellationToken,
    ) {
        let mut lives = self.lives[member].subscribe();
        let interval = self.timing.group_interval;
        let jitter = interval.mul_f64(dice.below(100) as f64 / 100.0);
        let mut next = Instant::now() + jitter;
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(next) => {}
            }
            next = Instant::now() + interval;
            lives.mark_unchanged();
            tokio::select! {
                _ = lives.changed() => {}
                () = self.flush(member, group, &mut dice) => {}
            }
        }
    }

    async fn flush(&self, member: usize, group: usize, dice: &mut Dice) {
        let told: Arc<[Told]> = self.world.snapshot(group, member).into();
        if told.is_empty() {
            return;
        }
        let wait = self.timing.peer_timeout * u32::try_from(member).unwrap_or(0);
        let ends = Instant::now() + self.timing.group_interval.max(TIMEOUT) + wait;
        sleep(wait).await;
        let entry = self.entry(member, group);
        if !needs_update(entry.as_ref(), &told, self.timing.repeat_interval) {
            self.world.flushed(group, member, &told);
            return;
        }
        // A few bodies have an alert that cannot be taken.
        let marks: Arc<[String]> = if dice.percent(2) {
            let number = self.bad.fetch_add(1, Ordering::Relaxed);
            [format!("bad-{number}.")].into()
        } else {
            [].into()
        };
        let labels = self.world.labels(told.iter().map(|told| told.series));
        let body = body((group, member), &told, &labels, &marks);
        if self.notify(member, body, (&told, &marks), ends, dice).await {
            self.log(member, group, &told, dice);
            self.world.flushed(group, member, &told);
        }
    }

    /// Tries again with backoff until the flush ends; whether it was accepted.
    async fn notify(
        &self,
        member: usize,
        body: Vec<u8>,
        (told, marks): (&Arc<[Told]>, &Arc<[String]>),
        ends: Instant,
        dice: &mut Dice,
    ) -> bool {
        let mut interval = 0.5;
        loop {
            let number = self.book.begin(member, told, marks);
            let url = &self.urls[dice.below(self.urls.len())];
            let request = self
                .client
                .post(format!("{url}/webhooks/alertmanager"))
                .bearer_auth(&self.token)
                .header("user-agent", "Alertmanager/0.25.0")
                .header("content-type", "application/json")
                .timeout(TIMEOUT)
                .body(body.clone())
                .send();
            let Ok(answer) = timeout_at(ends, request).await else {
                return false;
            };
            if let Ok(answer) = answer {
                let status = answer.status().as_u16();
                self.book.answered(number, status);
                if answer.status().is_success() {
                    return true;
                }
                if !answer.status().is_server_error() {
                    return false;
                }
            }
            let spread = 0.5 + dice.below(1000) as f64 / 1000.0;
            let pause = Instant::now() + Duration::from_secs_f64(interval * spread);
            if pause >= ends {
                return false;
            }
            tokio::time::sleep_until(pause).await;
            interval = (interval * 1.5_f64).min(60.0);
        }
    }

    fn entry(&self, member: usize, group: usize) -> Option<Entry> {
        let log = self.logs[member].lock().expect("no writer panics");
        log.get(&group).cloned()
    }

    /// Writes the log, and gossips it if the peers hear each other.
    fn log(&self, member: usize, group: usize, told: &[Told], dice: &mut Dice) {
        let of = |over: bool| {
            let told = told
                .iter()
                .filter(move |told| told.ends_at.is_some() == over);
            told.map(|told| told.series).collect()
        };
        let entry = Entry {
            at: now(),
            firing: of(false),
            resolved: of(true),
        };
        let apart = now() < *self.apart_until.lock().expect("no writer panics");
        let lost = dice.percent(3);
        for (peer, log) in self.logs.iter().enumerate() {
            if peer == member || !(apart || lost) {
                let mut log = log.lock().expect("no writer panics");
                log.insert(group, entry.clone());
            }
        }
    }
}

/// Alertmanager's `DedupStage.needsUpdate`.
fn needs_update(entry: Option<&Entry>, told: &[Told], repeat: Duration) -> bool {
    let firing = || told.iter().filter(|told| told.ends_at.is_none());
    let Some(entry) = entry else {
        return firing().next().is_some();
    };
    if !firing().all(|told| entry.firing.contains(&told.series)) {
        return true;
    }
    if firing().next().is_none() {
        return !entry.firing.is_empty();
    }
    let mut resolved = told.iter().filter(|told| told.ends_at.is_some());
    if !resolved.all(|told| entry.resolved.contains(&told.series)) {
        return true;
    }
    let repeat = i64::try_from(repeat.as_micros()).unwrap_or(i64::MAX);
    entry.at < now() - repeat
}
