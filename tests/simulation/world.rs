//! Everything that there is, and the small things that can happen next.

use chrono::TimeDelta;
use shared_events::{EventId, Timestamp, ids};

use crate::{
    check::{Checks, Verdict},
    docker::Docker,
    incidents::Incidents,
    ingest::Ingest,
    keeper::Keeper,
    log::Log,
    rules::{Rules, TARGETS},
    runner::Runner,
    script::{Fault, Step},
    senders::{self, Body, Senders, View},
    shell::{Group, INGEST, LISTENS, RULES, RUNNER, Row, STORE, Sabotage, Shell},
};

/// Timers that an instance of Rules has read as due, and how far the topics reached then.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) due: Vec<rules::domain::Timer>,
    pub(crate) ends: Vec<(usize, usize, usize)>,
    /// How many records there were in all.
    pub(crate) stamp: usize,
}

/// A row that a relay is sending.
pub(crate) type Sending = ((usize, String), Row);

/// A small thing that can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    Pick(usize, (usize, String), i64),
    Send(usize, usize, usize),
    Fetch(usize, (usize, usize)),
    Commit(usize, usize),
    LookForTimers(usize),
    FireTimers(usize),
    Keep(usize),
    Retry,
    Sweep,
}

/// The simulated site.
pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) skew: [TimeDelta; 4],
    pub(crate) log: Log,
    pub(crate) shells: [Shell; 4],
    pub(crate) groups: [Group; 4],
    pub(crate) relays: [[Vec<Sending>; 2]; 4],
    /// Which instance's relay owns the shards.
    pub(crate) relay_owner: [usize; 4],
    pub(crate) senders: Senders,
    pub(crate) ingest: Ingest,
    pub(crate) rules: Rules,
    pub(crate) looks: [Option<Look>; 2],
    pub(crate) runner: Runner,
    pub(crate) keepers: Vec<Keeper>,
    pub(crate) docker: Docker,
    pub(crate) store: Incidents,
    /// An older state of Incident Store's database.
    pub(crate) dump: Option<(Incidents, Shell)>,
    pub(crate) checks: Checks,
    pub(crate) sabotage: Option<Sabotage>,
    /// Records, ids and commands so far.
    pub(crate) count: usize,
    pub(crate) story: Option<Vec<String>>,
}

impl World {
    pub(crate) fn new(sabotage: Option<Sabotage>, tell: bool) -> Self {
        let now = Timestamp::from_timestamp(1_790_000_000, 0).expect("a time");
        let keeper = |at: usize| Keeper::new(at / 2, TARGETS[at % 2], now);
        Self {
            now,
            skew: [TimeDelta::zero(); 4],
            log: Log::default(),
            shells: Default::default(),
            groups: Default::default(),
            relays: Default::default(),
            relay_owner: [0; 4],
            senders: Senders::default(),
            ingest: Ingest::default(),
            rules: Rules::default(),
            looks: [None, None],
            runner: Runner::default(),
            keepers: (0..4).map(keeper).collect(),
            docker: Docker::new(&TARGETS),
            store: Incidents::default(),
            dump: None,
            checks: Checks::default(),
            sabotage,
            count: 0,
            story: tell.then(Vec::new),
        }
    }

    pub(crate) fn tell(&mut self, what: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(story) = &mut self.story {
            let begin = Timestamp::from_timestamp(1_790_000_000, 0).expect("a time");
            let since = (now - begin).num_milliseconds();
            story.push(format!(
                "{:>9}.{:03}  {}",
                since / 1000,
                since % 1000,
                what()
            ));
        }
    }

    pub(crate) fn sabotaged(&self, by: Sabotage) -> bool {
        self.sabotage == Some(by)
    }

    /// The clock of a service's database.
    pub(crate) fn clock(&self, service: usize) -> Timestamp {
        self.now + self.skew[service]
    }

    pub(crate) fn draw(&mut self, what: &str) -> EventId {
        self.count += 1;
        EventId(ids::derive(["drawn", what, &self.count.to_string()]))
    }

    /// Does a step of the script.
    pub(crate) fn step(&mut self, step: &Step) -> Verdict {
        match *step {
            Step::Fire(series) => self.senders.fire(series, self.now),
            Step::Clear(series) => self.senders.clear(series, self.now),
            Step::Restart(series) => self.senders.restart(series, self.now),
            Step::Post {
                peer,
                series,
                fresh,
                bad,
                fault,
            } => {
                let body = self.senders.body(peer, series, fresh);
                self.post(body, bad, fault)?;
            }
            Step::Work { which, fault } => return self.work(which, fault),
            Step::Wait(millis) => self.pass(TimeDelta::milliseconds(millis)),
            Step::Docker { what, which } => return self.happen_on_host(what, which),
            Step::Person { verb, which } => return self.command(verb, which),
            Step::Die { .. }
            | Step::Rebalance { .. }
            | Step::ResetOffsets { .. }
            | Step::PruneInbox { .. }
            | Step::Republish(_)
            | Step::Skew { .. }
            | Step::RestoreStore => return self.disaster(step),
        }
        self.tell_step(step);
        Ok(())
    }

    fn tell_step(&mut self, step: &Step) {
        match *step {
            Step::Fire(series) => self.tell(|| format!("{} fires", senders::name(series))),
            Step::Clear(series) => self.tell(|| format!("{} clears", senders::name(series))),
            Step::Restart(series) => {
                self.tell(|| format!("{} starts later, by Prometheus", senders::name(series)));
            }
            _ => {}
        }
    }

