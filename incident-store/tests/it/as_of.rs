//! Incidents as they were, and as a post-mortem.

use chrono::SecondsFormat;
use serde_json::Value;

use crate::{
    api::Running,
    facts::{self, at, completed, failed, gave_up, opened, requested, resolved},
    stage::{Stage, action, incident},
};

async fn told() -> (Stage, Running) {
    let stage = Stage::<false>::fresh().await;
    // the order of arrival is no matter
    let facts = [
        incident(failed(2, 2, 170)),
        action(gave_up(2, 0, 160)),
        incident(opened(2, 100)),
        action(requested(2, 0, 100)),
        incident(resolved(1, 2, 50)),
        action(completed(1, 0, 3)),
        incident(opened(1, 0)),
        action(requested(1, 0, 0)),
    ];
    stage.play(facts).await;
    let api = Running::start(&stage).await;
    (stage, api)
}

fn moment(seconds: i64) -> String {
    at(seconds).to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[tokio::test]
async fn an_incident_is_shown_as_it_was() {
    let (_stage, api) = told().await;
    let path = format!("/api/v1/incidents/{}", facts::incident(2));
    let was = async |seconds| {
        api.value(&format!("{path}?as_of={}", moment(seconds)))
            .await
    };
    assert_eq!(was(99).await["status"], 404);
    let mitigating = was(120).await;
    assert_eq!(mitigating["status"], "mitigating");
    assert_eq!(mitigating["failed_at"], Value::Null);
    assert_eq!(was(165).await["now"]["replicas"]["running"], 1);
    let end = was(170).await;
    assert_eq!(end["status"], "failed");
    assert_eq!(end, api.value(&path).await, "the end is what it is now");
    assert_eq!(
        api.value(&format!("{path}?as_of=yesterday")).await["status"],
        400
    );
}

#[tokio::test]
async fn lists_are_of_then_and_filters_too() {
    let (_stage, api) = told().await;
    let statuses = async |query: &str| -> Vec<(u8, String)> {
        let page = api.value(&format!("/api/v1/incidents?{query}")).await;
        let items = page["items"].as_array().cloned().expect("items");
        let pair = |item: &Value| {
            let id = item["id"].as_str().unwrap_or_default();
            let number = u8::from_str_radix(&id[..6], 16).expect("digits");
            (
                number,
                item["status"].as_str().unwrap_or_default().to_owned(),
            )
        };
        items.iter().map(pair).collect()
    };
    let of = |number: u8, status: &str| (number, status.to_owned());
    let then = |seconds| format!("as_of={}", moment(seconds));
    assert_eq!(statuses(&then(-1)).await, []);
    assert_eq!(statuses(&then(0)).await, [of(1, "mitigating")]);
    let middle = [of(2, "mitigating"), of(1, "resolved")];
    assert_eq!(statuses(&then(110)).await, middle);
    let failed = format!("status=failed&{}", then(110));
    assert_eq!(statuses(&failed).await, []);
    let failed = format!("status=failed&needs_attention=true&{}", then(171));
    assert_eq!(statuses(&failed).await, [of(2, "failed")]);
    let mitigating = format!("status=mitigating&limit=1&{}", then(110));
    assert_eq!(statuses(&mitigating).await, [of(2, "mitigating")]);
}

#[tokio::test]
async fn a_post_mortem_has_everything() {
    let (_stage, api) = told().await;
    let path = format!("/api/v1/incidents/{}/export", facts::incident(2));
    let json = api.value(&path).await;
    assert_eq!(json["incident"]["status"], "failed");
    assert_eq!(json["durations"]["to_failed"], 70.0);
    assert_eq!(json["actions"][0]["status"], "failed");
    assert_eq!(json["timeline"].as_array().map(Vec::len), Some(4));
    let response = api
        .client
        .get(format!("{}{path}?format=markdown", api.base))
        .send()
        .await
        .expect("an answer");
    assert_eq!(
        response.headers()["content-type"],
        "text/markdown; charset=utf-8"
    );
    let text = response.text().await.expect("text");
    for words in [
        "## Summary",
        "- Status: failed",
        "- Failed: 2026-11-21T03:17:22.000Z (after 1 m 10 s)",
        "## Actions",
        "| app | 1 -> 2 | failed | 1 m 00 s |",
        "## Timeline",
        "| action-runner |",
    ] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    assert_eq!(
        api.value(&format!("{path}?format=pdf")).await["status"],
        400
    );
    api.stop().await;
}
