use std::time::Duration;

use serde_json::Value;
use service_kit::{Error, Trace, Work, clock::Stopwatch, error::chain};
use shared_events::{
    action::{Evidence, FailureReason},
    ids::derive,
};

use super::{Keeper, Turn};
use crate::{
    docker::{self, Engine, observe::Sighting},
    domain::{
        evidence::fit,
        observed::Observed,
        state::{Action, Input, Status},
        wording,
    },
    service::TargetInput,
    shown::Shown,
    store::{self, Lease, Situation},
};

/// What is kept for people is written again after this long, changed or not: its age tells whether
/// anybody looks.
const SHOWN: Duration = Duration::from_secs(10);
/// While a target is paused.
const PAUSED: Duration = Duration::from_secs(1);

/// How an action is missed, and whom the evidence is about.
pub(super) struct Miss {
    pub(super) reason: FailureReason,
    pub(super) message: String,
    pub(super) culprits: Vec<String>,
    pub(super) evidence: Vec<Evidence>,
}

impl Keeper {
    /// One look at the target, and what follows from it.
    pub(super) async fn turn(
        &mut self,
        situation: &Situation,
        lease: &mut Lease,
    ) -> Result<Turn, Error> {
        let pending = pending(situation);
        let looked = self.look(situation).await;
        let (engine, sighting) = match looked {
            Ok(seen) => seen,
            Err(error) => return self.blind(situation, pending, &error).await,
        };
        self.keep(situation, &sighting).await?;
        if let Some(pause) = situation.paused() {
            if let Some(action) = pending.filter(|action| expired(action, situation)) {
                let miss = Miss {
                    reason: FailureReason::Deadline,
                    message: wording::paused(action, pause),
                    culprits: Vec::new(),
                    evidence: Vec::new(),
                };
                self.miss(action, miss, Some(&sighting.observed)).await?;
            }
            return Ok(Turn::Rest(PAUSED));
        }
        self.bury(situation, &sighting.observed).await?;
        match pending {
            Some(action) => {
                self.pursue(action, situation, &engine, &sighting, lease)
                    .await
            }
            None => self.upkeep(situation, &engine, &sighting, lease).await,
        }
    }

    async fn look(&mut self, situation: &Situation) -> Result<(Engine, Sighting), docker::Error> {
        let engine = self.tools.engines.at(&self.target.docker_host).await?;
        let kept = self.kept(situation);
        let hash = kept.as_ref().map(|(_, hash)| hash.as_str());
        let sighting = engine.observe(&self.target, hash, &mut self.memory).await?;
        self.failing.reset();
        Ok((engine, sighting))
    }

    /// The engine does not tell what is there. That is nobody's failure until the deadline.
    async fn blind(
        &mut self,
        situation: &Situation,
        pending: Option<&Action>,
        error: &docker::Error,
    ) -> Result<Turn, Error> {
        let words = chain(error);
        tracing::warn!(
            target.name = self.target.name,
            error = words,
            "cannot see the target"
        );
        self.show(Shown::blind(&words)).await?;
        let delay = self.failing.next_delay();
        let Some(action) = pending else {
            return Ok(Turn::Rest(delay));
        };
        if error.definite() || expired(action, situation) {
            let miss = Miss {
                reason: FailureReason::Docker,
                message: wording::docker(action, &words, seconds(action, situation)),
                culprits: Vec::new(),
                evidence: Vec::new(),
            };
            self.miss(action, miss, None).await?;
            return Ok(Turn::Again(Duration::ZERO));
        }
        Ok(Turn::Again(delay))
    }

