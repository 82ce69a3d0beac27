//! What is refused, and how little of its surroundings it takes with it.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use service_kit::testing::Database;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Ingest, TOKEN, body, config, count, firing};

/// A hundred alerts, the eighth of which is `bad`.
fn with_one_bad(bad: &Value) -> Vec<Value> {
    let mut alerts: Vec<Value> = (0..100)
        .map(|n| firing(&format!("A{n}"), "10:00:00"))
        .collect();
    alerts[7] = bad.clone();
    alerts
}

#[tokio::test]
async fn one_bad_alert_of_a_hundred_is_rejected_alone() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let ingest = Ingest::start(config(&database)).await?;
    let mut nul = firing("HighCPU", "10:00:00");
    nul["annotations"]["summary"] = json!("a\0b");
    ingest.accept(&with_one_bad(&nul)).await;
    assert_eq!(count(&database.pool, "alerts").await?, 99);
    let reject = ingest.only("/api/v1/rejects").await?;
    assert_eq!(reject["reason"], "nul");
    assert_eq!(reject["raw"], nul.to_string(), "the bytes as they came");
    let receipt = ingest.only("/api/v1/receipts").await?;
    assert_eq!(reject["receipt_id"], receipt["receipt_id"]);
    assert_eq!(
        (&receipt["alerts"], &receipt["rejected"]),
        (&json!(100), &json!(1))
    );
    assert_eq!(
        ingest
            .metric("eventpulse_alerts_rejected_total{service=\"ingest\",reason=\"nul\"}")
            .await?,
        1.0
    );
    assert_eq!(
        ingest
            .metric("eventpulse_alerts_accepted_total{service=\"ingest\",source=\"am\"}")
            .await?,
        99.0
    );
    ingest.stop().await
}

#[tokio::test]
async fn every_reason_has_its_code() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let ingest = Ingest::start(config(&database)).await?;
    let with = |change: fn(&mut Value)| {
        let mut alert = firing("HighCPU", "10:00:00");
        change(&mut alert);
        alert
    };
    let bad = [
        ("shape", json!(7)),
        ("status", with(|a| a["status"] = json!("on fire"))),
        ("no_labels", with(|a| a["labels"] = json!({}))),
        (
            "label",
            with(|a| a["labels"]["long"] = json!("x".repeat(3000))),
        ),
        ("time", with(|a| a["startsAt"] = json!("yesterday"))),
        (
            "too_large",
            with(|a| a["annotations"]["long"] = json!("x".repeat(300_000))),
        ),
    ];
    let alerts: Vec<Value> = bad.iter().map(|(_, alert)| alert.clone()).collect();
    ingest.accept(&alerts).await;
    let mut rejects = ingest.items("/api/v1/rejects").await?;
    rejects.reverse();
    let reasons: Vec<&str> = rejects
        .iter()
        .filter_map(|reject| reject["reason"].as_str())
        .collect();
    let expected: Vec<&str> = bad.iter().map(|(reason, _)| *reason).collect();
    assert_eq!(reasons, expected);
    assert_eq!(count(&database.pool, "alerts").await?, 0);
    ingest.stop().await
}

/// SQLSTATE classes 22 and 23 never go away by sending again: no 503.
#[tokio::test]
async fn what_the_database_refuses_is_rejected_alone() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let ingest = Ingest::start(config(&database)).await?;
    sqlx::raw_sql("ALTER TABLE alerts ADD CHECK (labels ->> 'alertname' <> 'Refused')")
        .execute(&database.pool)
        .await?;
    let refused = firing("Refused", "10:00:00");
    ingest.accept(&with_one_bad(&refused)).await;
    assert_eq!(count(&database.pool, "alerts").await?, 99);
    assert_eq!(count(&database.pool, "outbox_events").await?, 99);
    let reject = ingest.only("/api/v1/rejects").await?;
    assert_eq!(
        (&reject["reason"], &reject["raw"]),
        (&json!("database"), &json!(refused.to_string()))
    );
    assert_eq!(ingest.only("/api/v1/receipts").await?["rejected"], 1);
    ingest.accept(&[refused]).await;
    assert_eq!(count(&database.pool, "alert_rejects").await?, 2);
    ingest.stop().await
}

/// The longest label that is taken becomes a Kafka key and part of a primary key.
#[tokio::test]
async fn the_longest_service_fits_every_index() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let ingest = Ingest::start(config(&database)).await?;
    let mut alert = firing("HighCPU", "10:00:00");
    // Postgres compresses what repeats itself: this does not
    let long: String = (0..64).map(|n| hash(&n.to_string())).collect();
    alert["labels"]["service"] = json!(long[..2048]);
    ingest.accept(&[alert]).await;
    assert_eq!(count(&database.pool, "outbox_keys").await?, 1);
    assert_eq!(count(&database.pool, "alert_rejects").await?, 0);
    ingest.stop().await
}

