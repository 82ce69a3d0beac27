//! What goes wrong between us and the engine, and with the engine itself.

use std::{sync::Arc, time::Duration};

use action_runner::domain::plan::Ask;
use bollard::models::{Mount, MountType};
use service_kit::testing::{Database, wait_for};
use shared_events::action::{FailureReason, Outcome};
use tokio::sync::Notify;

use crate::{
    host::{Host, Kind},
    proxy::{CREATE, Fault, Proxy},
    runner::{ENOUGH, Runner, Setup},
};

async fn start() -> (Host, Database, Proxy, Runner) {
    let (host, database, proxy) = (Host::up().await, Database::fresh(&[]).await, Proxy::start());
    let runner = Runner::start(&host, &database, &through(&proxy)).await;
    (host, database, proxy, runner)
}

fn through(proxy: &Proxy) -> Setup {
    Setup {
        docker_host: proxy.host(),
        ..Setup::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_no_failure_and_nothing_is_made_twice() {
    let (host, _database, proxy, runner) = start().await;
    proxy.lose_first_answers();
    let up = runner.ask(1, Ask::Up, 3, ENOUGH).await;
    assert_eq!(runner.completes(up).await.result, Outcome::Scaled);
    assert_eq!(proxy.made(), [host.name(2), host.name(3)]);
    let down = runner.ask(2, Ask::Down, 1, ENOUGH).await;
    assert_eq!(runner.completes(down).await.running_replicas, 1);
    assert_eq!(host.all().await.len(), 1);
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_says_nothing_is_asked_again() {
    let (host, _database, proxy, runner) = start().await;
    proxy.on(CREATE, "", 1, Fault::Swallow);
    let up = runner.ask(1, Ask::Up, 2, ENOUGH).await;
    assert_eq!(runner.completes(up).await.result, Outcome::Scaled);
    assert_eq!(proxy.made(), [host.name(2)]);
    let metrics = reqwest::get(format!("{}/metrics", runner.url)).await;
    let metrics = metrics.expect("metrics").text().await.expect("text");
    let failures =
        "eventpulse_docker_call_failures_total{service=\"action-runner\",call=\"create\"} 1";
    assert!(metrics.contains(failures), "{metrics}");
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_fails_the_action_with_the_engines_words() {
    let (host, _database, proxy, runner) = start().await;
    proxy.on(CREATE, "", 1, Fault::Answer(403, "policy says no"));
    let up = runner.ask(1, Ask::Up, 2, ENOUGH).await;
    let failed = runner.fails(up).await;
    assert_eq!(failed.reason, FailureReason::Docker);
    assert!(
        failed.message.contains("403 policy says no"),
        "{}",
        failed.message
    );
    assert_eq!(failed.running_replicas, Some(1));
    let again = runner.ask(2, Ask::Up, 2, ENOUGH).await;
    assert_eq!(runner.completes(again).await.running_replicas, 2);
    assert_eq!(host.replicas().await, ["2"]);
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_errors_are_tried_again_and_count_as_a_refusal_in_the_end() {
    let (_host, _database, proxy, runner) = start().await;
    proxy.on(CREATE, "", 2, Fault::Answer(500, "out of inodes"));
    let up = runner.ask(1, Ask::Up, 2, ENOUGH).await;
    assert_eq!(runner.completes(up).await.result, Outcome::Scaled);
    proxy.on(CREATE, "", 3, Fault::Answer(500, "out of inodes"));
    let up = runner.ask(2, Ask::Up, 3, ENOUGH).await;
    let failed = runner.fails(up).await;
    assert_eq!(failed.reason, FailureReason::Docker);
    assert!(
        failed.message.contains("500 out of inodes"),
        "{}",
        failed.message
    );
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_cannot_be_started_is_told_of_and_removed() {
    let (host, _database, proxy, runner) = start().await;
    proxy.on(
        "POST /containers/",
        "/start",
        1,
        Fault::Answer(400, "no such program"),
    );
    let up = runner.ask(1, Ask::Up, 2, ENOUGH).await;
    let failed = runner.fails(up).await;
    assert_eq!(failed.reason, FailureReason::Docker);
    assert!(
        failed.message.contains("no such program"),
        "{}",
        failed.message
    );
    assert_eq!(failed.evidence[0].container, host.name(2));
    wait_for("what was made to go", async || {
        let left = host.replicas().await;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    runner.stop().await;
}

/// The first replica never gets ready and the second cannot be started: neither was proven.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_failed_action_made_and_did_not_prove_goes_with_it() {
    let (host, _database, proxy, runner) = start().await;
    host.ship("never").await;
    let gate = Arc::new(Notify::new());
    proxy.on(
        "POST /containers/",
        "/start",
        1,
        Fault::Wait(Arc::clone(&gate)),
    );
    proxy.on(
        "POST /containers/",
        "/start",
        1,
        Fault::Answer(400, "no such program"),
    );
    gate.notify_one();
    let up = runner.ask(1, Ask::Up, 3, 60).await;
    let failed = runner.fails(up).await;
    assert_eq!(failed.reason, FailureReason::Docker);
    assert_eq!(failed.running_replicas, Some(1));
    wait_for("both to go", async || {
        let left = host.replicas().await;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    let target = runner.settles().await;
    assert_eq!(target["desired_replicas"], 1);
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_template_needs_is_gone() {
    let (host, database) = (Host::empty().await, Database::fresh(&[]).await);
    let folder = tempfile::tempdir().expect("a folder");
    let bind = Mount {
        typ: Some(MountType::BIND),
        source: Some(folder.path().display().to_string()),
        target: Some("/data".to_owned()),
        ..Mount::default()
    };
    let kind = Kind {
        mounts: vec![bind],
        ..Kind::default()
    };
    host.compose(1, &kind).await;
    let runner = Runner::start(&host, &database, &Setup::default()).await;
    let up = runner.ask(1, Ask::Up, 2, ENOUGH).await;
    assert_eq!(
        runner.completes(up).await.running_replicas,
        2,
        "binds are copied"
    );
    folder.close().expect("the folder goes");
    let up = runner.ask(2, Ask::Up, 3, ENOUGH).await;
    let failed = runner.fails(up).await;
    assert_eq!(failed.reason, FailureReason::Docker);
    assert!(
        failed.message.contains("bind source path does not exist"),
        "{}",
        failed.message
    );
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_must_not_be_copied_is_not() {
    let (host, database) = (Host::empty().await, Database::fresh(&[]).await);
    let shared = Kind {
        shared_ipc: true,
        ..Kind::default()
    };
    host.compose(1, &shared).await;
    let runner = Runner::start(&host, &database, &Setup::default()).await;
    let up = runner.ask(1, Ask::Up, 2, ENOUGH).await;
    let failed = runner.fails(up).await;
    assert_eq!(failed.reason, FailureReason::Docker);
    let words = format!(
        "{} cannot be copied: it shares the IPC namespace",
        host.name(1)
    );
    assert!(failed.message.contains(&words), "{}", failed.message);
    assert_eq!(host.all().await.len(), 1);
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_that_is_not_there_is_not_waited_for() {
    let (host, database) = (Host::empty().await, Database::fresh(&[]).await);
    let mute = Kind {
        no_healthcheck: true,
        ..Kind::default()
    };
    host.compose(1, &mute).await;
    let runner = Runner::start(&host, &database, &Setup::default()).await;
    let up = runner.ask(1, Ask::Up, 2, 60).await;
    let failed = runner.fails(up).await;
    assert_eq!(failed.reason, FailureReason::Docker);
    assert!(
        failed.message.contains("has no HEALTHCHECK"),
        "{}",
        failed.message
    );
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_not_there_fails_the_action_at_its_deadline() {
    let (host, database) = (Host::up().await, Database::fresh(&[]).await);
    let setup = Setup {
        docker_host: "unix:///nowhere/docker.sock".to_owned(),
        ..Setup::default()
    };
    let runner = Runner::start(&host, &database, &setup).await;
    let up = runner.ask(1, Ask::Up, 2, 2).await;
    let failed = runner.fails(up).await;
    assert_eq!(failed.reason, FailureReason::Docker);
    assert_eq!(failed.running_replicas, None, "nobody knows");
    assert!(
        failed.message.contains("/nowhere/docker.sock"),
        "{}",
        failed.message
    );
    assert_eq!(runner.target().await["health"], "blind");
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_stops_every_step_and_a_resume_goes_on() {
    let (host, _database, proxy, runner) = start().await;
    runner.pause_all().await;
    let late = runner.ask(1, Ask::Up, 2, 2).await;
    let failed = runner.fails(late).await;
    assert_eq!(failed.reason, FailureReason::Deadline);
    assert!(
        failed.message.contains("paused by ann (deploy)"),
        "{}",
        failed.message
    );
    let kept = runner.ask(2, Ask::Up, 2, ENOUGH).await;
    let target = runner.target().await;
    assert_eq!(target["paused"], true, "{target:#}");
    assert_eq!(target["pause"]["target"], "*");
    assert_eq!(proxy.seen(CREATE, "").len(), 0, "paused is paused");
    runner.resume_all().await;
    assert_eq!(runner.completes(kept).await.running_replicas, 2);
    runner.pause_all().await;
    let looks = proxy.seen("GET /containers/json", "").len();
    host.remove(&host.name(2)).await;
    wait_for("some more looks", async || {
        let more = proxy.seen("GET /containers/json", "").len();
        if more > looks + 4 { Ok(()) } else { Err(more) }
    })
    .await;
    assert_eq!(
        host.replicas().await,
        Vec::<String>::new(),
        "no drift repair"
    );
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_sigterm_no_step_begins() {
    let (host, _database, proxy, runner) = start().await;
    wait_for("a first look", async || {
        let target = runner.target().await;
        if target["running_replicas"] == 1 {
            Ok(())
        } else {
            Err(target)
        }
    })
    .await;
    let gate = Arc::new(Notify::new());
    proxy.on(
        "GET /containers/json",
        "",
        1,
        Fault::Wait(Arc::clone(&gate)),
    );
    wait_for("the look that is held", async || {
        let held = proxy.seen("GET /containers/json", "");
        held.last().filter(|seen| seen.status == 0).map(|_| ())
    })
    .await;
    runner.ask(1, Ask::Up, 2, ENOUGH).await;
    runner.shutdown.cancel();
    gate.notify_one();
    runner.stop().await;
    assert_eq!(proxy.seen(CREATE, "").len(), 0);
    assert_eq!(host.all().await.len(), 1);
}

/// The process dies between making a replica and starting it; the lease of the dead one must end.
#[tokio::test(flavor = "multi_thread")]
async fn an_action_goes_on_after_a_crash() {
    let (host, database, proxy, runner) = start().await;
    let never = Arc::new(Notify::new());
    proxy.on("POST /containers/", "/start", 1, Fault::Wait(never));
    let up = runner.ask(1, Ask::Up, 2, 60).await;
    wait_for("the start that is held", async || {
        let starts = proxy.seen("POST /containers/", "/start");
        starts.first().map(|_| ())
    })
    .await;
    drop(runner);
    let next = Runner::start(&host, &database, &through(&proxy)).await;
    let completed = next.completes(up).await;
    assert_eq!(completed.result, Outcome::Scaled);
    assert_eq!(
        (completed.previous_replicas, completed.running_replicas),
        (Some(1), 2)
    );
    assert_eq!(proxy.made(), [host.name(2)], "made once");
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_again_and_again_is_made_again_ever_more_slowly() {
    let (host, _database, proxy, runner) = start().await;
    let up = runner.ask(1, Ask::Up, 2, ENOUGH).await;
    runner.completes(up).await;
    host.ship("crash").await;
    host.remove(&host.name(2)).await;
    let creates = wait_for("three repairs", async || {
        let creates = proxy.seen(CREATE, "");
        if creates.len() >= 4 {
            Ok(creates)
        } else {
            Err(creates.len())
        }
    })
    .await;
    let gap = |n: usize| creates[n].at - creates[n - 1].at;
    assert!(gap(2) >= Duration::from_secs(1), "{:?}", gap(2));
    assert!(gap(3) >= Duration::from_secs(2), "{:?}", gap(3));
    host.ship("good").await;
    runner.settles().await;
    runner.stop().await;
}
