//! From the client's message to an item of our own.

use rdkafka::{
    Message,
    message::{BorrowedMessage, Headers},
};

use super::lane::Item;
use crate::dlq::Raw;

const TYPE: &str = "ce_type";

/// Copies a message of a wanted type; of others only the offset.
pub(super) fn item(message: &BorrowedMessage<'_>, types: &[&str]) -> Item {
    if is_wanted(message, types) {
        Item::Record(raw(message))
    } else {
        Item::Skipped(message.offset())
    }
}

/// A record without a type is not skipped but opened: it is poison, and people must see it.
fn is_wanted(message: &BorrowedMessage<'_>, types: &[&str]) -> bool {
    let Some(headers) = message.headers() else {
        return true;
    };
    let found = headers.iter().find(|header| header.key == TYPE);
    match found.and_then(|header| header.value) {
        Some(found) => types.iter().any(|wanted| wanted.as_bytes() == found),
        None => true,
    }
}

pub(super) fn raw(message: &BorrowedMessage<'_>) -> Raw {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers
            .iter()
            .map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec()))
            .collect()
    });
    Raw {
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis(),
        key: message.key().unwrap_or_default().to_vec(),
        headers,
        value: message.payload().unwrap_or_default().to_vec(),
    }
}
