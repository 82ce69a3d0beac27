//! Load has gone: `LowCPU` brings the service back to one replica, and joins the story of the incident.

use crate::{
    figures::{percent, short},
    profile::Step,
    stage::{Missed, Stage},
    teller::Teller,
    until::{Link, Seen},
};

/// Step 7.
pub(crate) async fn play(stage: &Stage, teller: &Teller, incident: &str) -> Result<(), Missed> {
    let cpu = stage
        .step(Step::LowCpu, async || back_to_one(stage, incident).await)
        .await?;
    let text = format!(
        "{} -> back to 1 replica; joined incident {}",
        percent(cpu),
        short(incident)
    );
    teller.say("LowCPU", &text);
    Ok(())
}

async fn back_to_one(stage: &Stage, incident: &str) -> Result<f64, Seen> {
    let cpu = stage.prometheus.cpu().await?;
    let down = stage.action(incident, 1).await;
    let down = down.map_err(|seen| Seen {
        text: format!(
            "{}; CPU {} of limit; {}",
            seen.text,
            percent(cpu),
            "LowCPU has not led to an action"
        ),
        ..seen
    })?;
    if down.status != "completed" {
        let text = format!(
            "the action for 1 replica is {}: {}",
            down.status,
            down.why()
        );
        return Err(Seen::new(Link::ActionRunner, text));
    }
    let joined = stage.eventpulse.incident(incident).await?;
    if !joined.is_over() {
        let text = format!(
            "LowCPU has turned the incident {}: it must only join",
            joined.status
        );
        return Err(Seen::new(Link::Rules, text));
    }
    stage.only_original().await?;
    Ok(cpu)
}
