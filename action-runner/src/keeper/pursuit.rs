use std::time::Duration;

use service_kit::{Error, failpoint};
use shared_events::action::{Evidence, FailureReason, Outcome};

use super::{
    Keeper, LOOK, Turn,
    turn::{Miss, expired, seconds},
};
use crate::{
    docker::{Engine, observe::Sighting},
    domain::{
        decide::wanted,
        observed::{Observed, Phase},
        plan::{Ask, Goal, plan},
        state::{Action, Input},
        target::Readiness,
        verdict::{Pursuit, Verdict, verdict},
        wording,
    },
    store::{Lease, Situation},
};

impl Keeper {
    /// One look at a pending action.
    pub(super) async fn pursue(
        &mut self,
        action: &Action,
        situation: &Situation,
        engine: &Engine,
        sighting: &Sighting,
        lease: &mut Lease,
    ) -> Result<Turn, Error> {
        let observed = &sighting.observed;
        if action.previous.is_none() {
            self.trouble = None;
            let began = Input::Began {
                action_id: action.request.action_id,
                running: observed.running(),
            };
            self.tell("began", began).await?;
            return Ok(Turn::Again(Duration::ZERO));
        }
        if let Some(words) = self.refused(action, situation, sighting) {
            let culprits = unstarted(action, observed);
            let miss = Miss {
                reason: FailureReason::Docker,
                message: wording::docker(action, &words, seconds(action, situation)),
                evidence: self.evidence(engine, observed, &culprits).await,
                culprits,
            };
            self.miss(action, miss, Some(observed)).await?;
            return Ok(Turn::Again(Duration::ZERO));
        }
        let mut goal = Goal::action(wanted(&action.request), action.request.ask);
        goal.doomed.clone_from(&situation.target.doomed);
        goal.blocked.clone_from(&self.blocked);
        let pursuit = Pursuit {
            action_id: action.request.action_id,
            ask: action.request.ask,
            desired: wanted(&action.request),
            previous: action.previous,
            expired: expired(action, situation),
        };
        match verdict(&pursuit, &goal, observed) {
            Verdict::Reached(outcome) => self.reached(action, outcome, observed).await,
            Verdict::Unhealthy { culprits } => {
                let evidence = self.evidence(engine, observed, &culprits).await;
                let seconds = seconds(action, situation);
                let message = wording::unhealthy(action, observed, &evidence, &culprits, seconds);
                let reason = FailureReason::Unhealthy;
                let miss = Miss {
                    reason,
                    message,
                    culprits,
                    evidence,
                };
                self.miss(action, miss, Some(observed)).await?;
                Ok(Turn::Again(Duration::ZERO))
            }
            Verdict::Expired => self.expired(action, situation, engine, observed).await,
            Verdict::GoOn => {
                let steps = plan(&goal, observed);
                if steps.is_empty() {
                    return Ok(Turn::Again(LOOK));
                }
                self.perform(&steps, situation, engine, sighting, lease)
                    .await
            }
        }
    }

    async fn reached(
        &mut self,
        action: &Action,
        outcome: Outcome,
        observed: &Observed,
    ) -> Result<Turn, Error> {
        let message = wording::completed(action, &outcome, observed);
        tracing::info!(
            target.name = self.target.name,
            action_id = %action.request.action_id,
            incident_id = %action.request.incident_id,
            result = %outcome,
            "action completes: {message}"
        );
        let reached = Input::Reached {
            action_id: action.request.action_id,
            outcome,
            running: observed.running(),
            foreign: observed.running_foreign(),
            message,
        };
        self.trouble = None;
        failpoint::pass("runner.reached");
        self.tell("reached", reached).await?;
        Ok(Turn::Again(Duration::ZERO))
    }

    async fn expired(
        &mut self,
        action: &Action,
        situation: &Situation,
        engine: &Engine,
        observed: &Observed,
    ) -> Result<Turn, Error> {
        let seconds = seconds(action, situation);
        let (reason, message) = match &self.trouble {
            Some(words) => (
                FailureReason::Docker,
                wording::docker(action, words, seconds),
            ),
            None => (
                FailureReason::Deadline,
                wording::expired(action, observed, seconds),
            ),
        };
        let culprits = unstarted(action, observed);
        let miss = Miss {
            reason,
            message,
            evidence: self.evidence(engine, observed, &culprits).await,
            culprits,
        };
        self.miss(action, miss, Some(observed)).await?;
        Ok(Turn::Again(Duration::ZERO))
    }

    /// Why the action cannot be done, if the engine said so for good under this epoch, or the
    /// template is none that may be copied.
    fn refused(
        &self,
        action: &Action,
        situation: &Situation,
        sighting: &Sighting,
    ) -> Option<String> {
        if let Some((epoch, words)) = &self.refusal
            && *epoch == situation.target.epoch
        {
            return Some(words.clone());
        }
        let short = action.request.ask != Ask::Down
            && sighting.observed.running() < wanted(&action.request);
        let source = sighting.template.as_ref().filter(|_| short)?;
        let why = source.template.as_ref().err()?;
        Some(format!("{} cannot be copied: {why}", source.container))
    }

    async fn evidence(
        &self,
        engine: &Engine,
        observed: &Observed,
        culprits: &[String],
    ) -> Vec<Evidence> {
        let mut all = Vec::new();
        for replica in &observed.replicas {
            if !culprits.contains(&replica.id) {
                continue;
            }
            let mut one = engine.evidence(&replica.id, &replica.name).await;
            // A probe from outside leaves nothing in the container's own record.
            if self.target.readiness != Readiness::Healthcheck && !replica.health.is_empty() {
                one.health.push(replica.health.clone());
            }
            all.push(one);
        }
        all
    }
}

/// Replicas that the action made and the engine did not start.
fn unstarted(action: &Action, observed: &Observed) -> Vec<String> {
    let own = observed.replicas.iter().filter(|replica| {
        replica.phase == Phase::Created && replica.action_id == Some(action.request.action_id)
    });
    own.map(|replica| replica.id.clone()).collect()
}
