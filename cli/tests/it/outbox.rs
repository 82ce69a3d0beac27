//! `outbox`: what waits in front of Kafka, and what people do about it.

use crate::incidents::Store;

/// An event as a relay leaves it that gave it up, and one behind it.
async fn park(store: &Store) {
    sqlx::query(
        "INSERT INTO outbox_events (event_id, topic, key, key_seq, shard, event_type, headers,
                                    payload, attempts, parked, last_error)
         SELECT ('0000000' || n || '-0000-4000-8000-000000000000')::uuid, 'incident.status', 'k',
                n, 0, 'incident.status', '', repeat('x', 10 * n::int)::bytea,
                CASE n WHEN 1 THEN 3 ELSE 0 END, n = 1,
                CASE n WHEN 1 THEN 'Message size too large' END
         FROM generate_series(1, 2) AS n",
    )
    .execute(&store.handler.pool)
    .await
    .expect("two rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_event_is_shown_retried_and_skipped() {
    let store = Store::start().await;
    let here = ["outbox", "list", "--service", "incident-store"];
    assert!(store.cli.run(&here).await.ok().contains("nothing is held"));
    park(&store).await;
    let table = store.cli.run(&here).await.ok();
    let line = table.lines().nth(1).expect("one event");
    for words in [
        "00000001-",
        "incident.status",
        "yes",
        "Message size too large",
    ] {
        assert!(line.contains(words), "{words} is not in\n{table}");
    }
    assert_eq!(
        table.lines().count(),
        2,
        "the one behind it is not held: {table}"
    );
    let all = [
        "outbox",
        "list",
        "--all",
        "--service",
        "incident-store",
        "-o",
        "json",
    ];
    let all = store.cli.run(&all).await.json();
    assert_eq!(
        (&all[0]["behind"], &all[1]["parked"]),
        (&1.into(), &false.into())
    );
    // the other services are away: what this one has is shown all the same
    let everywhere = store.cli.run(&["outbox", "list"]).await;
    assert_eq!(everywhere.code, Some(5), "{everywhere:?}");
    assert!(everywhere.out.contains("00000001-"), "{everywhere:?}");

    let no_reason = store.cli.run(&["outbox", "skip", "000000"]).await;
    assert_eq!(no_reason.code, Some(2), "{no_reason:?}");
    let skip = [
        "outbox",
        "skip",
        "00000001",
        "--reason",
        "nobody needs it",
        "--actor",
        "ana",
    ];
    let skipped = store.cli.run(&skip).await;
    assert!(skipped.out.contains("skipped"), "{skipped:?}");
    assert_eq!(skipped.code, Some(0), "{skipped:?}");
    let again = store.cli.run(&skip).await;
    assert_eq!(
        again.code,
        Some(5),
        "it may wait in a service that is away: {again:?}"
    );
    let log = store.cli.run(&["outbox", "log", "-o", "json"]).await.json();
    assert_eq!(
        (&log[0]["verb"], &log[0]["actor"], &log[0]["reason"]),
        (&"skip".into(), &"ana".into(), &"nobody needs it".into())
    );

    sqlx::query("UPDATE outbox_events SET parked = true, attempts = 3")
        .execute(&store.handler.pool)
        .await
        .expect("the other one");
    let retry = [
        "outbox",
        "retry",
        "--all",
        "--reason",
        "larger records are taken",
    ];
    let retried = store.cli.run(&retry).await;
    assert!(retried.out.contains("tried again"), "{retried:?}");
    let parked: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox_events WHERE parked")
        .fetch_one(&store.handler.pool)
        .await
        .expect("a count");
    assert_eq!(parked, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn resend_says_how_much_it_sends() {
    let store = Store::start().await;
    sqlx::query(
        "INSERT INTO outbox_sent (event_id, topic, key, key_seq, event_type, headers, payload,
                                  created_at, partition, kafka_offset)
         SELECT gen_random_uuid(), 'incident.status', n::text::bytea, 1, 'incident.status', '', '',
                clock_timestamp(), 0, n
         FROM generate_series(1, 1200) AS n",
    )
    .execute(&store.handler.pool)
    .await
    .expect("sent events");
    let of = |more: &[&'static str]| {
        let always = [
            "outbox",
            "resend",
            "--service",
            "incident-store",
            "--since",
            "1h",
        ];
        let reason = ["--reason", "the broker lost its disk", "-o", "json"];
        [&always[..], more, &reason].concat()
    };
    let counted = store.cli.run(&of(&["--dry-run"])).await;
    assert_eq!(counted.code, Some(0), "{counted:?}");
    assert_eq!(counted.json()[0]["events"], 1200);
    let sent = store.cli.run(&of(&[])).await;
    assert_eq!(sent.code, Some(0), "{sent:?}");
    assert_eq!(sent.json()[0]["events"], 1200, "in three parts");
    let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox_events")
        .fetch_one(&store.handler.pool)
        .await
        .expect("a count");
    assert_eq!(waiting, 1200);
    let later = [
        "outbox",
        "resend",
        "--since",
        "2100-01-01T00:00:00Z",
        "--reason",
        "x",
    ];
    let later = store
        .cli
        .run(&[&later[..], &["--service", "incident-store"]].concat())
        .await;
    assert_eq!(later.code, Some(1), "{later:?}");
}
