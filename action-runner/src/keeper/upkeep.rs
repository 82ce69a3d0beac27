use std::{collections::BTreeSet, time::Duration};

use service_kit::{
    Error,
    clock::{Backoff, Stopwatch},
};

use super::{Keeper, LOOK, REPAIR, Turn};
use crate::{
    docker::{Engine, observe::Sighting},
    domain::{
        observed::{Observed, Phase},
        plan::{Ask, Goal, Removal, Step, plan},
    },
    store::{Lease, Situation},
};

/// How long a replica of a new deploy may take to get ready before the old ones are kept.
const REPLACE: Duration = Duration::from_secs(120);

/// What keeps repairs from turning in a circle.
#[derive(Debug)]
pub(super) struct Repair {
    backoff: Backoff,
    /// Nothing is made before this much has passed since.
    until: Option<(Stopwatch, Duration)>,
    /// Between looks at a replica that is not ready.
    awaiting: Backoff,
    /// A replica of a new deploy that is awaited: its template, and since when.
    awaited: Option<(String, Stopwatch)>,
    /// A template whose replicas do not get ready: not replaced until it changes.
    held_back: Option<String>,
    /// Replicas of that template.
    condemned: BTreeSet<String>,
}

impl Repair {
    pub(super) fn new() -> Self {
        Self {
            backoff: Backoff::new(REPAIR.0, REPAIR.1),
            until: None,
            awaiting: Backoff::new(LOOK, REPAIR.1),
            awaited: None,
            held_back: None,
            condemned: BTreeSet::new(),
        }
    }

    fn left(&self) -> Duration {
        let until = self.until.as_ref();
        until.map_or(Duration::ZERO, |(since, delay)| since.left_of(*delay))
    }

    fn made(&mut self) {
        self.until = Some((Stopwatch::start(), self.backoff.next_delay()));
    }

    fn lasts(&mut self) {
        self.backoff.reset();
        self.awaiting.reset();
        self.until = None;
    }

    /// Gives up on a deploy whose replica does not get ready.
    fn watch(&mut self, observed: &Observed) {
        let current = observed.template.as_ref();
        if self.held_back.as_ref() != current {
            self.held_back = None;
        }
        let live = || observed.replicas.iter().filter(|replica| replica.live());
        let old = live().any(|replica| Some(&replica.template) != current);
        let unready = live().find(|replica| Some(&replica.template) == current && !replica.ready);
        let (true, Some(unready)) = (old, unready) else {
            self.awaited = None;
            self.condemned.clear();
            return;
        };
        match &self.awaited {
            Some((hash, since)) if *hash == unready.template => {
                if since.elapsed() > REPLACE {
                    tracing::error!(
                        replica = unready.name,
                        template = unready.template,
                        health = unready.health,
                        "a replica of the new deploy does not get ready: the old ones stay"
                    );
                    self.held_back = Some(unready.template.clone());
                    self.condemned.insert(unready.id.clone());
                }
            }
            Some(_) | None => {
                self.awaited = Some((unready.template.clone(), Stopwatch::start()));
            }
        }
    }
}

impl Keeper {
    /// One look at a target without a pending action: what is missing is made, what is too many or
    /// dead is removed, and replicas of an earlier deploy are replaced.
    pub(super) async fn upkeep(
        &mut self,
        situation: &Situation,
        engine: &Engine,
        sighting: &Sighting,
        lease: &mut Lease,
    ) -> Result<Turn, Error> {
        let sweep = Turn::Rest(self.tools.sweep);
        let target = &situation.target;
        if target.last_action.is_none() {
            return Ok(sweep);
        }
        self.repair.watch(&sighting.observed);
        let mut goal = match target.settled {
            Some(settled) => Goal::upkeep(self.target.bounds.nearest(settled), target.foreign),
            // No count was ever settled: only what is dead is removed.
            None => Goal::action(0, Ask::Up),
        };
        goal.doomed.clone_from(&target.doomed);
        goal.doomed.extend(self.repair.condemned.iter().cloned());
        goal.blocked.clone_from(&self.blocked);
        goal.replace = goal.replace && self.repair.held_back.is_none();
        let steps = plan(&goal, &sighting.observed);
        if steps.is_empty() {
            return Ok(self.nothing_due(&sighting.observed));
        }
        let makes = steps
            .iter()
            .any(|step| matches!(step, Step::Create { .. } | Step::Start { .. }));
        if makes && !self.repair.left().is_zero() {
            return Ok(Turn::Rest(self.repair.left()));
        }
        self.report(engine, &sighting.observed, &steps).await;
        if makes {
            self.repair.made();
        }
        let turn = self
            .perform(&steps, situation, engine, sighting, lease)
            .await?;
        Ok(match turn {
            // Nobody waits for it: another instance may try.
            Turn::Again(delay) if self.trouble.is_some() => Turn::Rest(delay),
            Turn::Again(_) | Turn::Rest(_) => turn,
        })
    }

    fn nothing_due(&mut self, observed: &Observed) -> Turn {
        let awaited = |phase: Phase, ready: bool| match phase {
            Phase::Live => !ready,
            Phase::Removing => true,
            Phase::Created | Phase::Exited => false,
        };
        if observed
            .replicas
            .iter()
            .any(|one| awaited(one.phase, one.ready))
        {
            // Often at first, then with the rhythm of the sweep.
            return Turn::Rest(self.repair.awaiting.next_delay().min(self.tools.sweep));
        }
        self.repair.lasts();
        self.blocked.clear();
        Turn::Rest(self.tools.sweep)
    }

    /// Drift repair has no event to carry evidence: the log has it.
    async fn report(&self, engine: &Engine, observed: &Observed, steps: &[Step]) {
        for step in steps {
            let Step::Remove {
                id,
                name,
                why: Removal::Zombie,
            } = step
            else {
                continue;
            };
            let ended = observed.replicas.iter().find(|replica| replica.id == *id);
            if ended.is_some_and(|replica| replica.phase == Phase::Exited) {
                let evidence = engine.evidence(id, name).await;
                tracing::warn!(
                    target.name = self.target.name,
                    replica = name,
                    exit_code = evidence.exit_code,
                    oom_killed = evidence.oom_killed,
                    log = ?evidence.logs.iter().rev().take(5).rev().collect::<Vec<_>>(),
                    "a replica ended; it is replaced"
                );
            }
        }
    }
}