    /// Keeps the template, and for people what was seen.
    async fn keep(&mut self, situation: &Situation, sighting: &Sighting) -> Result<(), Error> {
        if let Some(source) = &sighting.template
            && let Ok(template) = &source.template
        {
            let hash = template.hash();
            let known = situation.kept.template_hash.as_ref() == Some(&hash)
                && situation.kept.template_of.as_ref() == Some(&source.container);
            if !known {
                let body = serde_json::to_value(template).expect("a template is JSON");
                let (pool, name) = (self.tools.kit.pool(), &self.target.name);
                store::keep_template(pool, name, &body, &hash, &source.container).await?;
            }
        }
        self.show(Shown::of(&sighting.observed)).await
    }

    async fn show(&mut self, shown: Shown) -> Result<(), Error> {
        let shown: Value = serde_json::to_value(shown).expect("what is shown is JSON");
        let known = self.shown.as_ref();
        if known.is_some_and(|(last, since)| *last == shown && since.elapsed() < SHOWN) {
            return Ok(());
        }
        store::keep_observed(self.tools.kit.pool(), &self.target.name, &shown).await?;
        self.shown = Some((shown, Stopwatch::start()));
        Ok(())
    }

    /// Forgets doomed replicas that are gone.
    async fn bury(&self, situation: &Situation, observed: &Observed) -> Result<(), Error> {
        let there = |id: &String| observed.replicas.iter().any(|replica| replica.id == *id);
        let gone = situation.target.doomed.iter().filter(|id| !there(id));
        let ids: Vec<String> = gone.cloned().collect();
        if ids.is_empty() {
            return Ok(());
        }
        self.tell("buried", Input::Buried { ids }).await
    }

    /// Ends an action that will not be reached.
    pub(super) async fn miss(
        &mut self,
        action: &Action,
        miss: Miss,
        observed: Option<&Observed>,
    ) -> Result<(), Error> {
        tracing::warn!(
            target.name = self.target.name,
            action_id = %action.request.action_id,
            incident_id = %action.request.incident_id,
            reason = %miss.reason,
            "action fails: {}", miss.message
        );
        // With the culprits go the replicas of the action that were never seen ready.
        let mut doomed = miss.culprits;
        if let Some(observed) = observed {
            doomed.extend(unproven(action, observed));
        }
        doomed.sort();
        doomed.dedup();
        let running = observed.map(|observed| {
            let live = observed.replicas.iter().filter(|replica| replica.live());
            let going = live.filter(|replica| doomed.contains(&replica.id)).count();
            let going = u32::try_from(going).unwrap_or(u32::MAX);
            observed.running().saturating_sub(going)
        });
        let input = Input::Missed {
            action_id: action.request.action_id,
            reason: miss.reason,
            running,
            foreign: observed.map(Observed::running_foreign),
            culprits: doomed,
            message: miss.message,
            evidence: fit(miss.evidence),
        };
        self.trouble = None;
        self.refusal = None;
        self.tell("missed", input).await
    }

    /// Hands an observation to the transaction that decides.
    pub(super) async fn tell(&self, what: &str, input: Input) -> Result<(), Error> {
        let id = derive(["observed", self.target.name.as_str(), what]);
        let input = TargetInput {
            target: self.target.name.clone(),
            input,
        };
        let work = Work::local(id.into(), Trace::default(), input);
        self.tools.kit.handle(vec![work]).await.map(drop)
    }
}

/// Replicas that an action made and that were not seen ready.
fn unproven(action: &Action, observed: &Observed) -> Vec<String> {
    let own = observed
        .replicas
        .iter()
        .filter(|replica| replica.action_id == Some(action.request.action_id) && !replica.ready);
    own.map(|replica| replica.id.clone()).collect()
}

/// The action that is under way.
fn pending(situation: &Situation) -> Option<&Action> {
    let action = situation.action.as_ref();
    action.filter(|action| action.status == Status::Pending)
}

pub(super) fn expired(action: &Action, situation: &Situation) -> bool {
    situation.now >= action.request.deadline_at
}

/// Since the request.
pub(super) fn seconds(action: &Action, situation: &Situation) -> i64 {
    (situation.now - action.request.at).num_seconds().max(0)
}
