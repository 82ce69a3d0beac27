//! The stream skips nothing.

use futures::StreamExt;
use incident_store::store::stream::{self, Cursor, Streamed};
use service_kit::{Service, testing::wait_for};
use sqlx::{Connection, PgConnection};

use crate::{
    api::Running,
    facts::{opened, requested, resolved},
    stage::{Stage, action, incident},
};

const START: Cursor = Cursor { xid: 0, id: 0 };

async fn read(stage: &Stage, after: Cursor) -> Vec<Streamed> {
    let mut conn = stage.handler.pool.acquire().await.expect("a connection");
    stream::after(&mut conn, after, None, 100)
        .await
        .expect("the stream")
}

/// What is certain at last: a transaction anywhere on the server, of another test too, holds it up.
async fn read_all(stage: &Stage, after: Cursor, count: usize) -> Vec<Streamed> {
    wait_for(&format!("{count} facts"), async || {
        let seen = read(stage, after).await;
        if seen.len() >= count {
            Ok(seen)
        } else {
            Err(types(&seen).join(", "))
        }
    })
    .await
}

fn types(facts: &[Streamed]) -> Vec<&str> {
    facts
        .iter()
        .map(|fact| fact.entry.event_type.as_str())
        .collect()
}

/// A transaction takes its numbers first and commits last. A reader that went by numbers alone
/// would pass it and never see its fact.
#[tokio::test]
async fn a_late_committer_is_not_skipped() {
    let stage = Stage::<false>::fresh().await;
    let mut late = PgConnection::connect(&stage.database.url)
        .await
        .expect("a session");
    let mut slow = late.begin().await.expect("a transaction");
    let work = incident(opened(1, 0));
    let service = &*stage.handler.service;
    let mut batch = service
        .load(&mut slow, &mut vec![work.clone()])
        .await
        .expect("loaded");
    service.fold(&mut batch, &work).expect("folded");
    service.save(&mut slow, batch).await.expect("saved");

    stage.play([incident(opened(2, 1))]).await;
    let seen = read(&stage, START).await;
    assert_eq!(
        types(&seen),
        [""; 0],
        "what is beyond a running transaction is not certain"
    );

    slow.commit().await.expect("it commits last");
    let seen = wait_for("both facts", async || {
        let seen = read(&stage, START).await;
        if seen.len() == 2 {
            Ok(seen)
        } else {
            Err(types(&seen).join(", "))
        }
    })
    .await;
    assert_eq!(types(&seen), ["incident.opened"; 2]);
    assert!(seen[0].cursor < seen[1].cursor);
    assert_eq!(seen[0].entry.incident_id, crate::facts::incident(1).uuid());
    assert!(read(&stage, seen[1].cursor).await.is_empty());
}

/// Facts of a stub come into the stream when it is opened, even for a reader who is past them.
#[tokio::test]
async fn facts_of_a_stub_appear_with_its_opening() {
    let stage = Stage::<false>::fresh().await;
    stage.play([action(requested(1, 0, 0))]).await;
    stage.play([incident(opened(2, 1))]).await;
    let seen = read_all(&stage, START, 1).await;
    assert_eq!(types(&seen), ["incident.opened"]);
    stage.play([incident(opened(1, 0))]).await;
    let later = read_all(&stage, seen[0].cursor, 2).await;
    assert_eq!(types(&later), ["action.requested", "incident.opened"]);
}

#[tokio::test]
async fn facts_of_a_restored_database_come_before_everything() {
    let stage = Stage::<false>::fresh().await;
    stage.play([incident(opened(1, 0))]).await;
    sqlx::query("UPDATE incident_events SET xid = '9000000000'")
        .execute(&stage.handler.pool)
        .await
        .expect("as if from another server");
    assert!(read(&stage, START).await.is_empty(), "beyond the present");
    let mut conn = stage.handler.pool.acquire().await.expect("a connection");
    assert_eq!(stream::adopt(&mut conn).await.expect("adopted"), 1);
    assert_eq!(stream::adopt(&mut conn).await.expect("adopted"), 0);
    stage.play([incident(resolved(1, 2, 9))]).await;
    let seen = read_all(&stage, START, 2).await;
    assert_eq!(types(&seen), ["incident.opened", "incident.resolved"]);
}

#[tokio::test]
async fn server_sent_events_go_on_where_they_were_cut() {
    let stage = Stage::<false>::fresh().await;
    let api = Running::start(&stage).await;
    let mut all = Events::open(&api, "?last_event_id=0", None).await;
    stage
        .play([incident(opened(1, 0)), action(requested(1, 0, 0))])
        .await;
    let first = all.next().await;
    assert_eq!(first.event, "incident.opened");
    assert!(
        first.data["summary"]
            .as_str()
            .is_some_and(|text| text.contains("HighCPU fires"))
    );
    assert_eq!(all.next().await.event, "action.requested");

    let mut rest = Events::open(&api, "?incident_id=000001", Some(&first.id)).await;
    assert_eq!(rest.next().await.event, "action.requested");
    stage
        .play([incident(opened(2, 1)), incident(resolved(1, 2, 9))])
        .await;
    assert_eq!(rest.next().await.event, "incident.resolved");
    assert_eq!(all.next().await.event, "incident.opened");

    // a cursor from before a restore
    let mut lost = Events::open(&api, "", Some("9000000000-1")).await;
    assert_eq!(lost.next().await.event, "reset");
    api.stop().await;
    assert!(
        all.next_or_end()
            .await
            .is_none_or(|event| event.event == "incident.resolved")
    );
}

/// A client of server-sent events.
struct Events {
    body: futures::stream::BoxStream<'static, String>,
    text: String,
}

struct Event {
    id: String,
    event: String,
    data: serde_json::Value,
}

impl Events {
    async fn open(api: &Running, query: &str, last: Option<&str>) -> Self {
        let mut request = api.client.get(format!("{}/api/v1/stream{query}", api.base));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.expect("a stream");
        assert_eq!(response.status(), 200);
        let body = response
            .bytes_stream()
            .map(|chunk| String::from_utf8_lossy(&chunk.unwrap_or_default()).into_owned());
        Self {
            body: body.boxed(),
            text: String::new(),
        }
    }

    async fn next(&mut self) -> Event {
        let wait = std::time::Duration::from_secs(30);
        tokio::time::timeout(wait, self.next_or_end())
            .await
            .expect("an event in time")
            .expect("the stream goes on")
    }

    async fn next_or_end(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let line = block.lines().find_map(|line| line.strip_prefix(name));
                    line.unwrap_or_default().trim().to_owned()
                };
                let (id, event, data) = (field("id:"), field("event:"), field("data:"));
                self.text = rest.to_owned();
                if event.is_empty() {
                    continue;
                }
                let data = serde_json::from_str(&data).expect("JSON");
                return Some(Event { id, event, data });
            }
            self.text.push_str(&self.body.next().await?);
        }
    }
}
