//! A replica is what the gate makes of the declared target, whatever it is asked for.

use std::collections::HashMap;

use bollard::{
    models::{ContainerCreateBody, Mount, MountType},
    query_parameters::CreateContainerOptions,
};
use serde_json::json;

use super::{Alone, refusal};
use crate::host::{Host, Kind};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_create_body_counts_but_the_tag() {
    let alone = Alone::start(Host::up().await, 4).await;
    let name = alone.host.name(2);
    let mut labels = alone.labels(2).await;
    labels.insert("traefik.enable".to_owned(), "evil".to_owned());
    labels.insert("own".to_owned(), "label".to_owned());
    let body = json!({
        "Image": "evil", "Cmd": ["sh"], "Entrypoint": ["sh"], "User": "0", "Env": ["A=evil"],
        "Labels": labels,
        "HostConfig": {
            "Privileged": true, "Binds": ["/:/host"], "PidMode": "host", "NetworkMode": "host",
            "CapAdd": ["ALL"], "Memory": 1 << 30, "SecurityOpt": ["seccomp=unconfined"],
            "Devices": [{"PathOnHost": "/dev/kmsg", "PathInContainer": "/dev/kmsg", "CgroupPermissions": "rwm"}],
            "Mounts": [{"Type": "bind", "Source": "/var/run/docker.sock", "Target": "/s"}],
        },
        "NetworkingConfig": {"EndpointsConfig": {"host": {}}},
    });
    let (status, answer) = alone.create(&name, &body).await;
    assert_eq!(status, 201, "{answer}");
    let of = alone
        .host
        .inspect(&alone.host.name(1))
        .await
        .expect("there");
    let made = alone.host.inspect(&name).await.expect("it was made");
    assert_eq!(made.image, of.image);
    let (of, made) = (of.config.expect("told"), made.config.expect("told"));
    assert_eq!((made.cmd, made.entrypoint), (of.cmd, of.entrypoint));
    assert_eq!((made.user, made.env), (of.user, of.env));
    let labels = made.labels.expect("labels");
    assert_eq!(labels["traefik.enable"], "true", "the template's");
    assert!(!labels.contains_key("own"));
    let made = alone.host.inspect(&name).await.expect("it was made");
    let limits = made.host_config.expect("told");
    assert_eq!(limits.privileged, Some(false));
    assert_eq!(limits.memory, Some(64 * 1024 * 1024));
    assert_eq!(limits.network_mode, Some(alone.host.network()));
    assert_eq!(limits.cap_drop, Some(vec!["ALL".to_owned()]));
    assert!(limits.pid_mode.is_none_or(|mode| mode.is_empty()));
    assert!(limits.security_opt.is_none_or(|options| options.is_empty()));
    assert!(limits.devices.is_none_or(|devices| devices.is_empty()));
    for none in [limits.binds, limits.cap_add] {
        assert!(none.is_none_or(|list| list.is_empty()));
    }
    let mounts: Vec<_> = limits
        .mounts
        .into_iter()
        .flatten()
        .map(|mount| mount.source)
        .collect();
    assert_eq!(mounts, [Some(alone.host.volume())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_declared_targets_by_their_own_names_and_templates() {
    let alone = Alone::start(Host::up().await, 4).await;
    let name = alone.host.name(2);
    let with = |change: (&str, &str), mut labels: HashMap<String, String>| {
        labels.insert(change.0.to_owned(), change.1.to_owned());
        json!({ "Labels": labels })
    };
    let good = alone.labels(2).await;
    let undeclared = with(("eventpulse.target", "db"), good.clone());
    refusal(alone.create(&name, &undeclared).await, 403);
    let untagged = with(("eventpulse.managed", "no"), good.clone());
    refusal(alone.create(&name, &untagged).await, 403);
    let other_slot = with(("eventpulse.slot", "3"), good.clone());
    refusal(alone.create(&name, &other_slot).await, 403);
    refusal(alone.create("traefik", &json!({"Labels": good})).await, 403);
    let unknown = with(("eventpulse.template", "0123456789abcdef"), good.clone());
    refusal(alone.create(&name, &unknown).await, 425);
    alone.refused("POST", "/containers/create").await;
    assert_eq!(alone.host.all().await.len(), 1);

    let file = alone.folder.path().join("targets.yaml");
    let declared = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(&file, declared.replace("name: app", "name: web")).expect("written");
    refusal(alone.create(&name, &json!({"Labels": good})).await, 403);
    std::fs::write(&file, declared).expect("written");
    assert_eq!(alone.create(&name, &json!({"Labels": good})).await.0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_never_more_than_the_bounds_and_one() {
    let alone = Alone::start(Host::up().await, 2).await;
    let labels = futures::future::join_all((2..8).map(|slot| alone.labels(slot))).await;
    let creates = labels.iter().zip(2..8).map(|(labels, slot)| {
        let (name, body) = (alone.host.name(slot), json!({"Labels": labels}));
        let alone = &alone;
        async move { alone.create(&name, &body).await }
    });
    let answers = futures::future::join_all(creates).await;
    let (made, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|(status, _)| *status == 201);
    assert_eq!(made.len(), 3, "{refused:?}");
    for answer in refused {
        refusal(answer, 403);
    }
    let there = alone.host.replicas().await;
    assert_eq!(there.len(), 3, "{there:?}");
    alone
        .host
        .remove(&alone.host.name(there[0].parse().expect("a slot")))
        .await;
    alone.replica(9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_copied_is_not() {
    let host = Host::empty().await;
    let kind = Kind {
        mounts: vec![Mount {
            typ: Some(MountType::BIND),
            source: Some("/var/run/docker.sock".to_owned()),
            target: Some("/s".to_owned()),
            ..Mount::default()
        }],
        ..Kind::default()
    };
    host.compose(1, &kind).await;
    let alone = Alone::start(host, 4).await;
    let labels = json!({
        "eventpulse.managed": "true", "eventpulse.target": "app", "eventpulse.slot": "2",
        "eventpulse.epoch": "1", "eventpulse.template": "0123456789abcdef",
    });
    let answer = alone
        .create(&alone.host.name(2), &json!({"Labels": labels}))
        .await;
    let words = answer.1["message"].as_str().unwrap_or_default().to_owned();
    refusal(answer, 403);
    assert!(
        words.contains("it binds /var/run/docker.sock of the host"),
        "{words}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_connected_to_its_own_networks_alone() {
    let host = Host::up().await;
    host.connect(&host.name(1)).await;
    let alone = Alone::start(host, 4).await;
    let id = alone.replica(2).await;
    let body = json!({"Container": id, "EndpointConfig": {"Aliases": ["db"], "IPAMConfig": {"IPv4Address": "10.0.0.9"}}});
    for network in ["host", "bridge", "none"] {
        let target = format!("/networks/{network}/connect");
        let answer = alone.gate.ask("POST", &target, Some(&body)).await;
        refusal(answer.expect("an answer"), 403);
    }
    let target = format!("/networks/{}/connect", alone.host.edge());
    let answer = alone.gate.ask("POST", &target, Some(&body)).await;
    assert_eq!(answer.expect("an answer").0, 200);
    let made = alone.host.inspect(&id).await.expect("it is there");
    let networks = made.network_settings.and_then(|settings| settings.networks);
    let networks = networks.expect("networks");
    let aliases = networks[&alone.host.edge()]
        .aliases
        .clone()
        .expect("aliases");
    assert!(aliases.contains(&"front".to_owned()), "{aliases:?}");
    assert!(!aliases.contains(&"db".to_owned()), "{aliases:?}");
    assert_eq!(networks.len(), 2);
}

/// `target prune` removes them; nothing starts them again.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_of_a_target_that_is_gone_are_stopped_and_removed_only() {
    let alone = Alone::start(Host::up().await, 4).await;
    let of = alone
        .host
        .inspect(&alone.host.name(1))
        .await
        .expect("there");
    let name = format!("{}-gone-1", alone.host.project);
    let labels = [
        ("com.docker.compose.project", alone.host.project.as_str()),
        ("eventpulse.managed", "true"),
        ("eventpulse.target", "gone"),
    ];
    let body = ContainerCreateBody {
        image: of.image,
        entrypoint: Some(vec!["/replica".to_owned()]),
        labels: Some(
            labels
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        ),
        ..ContainerCreateBody::default()
    };
    let options = CreateContainerOptions {
        name: Some(name.clone()),
        ..CreateContainerOptions::default()
    };
    let made = alone
        .host
        .docker
        .create_container(Some(options), body)
        .await;
    let id = made.expect("it is made").id;
    alone
        .refused("POST", &format!("/containers/{id}/start"))
        .await;
    alone.host.start(&id).await;
    let logs = format!("/v1.41/containers/{name}/logs?stdout=true&stderr=true&tail=5");
    assert_eq!(alone.asked("GET", &logs).await.0, 200);
    assert_eq!(
        alone
            .asked("GET", &format!("/containers/{id}/json"))
            .await
            .0,
        200
    );
    assert_eq!(
        alone
            .asked("POST", &format!("/containers/{id}/stop?t=1"))
            .await
            .0,
        204
    );
    assert_eq!(
        alone
            .asked("POST", &format!("/containers/{id}/stop?t=1"))
            .await
            .0,
        304
    );
    let remove = format!("/v1.41/containers/{name}?force=true&v=true&link=false");
    assert_eq!(alone.asked("DELETE", &remove).await.0, 204);
    assert_eq!(alone.asked("DELETE", &remove).await.0, 404);
    assert!(alone.host.inspect(&id).await.is_none());
}