fn hash(text: &str) -> String {
    use sha2::{Digest, Sha256};
    hex::encode(Sha256::digest(text))
}

#[tokio::test]
async fn only_a_valid_token_gets_in() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let ingest = Ingest::start(config(&database)).await?;
    let body = body(&[firing("HighCPU", "10:00:00")]).to_string();
    let post = |authorization: Option<&str>| {
        let url = format!("{}/webhooks/alertmanager", ingest.url);
        let request = ingest
            .client
            .post(url)
            .header("content-type", "application/json");
        let request = match authorization {
            Some(value) => request.header("authorization", value),
            None => request,
        };
        request.body(body.clone()).send()
    };
    for wrong in [
        None,
        Some("Bearer wrong"),
        Some("Bearer "),
        Some("Basic dGVzdDp0ZXN0"),
        Some(TOKEN),
    ] {
        let response = post(wrong).await?;
        assert_eq!(response.status(), 401, "{wrong:?}");
        assert!(response.headers().contains_key("www-authenticate"));
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
    }
    assert_eq!(count(&database.pool, "receipts").await?, 0);
    for (right, source) in [
        ("Bearer test-token", "am"),
        ("bearer next-token", "am"),
        ("Bearer other-token", "other"),
    ] {
        assert_eq!(post(Some(right)).await?.status(), 200, "{right}");
        let latest = &ingest.items("/api/v1/receipts?limit=1").await?[0];
        assert_eq!(latest["source"], source);
    }
    assert_eq!(
        count(&database.pool, "alerts").await?,
        2,
        "one series for each source"
    );
    ingest.stop().await
}

#[tokio::test]
async fn what_is_no_webhook_is_refused() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let ingest = Ingest::start(config(&database)).await?;
    for bad in ["", "{", "[]", "{}", "{\"alerts\":7}"] {
        let response = ingest.request(bad).send().await?;
        assert_eq!(response.status(), 400, "{bad}");
        let problem: Value = serde_json::from_str(&response.text().await?)?;
        assert!(
            problem["detail"]
                .as_str()
                .is_some_and(|why| why.contains("webhook")),
            "{problem}"
        );
    }
    let deep = format!(
        "{{\"alerts\":[],\"x\":{}1{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(ingest.request(deep).send().await?.status(), 400);
    let good = body(&[]).to_string();
    let typed = |media_type: &str| {
        let request = ingest
            .client
            .post(format!("{}/webhooks/alertmanager", ingest.url));
        let request = request
            .bearer_auth(TOKEN)
            .header("content-type", media_type);
        request.body(good.clone()).send()
    };
    assert_eq!(typed("text/plain").await?.status(), 415);
    assert_eq!(
        typed("application/json; charset=utf-8").await?.status(),
        200
    );
    let packed = ingest
        .request(good.clone())
        .header("content-encoding", "gzip");
    assert_eq!(packed.send().await?.status(), 415);
    assert_eq!(count(&database.pool, "receipts").await?, 1);
    ingest.stop().await
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_whether_it_says_so_or_not() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let mut config = config(&database);
    config.webhook_body_limit = 100_000;
    let ingest = Ingest::start(config).await?;
    let said = exchange(&ingest, "Content-Length: 100001", b"").await?;
    assert!(said.starts_with("HTTP/1.1 413"), "{said}");
    let chunk = format!("186A1\r\n{}\r\n0\r\n\r\n", " ".repeat(100_001));
    let said = exchange(&ingest, "Transfer-Encoding: chunked", chunk.as_bytes()).await?;
    assert!(said.starts_with("HTTP/1.1 413"), "{said}");
    let mut fits = body(&[firing("HighCPU", "10:00:00")]).to_string();
    fits.push_str(&" ".repeat(100_000 - fits.len()));
    assert_eq!(ingest.request(fits).send().await?.status(), 200);
    ingest.stop().await
}

/// The edge ends what trickles: a sender that hangs does not hold a place for ever.
#[tokio::test]
async fn a_body_that_comes_too_slowly_is_refused() -> Result<()> {
    let database = Database::fresh(&[&ingest::MIGRATOR]).await;
    let ingest = Ingest::start(config(&database)).await?;
    let said = exchange(&ingest, "Content-Length: 5000", b"{\"alerts\": [").await?;
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    assert_eq!(count(&database.pool, "receipts").await?, 0);
    ingest.accept(&[firing("HighCPU", "10:00:00")]).await;
    ingest.stop().await
}

/// Sends a head with `header` and `part` of a body, and reads what comes back.
async fn exchange(ingest: &Ingest, header: &str, part: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(ingest.address()).await?;
    let head = format!(
        "POST /webhooks/alertmanager HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\n{header}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(part).await?;
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).await.context("no answer")?;
    answer.truncate(length);
    Ok(String::from_utf8(answer)?)
}
