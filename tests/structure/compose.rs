//! What `compose.yaml` takes away from our containers: they could do harm with it, and need none of it.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::tree::read;

/// Who has the engine's socket: the gate, and the demo that removes a replica before people's eyes.
const HOLDERS: [&str; 2] = ["docker-gate", "story"];

/// A key of a mapping, or of what is merged into it.
fn of<'a>(mapping: &'a Value, key: &str) -> Option<&'a Value> {
    mapping
        .get(key)
        .or_else(|| mapping.get("<<").and_then(|merged| of(merged, key)))
}

#[test]
fn containers_of_ours_can_do_no_more_than_they_must() -> Result<()> {
    let compose: Value = serde_saphyr::from_str(&read("compose.yaml")?)?;
    let services = compose["services"].as_object().context("services")?;
    let mut ours = 0;
    for (name, service) in services {
        let image = of(service, "image").and_then(Value::as_str);
        if !image.is_some_and(|image| image.contains("EVENTPULSE_IMAGE")) {
            continue;
        }
        let socket = service.to_string().contains("${DOCKER_SOCKET");
        let holds = HOLDERS.contains(&name.as_str());
        ensure!(holds == socket, "{name} and the engine's socket");
        ours += 1;
        for (key, wanted) in [
            ("read_only", json!(true)),
            ("cap_drop", json!(["ALL"])),
            ("security_opt", json!(["no-new-privileges:true"])),
        ] {
            ensure!(of(service, key) == Some(&wanted), "{name}: {key}");
        }
        for key in ["privileged", "cap_add", "pid", "devices"] {
            ensure!(of(service, key).is_none(), "{name} has {key}");
        }
        // the image's own user, who is not root; who has the socket needs the socket's
        ensure!(of(service, "user").is_none() || holds, "{name} has a user");
    }
    ensure!(
        ours >= 9,
        "{ours} services of ours, with their second instances"
    );
    ensure!(
        read("Dockerfile")?.contains("\nUSER 10001:10001\n"),
        "the image is root's"
    );
    Ok(())
}
