//! Partitions that move between the instances of a consumer, on real Kafka and Postgres.

mod support;

use anyhow::Result;
use service_kit::testing::wait_for;
use sqlx::Executor;
use support::{
    DISTINCT, EFFECTS, RunningConsumer, Sent, TOPIC, World, effects, numbers, sent, total,
};

/// Instances come, go and die while records flow: each effect once, each key in order.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_move_between_instances() -> Result<()> {
    let world = World::new().await?;
    let steady = world.consumer()?;
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let producing = async {
        for round in 0..60 {
            let batch: Vec<Sent> = keys
                .iter()
                .flat_map(|key| numbers(key, round * 20..(round + 1) * 20))
                .collect();
            world.produce(&batch).await?;
        }
        anyhow::Ok(())
    };
    let churn = async {
        for round in 0..4 {
            let other = world.consumer()?;
            wait_for("the other to take part", async || {
                (total(&other.seen.metrics.records) > 0).then_some(())
            })
            .await;
            if round % 2 == 0 {
                other.stop().await?;
            } else {
                other.kill().await;
            }
        }
        anyhow::Ok(())
    };
    tokio::try_join!(producing, async {
        // the topic must not run dry while instances come and go
        tokio::select! {
            outcome = churn => outcome,
            outcome = endless(&world) => outcome,
        }
    })?;
    world
        .counts(
            "every effect",
            "SELECT count(*) FROM effects WHERE key <> 'endless'",
            60 * 20 * 8,
        )
        .await;
    steady.seen.watermarks.caught_up(&[TOPIC]).await?;
    assert_eq!(world.count(DISTINCT).await?, world.count(EFFECTS).await?);
    for key in keys {
        assert_eq!(
            effects(&world, key).await?,
            (0..1200).collect::<Vec<_>>(),
            "{key}"
        );
    }
    steady.stop().await
}

/// An instance keeps some of its partitions when another one comes: those that were paused for full
/// queues go on, too.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_paused_goes_on_after_a_rebalance() -> Result<()> {
    let world = World::new().await?;
    let mut records = Vec::new();
    for n in 0..12_000 {
        let mut record = sent("spread", n);
        record.key = format!("spread{n}").into_bytes();
        records.push(record);
    }
    world.produce(&records).await?;
    let mut holder = world.pool.begin().await?;
    holder.execute("LOCK TABLE effects").await?;
    let first = world.consumer()?;
    let holds = async |consumer: &RunningConsumer, what: &str| {
        wait_for(what, async || {
            let checks = consumer.seen.health.check().await;
            let mut consuming = checks.iter().filter(|check| check.name == "consumer");
            consuming
                .any(|check| check.detail.starts_with(what))
                .then_some(())
                .ok_or(checks)
        })
        .await;
    };
    // by the time that it is measured the queues are full
    holds(&first, "6 partitions, lag 12000").await;
    let second = world.consumer()?;
    holds(&second, "3 partitions").await;
    wait_for("new partitions of the first", async || {
        // assigned, revoked, assigned
        let rebalances = first.seen.metrics.rebalances.get();
        if rebalances == 3 {
            Ok(())
        } else {
            Err(rebalances)
        }
    })
    .await;
    holder.rollback().await?;
    world.counts("every effect", EFFECTS, 12_000).await;
    assert_eq!(world.count(DISTINCT).await?, 12_000);
    first.stop().await?;
    second.stop().await
}

async fn endless(world: &World) -> Result<()> {
    for round in 0.. {
        let spread: Vec<Sent> = (0..24)
            .map(|n| {
                let mut record = sent("endless", round * 24 + n);
                record.key = format!("endless{n}").into_bytes();
                record
            })
            .collect();
        world.produce(&spread).await?;
    }
    Ok(())
}
