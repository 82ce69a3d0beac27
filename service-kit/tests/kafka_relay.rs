//! The relay against real Kafka, Postgres and registry.

mod support;

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use service_kit::{registry::Registry, relay::Published, service::Payload, testing::wait_for};
use shared_events::codec;
use sqlx::{Connection, Executor, PgConnection};
use support::{Read, TOPIC, TYPE, World, contract, first_occurrences, number, read_topic};
use tokio_util::sync::CancellationToken;

/// Writers on many keys at once while relays come and go.
async fn write_all(world: &World, keys: i64, rounds: i64) -> Result<()> {
    let writers = (0..4).map(async |writer| {
        for round in 0..rounds {
            let outgoing = (0..keys)
                .filter(|key| (key + round) % 4 != writer % 2)
                .map(|key| number(&format!("key{key}"), writer * 1_000_000 + round))
                .collect();
            world.say(outgoing).await?;
        }
        anyhow::Ok(())
    });
    futures::future::try_join_all(writers).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_keeps_its_order_under_several_relays() -> Result<()> {
    let world = World::new().await?;
    let first = world.own_relay();
    let churn = async {
        for _ in 0..4 {
            let (one, two) = (world.relay(), world.relay());
            wait_for("three relays that share the shards", async || {
                let shares = [&first, &one, &two].map(|relay| relay.seen.shards.get());
                let even = shares.iter().all(|share| [5, 6].contains(share));
                even.then_some(()).ok_or(shares)
            })
            .await;
            one.stop().await?;
            two.stop().await?;
        }
        anyhow::Ok(())
    };
    tokio::try_join!(write_all(&world, 20, 150), churn)?;
    world.drained().await;
    first.stop().await?;

    let read = read_topic(&world.cluster, TOPIC).await?;
    let last = first_occurrences(&read)?;
    let sent = world.count("SELECT count(*) FROM outbox_sent").await?;
    assert_eq!(last.len(), 20);
    assert_eq!(
        last.values().sum::<i64>(),
        sent,
        "every event is in the topic"
    );
    let ids = world
        .count("SELECT count(DISTINCT event_id) FROM outbox_sent")
        .await?;
    assert_eq!(sent, ids, "every event is marked once");
    Ok(())
}

/// Somebody comes, and goes while the others make room for him.
#[tokio::test(flavor = "multi_thread")]
async fn shards_that_were_about_to_be_let_go_are_sent_again() -> Result<()> {
    let world = World::new().await?;
    let relay = world.own_relay();
    let sends = async |shards: i64| {
        wait_for("the relay's share", async || {
            let now = relay.seen.shards.get();
            (now == shards).then_some(()).ok_or(now)
        })
        .await;
    };
    sends(16).await;
    for round in 0..8 {
        let mut guest = PgConnection::connect_with(&world.pool.connect_options()).await?;
        guest
            .execute("SELECT pg_advisory_lock_shared(x'45500002'::int, 0)")
            .await?;
        sends(8).await;
        guest.close().await?;
        sends(16).await;
        let event = |key| number(&format!("key{key}"), round);
        world.say((0..40).map(event).collect()).await?;
        world.drained().await;
    }
    relay.stop().await
}

/// The broker has acknowledged, the mark does not come to pass, the relay dies.
#[tokio::test(flavor = "multi_thread")]
async fn death_between_sending_and_marking_makes_duplicates_only() -> Result<()> {
    let world = World::new().await?;
    let mut blocker = PgConnection::connect_with(&world.pool.connect_options()).await?;
    blocker
        .execute("BEGIN; LOCK TABLE outbox_sent IN EXCLUSIVE MODE")
        .await?;

    let doomed = world.own_relay();
    for round in 0..10 {
        world
            .say(
                (0..5)
                    .map(|key| number(&format!("key{key}"), round))
                    .collect(),
            )
            .await?;
    }
    let label = Published {
        topic: TOPIC.to_owned(),
        event_type: TYPE.to_owned(),
    };
    wait_for("the broker to have every event", async || {
        let published: u64 = doomed.seen.published.get_or_create(&label).get();
        (published == 50).then_some(()).ok_or(published)
    })
    .await;
    assert_eq!(world.count("SELECT count(*) FROM outbox_events").await?, 50);
    doomed.kill().await;
    // a killed process leaves no statement behind that still succeeds
    blocker
        .execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name LIKE 'relay%'",
        )
        .await?;
    blocker.execute("ROLLBACK").await?;

    let heir = world.relay();
    world.drained().await;
    heir.stop().await?;
    let read = read_topic(&world.cluster, TOPIC).await?;
    assert_eq!(first_occurrences(&read)?.values().sum::<i64>(), 50);
    assert_eq!(read.len(), 100, "all of it went twice");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_goes_out_as_it_was_decided() -> Result<()> {
    let world = World::new().await?;
    let relay = world.own_relay();
    world.say(vec![number("a", 7)]).await?;
    world.drained().await;
    relay.stop().await?;
    let read = read_topic(&world.cluster, TOPIC).await?;
    let [record] = read.as_slice() else {
        anyhow::bail!("one record, not {}", read.len());
    };
    assert_eq!(record.key, b"a");
    let (id, datum) = codec::unframe(&record.value)?;
    assert_eq!(Some(id), world.registry.id(&contract().dataschema()));
    assert_eq!(datum, b"7");
    assert_eq!(record.header("ce_type")?, contract().event_type);
    assert_eq!(
        record.header("ce_source")?,
        world.handler.source.to_string()
    );
    assert_eq!(record.header("ce_dataschema")?, contract().dataschema());
    assert_eq!(record.sequence()?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_event_holds_up_its_key_and_no_other() -> Result<()> {
    let world = World::new().await?;
    let relay = world.own_relay();
    let mut large = number("large", 1);
    large.payload = Payload::Raw {
        event_type: "raw".to_owned(),
        headers: Vec::new(),
        value: vec![0; 1_500_000],
    };
    world
        .say(vec![large, number("large", 2), number("other", 1)])
        .await?;
    let parked = "SELECT count(*) FROM outbox_events WHERE parked";
    world.counts("a parked event", parked, 1).await;
    world
        .say(vec![number("other", 2), number("large", 3)])
        .await?;
    let sent = "SELECT count(*) FROM outbox_sent";
    world.counts("the other key to go on", sent, 2).await;
    assert_eq!(world.count("SELECT count(*) FROM outbox_events").await?, 3);
    let read = read_topic(&world.cluster, TOPIC).await?;
    assert!(read.iter().all(|record| record.key == b"other"));

    // a person decides to skip it
    world
        .pool
        .execute("DELETE FROM outbox_events WHERE parked")
        .await?;
    world.drained().await;
    let read = read_topic(&world.cluster, TOPIC).await?;
    let large: Vec<i64> = read
        .iter()
        .filter(|record| record.key == b"large")
        .map(Read::sequence)
        .collect::<Result<_>>()?;
    assert_eq!(large, [2, 3]);
    relay.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_goes_on_without_the_registry() -> Result<()> {
    let world = World::new().await?;
    // a process that starts while the registry is away
    let away = Registry::new("http://127.0.0.1:9", world.pool.clone())?;
    away.load().await?;
    let relay = world.relay_with(away, Arc::clone(&world.handler.wake));
    world.say(vec![number("a", 1)]).await?;
    world.drained().await;
    relay.stop().await?;
    assert_eq!(read_topic(&world.cluster, TOPIC).await?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_registration_is_awaited() -> Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    drop(listener);
    let real = support::registry_url()?;
    let (_, rest) = real.split_once("://").context("a URL")?;
    let (host, path) = rest.split_once('/').context("a path")?;
    let world = World::with_registry(&format!("http://127.0.0.1:{port}/{path}")).await?;
    let stop = CancellationToken::new();
    let keeping = tokio::spawn({
        let (registry, stop) = (world.registry.clone(), stop.clone());
        async move { registry.keep(&[contract()], &stop).await }
    });
    let relay = world.own_relay();
    world.say(vec![number("a", 1)]).await?;
    ensure!(world.registry.register(&[contract()]).await.is_err());
    assert_eq!(world.registry.id(&contract().dataschema()), None);
    assert!(read_topic(&world.cluster, TOPIC).await?.is_empty());

    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let host = host.to_owned();
    let forwarding = tokio::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await?;
            let mut far = tokio::net::TcpStream::connect(&host).await?;
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
        #[expect(unreachable_code, reason = "names the error type")]
        anyhow::Ok(())
    });
    world.drained().await;
    let id = world.registry.id_of(&contract().dataschema()).await;
    let read = read_topic(&world.cluster, TOPIC).await?;
    assert_eq!(codec::unframe(&read[0].value)?.0, id);
    stop.cancel();
    keeping.await?;
    forwarding.abort();
    relay.stop().await?;
    Ok(())
}

/// librdkafka's own default partitioner puts keys elsewhere than Java's clients do.
#[tokio::test(flavor = "multi_thread")]
async fn keys_go_where_javas_clients_put_them() -> Result<()> {
    // org.apache.kafka.common.utils.UtilsTest, testMurmur2
    let vectors: [(&str, i32); 6] = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        (
            "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
            -58_897_971,
        ),
        ("abc", 479_470_107),
    ];
    let world = World::new().await?;
    let relay = world.own_relay();
    world
        .say(vectors.iter().map(|(key, _)| number(key, 1)).collect())
        .await?;
    world.drained().await;
    relay.stop().await?;
    let read = read_topic(&world.cluster, TOPIC).await?;
    for (key, hash) in vectors {
        let record = read
            .iter()
            .find(|record| record.key == key.as_bytes())
            .context("sent")?;
        assert_eq!(record.partition, (hash & 0x7fff_ffff) % 6, "{key}");
    }
    Ok(())
}
