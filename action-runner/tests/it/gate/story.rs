//! A runner that has nothing but a gate.

use action_runner::domain::plan::Ask;
use service_kit::testing::{Database, wait_for};
use shared_events::action::{FailureReason, Outcome};

use super::state_in;
use crate::{
    host::{Host, Kind},
    proxy::Proxy,
    runner::{ENOUGH, Runner, Setup},
};

/// `proxy` is between the gate and the engine.
fn behind(proxy: &Proxy) -> Setup {
    Setup {
        docker_host: proxy.host(),
        gate: true,
        ..Setup::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn up_repair_deploy_and_down_go_through_the_gate() {
    let (host, database, proxy) = (Host::up().await, Database::fresh(&[]).await, Proxy::start());
    host.connect(&host.name(1)).await;
    let runner = Runner::start(&host, &database, &behind(&proxy)).await;
    let up = runner.ask(1, Ask::Up, 3, ENOUGH).await;
    let completed = runner.completes(up).await;
    assert_eq!(completed.result, Outcome::Scaled);
    assert_eq!(completed.running_replicas, 3);
    host.slots(&["2", "3"]).await;
    let made = host.inspect(&host.name(2)).await.expect("it is there");
    let networks = made.network_settings.and_then(|settings| settings.networks);
    let networks = networks.expect("networks");
    let aliases = networks[&host.edge()].aliases.clone().expect("aliases");
    assert!(aliases.contains(&"front".to_owned()), "{aliases:?}");
    assert!(aliases.contains(&host.name(2)), "{aliases:?}");

    host.remove(&host.name(2)).await;
    runner.settles().await;
    // The slot of one that is still being removed is not free.
    assert_eq!(host.replicas().await.len(), 2);

    let deployed = Kind {
        env: vec!["VERSION=2".to_owned()],
        ..Kind::default()
    };
    host.compose(9, &deployed).await;
    host.remove(&host.name(1)).await;
    wait_for("replicas of the new deploy", async || {
        let mut new = 0;
        for one in host.all().await {
            let container = host.inspect(&one.id.unwrap_or_default()).await;
            let config = container.and_then(|container| container.config);
            let env = config.and_then(|config| config.env).unwrap_or_default();
            new += usize::from(env.contains(&"VERSION=2".to_owned()));
        }
        if new == 3 { Ok(()) } else { Err(new) }
    })
    .await;
    runner.settles().await;

    let down = runner.ask(2, Ask::Down, 1, ENOUGH).await;
    assert_eq!(runner.completes(down).await.running_replicas, 1);
    assert_eq!(host.all().await.len(), 1);
    let beyond = proxy
        .seen("", "")
        .into_iter()
        .filter(|seen| !known(&seen.request));
    assert_eq!(beyond.count(), 0, "the gate asks for nothing else");
    runner.stop().await;
}

fn known(request: &str) -> bool {
    let own = [
        "GET /version",
        "GET /containers/",
        "POST /containers/",
        "POST /networks/",
        "DELETE /containers/",
    ];
    own.iter().any(|begins| request.starts_with(begins))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_template_outlives_its_container_and_the_gate() {
    let (host, database) = (Host::up().await, Database::fresh(&[]).await);
    let setup = Setup {
        gate: true,
        ..Setup::default()
    };
    let mut runner = Runner::start(&host, &database, &setup).await;
    let up = runner.ask(1, Ask::Up, 2, ENOUGH).await;
    runner.completes(up).await;
    runner.gate.take().expect("a gate").stop().await;
    host.remove(&host.name(1)).await;
    runner.open_gate(&setup).await;
    host.slots(&["1", "2"]).await;
    runner.settles().await;
    runner.stop().await;
}

/// The gate has lost its state and there is no container to copy: that is no refusal, for which the
/// action would be given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_the_gate_does_not_know_is_waited_for() {
    let (host, database) = (Host::up().await, Database::fresh(&[]).await);
    let setup = Setup {
        gate: true,
        ..Setup::default()
    };
    let mut runner = Runner::start(&host, &database, &setup).await;
    wait_for("the template to be kept", async || {
        let target = runner.target().await;
        target["template"].as_str().map(str::to_owned)
    })
    .await;
    runner.gate.take().expect("a gate").stop().await;
    let folder = runner.file.parent().expect("a folder").to_owned();
    std::fs::remove_dir_all(state_in(&folder)).expect("the state is lost");
    host.remove(&host.name(1)).await;
    runner.open_gate(&setup).await;

    let late = runner.ask(1, Ask::Up, 1, 10).await;
    let failed = runner.fails(late).await;
    assert_eq!(failed.reason, FailureReason::Docker);
    let words = "the template of app has changed, look again";
    assert!(failed.message.contains(words), "{}", failed.message);

    let up = runner.ask(2, Ask::Up, 2, 60).await;
    let before = refused_creates(&runner).await;
    wait_for(
        "more attempts than a refusal or three errors get",
        async || {
            let attempts = refused_creates(&runner).await;
            if attempts > before + 3 {
                Ok(())
            } else {
                Err(attempts)
            }
        },
    )
    .await;
    assert_eq!(runner.ends(up).await, []);
    host.compose(1, &Kind::default()).await;
    assert_eq!(runner.completes(up).await.running_replicas, 2);
    runner.stop().await;
}

async fn refused_creates(runner: &Runner) -> u32 {
    let metrics = reqwest::get(format!("{}/metrics", runner.url)).await;
    let metrics = metrics.expect("metrics").text().await.expect("text");
    let name = "eventpulse_docker_call_failures_total{service=\"action-runner\",call=\"create\"} ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |count| count.parse().expect("a number"))
}
