//! What people ask for.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use service_kit::testing::Database;

use crate::support::{Ingest, body, config, firing, resolved};

fn names(items: &[Value]) -> Vec<&str> {
    items
        .iter()
        .filter_map(|item| item["name"].as_str())
        .collect()
}

#[tokio::test]
async fn alerts_are_filtered() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let ingest = Ingest::start(config(&database)).await?;
    let mut other = firing("DiskFull", "10:00:00");
    other["labels"]["service"] = json!("db");
    other["labels"]["severity"] = json!("critical");
    ingest.accept(&[firing("HighCPU", "10:00:00")]).await;
    ingest.accept(&[firing("LowCPU", "10:00:00")]).await;
    ingest.accept(&[other]).await;
    ingest
        .accept(&[resolved("LowCPU", "10:00:00", "10:01:00")])
        .await;
    for (query, expected) in [
        ("", vec!["DiskFull", "LowCPU", "HighCPU"]),
        ("?status=firing", vec!["DiskFull", "HighCPU"]),
        ("?status=resolved", vec!["LowCPU"]),
        ("?service=app", vec!["LowCPU", "HighCPU"]),
        ("?service=app&status=firing&source=am", vec!["HighCPU"]),
        ("?source=nobody", vec![]),
        ("?matcher=alertname=~%22.*CPU%22", vec!["LowCPU", "HighCPU"]),
        ("?matcher=alertname=~%22CPU%22", vec![]),
        (
            "?matcher=severity!=critical&matcher=alertname!~%22Low.*%22",
            vec!["HighCPU"],
        ),
        (
            "?matcher=%7Bseverity=%22critical%22,service=%22db%22%7D",
            vec!["DiskFull"],
        ),
        ("?matcher=absent=%22%22&limit=1", vec!["DiskFull"]),
    ] {
        let items = ingest.items(&format!("/api/v1/alerts{query}")).await?;
        assert_eq!(names(&items), expected, "{query}");
    }
    for bad in [
        "?status=on",
        "?limit=0",
        "?matcher=x",
        "?nonsense=1",
        "?cursor=00",
    ] {
        let (status, problem) = ingest.ask(&format!("/api/v1/alerts{bad}")).await;
        assert_eq!(status, 400, "{bad}");
        assert_eq!(problem["title"], "Bad Request");
    }
    ingest.stop().await
}

