//! A body of Alertmanager's, to the events that ingest makes of it.

use bytes::Bytes;
use chrono::{DateTime, TimeDelta};
use ingest::domain::{Journal, Notification, Policy, Series, Webhook, decide};
use shared_events::{AlertEvent, TopicEvent as _, codec};

/// Every alert is taken or rejected, a reject can be stored, and every event can be read again.
pub(crate) fn webhook(bytes: &[u8]) {
    let policy = Policy {
        reopen_after: TimeDelta::minutes(6),
        stale_after: TimeDelta::hours(12),
    };
    let at = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
    let Ok(webhook) = Webhook::parse("am", &Bytes::copy_from_slice(bytes)) else {
        return;
    };
    let mut journal = Journal::default();
    for alert in webhook.alerts {
        let notice = match alert {
            Ok(notice) => notice,
            Err(reject) => {
                assert!(!reject.detail.contains('\0'), "Postgres takes no NUL");
                continue;
            }
        };
        let series = Series::new(notice.alert_id, at);
        let notification = Notification {
            at,
            news: notice.news,
            about: &notice.about,
            receipt_id: None,
        };
        journal.record(decide(&policy, &series, &notification).events);
    }
    for event in journal.events() {
        let datum = event.encode().expect("what is decided can be said");
        let contract = codec::contract(event.event_type()).expect("every event has one");
        let writer = codec::writer(&contract.dataschema()).expect("it is compiled in");
        let read = AlertEvent::decode(event.event_type(), &writer, &datum);
        assert_eq!(read.ok().flatten().as_ref(), Some(event));
    }
}
