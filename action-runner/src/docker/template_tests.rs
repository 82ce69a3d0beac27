use super::*;

/// What the engine answers for Compose's container of the demo, with the parts that belong to it
/// alone.
fn inspected() -> serde_json::Value {
    serde_json::json!({
        "Id": "4f1e0c9bd7a84f1e0c9bd7a84f1e0c9bd7a84f1e0c9bd7a84f1e0c9bd7a80000",
        "Name": "/shop-app-1",
        "Image": "sha256:0123",
        "Config": {
            "Hostname": "4f1e0c9bd7a8", "User": "10001", "Image": "shop/app:dev",
            "Env": ["PATH=/bin", "B=2", "A=1", "B=3"],
            "Cmd": ["serve"], "Entrypoint": null, "WorkingDir": "",
            "ExposedPorts": {"8080/tcp": {}},
            "StopSignal": "SIGTERM",
            "Healthcheck": {"Test": ["CMD", "/app", "healthcheck"], "Interval": 2_000_000_000_i64},
            "Labels": {
                "service": "app", "traefik.enable": "true",
                "com.docker.compose.project": "shop", "com.docker.compose.service": "app",
                "com.docker.compose.container-number": "1", "com.docker.compose.oneoff": "False"
            }
        },
        "HostConfig": {
            "NetworkMode": "shop_default", "NanoCpus": 500_000_000, "Memory": 0,
            "Binds": ["/srv/conf:/conf:ro", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef:/scratch:rw"],
            "Mounts": [{"Type": "volume", "Source": "shop_app-config", "Target": "/config", "ReadOnly": true}],
            "PortBindings": {"8080/tcp": [{"HostIp": "", "HostPort": "8000"}]},
            "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0},
            "CapDrop": ["ALL"], "ReadonlyRootfs": true, "Privileged": false,
            "PidMode": "", "IpcMode": "private", "Runtime": "runc"
        },
        "NetworkSettings": {"Networks": {
            "shop_default": {"Aliases": ["shop-app-1", "app", "4f1e0c9bd7a8"], "IPAddress": "10.0.0.2",
                             "IPAMConfig": {"IPv4Address": "10.0.0.2"}, "MacAddress": "02:42:0a:00:00:02"},
            "shop_edge": {"Aliases": ["app"]}
        }}
    })
}

fn template(of: &serde_json::Value) -> Result<Template, Uncopyable> {
    let container = serde_json::from_value(of.clone()).expect("is what an engine answers");
    Template::of(&container)
}

fn tag(slot: u32) -> Tag {
    Tag {
        target: "app".to_owned(),
        slot,
        epoch: 1,
        template: "cafe".to_owned(),
        action_id: None,
    }
}

#[test]
fn a_replica_gets_the_whitelist_and_nothing_of_the_one_container() {
    let template = template(&inspected()).expect("can be copied");
    let name = template.replica_name("app", 2);
    assert_eq!(name, "shop-app-2");
    let body = template.create_body(&name, &tag(2));
    let mut shown = serde_json::to_value(&body).expect("is JSON");
    shown.sort_all_objects();
    insta::assert_json_snapshot!(shown);
    let others: Vec<_> = template.other_networks(&name).collect();
    assert_eq!(others.len(), 1);
    assert_eq!(others[0].0, "shop_edge");
    let aliases = others[0].1.aliases.clone();
    assert_eq!(aliases, Some(vec!["app".to_owned(), name.clone()]));
}

#[test]
fn a_hash_is_of_the_kind_not_of_the_container() {
    let first = template(&inspected()).expect("can be copied").hash();
    let mut recreated = inspected();
    recreated["Id"] = "9".repeat(64).into();
    recreated["Name"] = "/shop-app-3".into();
    recreated["Config"]["Env"] = serde_json::json!(["B=3", "PATH=/bin", "A=1"]);
    recreated["Config"]["Labels"]["com.docker.compose.container-number"] = "3".into();
    recreated["Config"]["Labels"]["com.docker.compose.replace"] = "x".into();
    recreated["HostConfig"]["Binds"][1] = format!("{}:/scratch:rw", "f".repeat(64)).into();
    recreated["HostConfig"]["PortBindings"] = serde_json::json!({});
    recreated["NetworkSettings"]["Networks"]["shop_default"]["Aliases"] =
        serde_json::json!(["shop-app-3", "app", "999999999999"]);
    assert_eq!(template(&recreated).expect("can be copied").hash(), first);

    for (place, value) in [
        ("/Image", serde_json::json!("sha256:4567")),
        ("/Config/Cmd", serde_json::json!(["serve", "--fast"])),
        ("/Config/Env/1", serde_json::json!("C=1")),
        ("/HostConfig/NanoCpus", serde_json::json!(250_000_000)),
        ("/Config/Labels/traefik.enable", serde_json::json!("false")),
    ] {
        let mut deployed = inspected();
        *deployed.pointer_mut(place).expect("is there") = value;
        let hash = template(&deployed).expect("can be copied").hash();
        assert_ne!(hash, first, "{place}");
    }
}

/// Stored templates and labels on running replicas outlive a build: a change here replaces every
/// replica once.
#[test]
fn a_hash_is_the_same_in_every_build() {
    let template = template(&inspected()).expect("can be copied");
    insta::assert_snapshot!(template.hash());
    let stored = serde_json::to_string(&template).expect("is JSON");
    let read: Template = serde_json::from_str(&stored).expect("is a template");
    assert_eq!(read, template);
    assert_eq!(read.hash(), template.hash());
}

#[test]
fn what_reaches_beyond_its_container_is_not_copied() {
    for (place, value, what) in [
        (
            "Privileged",
            serde_json::json!(true),
            Uncopyable::Privileged,
        ),
        (
            "NetworkMode",
            serde_json::json!("host"),
            Uncopyable::Namespace("network"),
        ),
        (
            "PidMode",
            serde_json::json!("container:abc"),
            Uncopyable::Namespace("PID"),
        ),
        (
            "CapAdd",
            serde_json::json!(["NET_ADMIN"]),
            Uncopyable::Capability("NET_ADMIN".to_owned()),
        ),
        (
            "VolumesFrom",
            serde_json::json!(["db"]),
            Uncopyable::VolumesFrom,
        ),
        (
            "Devices",
            serde_json::json!([{"PathOnHost": "/dev/kvm", "PathInContainer": "/dev/kvm", "CgroupPermissions": "rwm"}]),
            Uncopyable::Devices,
        ),
        (
            "Binds",
            serde_json::json!(["/srv/data:/data", "/var/run/docker.sock:/x:ro"]),
            Uncopyable::Bind("/var/run/docker.sock".to_owned()),
        ),
        (
            "Mounts",
            serde_json::json!([{"Type": "bind", "Source": "/", "Target": "/host", "ReadOnly": true}]),
            Uncopyable::Bind("/".to_owned()),
        ),
        (
            "Mounts",
            serde_json::json!([{"Type": "volume", "Source": "x", "Target": "/host", "VolumeOptions": {
                "DriverConfig": {"Name": "local", "Options": {"type": "none", "o": "bind", "device": "/etc"}}
            }}]),
            Uncopyable::Bind("/etc".to_owned()),
        ),
        (
            "SecurityOpt",
            serde_json::json!(["no-new-privileges:true", "seccomp=unconfined"]),
            Uncopyable::SecurityOption("seccomp=unconfined".to_owned()),
        ),
        (
            "SecurityOpt",
            serde_json::json!(["label:disable"]),
            Uncopyable::SecurityOption("label:disable".to_owned()),
        ),
    ] {
        let mut container = inspected();
        container["HostConfig"][place] = value;
        assert_eq!(template(&container), Err(what));
    }
}

#[test]
fn capabilities_that_are_added_back_are_copied() {
    let mut container = inspected();
    container["HostConfig"]["CapAdd"] = serde_json::json!(["NET_BIND_SERVICE", "CAP_CHOWN"]);
    let template = template(&container).expect("can be copied");
    let host = template.create_body("x", &tag(2)).host_config;
    let added = host.and_then(|host| host.cap_add).expect("some");
    assert_eq!(added, ["CAP_CHOWN", "NET_BIND_SERVICE"]);
}

#[test]
fn a_health_check_that_says_none_is_none() {
    let mut container = inspected();
    assert!(
        template(&container)
            .expect("can be copied")
            .has_healthcheck()
    );
    container["Config"]["Healthcheck"] = serde_json::json!({"Test": ["NONE"]});
    assert!(
        !template(&container)
            .expect("can be copied")
            .has_healthcheck()
    );
    container["Config"]["Healthcheck"] = serde_json::Value::Null;
    assert!(
        !template(&container)
            .expect("can be copied")
            .has_healthcheck()
    );
}

#[test]
fn without_compose_labels_a_replica_is_named_after_its_target() {
    let mut container = inspected();
    container["Config"]["Labels"] = serde_json::json!({"service": "app"});
    let template = template(&container).expect("can be copied");
    assert_eq!(template.replica_name("web", 2), "eventpulse-web-2");
}
