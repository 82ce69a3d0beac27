//! The consumer against real Kafka, Postgres and registry.

mod support;

use std::{sync::atomic::Ordering, time::Duration};

use anyhow::{Context, Result};
use service_kit::{consumer::Watermarks, testing::wait_for};
use shared_events::codec;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use support::{
    DISTINCT, EFFECTS, Numbers, Sent, TOPIC, World, effects, number, numbers, read_topic, sent,
    total,
};

#[tokio::test(flavor = "multi_thread")]
async fn from_outbox_to_effect_once() -> Result<()> {
    let world = World::new().await?;
    let (relay, consumer) = (world.own_relay(), world.consumer()?);
    for round in 0..20 {
        let keys = ["a", "b", "c"];
        world
            .say(keys.map(|key| number(key, round)).to_vec())
            .await?;
    }
    world.counts("every effect", EFFECTS, 60).await;
    for key in ["a", "b", "c"] {
        assert_eq!(effects(&world, key).await?, (0..20).collect::<Vec<_>>());
    }
    // everything once more, and one new
    let again: Vec<Sent> = ["a", "b", "c"]
        .iter()
        .flat_map(|key| numbers(key, 0..20))
        .collect();
    world.produce(&again).await?;
    world.produce(&numbers("a", 20..21)).await?;
    world.counts("the new effect", EFFECTS, 61).await;
    consumer.seen.watermarks.caught_up(&[TOPIC]).await?;
    assert_eq!(world.count(EFFECTS).await?, 61);
    assert_eq!(world.count(DISTINCT).await?, 61);
    assert_eq!(total(&consumer.seen.metrics.duplicates), 60);
    consumer.stop().await?;
    relay.stop().await
}

