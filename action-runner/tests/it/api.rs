//! What people ask, and what they may change.

use action_runner::domain::plan::Ask;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::CreateContainerOptions;
use serde_json::json;
use service_kit::testing::{Database, wait_for};
use shared_events::action::FailureReason;

use crate::{
    host::Host,
    runner::{ENOUGH, Runner, Setup},
};

async fn start() -> (Host, Database, Runner) {
    let (host, database) = (Host::up().await, Database::fresh(&[]).await);
    let runner = Runner::start(&host, &database, &Setup::default()).await;
    (host, database, runner)
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_are_listed_newest_first_in_pages() {
    let (_host, _database, runner) = start().await;
    let refused = runner.ask(1, Ask::Up, 9, ENOUGH).await;
    let failed = runner.fails(refused).await;
    assert_eq!(failed.reason, FailureReason::OutOfBounds);
    let done = runner.ask(2, Ask::Up, 2, ENOUGH).await;
    runner.completes(done).await;

    let first = runner.get("/api/v1/actions?limit=1").await;
    assert_eq!(first["items"][0]["action_id"], done.to_string());
    assert_eq!(first["items"][0]["status"], "completed");
    assert_eq!(first["items"][0]["reason"]["code"], "scaled");
    assert_eq!(first["items"][0]["desired_replicas"], 2);
    let cursor = first["next_cursor"].as_str().expect("another page");
    let second = runner
        .get(&format!("/api/v1/actions?limit=1&cursor={cursor}"))
        .await;
    assert_eq!(second["items"][0]["action_id"], refused.to_string());
    assert_eq!(second["items"][0]["reason"]["code"], "out_of_bounds");
    assert_eq!(second["next_cursor"], json!(null));

    let failed = runner.get("/api/v1/actions?status=failed").await;
    assert_eq!(failed["items"].as_array().expect("items").len(), 1);
    let one = runner.get(&format!("/api/v1/actions/{done}")).await;
    assert_eq!(one, first["items"][0]);
    for (path, status) in [
        ("/api/v1/actions?limit=0", 400),
        ("/api/v1/actions?status=done", 400),
        ("/api/v1/actions?cursor=xyz", 400),
        ("/api/v1/actions?colour=red", 400),
        ("/api/v1/actions/00000000-0000-0000-0000-000000000000", 404),
        ("/api/v1/actions/nonsense", 400),
    ] {
        let answer = reqwest::get(format!("{}{path}", runner.url))
            .await
            .expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{path}");
        let kind = answer.headers()["content-type"]
            .to_str()
            .expect("text")
            .to_owned();
        assert_eq!(kind, "application/problem+json", "{path}");
    }
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_shows_what_it_should_have_and_what_it_has() {
    let (host, _database, runner) = start().await;
    let action = runner.ask(1, Ask::Up, 2, ENOUGH).await;
    runner.completes(action).await;
    let target = runner.settles().await;
    for (field, value) in [
        ("target", json!("app")),
        ("desired_replicas", json!(2)),
        ("running_replicas", json!(2)),
        ("managed_replicas", json!(1)),
        ("serving_replicas", json!(2)),
        ("min_replicas", json!(1)),
        ("max_replicas", json!(4)),
        ("drift", json!(0)),
        ("paused", json!(false)),
        ("readiness", json!("healthcheck")),
        ("template_of", json!(host.name(1))),
        ("error", json!(null)),
    ] {
        assert_eq!(target[field], value, "{field}");
    }
    assert_eq!(target["replicas"][0]["name"], host.name(2));
    assert_eq!(target["replicas"][0]["action_id"], action.to_string());
    assert_eq!(target["foreign"][0]["name"], host.name(1));
    let metrics = wait_for("the figures", async || {
        let text = reqwest::get(format!("{}/metrics", runner.url))
            .await?
            .text()
            .await?;
        let running =
            "eventpulse_target_replicas_running{service=\"action-runner\",target=\"app\"} 2";
        anyhow::ensure!(text.contains(running), text);
        Ok(text)
    })
    .await;
    for line in [
        "eventpulse_target_replicas_desired{service=\"action-runner\",target=\"app\"} 2",
        "eventpulse_target_drift_replicas{service=\"action-runner\",target=\"app\"} 0",
        "eventpulse_target_paused{service=\"action-runner\",target=\"app\"} 0",
        "eventpulse_action_duration_seconds_count{service=\"action-runner\",result=\"scaled\"} 1",
        "eventpulse_target_steps_total{service=\"action-runner\",target=\"app\",step=\"create\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_targets_file_changes_nothing_and_a_good_one_everything() {
    let (host, _database, runner) = start().await;
    let before = runner.get("/api/v1/targets").await["version"].clone();
    let good = runner.targets(&host.project, &Setup::default());
    std::fs::write(&runner.file, good.replace("max_replicas", "max_replica")).expect("written");
    let (status, problem) = runner.post("/-/reload", json!({})).await;
    assert_eq!(status, 400);
    let detail = problem["detail"].as_str().expect("words");
    assert!(
        detail.contains(":7:3: unknown key \"max_replica\"; did you mean \"max_replicas\"?"),
        "{detail}"
    );
    assert!(detail.contains("still running version"), "{detail}");
    assert_eq!(runner.get("/api/v1/targets").await["version"], before);

    let narrow = Setup {
        max: 1,
        ..Setup::default()
    };
    let action = runner.ask(1, Ask::Up, 2, ENOUGH).await;
    runner.completes(action).await;
    std::fs::write(&runner.file, runner.targets(&host.project, &narrow)).expect("written");
    let (status, answer) = runner.post("/-/reload", json!({})).await;
    assert_eq!((status, &answer["targets"]), (200, &json!(["app"])));
    wait_for("the new bound to hold", async || {
        let left = host.replicas().await;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    let refused = runner.ask(2, Ask::Up, 2, ENOUGH).await;
    assert_eq!(
        runner.fails(refused).await.reason,
        FailureReason::OutOfBounds
    );
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_renamed_leaves_replicas_that_only_a_person_removes() {
    let (host, _database, runner) = start().await;
    let action = runner.ask(1, Ask::Up, 2, ENOUGH).await;
    runner.completes(action).await;
    let renamed = runner
        .targets(&host.project, &Setup::default())
        .replace("name: app", "name: web");
    std::fs::write(&runner.file, renamed).expect("written");
    runner.post("/-/reload", json!({})).await;
    let unknown = wait_for("the unknown replica to be shown", async || {
        let all = runner.get("/api/v1/targets").await;
        let unknown = all["unknown"].as_array().expect("a list").clone();
        unknown.into_iter().find(|one| one["name"] == host.name(2))
    })
    .await;
    assert_eq!(unknown["target"], "app");
    assert_eq!(unknown["running"], true);
    let refused = runner.ask(2, Ask::Up, 2, ENOUGH).await;
    assert_eq!(
        runner.fails(refused).await.reason,
        FailureReason::UnknownTarget
    );

    let (status, told) = runner.post("/api/v1/targets/app/prune", json!({})).await;
    assert_eq!((status, &told["dry_run"]), (200, &json!(true)));
    let names = |answer: &serde_json::Value| -> Vec<String> {
        let list = answer["containers"].as_array().expect("a list");
        let names = list.iter().filter_map(|one| one["name"].as_str());
        // Other tests make unknown ones at the same time.
        names
            .filter(|name| name.starts_with(&host.project))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(names(&told), [host.name(2)]);
    assert_eq!(host.replicas().await, ["2"], "only told");
    let (_, told) = runner.post("/api/v1/targets/prune", json!({})).await;
    assert_eq!(names(&told), [host.name(2)]);
    let (_, told) = runner
        .post("/api/v1/targets/nothing/prune", json!({"yes": true}))
        .await;
    assert_eq!(names(&told), Vec::<String>::new());
    assert_eq!(host.replicas().await, ["2"]);
    runner.stop().await;
}

/// Pruned are the containers of one project here: other tests have replicas of a target `app` on
/// the same engine, which are unknown to this runner.
#[tokio::test(flavor = "multi_thread")]
async fn prune_removes_what_no_target_knows() {
    let (host, _database, runner) = start().await;
    let own = format!("t-{}", host.project);
    let labels = [
        ("eventpulse.managed", "true"),
        ("eventpulse.target", own.as_str()),
        ("com.docker.compose.project", host.project.as_str()),
    ];
    let image = host.inspect(&host.name(1)).await.and_then(|one| one.image);
    let body = ContainerCreateBody {
        image,
        entrypoint: Some(vec!["/replica".to_owned()]),
        labels: Some(labels.map(|(a, b)| (a.to_owned(), b.to_owned())).into()),
        ..ContainerCreateBody::default()
    };
    let made = host
        .docker
        .create_container(None::<CreateContainerOptions>, body)
        .await;
    let id = made.expect("it is made").id;
    host.start(&id).await;
    let path = format!("/api/v1/targets/{own}/prune");
    let (_, told) = runner.post(&path, json!({"dry_run": true})).await;
    assert_eq!(told["containers"][0]["container_id"], id);
    let (status, told) = runner.post(&path, json!({"yes": true})).await;
    assert_eq!((status, &told["errors"]), (200, &json!([])));
    assert!(host.inspect(&id).await.is_none());
    assert!(host.inspect(&host.name(1)).await.is_some());
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_describes_itself() {
    let (_host, _database, runner) = start().await;
    let document = runner.get("/openapi.json").await;
    let paths = document["paths"].as_object().expect("paths");
    for path in [
        "/api/v1/actions",
        "/api/v1/actions/{id}",
        "/api/v1/targets",
        "/api/v1/targets/prune",
        "/api/v1/targets/{name}/prune",
        "/-/reload",
    ] {
        assert!(paths.contains_key(path), "{path}");
    }
    runner.stop().await;
}