    pub(crate) fn pass(&mut self, time: TimeDelta) {
        self.now += time;
        self.docker.pass(self.now);
    }

    /// Does one of the things that can be done; if there is none, time passes until there is.
    pub(crate) fn work(&mut self, which: u64, fault: Fault) -> Verdict {
        let mut moves = self.moves();
        if moves.is_empty() {
            let Some(wake) = self.next_wake() else {
                return Ok(());
            };
            self.pass((wake - self.now).max(TimeDelta::milliseconds(1)));
            moves = self.moves();
        }
        if moves.is_empty() {
            return Ok(());
        }
        let at = usize::try_from(which % moves.len() as u64).expect("below a length");
        let chosen = moves.swap_remove(at);
        self.make(chosen, fault)
    }

    /// When something will be due.
    pub(crate) fn next_wake(&self) -> Option<Timestamp> {
        let timers = self.rules.timers.values().map(|t| t.due - self.skew[RULES]);
        timers.chain(self.keepers.iter().map(|k| k.next_look)).min()
    }

    /// Everything that can happen now.
    pub(crate) fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        for service in [INGEST, RULES, RUNNER, STORE] {
            self.relay_moves(service, &mut moves);
            let fetchable = self.groups[service].fetchable(&self.log, LISTENS[service]);
            moves.extend(
                fetchable
                    .into_iter()
                    .map(|place| Move::Fetch(service, place)),
            );
            for instance in 0..2 {
                if self.groups[service].in_hand[instance].is_some() {
                    moves.push(Move::Commit(service, instance));
                }
            }
        }
        let now = self.clock(RULES);
        let due = self.rules.timers.values().any(|timer| timer.due <= now);
        for instance in 0..2 {
            match &self.looks[instance] {
                None if due && instance == self.relay_owner[RULES] => {
                    moves.push(Move::LookForTimers(instance));
                }
                Some(look) if self.caught_up(look) => moves.push(Move::FireTimers(instance)),
                None | Some(_) => {}
            }
        }
        for (at, keeper) in self.keepers.iter().enumerate() {
            if keeper.is_awake(&self.runner, self.now) {
                moves.push(Move::Keep(at));
            }
        }
        if !self.senders.retries.is_empty() {
            moves.push(Move::Retry);
        }
        if self.ingest.silent(self.clock(INGEST)).is_some() {
            moves.push(Move::Sweep);
        }
        moves
    }

    fn relay_moves(&self, service: usize, moves: &mut Vec<Move>) {
        let owner = self.relay_owner[service];
        for (key, rows) in &self.shells[service].outbox {
            let under_way = |row: &Row| {
                let same = |(k, r): &&Sending| k == key && r.sequence == row.sequence;
                self.relays[service][owner].iter().find(same).is_some()
            };
            if self.sabotaged(Sabotage::KeyOrder) {
                let free = rows.iter().filter(|row| !under_way(row));
                moves.extend(free.map(|row| Move::Pick(service, key.clone(), row.sequence)));
                continue;
            }
            let busy = self.relays[service][owner].iter().any(|(k, _)| k == key);
            if let (Some(head), false) = (rows.front(), busy) {
                moves.push(Move::Pick(service, key.clone(), head.sequence));
            }
        }
        for instance in 0..2 {
            let sending = 0..self.relays[service][instance].len();
            moves.extend(sending.map(|at| Move::Send(service, instance, at)));
        }
    }

    fn caught_up(&self, look: &Look) -> bool {
        let reached = |&(topic, partition, end): &(usize, usize, usize)| {
            self.shells[RULES].next[topic][partition] >= end
        };
        self.sabotaged(Sabotage::Watermarks) || look.ends.iter().all(reached)
    }

    /// A peer posts; what is not answered with 2xx it posts again.
    pub(crate) fn post(&mut self, body: Body, bad: bool, fault: Fault) -> Verdict {
        if body.is_empty() {
            return Ok(());
        }
        let now = self.clock(INGEST);
        self.tell(|| {
            let told = |&(series, view): &(usize, View)| match view {
                View::Never => String::new(),
                View::Firing(_) => format!(" {} firing", senders::name(series)),
                View::Resolved(..) => format!(" {} resolved", senders::name(series)),
            };
            let told: String = body.iter().map(told).collect();
            format!("a peer posts:{told} ({fault:?})")
        });
        self.checks.alerts.posted(&body, self.now);
        let tx = self.ingest.accept(&senders::json(&body, bad), now);
        let answered = fault == Fault::None;
        match fault {
            Fault::None | Fault::DiesAfter | Fault::AnswerLost => {
                let events = self.ingest.commit(tx);
                self.shells[INGEST].emit(events);
                if answered {
                    self.checks.alerts.answered(&body, now);
                }
            }
            Fault::DiesBefore if self.sabotaged(Sabotage::HalfCommit) => {
                self.ingest.commit(tx);
            }
            Fault::DiesBefore | Fault::Refused => {}
        }
        self.checks.alerts.clock(now);
        if !answered {
            self.senders.retries.push(body);
        }
        if matches!(fault, Fault::DiesBefore | Fault::DiesAfter) {
            self.die(INGEST, 0);
        }
        Ok(())
    }
}
