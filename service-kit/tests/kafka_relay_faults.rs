//! The relay in front of a broker that refuses, vanishes and forgets: librdkafka's own mock, which
//! can be told to fail, with a real Postgres.

mod support;

use std::sync::Arc;

use anyhow::Result;
use rdkafka::{
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use service_kit::{Service, kafka::Cluster, testing::wait_for};
use sqlx::Executor;
use support::{Numbers, TOPIC, World, first_occurrences, number, read_topic};

type Broker = MockCluster<'static, DefaultProducerContext>;

/// A broker of one's own. Its registry was there once.
async fn world() -> Result<(Broker, World)> {
    let broker = MockCluster::new(1)?;
    broker.create_topic(TOPIC, 3, 1)?;
    let cluster = Cluster::new(broker.bootstrap_servers(), "", Numbers::NAME)
        .with("delivery.timeout.ms", "1500")
        .with("request.timeout.ms", "1000");
    let world = World::on(cluster, "http://127.0.0.1:9").await?;
    let contract = support::contract();
    sqlx::query("INSERT INTO schema_ids VALUES ($1, $2, 1)")
        .bind(&contract.record)
        .bind(&contract.fingerprint)
        .execute(&world.pool)
        .await?;
    world.registry.load().await?;
    Ok((broker, world))
}

async fn say_all(world: &World, rounds: std::ops::Range<i64>) -> Result<()> {
    for round in rounds {
        let keys = 0..12;
        let events = keys.map(|key| number(&format!("key{key}"), round));
        world.say(events.collect()).await?;
    }
    Ok(())
}

/// Everything arrives, and of each key in order, whatever was in its way.
async fn arrived(world: &World, rounds: i64) -> Result<()> {
    world.drained().await;
    let last = first_occurrences(&read_topic(&world.cluster, TOPIC).await?)?;
    assert_eq!(last.len(), 12);
    assert!(
        last.values().all(|sequence| *sequence == rounds),
        "{last:?}"
    );
    assert_eq!(
        world.count("SELECT count(*) FROM outbox_sent").await?,
        12 * rounds
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_records_are_put_off_and_keep_their_keys_in_order() -> Result<()> {
    let (broker, world) = world().await?;
    let relay = world.own_relay();
    for round in 0..10 {
        say_all(&world, round * 5..(round + 1) * 5).await?;
        // fewer than would park any row
        if round < 2 {
            broker.request_errors(
                RDKafkaApiKey::Produce,
                &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD],
            );
        }
        say_all(&world, 1000 + round * 5..1000 + (round + 1) * 5).await?;
    }
    arrived(&world, 100).await?;
    assert!(relay.seen.failures.get() > 0, "the broker did refuse");
    relay.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_topic_parks_nothing() -> Result<()> {
    let (broker, world) = world().await?;
    let relay = world.own_relay();
    broker.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 8],
    );
    say_all(&world, 0..20).await?;
    arrived(&world, 20).await?;
    assert!(relay.seen.failures.get() > 0, "the broker did refuse");
    assert_eq!(
        world
            .count("SELECT coalesce(max(attempts), 0)::bigint FROM outbox_events")
            .await?,
        0
    );
    relay.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_broker_delays_and_loses_nothing() -> Result<()> {
    let (broker, world) = world().await?;
    let relay = world.own_relay();
    say_all(&world, 0..5).await?;
    broker.broker_down(1)?;
    say_all(&world, 5..15).await?;
    // longer than the client itself keeps on trying
    let put_off = "SELECT count(*) FROM outbox_events WHERE not_before > '-infinity'";
    wait_for("events that are put off", async || {
        let count = world
            .count(put_off)
            .await
            .map_err(|error| error.to_string())?;
        (count > 0).then_some(()).ok_or_else(|| count.to_string())
    })
    .await;
    let counted = "SELECT count(*) FROM outbox_events WHERE attempts > 0 OR parked";
    assert_eq!(
        world.count(counted).await?,
        0,
        "the broker's absence is no row's fault"
    );
    broker.broker_up(1)?;
    say_all(&world, 15..20).await?;
    arrived(&world, 20).await?;
    relay.stop().await
}

/// librdkafka gives a producer up for good when it gets no producer id.
#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_is_given_up_has_a_successor() -> Result<()> {
    let (broker, world) = world().await?;
    broker.request_errors(
        RDKafkaApiKey::InitProducerId,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED],
    );
    let relay = world.own_relay();
    say_all(&world, 0..10).await?;
    arrived(&world, 10).await?;
    relay.stop().await
}

/// What a person un-parks goes before what waits behind it.
#[tokio::test(flavor = "multi_thread")]
async fn an_unparked_event_goes_before_those_behind_it() -> Result<()> {
    let (_broker, world) = world().await?;
    say_all(&world, 0..1).await?;
    world
        .pool
        .execute("UPDATE outbox_events SET parked = true, attempts = 3 WHERE key = 'key3'")
        .await?;
    let relay = world.own_relay();
    // enough ids above the parked one that the relay would like to forget the range below
    for round in 0..40 {
        say_all(&world, 1 + round * 10..1 + (round + 1) * 10).await?;
    }
    world
        .counts(
            "only the parked key to wait",
            "SELECT count(*) FROM outbox_events",
            401,
        )
        .await;
    world
        .pool
        .execute("UPDATE outbox_events SET parked = false, attempts = 0 WHERE parked")
        .await?;
    arrived(&world, 401).await?;
    relay.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_relay_waits_for_what_is_with_the_broker() -> Result<()> {
    let (broker, world) = world().await?;
    broker.broker_round_trip_time(1, std::time::Duration::from_millis(200))?;
    let relay = world.own_relay();
    say_all(&world, 0..1).await?;
    let sent = Arc::clone(&world.handler.wake);
    wait_for("shards", async || {
        (relay.seen.shards.get() == 16).then_some(())
    })
    .await;
    sent.notify_one();
    wait_for("the broker to have some", async || {
        read_topic(&world.cluster, TOPIC)
            .await
            .is_ok_and(|read| !read.is_empty())
            .then_some(())
    })
    .await;
    relay.stop().await?;
    let read = i64::try_from(read_topic(&world.cluster, TOPIC).await?.len())?;
    let marked = world.count("SELECT count(*) FROM outbox_sent").await?;
    assert_eq!(read, marked, "what the broker has is marked");
    Ok(())
}
