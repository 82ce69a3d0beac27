//! How the small things are done, and what goes wrong with them.

use action_runner::domain::plan::Step as DockerStep;
use rules::domain::Sequence;

use crate::{
    check::Verdict,
    docker::Made,
    keeper::{Keeper, Place, Planned, graceful},
    log::{Event, PARTITIONS, Record, TOPICS},
    rules::{Input, Work},
    runner,
    script::Fault,
    shell::{Fetched, INGEST, NAMES, RULES, RUNNER, STORE, Sabotage},
    world::{Look, Move, World},
};

/// Records of one batch.
const BATCH: usize = 5;

impl World {
    pub(crate) fn make(&mut self, chosen: Move, fault: Fault) -> Verdict {
        match chosen {
            Move::Pick(service, key, sequence) => {
                let owner = self.relay_owner[service];
                let rows = &self.shells[service].outbox[&key];
                let row = rows.iter().find(|row| row.sequence == sequence).cloned();
                let row = row.expect("it is in the outbox");
                if self.sabotaged(Sabotage::MarkBeforeAck) {
                    self.shells[service].mark(&key, sequence);
                }
                self.relays[service][owner].push((key, row));
                Ok(())
            }
            Move::Send(service, instance, at) => self.send(service, instance, at, fault),
            Move::Fetch(service, place) => {
                self.groups[service].fetch(&self.log, place, BATCH);
                Ok(())
            }
            Move::Commit(service, instance) => self.consume(service, instance, fault),
            Move::LookForTimers(instance) => {
                self.look_for_timers(instance);
                Ok(())
            }
            Move::FireTimers(instance) => self.fire_timers(instance, fault),
            Move::Keep(at) => self.keep(at, fault),
            Move::Retry => {
                let body = self.senders.retries.remove(0);
                self.post(body, false, fault)
            }
            Move::Sweep => {
                let now = self.clock(INGEST);
                if let Some(id) = self.ingest.silent(now) {
                    let tx = self.ingest.sweep(id, now);
                    self.tell(|| "ingest ends a silent episode".to_owned());
                    let events = self.ingest.commit(tx);
                    self.shells[INGEST].emit(events);
                    self.checks.alerts.clock(now);
                }
                Ok(())
            }
        }
    }

    fn send(&mut self, service: usize, instance: usize, at: usize, fault: Fault) -> Verdict {
        let (key, row) = self.relays[service][instance].remove(at);
        let id = match self.sabotaged(Sabotage::DrawnIds) {
            true => self.draw("send"),
            false => row.id,
        };
        self.tell(|| {
            let name = row.event.name();
            format!(
                "{} {instance} sends {name} {} #{} of {} ({fault:?})",
                NAMES[service],
                short(&row.event.subject()),
                row.sequence,
                key.1
            )
        });
        let arrives = matches!(fault, Fault::None | Fault::DiesAfter | Fault::AnswerLost);
        if arrives {
            let record = Record {
                id,
                key: key.1.clone(),
                source: NAMES[service],
                sequence: row.sequence,
                event: row.event.clone(),
            };
            self.append(record)?;
        }
        match fault {
            Fault::None => self.shells[service].mark(&key, row.sequence),
            Fault::DiesBefore | Fault::DiesAfter => self.die(service, instance),
            Fault::AnswerLost | Fault::Refused => {}
        }
        Ok(())
    }

    pub(crate) fn append(&mut self, record: Record) -> Verdict {
        self.count += 1;
        self.checks.appended(&record, self.count)?;
        self.log.append(record);
        Ok(())
    }

    /// The transaction of a batch that was fetched.
    fn consume(&mut self, service: usize, instance: usize, fault: Fault) -> Verdict {
        let Some(batch) = self.groups[service].in_hand[instance].take() else {
            return Ok(());
        };
        let fresh = self.fresh(service, &batch);
        self.tell(|| {
            let told = |record: &Record| {
                let new = fresh.iter().any(|f| f.id == record.id);
                let repeat = if new { "" } else { " (again)" };
                format!(
                    " {} {}{repeat}",
                    record.event.name(),
                    short(&record.event.subject())
                )
            };
            let told: Vec<String> = batch.records.iter().map(told).collect();
            format!(
                "{} {instance} takes{} ({fault:?})",
                NAMES[service],
                told.join(",")
            )
        });
        let half = fault == Fault::DiesBefore && self.sabotaged(Sabotage::HalfCommit);
        let commits = matches!(fault, Fault::None | Fault::DiesAfter | Fault::AnswerLost);
        if commits || half {
            self.effect(service, &batch, &fresh, half)?;
        }
        if self.sabotaged(Sabotage::OffsetBeforeCommit) && fault == Fault::DiesBefore {
            self.groups[service].store(instance, &batch);
            self.advance(service, &batch);
        }
        match fault {
            Fault::None => self.groups[service].store(instance, &batch),
            Fault::DiesBefore | Fault::DiesAfter => self.die(service, instance),
            Fault::AnswerLost | Fault::Refused => {
                self.groups[service].in_hand[instance] = Some(batch);
            }
        }
        Ok(())
    }

