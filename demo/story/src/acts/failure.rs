//! A bad file is shipped and load comes again: no new replica gets healthy, what was done is undone, the
//! incident fails, and recovers when load goes.

use tokio::time::Instant;

use super::rise::{self, high_cpu, opened, told};
use crate::{
    figures::short,
    inputs::BAD_UPSTREAM,
    look::docker::Container,
    profile::Step,
    stage::{Missed, Stage},
    teller::Teller,
    until::{Link, Seen},
};

/// Steps 8 and 9.
pub(crate) async fn play(
    stage: &Stage,
    teller: &mut Teller,
    first: &str,
    original: &Container,
) -> Result<(), Missed> {
    stage
        .inputs
        .ship_bad_file()
        .map_err(Missed::at(Step::Failed))?;
    rise::load_on(
        stage,
        teller,
        Step::Failed,
        ", and a bad configuration was shipped",
    )
    .await?;
    let fires = stage.profile.deadline(Step::Alert);
    let raised = stage
        .part(Step::Failed, fires, async || high_cpu(stage).await)
        .await?;
    let fired = Instant::now();
    let incident = stage.profile.deadline(Step::Incident);
    let opened = stage
        .part(Step::Failed, incident, async || {
            opened(stage, &raised).await
        })
        .await?;
    teller.say("HighCPU", &told(&raised, &opened));
    let incident = opened.incident_id;
    if incident == first {
        let text = "a new episode must open a new incident, it joined the first".to_owned();
        return Err(Missed::at(Step::Failed)(Seen::new(Link::Rules, text)));
    }

    let left = || {
        stage
            .profile
            .deadline(Step::Failed)
            .saturating_sub(fired.elapsed())
    };
    let why = stage
        .part(Step::Failed, left(), async || {
            undone(stage, &incident, original).await
        })
        .await?;
    teller.say(
        "undone",
        &format!("{why}; back to 1 replica, the first one never stopped"),
    );
    let why = stage
        .part(Step::Failed, left(), async || {
            failed(stage, &incident).await
        })
        .await?;
    teller.say("FAILED", &why);

    let report = stage.load_off(Step::Failed).await?;
    stage
        .inputs
        .take_back_bad_file()
        .map_err(Missed::at(Step::Failed))?;
    teller.say(
        "load off",
        &format!(
            "hey: 0 of {} requests failed; bad file taken back",
            report.requests()
        ),
    );
    stage
        .step(Step::Recovered, async || {
            recovered(stage, &incident, original).await
        })
        .await?;
    let text = format!(
        "incident {}: failed -> resolved, \"recovered after failure\"",
        short(&incident)
    );
    teller.say("recovered", &text);
    Ok(())
}

/// The action failed for the reason that is in the file, and was undone. Returns the sentence for people.
async fn undone(stage: &Stage, incident: &str, original: &Container) -> Result<String, Seen> {
    let up = stage.action(incident, 2).await?;
    if up.status != "failed" {
        return Err(Seen::new(
            Link::ActionRunner,
            format!("the action for 2 replicas is {}", up.status),
        ));
    }
    let why = up.why();
    if !why.contains(&format!("cannot reach upstream {BAD_UPSTREAM}")) {
        return Err(Seen::new(
            Link::ActionRunner,
            format!("the action failed for another reason: {why}"),
        ));
    }
    let back = stage.action(incident, 1).await?;
    if back.status != "completed" {
        let text = format!(
            "the action that undoes it is {}: {}",
            back.status,
            back.why()
        );
        return Err(Seen::new(Link::ActionRunner, text));
    }
    untouched(stage, original).await?;
    Ok(why.to_owned())
}

async fn failed(stage: &Stage, incident: &str) -> Result<String, Seen> {
    let found = stage.eventpulse.incident(incident).await?;
    match found.reason {
        Some(reason) if found.status == "failed" => Ok(reason.message),
        Some(_) | None => Err(Seen::new(
            Link::Rules,
            format!("the incident is {}, not failed", found.status),
        )),
    }
}

async fn recovered(stage: &Stage, incident: &str, original: &Container) -> Result<(), Seen> {
    let found = stage.eventpulse.incident(incident).await?;
    if !found.is_over() || found.reason_code() != "recovered_after_failure" {
        let text = format!("the incident is {} ({})", found.status, found.reason_code());
        return Err(Seen::new(Link::Prometheus, text));
    }
    untouched(stage, original).await
}

/// The container that Compose made still runs, and has not been started again.
async fn untouched(stage: &Stage, original: &Container) -> Result<(), Seen> {
    let only = stage.only_original().await?;
    if only.id == original.id && only.started == original.started {
        return Ok(());
    }
    Err(Seen::new(
        Link::App,
        format!("{} has been restarted or replaced", original.name),
    ))
}
