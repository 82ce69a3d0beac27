//! `docker-gate` before the engine, as it is shipped: Action Runner has its socket and no other.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result};
use eventpulse_tests::Member;

use crate::fleet::Slot;

/// Starts it. Its log and what it keeps go to `folder`, where `targets.yaml` is.
pub fn start(folder: &Path, engine: &Path, socket: &Path) -> Result<Arc<Slot>> {
    let state = folder.join("gate");
    std::fs::create_dir(&state).with_context(|| state.display().to_string())?;
    let text = |path: &Path| path.display().to_string();
    let settings = vec![
        ("EVENTPULSE_DOCKER_SOCKET", text(engine)),
        ("EVENTPULSE_GATE_SOCKET", text(socket)),
        (
            "EVENTPULSE_TARGETS_FILE",
            text(&folder.join("targets.yaml")),
        ),
        ("EVENTPULSE_GATE_STATE", text(&state)),
    ];
    Ok(Slot::new(Member::start("docker-gate", settings, folder)?))
}