    /// Records of listed types that the inbox does not know, each once.
    fn fresh(&self, service: usize, batch: &Fetched) -> Vec<Record> {
        let trusting = self.sabotaged(Sabotage::Dedup) || self.sabotaged(Sabotage::InboxOnly);
        let mut seen = std::collections::HashSet::new();
        let new = |record: &&Record| {
            trusting || !self.shells[service].inbox.contains(&record.id) && seen.insert(record.id)
        };
        batch.records.iter().filter(new).cloned().collect()
    }

    fn advance(&mut self, service: usize, batch: &Fetched) {
        let next = &mut self.shells[service].next[batch.topic][batch.partition];
        *next = (*next).max(batch.from + batch.records.len());
    }

    /// States, inbox, outbox and offset, all at once; `half`: without the outbox.
    fn effect(&mut self, service: usize, batch: &Fetched, fresh: &[Record], half: bool) -> Verdict {
        let mut events = Vec::new();
        if service == RULES {
            let works: Vec<Work> = fresh.iter().filter_map(work).collect();
            let tx = self
                .rules
                .transact(&works, !self.sabotaged(Sabotage::Dedup));
            let (rows, said) = self.rules.commit(tx);
            events = said;
            self.checks.decided(&rows, &self.rules)?;
        } else if service == RUNNER {
            let inputs: Vec<_> = fresh.iter().filter_map(runner::input).collect();
            let tx = self.runner.transact(&inputs, self.clock(RUNNER));
            events = self.runner.commit(tx);
        } else if service == STORE {
            self.store.fold(fresh);
            self.checks.order.told(&self.store)?;
        }
        self.shells[service]
            .inbox
            .extend(fresh.iter().map(|record| record.id));
        if !half {
            self.shells[service].emit(events);
        }
        self.advance(service, batch);
        Ok(())
    }

    fn look_for_timers(&mut self, instance: usize) {
        let due = self.rules.due(self.clock(RULES));
        let mut ends = Vec::new();
        for topic in [0, 2] {
            for partition in 0..PARTITIONS {
                ends.push((topic, partition, self.log.end(topic, partition)));
            }
        }
        let stamp = self.count;
        self.tell(|| format!("rules {instance} reads {} due timers", due.len()));
        self.looks[instance] = Some(Look { due, ends, stamp });
    }

    fn fire_timers(&mut self, instance: usize, fault: Fault) -> Verdict {
        let Some(look) = self.looks[instance].take() else {
            return Ok(());
        };
        let timer = |timer: rules::domain::Timer| Work {
            id: timer.id,
            place: None,
            input: Input::Timer(timer),
        };
        let works: Vec<Work> = look.due.into_iter().map(timer).collect();
        let tx = self.rules.transact(&works, true);
        self.tell(|| {
            let kinds: Vec<&str> = tx.rows.iter().map(|row| row.kind).collect();
            format!("rules {instance} fires {} ({fault:?})", kinds.join(", "))
        });
        let commits = matches!(fault, Fault::None | Fault::DiesAfter | Fault::AnswerLost);
        let half = fault == Fault::DiesBefore && self.sabotaged(Sabotage::HalfCommit);
        if commits || half {
            self.checks.actions.fired(&tx.rows, look.stamp)?;
            let (rows, events) = self.rules.commit(tx);
            self.checks.decided(&rows, &self.rules)?;
            if !half {
                self.shells[RULES].emit(events);
            }
        }
        if matches!(fault, Fault::DiesBefore | Fault::DiesAfter) {
            self.die(RULES, instance);
        }
        Ok(())
    }

    fn keep(&mut self, at: usize, fault: Fault) -> Verdict {
        let clocks = (self.clock(RUNNER), self.now);
        let by_epoch = !self.sabotaged(Sabotage::Epoch);
        match std::mem::take(&mut self.keepers[at].place) {
            Place::Resting => {
                self.keepers[at].look(&mut self.runner, &self.docker, clocks);
                let planned = format!("{:?}", self.keepers[at].place);
                let name = self.keepers[at].target;
                if let Place::Telling(input) = &self.keepers[at].place {
                    self.checks.actions.looked(name, input, &self.docker);
                }
                if !matches!(self.keepers[at].place, Place::Resting) {
                    self.tell(|| format!("keeper {at} of {name} looks: {planned}"));
                }
                Ok(())
            }
            Place::Telling(input) => self.report(at, input, fault),
            Place::Planned(planned) => {
                self.keepers[at].place = Place::Planned(planned);
                self.keepers[at].ask(&mut self.runner, clocks, by_epoch);
                Ok(())
            }
            Place::Calling(planned) => self.call(at, planned, fault),
        }
    }