/// Every page, following the cursors.
async fn pages(ingest: &Ingest, path: &str) -> Result<Vec<Vec<Value>>> {
    let (mut pages, mut cursor) = (Vec::new(), String::new());
    loop {
        let (status, mut page) = ingest.ask(&format!("{path}{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        let items = page["items"].take();
        pages.push(items.as_array().context("no items")?.clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(pages),
        }
    }
}

#[tokio::test]
async fn pages_hold_everything_once() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let ingest = Ingest::start(config(&database)).await?;
    let alerts: Vec<Value> = (0..25)
        .map(|n| firing(&format!("A{n}"), "10:00:00"))
        .collect();
    for some in alerts.chunks(5) {
        let mut some = some.to_vec();
        some.push(json!(7));
        ingest.accept(&some).await;
    }
    for (path, id, total) in [
        ("/api/v1/alerts?limit=4", "alert_id", 25),
        (
            "/api/v1/alerts?limit=4&matcher=alertname=~%22A.*%22",
            "alert_id",
            25,
        ),
        (
            "/api/v1/alerts?limit=4&matcher=alertname=~%22A1.%22",
            "alert_id",
            10,
        ),
        ("/api/v1/receipts?limit=2", "receipt_id", 5),
        ("/api/v1/rejects?limit=2", "id", 5),
    ] {
        let pages = pages(&ingest, path).await?;
        let ids: Vec<&Value> = pages.iter().flatten().map(|item| &item[id]).collect();
        let mut distinct: Vec<String> = ids.iter().map(ToString::to_string).collect();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!((ids.len(), distinct.len()), (total, total), "{path}");
    }
    ingest.stop().await
}

#[tokio::test]
async fn a_receipt_proves_what_was_sent_and_by_whom() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let ingest = Ingest::start(config(&database)).await?;
    let sent = body(&[firing("HighCPU", "10:00:00"), json!({"labels": {}})]);
    ingest.deliver(&sent).await;
    let alert = ingest.only("/api/v1/alerts").await?;
    let id = alert["receipt_id"].as_str().context("no receipt")?;
    let (status, receipt) = ingest.ask(&format!("/api/v1/receipts/{id}")).await;
    assert_eq!(status, 200);
    assert_eq!(receipt["user_agent"], "Alertmanager/0.25.0");
    assert_eq!(receipt["remote"], "127.0.0.1");
    assert_eq!(receipt["body"], sent);
    assert_eq!(
        (&receipt["alerts"], &receipt["rejected"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(receipt["size"], sent.to_string().len());
    assert_eq!(ingest.only("/api/v1/receipts").await?, receipt);
    let rejects = ingest
        .only(&format!("/api/v1/rejects?receipt_id={id}"))
        .await?;
    assert_eq!(rejects["reason"], "shape");
    let (status, _) = ingest
        .ask("/api/v1/receipts/00000000-0000-0000-0000-000000000000")
        .await;
    assert_eq!(status, 404);
    ingest.stop().await
}

#[tokio::test]
async fn one_alert_is_found_by_its_id() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let ingest = Ingest::start(config(&database)).await?;
    ingest.accept(&[firing("HighCPU", "10:00:00")]).await;
    let alert = ingest.only("/api/v1/alerts").await?;
    let id = alert["alert_id"].as_str().context("no id")?;
    assert_eq!(
        ingest.ask(&format!("/api/v1/alerts/{id}")).await,
        (200, alert.clone())
    );
    let unknown = ingest
        .ask("/api/v1/alerts/00000000-0000-0000-0000-000000000000")
        .await;
    assert_eq!(unknown.0, 404);
    assert_eq!(ingest.ask("/api/v1/alerts/nonsense").await.0, 400);
    ingest.stop().await
}

/// The shape of the API is a promise: this fails when a field goes or is renamed.
#[tokio::test]
async fn the_shape_of_the_api_is_kept() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let ingest = Ingest::start(config(&database)).await?;
    ingest
        .accept(&[firing("HighCPU", "10:00:00"), json!(7)])
        .await;
    let fields = |item: &Value| -> Vec<String> {
        item.as_object()
            .map(|object| object.keys().cloned().collect())
            .unwrap_or_default()
    };
    let mut shape = Vec::new();
    for list in ["alerts", "receipts", "rejects"] {
        let item = ingest.only(&format!("/api/v1/{list}")).await?;
        shape.push((list, fields(&item)));
    }
    insta::assert_debug_snapshot!(shape);
    let (status, document) = ingest.ask("/openapi.json").await;
    assert_eq!(status, 200);
    for path in [
        "/webhooks/alertmanager",
        "/api/v1/alerts",
        "/api/v1/alerts/{alert_id}",
        "/api/v1/receipts",
        "/api/v1/receipts/{receipt_id}",
        "/api/v1/rejects",
        "/readyz",
    ] {
        assert!(
            document["paths"][path].is_object(),
            "{path} is not in the document"
        );
    }
    ingest.stop().await
}

#[tokio::test]
async fn the_well_known_token_shows_in_the_metrics() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let gauge = "eventpulse_default_token_in_use{service=\"ingest\"}";
    let ingest = Ingest::start(config(&database)).await?;
    assert_eq!(ingest.metric(gauge).await?, 0.0);
    ingest.stop().await?;
    let mut config = config(&database);
    config.webhook_tokens = Some("demo=demo-only-change-me".into());
    let ingest = Ingest::start(config).await?;
    assert_eq!(ingest.metric(gauge).await?, 1.0);
    ingest.stop().await
}
