//! What is observed comes to what is desired, whatever Compose, people and a second instance do.

use action_runner::domain::plan::Ask;
use service_kit::testing::{Database, wait_for};
use shared_events::action::{FailureReason, Outcome};

use crate::{
    host::{Host, Kind, managed},
    proxy::Proxy,
    runner::{ENOUGH, Runner, Setup},
};

async fn start(host: &Host) -> (Database, Runner) {
    let database = Database::fresh(&[]).await;
    let runner = Runner::start(host, &database, &Setup::default()).await;
    (database, runner)
}

#[tokio::test(flavor = "multi_thread")]
async fn up_fills_the_lowest_slots_and_down_empties_the_highest_first() {
    let (host, database, proxy) = (Host::up().await, Database::fresh(&[]).await, Proxy::start());
    let setup = Setup {
        docker_host: proxy.host(),
        ..Setup::default()
    };
    let runner = Runner::start(&host, &database, &setup).await;
    let up = runner.ask(1, Ask::Up, 4, ENOUGH).await;
    let completed = runner.completes(up).await;
    assert_eq!(completed.result, Outcome::Scaled);
    assert_eq!(completed.running_replicas, 4);
    assert_eq!(host.replicas().await, ["2", "3", "4"]);
    assert_eq!(proxy.made(), [2, 3, 4].map(|slot| host.name(slot)));

    let ids = [host.id(&host.name(4)).await, host.id(&host.name(3)).await];
    let down = runner.ask(2, Ask::Down, 2, ENOUGH).await;
    let completed = runner.completes(down).await;
    assert_eq!(
        (completed.previous_replicas, completed.running_replicas),
        (Some(4), 2)
    );
    assert_eq!(host.replicas().await, ["2"]);
    let stops = proxy.seen("POST /containers/", "/stop");
    let stopped: Vec<String> = stops.iter().map(|seen| seen.request.clone()).collect();
    for (request, id) in stopped.iter().zip(&ids) {
        assert!(request.contains(id.as_str()), "newest first: {stopped:#?}");
    }
    assert_eq!(stopped.len(), 2, "{stopped:#?}");

    let again = runner.ask(3, Ask::Down, 2, ENOUGH).await;
    assert_eq!(runner.completes(again).await.result, Outcome::NothingToDo);
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_one_that_compose_and_traefik_know() {
    let host = Host::up().await;
    let (_database, runner) = start(&host).await;
    let action = runner.ask(1, Ask::Up, 2, ENOUGH).await;
    runner.completes(action).await;
    let (template, replica) = (host.name(1), host.name(2));
    let (of, made) = (host.inspect(&template).await, host.inspect(&replica).await);
    let (of, made) = (of.expect("the template"), made.expect("the replica"));
    let labels = made
        .config
        .as_ref()
        .and_then(|config| config.labels.clone());
    let labels = labels.expect("labels");
    for (name, value) in [
        ("service", "app"),
        ("com.docker.compose.project", host.project.as_str()),
        ("com.docker.compose.service", "app"),
        ("com.docker.compose.container-number", "2"),
        ("com.docker.compose.oneoff", "False"),
        ("com.docker.compose.config-hash", "0123456789abcdef"),
        ("traefik.http.routers.app.rule", "PathPrefix(`/work`)"),
        ("eventpulse.managed", "true"),
        ("eventpulse.target", "app"),
        ("eventpulse.slot", "2"),
        ("eventpulse.epoch", "1"),
        ("eventpulse.action-id", action.to_string().as_str()),
    ] {
        assert_eq!(labels.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(labels["eventpulse.template"].len() == 16);
    assert_eq!(made.image, of.image);
    let limits = made.host_config.expect("limits");
    assert_eq!(limits.nano_cpus, Some(500_000_000));
    assert_eq!(limits.memory, Some(64 * 1024 * 1024));
    assert_eq!(limits.cap_drop, Some(vec!["ALL".to_owned()]));
    assert_eq!(limits.readonly_rootfs, Some(true));
    assert!(limits.port_bindings.is_none_or(|ports| ports.is_empty()));
    let mounts = made.mounts.expect("mounts");
    assert_eq!(mounts[0].name, Some(host.volume()));
    let networks = made.network_settings.and_then(|settings| settings.networks);
    let aliases = networks.expect("networks")[&host.network()].aliases.clone();
    let aliases = aliases.expect("aliases");
    assert!(aliases.contains(&"app".to_owned()), "{aliases:?}");
    assert!(!aliases.contains(&template), "{aliases:?}");
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_belongs_to_a_stranger_costs_a_slot() {
    let host = Host::up().await;
    let stranger = Kind {
        labels: [("service".to_owned(), "something-else".to_owned())].into(),
        ..Kind::default()
    };
    let id = host.compose(2, &stranger).await;
    let (_database, runner) = start(&host).await;
    let action = runner.ask(1, Ask::Up, 3, ENOUGH).await;
    assert_eq!(runner.completes(action).await.running_replicas, 3);
    assert_eq!(host.replicas().await, ["3", "4"]);
    assert_eq!(
        host.id(&host.name(2)).await,
        id,
        "the stranger is untouched"
    );
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_deletes_or_kills_is_made_again() {
    let host = Host::up().await;
    let (_database, runner) = start(&host).await;
    let action = runner.ask(1, Ask::Up, 2, ENOUGH).await;
    runner.completes(action).await;
    let first = host.id(&host.name(2)).await;
    host.remove(&host.name(2)).await;
    // by its id: while the removal lasts the slot is not free, and another one is taken
    let again = async |not: &str| {
        wait_for("another replica", async || {
            let all = host.all().await;
            let ours = all.iter().filter(|one| managed(one));
            let mut ids = ours.filter_map(|one| one.id.clone());
            ids.find(|id| id != not)
        })
        .await
    };
    let second = again(&first).await;
    runner.settles().await;
    let kill = None::<bollard::query_parameters::KillContainerOptions>;
    host.docker
        .kill_container(&second, kill)
        .await
        .expect("it is killed");
    again(&second).await;
    let target = runner.settles().await;
    assert_eq!(target["drift"], 0);
    assert_eq!(runner.ends(action).await.len(), 1, "repairing says nothing");
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_action_nothing_is_repaired() {
    let host = Host::up().await;
    let (_database, runner) = start(&host).await;
    wait_for("a look", async || {
        let target = runner.target().await;
        if target["running_replicas"] == 1 {
            Ok(())
        } else {
            Err(target)
        }
    })
    .await;
    host.remove(&host.name(1)).await;
    wait_for("another look", async || {
        let target = runner.target().await;
        if target["running_replicas"] == 0 {
            Ok(())
        } else {
            Err(target)
        }
    })
    .await;
    assert_eq!(host.replicas().await, Vec::<String>::new());
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_made_is_counted_and_never_removed() {
    let host = Host::up().await;
    let by_hand = host.compose(2, &Kind::default()).await;
    let (_database, runner) = start(&host).await;
    let up = runner.ask(1, Ask::Up, 2, ENOUGH).await;
    let completed = runner.completes(up).await;
    assert_eq!(completed.result, Outcome::NothingToDo);
    assert_eq!(completed.running_replicas, 2);
    let down = runner.ask(2, Ask::Down, 1, ENOUGH).await;
    let completed = runner.completes(down).await;
    assert_eq!(completed.result, Outcome::Drift);
    assert_eq!(completed.running_replicas, 2);
    wait_for("the drift to be shown", async || {
        let target = runner.target().await;
        if target["drift"] == 1 && target["health"] == "drift" {
            Ok(())
        } else {
            Err(target)
        }
    })
    .await;
    assert_eq!(host.id(&host.name(2)).await, by_hand);
    assert_eq!(host.all().await.len(), 2);
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_adds_is_drift_and_costs_no_replica() {
    let host = Host::up().await;
    let (_database, runner) = start(&host).await;
    let up = runner.ask(1, Ask::Up, 2, ENOUGH).await;
    runner.completes(up).await;
    host.compose(7, &Kind::default()).await;
    wait_for("the drift to be shown", async || {
        let target = runner.target().await;
        if target["drift"] == 1 {
            Ok(())
        } else {
            Err(target)
        }
    })
    .await;
    assert_eq!(host.replicas().await, ["2"]);
    host.remove(&host.name(7)).await;
    runner.settles().await;
    assert_eq!(host.replicas().await, ["2"]);
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_on_one_target_make_each_replica_once() {
    let (host, database) = (Host::up().await, Database::fresh(&[]).await);
    let proxies = [Proxy::start(), Proxy::start()];
    let setups = [0, 1].map(|n| Setup {
        docker_host: proxies[n].host(),
        ..Setup::default()
    });
    let one = Runner::start(&host, &database, &setups[0]).await;
    let two = Runner::start(&host, &database, &setups[1]).await;
    let up = one.ask(1, Ask::Up, 4, ENOUGH).await;
    assert_eq!(two.completes(up).await.running_replicas, 4);
    host.remove(&host.name(3)).await;
    // the slot of one that is still being removed is not free
    let again = wait_for("three replicas", async || {
        let there = host.replicas().await;
        match there.as_slice() {
            [two, three, _] if two == "2" && (three == "3" || three == "4") => Ok(there),
            _ => Err(format!("{there:?}")),
        }
    })
    .await;
    let again = if again[1] == "3" { 3 } else { 5 };
    let down = two.ask(2, Ask::Exact, 1, ENOUGH).await;
    assert_eq!(one.completes(down).await.running_replicas, 1);
    host.slots(&[]).await;
    let mut made: Vec<String> = proxies.iter().flat_map(Proxy::made).collect();
    made.sort();
    let mut wanted = [2, 3, 4, again].map(|slot| host.name(slot));
    wanted.sort();
    assert_eq!(made, wanted);
    one.stop().await;
    two.stop().await;
}

/// Leases are per database: here nothing but names and ids keeps the two apart.
#[tokio::test(flavor = "multi_thread")]
async fn two_instances_that_know_nothing_of_each_other_converge_too() {
    let host = Host::up().await;
    let (_first, one) = start(&host).await;
    let (_second, two) = start(&host).await;
    let (a, b) = tokio::join!(
        one.ask(1, Ask::Exact, 3, ENOUGH),
        two.ask(1, Ask::Exact, 3, ENOUGH)
    );
    let (a, b) = tokio::join!(one.completes(a), two.completes(b));
    assert_eq!((a.running_replicas, b.running_replicas), (3, 3));
    assert_eq!(host.replicas().await, ["2", "3"]);
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_request_supersedes_an_unfinished_one() {
    let host = Host::up().await;
    let (_database, runner) = start(&host).await;
    host.ship("never").await;
    let up = runner.ask(1, Ask::Up, 3, 60).await;
    host.slots(&["2", "3"]).await;
    let back = runner.ask(2, Ask::Exact, 1, ENOUGH).await;
    let failed = runner.fails(up).await;
    assert_eq!(failed.reason, FailureReason::Superseded);
    assert!(
        failed.message.contains(&back.to_string()),
        "{}",
        failed.message
    );
    let completed = runner.completes(back).await;
    assert_eq!(completed.running_replicas, 1);
    assert_eq!(host.all().await.len(), 1);
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_deploy_the_new_replica_serves_before_the_old_one_goes() {
    let (host, database, proxy) = (Host::up().await, Database::fresh(&[]).await, Proxy::start());
    let setup = Setup {
        docker_host: proxy.host(),
        ..Setup::default()
    };
    let runner = Runner::start(&host, &database, &setup).await;
    let up = runner.ask(1, Ask::Up, 2, ENOUGH).await;
    runner.completes(up).await;
    let old = host.id(&host.name(2)).await;
    // As Compose does it: the new one is there before the old one is gone.
    let deployed = Kind {
        env: vec!["VERSION=2".to_owned()],
        ..Kind::default()
    };
    host.compose(9, &deployed).await;
    host.remove(&host.name(1)).await;
    wait_for("the old replica to go", async || {
        let there = host.inspect(&old).await;
        if there.is_none() {
            Ok(())
        } else {
            Err("it is there")
        }
    })
    .await;
    let target = runner.settles().await;
    assert_eq!(target["running_replicas"], 2);
    let [name] = host.replicas().await.try_into().expect("one replica");
    let replica = host.inspect(&format!("{}-app-{name}", host.project)).await;
    let config = replica.and_then(|one| one.config).expect("the replica");
    assert!(config.env.expect("env").contains(&"VERSION=2".to_owned()));
    let created = proxy
        .seen("POST /containers/create?", "")
        .pop()
        .expect("a create");
    let removed = proxy
        .seen("DELETE /containers/", "")
        .pop()
        .expect("a remove");
    assert!(removed.request.contains(&old));
    assert!(created.at < removed.at, "the new one first");
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_container_of_others_the_kept_template_serves() {
    let host = Host::up().await;
    let (_database, runner) = start(&host).await;
    let up = runner.ask(1, Ask::Up, 2, ENOUGH).await;
    runner.completes(up).await;
    host.remove(&host.name(1)).await;
    let target = runner.settles().await;
    assert_eq!(target["running_replicas"], 2);
    assert_eq!(target["template_of"], host.name(1));
    assert_eq!(host.replicas().await, ["1", "2"], "its slot is free");
    runner.stop().await;
}