    fn report(
        &mut self,
        at: usize,
        input: action_runner::domain::state::Input,
        fault: Fault,
    ) -> Verdict {
        let name = self.keepers[at].target.to_owned();
        self.tell(|| format!("keeper {at} of {name} tells {input:?} ({fault:?})"));
        let tx = self.runner.transact(&[(name, input)], self.clock(RUNNER));
        let commits = matches!(fault, Fault::None | Fault::DiesAfter | Fault::AnswerLost);
        let half = fault == Fault::DiesBefore && self.sabotaged(Sabotage::HalfCommit);
        if commits || half {
            let events = self.runner.commit(tx);
            if !half {
                self.shells[RUNNER].emit(events);
            }
        }
        self.keepers[at].next_look = self.now;
        if matches!(fault, Fault::DiesBefore | Fault::DiesAfter) {
            self.die(RUNNER, self.keepers[at].instance);
        }
        Ok(())
    }

    /// Docker does it or not, and says so or not.
    fn call(&mut self, at: usize, planned: Planned, fault: Fault) -> Verdict {
        let (name, now) = (self.keepers[at].target, self.now);
        let step = planned.steps[0].clone();
        self.tell(|| format!("keeper {at} of {name}: {step:?} ({fault:?})"));
        let creates = matches!(step, DockerStep::Create { .. });
        let refused = creates && self.docker.image_missing;
        let done = !refused
            && !self.docker.away
            && matches!(fault, Fault::None | Fault::DiesAfter | Fault::AnswerLost);
        let mut blocked = None;
        if done {
            match &step {
                DockerStep::Remove { id, why, .. } => {
                    self.docker.remove(parsed(id), graceful(*why), now);
                }
                DockerStep::Start { id, .. } => self.docker.start(parsed(id), now),
                DockerStep::Create { slot } => {
                    let template = planned
                        .template
                        .expect("a create is planned with a template");
                    let (docker, action) = (&mut self.docker, planned.action);
                    if fault == Fault::AnswerLost && slot % 2 == 0 {
                        docker.create_only(name, *slot, template, action, now);
                    } else if docker.create(name, *slot, template, action, now) == Made::Blocked {
                        blocked = Some(*slot);
                    }
                }
            }
        }
        self.checks.actions.host(&self.docker, self.count)?;
        match fault {
            Fault::None if done => self.keepers[at].called(planned, blocked, now),
            Fault::None | Fault::AnswerLost | Fault::Refused => {
                self.keepers[at].stumbled(&planned, refused, now);
            }
            Fault::DiesBefore | Fault::DiesAfter => self.die(RUNNER, self.keepers[at].instance),
        }
        Ok(())
    }

    /// A process dies, with everything that it held in memory.
    pub(crate) fn die(&mut self, service: usize, instance: usize) {
        self.groups[service].die(&self.shells[service], instance);
        self.relays[service][instance].clear();
        self.relay_owner[service] = 1 - instance;
        if service == RULES {
            self.looks[instance] = None;
        }
        if service == RUNNER {
            for keeper in &mut self.keepers {
                if keeper.instance == instance {
                    *keeper = Keeper::new(instance, keeper.target, self.now);
                }
            }
        }
    }
}

/// What a record is to Rules; `None`: they do not list its type.
fn work(record: &Record) -> Option<Work> {
    let input = match &*record.event {
        Event::Alert(event) => Input::Alert(event.clone()),
        Event::Action(event)
            if matches!(record.event.name(), "action.completed" | "action.failed") =>
        {
            Input::Action(event.clone())
        }
        Event::Action(_) | Event::Incident(_) => return None,
    };
    let place = Sequence {
        topic: TOPICS[record.event.topic()].name().to_owned(),
        key: record.key.clone(),
        source: record.source.to_owned(),
        last: record.sequence,
    };
    Some(Work {
        id: record.id,
        place: Some(place),
        input,
    })
}

fn parsed(id: &str) -> u64 {
    id.parse().expect("ids of simulated containers are numbers")
}

/// The first digits of an id: what people type.
pub(crate) fn short(id: &str) -> &str {
    &id[..id.len().min(6)]
}