/// More than the queues hold, of one partition: it is paused and resumed, and nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_consumed_in_order_without_loss_or_repeat() -> Result<()> {
    let world = World::new().await?;
    world.produce(&numbers("a", 0..20_000)).await?;
    let consumer = world.consumer()?;
    world.counts("every effect", EFFECTS, 20_000).await;
    assert_eq!(effects(&world, "a").await?, (0..20_000).collect::<Vec<_>>());
    assert_eq!(total(&consumer.seen.metrics.duplicates), 0);
    assert_eq!(total(&consumer.seen.metrics.records), 20_000);
    consumer.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_becomes_a_dead_letter_with_its_original_bytes() -> Result<()> {
    let world = World::new().await?;
    let relay = world.own_relay();
    let garbage = Sent {
        key: b"a".to_vec(),
        headers: vec![("x".into(), b"\xff".to_vec())],
        value: b"\x00\xffgarbage".to_vec(),
    };
    let undecodable = Sent {
        value: codec::frame(1, b"seven"),
        ..sent("a", 1)
    };
    let unfoldable = sent("a", -1);
    let unframed = Sent {
        value: b"{}".to_vec(),
        ..sent("a", 2)
    };
    let unknown_schema = Sent {
        value: codec::frame(999_999, b"3"),
        ..sent("a", 3).with_header("ce_dataschema", "later.Build/00")
    };
    let poisons = [
        &garbage,
        &undecodable,
        &unfoldable,
        &unframed,
        &unknown_schema,
    ];
    for (n, poison) in (10..).zip(poisons) {
        world.produce(&[poison.clone(), sent("a", n)]).await?;
    }
    let consumer = world.consumer()?;
    world.counts("the good effects", EFFECTS, 5).await;
    let sent = "SELECT count(*) FROM outbox_sent";
    world.counts("dead letters that are sent", sent, 5).await;

    let letters = read_topic(
        &world.cluster,
        &format!("{TOPIC}.dlq.{}", world.cluster.service()),
    )
    .await?;
    let stages = ["headers", "decode", "fold", "frame", "schema"];
    for (poison, stage) in poisons.into_iter().zip(stages) {
        let letter = letters
            .iter()
            .find(|letter| {
                letter
                    .header("ep.dlq.stage")
                    .is_ok_and(|found| found == stage)
            })
            .with_context(|| format!("a letter of stage {stage}"))?;
        assert_eq!(letter.value, poison.value, "{stage}");
        assert_eq!(letter.key, poison.key);
        for (name, value) in &poison.headers {
            assert_eq!(letter.headers.get(name), Some(value), "{stage}: {name}");
        }
        assert_eq!(letter.header("ep.dlq.topic")?, TOPIC);
        assert_eq!(letter.header("ep.dlq.consumer")?, world.cluster.service());
        assert!(letter.header("ep.dlq.offset")?.parse::<i64>().is_ok());
        assert!(letter.header("ep.dlq.timestamp")?.parse::<i64>().is_ok());
    }
    assert_eq!(letters.len(), 5);
    let dead = "SELECT count(*) FROM inbox_events WHERE status = 'dead' AND error IS NOT NULL";
    assert_eq!(world.count(dead).await?, 5);
    assert_eq!(total(&consumer.seen.metrics.dead_letters), 5);
    consumer.stop().await?;
    relay.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_too_large_for_a_letter_names_its_place() -> Result<()> {
    let world = World::new().await?;
    let relay = world.own_relay();
    let mut large = sent("a", 1);
    large.value = vec![7; 980_000];
    world.produce(&[large, sent("a", 2)]).await?;
    let consumer = world.consumer()?;
    world.counts("the good effect", EFFECTS, 1).await;
    world
        .counts("the letter", "SELECT count(*) FROM outbox_sent", 1)
        .await;
    let letters = read_topic(
        &world.cluster,
        &format!("{TOPIC}.dlq.{}", world.cluster.service()),
    )
    .await?;
    assert!(letters[0].value.is_empty());
    assert_eq!(letters[0].header("ep.dlq.offset")?, "0");
    consumer.stop().await?;
    relay.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_is_not_wanted_is_skipped_before_it_is_decoded() -> Result<()> {
    let world = World::new().await?;
    let mut later = sent("a", 1).with_header("ce_type", "number.forgotten");
    later.value = b"of a later build".to_vec();
    world
        .produce(&[sent("a", 0), later.clone(), later, sent("a", 2)])
        .await?;
    let consumer = world.consumer()?;
    world.counts("the wanted effects", EFFECTS, 2).await;
    consumer.seen.watermarks.caught_up(&[TOPIC]).await?;
    assert_eq!(total(&consumer.seen.metrics.skipped), 2);
    assert_eq!(total(&consumer.seen.metrics.dead_letters), 0);
    assert_eq!(world.count("SELECT count(*) FROM outbox_events").await?, 0);
    consumer.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_build_does_not_drain_the_topic_into_the_dead_letters() -> Result<()> {
    let world = World::new().await?;
    let bad = |n| Sent {
        value: codec::frame(1, b"bad"),
        ..sent("a", n)
    };
    world.produce(&numbers("a", 0..10)).await?;
    world
        .produce(&(10..300).map(bad).collect::<Vec<_>>())
        .await?;
    world.produce(&numbers("b", 0..10)).await?;
    let consumer = world.consumer()?;
    wait_for("a stopped partition", async || {
        let checks = consumer.seen.health.check().await;
        let check = checks.iter().find(|check| check.name == "poison");
        check
            .filter(|check| check.gates && !check.ok)
            .map(|_| ())
            .ok_or(checks)
    })
    .await;
    world
        .counts("the good effects, the other partition's too", EFFECTS, 20)
        .await;
    let next: Vec<i64> = sqlx::query_scalar("SELECT next_offset FROM consumer_offsets ORDER BY 1")
        .fetch_all(&world.pool)
        .await?;
    assert_eq!(next, [10, 15], "the first poison that was not taken");
    assert_eq!(total(&consumer.seen.metrics.dead_letters), 5);
    consumer.stop().await
}

/// The whole fold is wrong, not the bytes: seen only in the transaction.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_fold_is_found_out_within_its_first_batch() -> Result<()> {
    let world = World::new().await?;
    world
        .produce(&(1..1000).map(|n| sent("a", -n)).collect::<Vec<_>>())
        .await?;
    let consumer = world.consumer()?;
    wait_for("a stopped partition", async || {
        let checks = consumer.seen.health.check().await;
        checks
            .iter()
            .any(|check| check.name == "poison" && !check.ok)
            .then_some(())
    })
    .await;
    let dead = world.count("SELECT count(*) FROM inbox_events").await?;
    assert!((6..=8).contains(&dead), "{dead} dead letters");
    consumer.stop().await
}

/// A database restored from an older dump gets back what it has lost.
#[tokio::test(flavor = "multi_thread")]
async fn begins_at_the_lower_of_database_and_group() -> Result<()> {
    let world = World::new().await?;
    world.produce(&numbers("a", 0..100)).await?;
    let consumer = world.consumer()?;
    world.counts("every effect", EFFECTS, 100).await;
    consumer.stop().await?;
    world
        .pool
        .execute(
            "DELETE FROM effects WHERE number >= 60;
             DELETE FROM inbox_events WHERE kafka_offset >= 60;
             UPDATE consumer_offsets SET next_offset = 60",
        )
        .await?;
    let consumer = world.consumer()?;
    world.counts("every effect again", EFFECTS, 100).await;
    assert_eq!(total(&consumer.seen.metrics.records), 40);
    consumer.stop().await?;

    // nothing new: nothing is read again
    let consumer = world.consumer()?;
    world.produce(&numbers("a", 100..101)).await?;
    world.counts("the new effect", EFFECTS, 101).await;
    assert_eq!(total(&consumer.seen.metrics.records), 1);
    consumer.stop().await?;

    // an empty database beside a group that has consumed everything
    world
        .pool
        .execute("TRUNCATE effects, inbox_events, consumer_offsets")
        .await?;
    let consumer = world.consumer()?;
    world
        .counts("every effect from the start", EFFECTS, 101)
        .await;
    consumer.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn outlives_its_database() -> Result<()> {
    let world = World::new().await?;
    let consumer = world.consumer()?;
    world.produce(&numbers("a", 0..10)).await?;
    world.counts("effects", EFFECTS, 10).await;
    let options = world.pool.connect_options();
    let name = options.get_database().context("a name")?.to_owned();
    let server = (*options).clone().database("postgres");
    let mut admin = PgConnection::connect_with(&server).await?;
    admin
        .execute(AssertSqlSafe(format!(
            "ALTER DATABASE {name} ALLOW_CONNECTIONS false"
        )))
        .await?;
    let end =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    admin.execute(AssertSqlSafe(end)).await?;
    world.produce(&numbers("a", 10..4000)).await?;
    wait_for("a queue that is full of waiting records", async || {
        let checks = consumer.seen.health.check().await;
        checks
            .iter()
            .any(|check| check.name == "consumer" && check.detail.ends_with("lag 3990"))
            .then_some(())
            .ok_or(checks)
    })
    .await;
    admin
        .execute(AssertSqlSafe(format!(
            "ALTER DATABASE {name} ALLOW_CONNECTIONS true"
        )))
        .await?;
    world.counts("every effect", EFFECTS, 4000).await;
    assert_eq!(effects(&world, "a").await?, (0..4000).collect::<Vec<_>>());
    consumer.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redriven_event_is_for_one_consumer_only() -> Result<()> {
    let world = World::new().await?;
    let consumer = world.consumer()?;
    world.produce(&[sent("a", -5)]).await?;
    let dead = "SELECT count(*) FROM inbox_events WHERE status = 'dead'";
    world.counts("a dead event", dead, 1).await;
    world
        .handler
        .service
        .tolerant
        .store(true, Ordering::Relaxed);
    // delivered again, or asked for by another consumer's people: still dead
    let foreign = sent("a", -5).with_header("ep.redrive.consumer", "another");
    world.produce(&[sent("a", -5), foreign]).await?;
    consumer.seen.watermarks.caught_up(&[TOPIC]).await?;
    assert_eq!(
        (world.count(EFFECTS).await?, world.count(dead).await?),
        (0, 1)
    );
    let redriven = sent("a", -5).with_header("ep.redrive.consumer", world.cluster.service());
    world.produce(&[redriven.clone(), redriven]).await?;
    world.counts("its effect", EFFECTS, 1).await;
    consumer.seen.watermarks.caught_up(&[TOPIC]).await?;
    assert_eq!(
        (world.count(EFFECTS).await?, world.count(dead).await?),
        (1, 0)
    );
    consumer.stop().await
}

/// Whoever consumes: what lies in the topic before the question has its effect before the answer.
#[tokio::test(flavor = "multi_thread")]
async fn caught_up_means_that_every_effect_is_there() -> Result<()> {
    let world = World::new().await?;
    let watermarks = Watermarks::new(world.cluster.clone(), world.pool.clone())?;
    // nothing there: nothing to wait for
    watermarks.caught_up(&[TOPIC]).await?;
    let (one, two) = (world.consumer()?, world.consumer()?);
    for round in 1..=20_i64 {
        let records: Vec<Sent> = (0..30)
            .map(|key| sent(&format!("key{key}"), round))
            .collect();
        world.produce(&records).await?;
        let asked_of_another_instance = if round % 2 == 0 {
            &watermarks
        } else {
            &one.seen.watermarks
        };
        asked_of_another_instance.caught_up(&[TOPIC]).await?;
        assert_eq!(world.count(EFFECTS).await?, round * 30);
    }
    one.stop().await?;
    two.stop().await?;
    // without a consumer it is not caught up
    world.produce(&[sent("a", 999)]).await?;
    let asked = tokio::time::timeout(Duration::from_millis(300), watermarks.caught_up(&[TOPIC]));
    assert!(asked.await.is_err(), "somebody would have to consume first");
    assert!(watermarks.caught_up(&["no such topic"]).await.is_err());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_within_seconds_whatever_is_under_way() -> Result<()> {
    let world = World::new().await?;
    world.produce(&numbers("a", 0..20_000)).await?;
    let consumer = world.consumer()?;
    wait_for("some effects", async || {
        (world.count(EFFECTS).await.is_ok_and(|count| count > 0)).then_some(())
    })
    .await;
    let stopping = std::time::Instant::now();
    consumer.stop().await?;
    assert!(
        stopping.elapsed() < Duration::from_secs(6),
        "{:?}",
        stopping.elapsed()
    );
    let next = world
        .count("SELECT next_offset FROM consumer_offsets")
        .await?;
    assert_eq!(
        next,
        world.count(EFFECTS).await?,
        "offset and effects agree"
    );
    // before the group has assigned anything
    let consumer = world.consumer()?;
    consumer.stop().await?;
    let _: &Numbers = &world.handler.service;
    Ok(())
}
