//! The gate as a process: its health check, its end, and its place after a death.

use std::{
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use service_kit::testing::wait_for;

use crate::{
    host::engine,
    runner::{Setup, targets},
};

fn gate(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_docker-gate"));
    command
        .env(
            "EVENTPULSE_DOCKER_SOCKET",
            engine().trim_start_matches("unix://"),
        )
        .env("EVENTPULSE_GATE_SOCKET", folder.join("docker.sock"))
        .env("EVENTPULSE_TARGETS_FILE", folder.join("targets.yaml"))
        .env("EVENTPULSE_GATE_STATE", folder.join("state"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn check(folder: &Path) -> bool {
    let checked = gate(folder).arg("--check").status();
    checked.expect("it runs").success()
}

async fn open(folder: &Path) -> Child {
    let child = gate(folder).spawn().expect("it starts");
    wait_for("the health check", async || {
        if check(folder) {
            Ok(())
        } else {
            Err("no answer")
        }
    })
    .await;
    child
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_when_asked_and_takes_the_place_of_a_dead_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    assert!(!check(path), "there is none");
    let failed = gate(path).status().expect("it runs");
    assert_eq!(failed.code(), Some(1), "no targets.yaml");
    std::fs::write(
        path.join("targets.yaml"),
        targets("none", &Setup::default()),
    )
    .expect("written");

    let mut killed = open(path).await;
    let second = gate(path).status().expect("it runs");
    assert_eq!(second.code(), Some(1), "the place is taken");
    killed.kill().expect("it is killed");
    killed.wait().expect("it ends");
    assert!(
        !check(path) && path.join("docker.sock").exists(),
        "what a death leaves"
    );

    let mut asked = open(path).await;
    let mode = std::fs::metadata(path.join("docker.sock"))
        .expect("a socket")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
    let terminated = Command::new("kill").arg(asked.id().to_string()).status();
    assert!(terminated.expect("kill runs").success());
    assert_eq!(asked.wait().expect("it ends").code(), Some(0));
    assert!(
        !path.join("docker.sock").exists(),
        "another user's gate may come"
    );
}
