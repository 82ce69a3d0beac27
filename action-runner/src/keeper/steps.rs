use std::time::Duration;

use service_kit::{Error, clock::pause, error::chain, in_time};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use super::{Keeper, Turn};
use crate::{
    docker::{self, Engine, labels::Tag, observe::Sighting, replica::Made, template::Template},
    domain::{
        plan::{Removal, Step},
        target::Readiness,
    },
    store::{self, Lease, Situation},
};

/// Server errors in a row that count as a refusal.
const ERRORS: u32 = 3;
/// How long a step may go on after the service was told to stop.
const FINISH: Duration = Duration::from_secs(4);
/// What a step that waits for no container takes at most.
const CALLS: Duration = Duration::from_secs(10);

impl Keeper {
    /// Does steps, in order, for as long as nothing has changed since they were planned.
    pub(super) async fn perform(
        &mut self,
        steps: &[Step],
        situation: &Situation,
        engine: &Engine,
        sighting: &Sighting,
        lease: &mut Lease,
    ) -> Result<Turn, Error> {
        for step in steps {
            if !self.unchanged(situation, step, lease).await? {
                break;
            }
            let (stop, span) = (self.stop.clone(), self.span(step, situation));
            span.in_scope(|| tracing::info!(epoch = situation.target.epoch, ?step, "step begins"));
            let done = tokio::select! {
                biased;
                done = self.step(step, situation, engine, sighting).instrument(span) => done,
                // What the engine was asked for it does without us; the lease must be given back.
                () = stopped(&stop) => break,
            };
            if let Err(error) = done {
                return Ok(self.stumbled(situation, &error));
            }
            self.trouble = None;
            self.errors = 0;
            self.stumbling.reset();
            self.tools.metrics.stepped(&self.target.name, name(step));
        }
        Ok(Turn::Again(Duration::ZERO))
    }

    /// A step in the trace of the action that it serves.
    fn span(&self, step: &Step, situation: &Situation) -> Span {
        let span = tracing::info_span!(
            "step",
            otel.name = name(step),
            target.name = self.target.name,
            action_id = tracing::field::Empty,
            incident_id = tracing::field::Empty,
        );
        if let Some(action) = &situation.action {
            let request = &action.request;
            span.record("action_id", tracing::field::display(request.action_id));
            span.record("incident_id", tracing::field::display(request.incident_id));
            situation.trace.set_parent(&span);
        }
        span
    }

    /// Whether a step may begin: the lease holds for long enough, nothing newer was asked for,
    /// nobody paused, and the service is not stopping.
    async fn unchanged(
        &self,
        planned: &Situation,
        step: &Step,
        lease: &mut Lease,
    ) -> Result<bool, Error> {
        let needed = match step {
            Step::Remove { .. } => CALLS + self.target.stop_grace_period,
            Step::Start { .. } | Step::Create { .. } => CALLS,
        };
        if !lease.hold(needed).await? {
            return Ok(false);
        }
        let looking = store::situation(self.tools.kit.pool(), &self.target.name);
        let now = in_time("reading a target", looking).await?;
        let same = now.target.epoch == planned.target.epoch && now.paused().is_none();
        // Last, because it can change without a word.
        Ok(same && !self.stop.is_cancelled())
    }

    async fn step(
        &mut self,
        step: &Step,
        situation: &Situation,
        engine: &Engine,
        sighting: &Sighting,
    ) -> Result<(), docker::Error> {
        match step {
            Step::Remove { id, why, .. } => {
                let grace = match why {
                    // It serves nobody.
                    Removal::Failed | Removal::Zombie => Duration::ZERO,
                    Removal::Surplus | Removal::Replaced => self.target.stop_grace_period,
                };
                engine.remove(id, grace).await
            }
            Step::Start { id, name } => match self.template(situation, sighting)? {
                Some((template, _)) => engine.start(id, name, &template).await,
                None => Ok(()),
            },
            Step::Create { slot } => {
                let Some((template, hash)) = self.template(situation, sighting)? else {
                    return Ok(());
                };
                let tag = Tag {
                    target: self.target.name.clone(),
                    slot: *slot,
                    epoch: situation.target.epoch,
                    template: hash,
                    action_id: situation.target.last_action,
                };
                if engine.create(&template, &tag).await? == Made::Blocked {
                    tracing::warn!(
                        target.name = self.target.name,
                        slot,
                        "the name of this slot belongs to another container: the next one is taken"
                    );
                    self.blocked.insert(*slot);
                }
                Ok(())
            }
        }
    }

    /// The template that runs, else the kept one, and its hash.
    fn template(
        &self,
        situation: &Situation,
        sighting: &Sighting,
    ) -> Result<Option<(Template, String)>, docker::Error> {
        let (container, template, hash) = match &sighting.template {
            Some(source) => {
                let template = source.template.clone();
                let template = template.map_err(|why| docker::Error::Template {
                    container: source.container.clone(),
                    source: why,
                })?;
                let hash = template.hash();
                (source.container.clone(), template, hash)
            }
            None => {
                let Some((template, hash)) = self.kept(situation) else {
                    return Ok(None);
                };
                let container = situation.kept.template_of.clone();
                (container.unwrap_or_default(), template, hash)
            }
        };
        if self.target.readiness == Readiness::Healthcheck && !template.has_healthcheck() {
            return Err(docker::Error::NoHealthcheck { container });
        }
        Ok(Some((template, hash)))
    }

    /// The template that was kept, if this build can read it and its replicas would still be
    /// selected.
    pub(super) fn kept(&self, situation: &Situation) -> Option<(Template, String)> {
        let kept = &situation.kept;
        let template: Template = serde_json::from_value(kept.template.clone()?).ok()?;
        let hash = kept.template_hash.clone()?;
        template.fits(&self.target).then_some((template, hash))
    }

    /// A step failed. A definite no is remembered for the epoch; of anything else only the next
    /// look tells what it did.
    fn stumbled(&mut self, situation: &Situation, error: &docker::Error) -> Turn {
        let words = chain(error);
        tracing::warn!(target.name = self.target.name, error = words, "step failed");
        if error.status().is_some_and(|status| status >= 500) {
            self.errors += 1;
        }
        if error.definite() || self.errors >= ERRORS {
            self.errors = 0;
            self.refusal = Some((situation.target.epoch, words.clone()));
        }
        self.trouble = Some(words);
        Turn::Again(self.stumbling.next_delay())
    }
}

/// Ends [`FINISH`] after the service was told to stop.
async fn stopped(stop: &CancellationToken) {
    stop.cancelled().await;
    pause(FINISH).await;
}

fn name(step: &Step) -> &'static str {
    match step {
        Step::Remove { why, .. } => match why {
            Removal::Failed => "remove_failed",
            Removal::Zombie => "remove_zombie",
            Removal::Surplus => "remove_surplus",
            Removal::Replaced => "remove_replaced",
        },
        Step::Start { .. } => "start",
        Step::Create { .. } => "create",
    }
}
