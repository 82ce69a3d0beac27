//! What people do about the outbox: a record that the broker refuses for good, and a broker that has
//! lost what it had acknowledged. Real Kafka, real Postgres, the API as the services have it.

mod support;

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use rdkafka::{
    admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
};
use serde_json::{Value, json};
use service_kit::{
    Outgoing,
    http::{Desk, outbox},
    outbox::resend::RESENT,
    service::Payload,
    testing::wait_for,
    topics::{Wanted, ensure},
};
use support::{TOPIC, World, first_occurrences, number, read_topic};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

struct Api(Router);

impl Api {
    fn of(world: &World) -> Self {
        let desk = Desk {
            pool: world.another_pool(),
            wake: Arc::clone(&world.handler.wake),
        };
        Self(Router::from(outbox(desk)))
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Result<(StatusCode, Value)> {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1/outbox{path}"))
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))?;
        let answer = self.0.clone().oneshot(request).await?;
        let status = answer.status();
        let bytes = to_bytes(answer.into_body(), 1 << 20).await?;
        Ok((status, serde_json::from_slice(&bytes).unwrap_or_default()))
    }

    async fn parked(&self) -> Result<Vec<Value>> {
        let (status, answer) = self.ask("GET", "?state=parked", &Value::Null).await?;
        ensure!(status == StatusCode::OK, "{answer}");
        Ok(answer["items"].as_array().context("a list")?.clone())
    }
}

fn because(reason: &str) -> Value {
    json!({"actor": "ana", "reason": reason})
}

/// An event that is larger than the topic takes.
fn large(key: &str, n: i64) -> Outgoing {
    let mut outgoing = number(key, n);
    if let Payload::Event { datum, .. } = &mut outgoing.payload {
        // the broker measures what is compressed: bytes that no codec makes smaller
        let next = |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005) + 1);
        let states = std::iter::successors(Some(1_u64), next);
        let noise = states.map(|state| state.to_be_bytes()[0]).take(40_000);
        *datum = noise.collect();
    }
    outgoing
}

fn admin(world: &World) -> Result<AdminClient<DefaultClientContext>> {
    Ok(world.cluster.admin().create()?)
}

async fn takes(world: &World, bytes: &str) -> Result<()> {
    let topic = world.cluster.topic(TOPIC);
    let change = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("max.message.bytes", bytes);
    let changed = admin(world)?
        .alter_configs([&change], &AdminOptions::new())
        .await?;
    ensure!(changed.iter().all(Result::is_ok), "{changed:?}");
    // the controller has it; the broker follows
    let admin = admin(world)?;
    wait_for("the broker to know it", async || {
        let resource = ResourceSpecifier::Topic(&topic);
        let told = admin.describe_configs([&resource], &AdminOptions::new());
        let told = told.await.map_err(|error| error.to_string())?;
        let value = told.iter().flatten().find_map(|found| {
            let entry = found.get("max.message.bytes")?;
            entry.value.clone()
        });
        if value.as_deref() == Some(bytes) {
            Ok(())
        } else {
            Err(format!("{value:?}"))
        }
    })
    .await;
    Ok(())
}

