//! The story, in acts: the stage is set; load comes and a replica with it; load goes; a bad file is shipped.

mod failure;
mod prologue;
mod relief;
mod rise;

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    config::Args,
    stage::{Missed, Stage},
    teller::Teller,
    until::{Broken, Seen},
};

/// Tells the whole story. Fails when a step of it did not happen.
pub(crate) async fn play(args: Args) -> ExitCode {
    let mut teller = Teller::new(args.ports.clone());
    let stage = match Stage::open(&args).await {
        Ok(stage) => stage,
        Err(seen) => return no_stage(&teller, seen),
    };
    if args.reset {
        return match stage.inputs.reset().await {
            Ok(()) => ExitCode::SUCCESS,
            Err(seen) => no_stage(&teller, seen),
        };
    }
    teller.banner(args.profile);
    let told = tokio::select! {
        told = tell(&stage, &mut teller) => Some(told),
        () = interrupted() => None,
    };
    if !matches!(told, Some(Ok(_))) {
        put_back(&stage, &teller).await;
    }
    match told {
        Some(Ok(incident)) => {
            teller.pass(&incident);
            ExitCode::SUCCESS
        }
        Some(Err(Missed { step, broken })) => {
            teller.broken(step, &broken);
            ExitCode::FAILURE
        }
        None => ExitCode::from(130),
    }
}

/// Returns the first incident's id.
async fn tell(stage: &Stage, teller: &mut Teller) -> Result<String, Missed> {
    let original = prologue::set(stage, teller).await?;
    let first = rise::play(stage, teller).await?;
    relief::play(stage, teller, &first).await?;
    failure::play(stage, teller, &first, &original).await?;
    Ok(first)
}

async fn put_back(stage: &Stage, teller: &Teller) {
    match stage.inputs.reset().await {
        Ok(()) => teller.say("put back", "load off, bad file taken back"),
        Err(seen) => teller.say("not back", &seen.text),
    }
}

fn no_stage(teller: &Teller, seen: Seen) -> ExitCode {
    teller.broken(
        None,
        &Broken {
            waited: std::time::Duration::ZERO,
            seen,
        },
    );
    ExitCode::FAILURE
}

async fn interrupted() {
    let mut terminate = signal(SignalKind::terminate()).expect("a handler can be installed");
    let mut interrupt = signal(SignalKind::interrupt()).expect("a handler can be installed");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