/// Says 1 to 3 under each of four keys; the second of `b` is too large. Waits until it is parked and
/// everything of the other keys is sent.
async fn with_a_poison_row(world: &World, api: &Api) -> Result<String> {
    takes(world, "10000").await?;
    for n in 1..=3 {
        for key in ["a", "b", "c", "d"] {
            let poison = (key, n) == ("b", 2);
            let event = if poison {
                large(key, n)
            } else {
                number(key, n)
            };
            world.say(vec![event]).await?;
        }
    }
    let parked = wait_for("a parked event", async || match api.parked().await {
        Ok(parked) if parked.len() == 1 => Ok(parked),
        other => Err(format!("{other:?}")),
    })
    .await;
    let only_its_key = "SELECT count(*) FROM outbox_events WHERE key = 'b'";
    world
        .counts(
            "the rest to be sent",
            "SELECT count(*) FROM outbox_events",
            2,
        )
        .await;
    world.counts("its key to wait", only_its_key, 2).await;
    let row = &parked[0];
    assert_eq!((&row["key"], &row["sequence"]), (&json!("b"), &json!(2)));
    assert_eq!((&row["attempts"], &row["behind"]), (&json!(3), &json!(1)));
    let words = row["last_error"].as_str().context("what the broker said")?;
    assert!(words.contains("MessageSizeTooLarge"), "{words}");
    Ok(row["event_id"].as_str().context("an id")?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_event_holds_its_key_alone_until_it_is_retried() -> Result<()> {
    let world = World::new().await?;
    let (relay, api) = (world.own_relay(), Api::of(&world));
    let id = with_a_poison_row(&world, &api).await?;
    takes(&world, "1000000").await?;
    let path = format!("/{id}/retry");
    let nobody = json!({"actor": " ", "reason": "x"});
    assert_eq!(
        api.ask("POST", &path, &nobody).await?.0,
        StatusCode::BAD_REQUEST
    );
    let (status, answer) = api.ask("POST", &path, &because("it is taken now")).await?;
    ensure!(status == StatusCode::OK, "{answer}");
    world.drained().await;
    let last = first_occurrences(&read_topic(&world.cluster, TOPIC).await?)?;
    ensure!(
        last.len() == 4 && last.values().all(|last| *last == 3),
        "{last:?}"
    );
    let (_, log) = api.ask("GET", "/interventions", &Value::Null).await?;
    let done = &log["items"][0];
    assert_eq!(
        (&done["verb"], &done["actor"]),
        (&json!("retry"), &json!("ana"))
    );
    assert_eq!(done["event_id"], json!(id));
    let (status, _) = api.ask("POST", &path, &because("again")).await?;
    assert_eq!(status, StatusCode::NOT_FOUND, "it is sent");
    relay.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_skipped_event_is_kept_and_lets_those_behind_it_go() -> Result<()> {
    let world = World::new().await?;
    let (relay, api) = (world.own_relay(), Api::of(&world));
    let id = with_a_poison_row(&world, &api).await?;
    let waiting = world
        .count("SELECT count(*) FROM outbox_events WHERE NOT parked")
        .await?;
    assert_eq!(waiting, 1);
    let sql = "SELECT event_id::text FROM outbox_events WHERE NOT parked";
    let behind: String = sqlx::query_scalar(sql).fetch_one(&world.pool).await?;
    let path = format!("/{behind}/skip");
    let (status, _) = api.ask("POST", &path, &because("no")).await?;
    assert_eq!(
        status,
        StatusCode::CONFLICT,
        "only what is parked can be skipped"
    );
    let path = format!("/{id}/skip");
    let no_reason = json!({"actor": "ana"});
    let (status, _) = api.ask("POST", &path, &no_reason).await?;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let (status, answer) = api.ask("POST", &path, &because("nobody needs it")).await?;
    ensure!(status == StatusCode::OK, "{answer}");
    world.drained().await;
    let sent = read_topic(&world.cluster, TOPIC).await?;
    let of_b: Result<Vec<i64>> = sent
        .iter()
        .filter(|record| record.key == b"b")
        .map(support::Read::sequence)
        .collect();
    assert_eq!(of_b?, [1, 3], "the gap is visible");
    let kept: (String, i32) = sqlx::query_as(
        "SELECT actor || ': ' || reason, octet_length(payload) FROM outbox_interventions
         WHERE verb = 'skip' AND event_id = $1::uuid",
    )
    .bind(&id)
    .fetch_one(&world.pool)
    .await?;
    assert_eq!(kept, ("ana: nobody needs it".to_owned(), 40_000));
    relay.stop().await
}

/// Deletes the topic and makes it again, as a broker with an empty disk has it.
async fn lose_the_disk(world: &World) -> Result<()> {
    let topic = world.cluster.topic(TOPIC);
    let admin = admin(world)?;
    let gone = admin.delete_topics(&[&topic], &AdminOptions::new()).await?;
    ensure!(gone.iter().all(Result::is_ok), "{gone:?}");
    wait_for("the topic to be gone", async || {
        let found = admin.inner().fetch_metadata(None, Duration::from_secs(10));
        let found = found.map_err(|error| error.to_string())?;
        let there = found.topics().iter().any(|found| found.name() == topic);
        if there {
            Err("it is there".to_owned())
        } else {
            Ok(())
        }
    })
    .await;
    let wanted = [Wanted::events(&world.cluster, TOPIC, 6, 1)];
    ensure(&world.cluster, &wanted, &CancellationToken::new()).await;
    Ok(())
}

async fn say(world: &World, numbers: std::ops::RangeInclusive<i64>) -> Result<()> {
    for n in numbers {
        let keys = ["a", "b", "c", "d", "e"];
        world.say(keys.map(|key| number(key, n)).to_vec()).await?;
    }
    Ok(())
}

/// Half of what was sent is handled when the broker loses everything; some is said before a person
/// notices. After `resend` everything has its effect once, and each key is in its order again.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_broker_has_lost_is_sent_again() -> Result<()> {
    let world = World::new().await?;
    let (relay, api) = (world.own_relay(), Api::of(&world));
    let consumer = world.consumer()?;
    say(&world, 1..=20).await?;
    let effects = "SELECT count(*) FROM effects";
    world.counts("the first half", effects, 100).await;
    consumer.stop().await?;
    say(&world, 21..=40).await?;
    world.drained().await;
    relay.stop().await?;
    lose_the_disk(&world).await?;
    // nobody has sent these before
    say(&world, 41..=45).await?;

    let since = "2026-01-01T00:00:00Z";
    let mut order = json!({"since": since, "dry_run": true, "actor": "ana", "reason": "disk"});
    let (_, counted) = api.ask("POST", "/resend", &order).await?;
    assert_eq!(counted["events"], 200, "{counted}");
    order["dry_run"] = false.into();
    let mut parts = Vec::new();
    loop {
        let (status, answer) = api.ask("POST", "/resend", &order).await?;
        ensure!(status == StatusCode::OK, "{answer}");
        parts.push(answer["events"].as_i64().context("a count")?);
        if answer["complete"] == true {
            break;
        }
        order["until"] = answer["until"].clone();
    }
    assert_eq!(parts, [200, 0]);
    let relay = world.own_relay();
    world.drained().await;
    let read = read_topic(&world.cluster, TOPIC).await?;
    let last = first_occurrences(&read)?;
    ensure!(
        last.len() == 5 && last.values().all(|last| *last == 45),
        "{last:?}"
    );
    let marked = read.iter().filter(|record| record.header(RESENT).is_ok());
    assert_eq!(marked.count(), 200);

    let consumer = world.consumer()?;
    world.counts("each effect", effects, 225).await;
    let distinct: i64 = world
        .count("SELECT count(DISTINCT event_id) FROM effects")
        .await?;
    assert_eq!(distinct, 225, "no effect twice");
    consumer.stop().await?;
    let (_, log) = api.ask("GET", "/interventions", &Value::Null).await?;
    assert_eq!(
        (&log["items"][0]["verb"], &log["items"][0]["events"]),
        (&json!("resend"), &json!(200))
    );
    // sent events may be lost once more
    assert_eq!(world.count("SELECT count(*) FROM outbox_sent").await?, 225);
    relay.stop().await
}
