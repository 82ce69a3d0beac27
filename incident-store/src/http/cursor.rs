//! Opaque cursors of pages: where the next one begins, as hexadecimal digits.

use chrono::DateTime;
use uuid::Uuid;

use crate::store::{
    list::{self, Order},
    story,
};

/// First byte: what the cursor goes with, so that one of another list or order is refused.
const NEWEST_FIRST: u8 = 1;
const OLDEST_FIRST: u8 = 2;
const TIMELINE: u8 = 3;

/// A cursor that this service did not give, or gave for another list or order.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("cursor is not one of this list and order: take it from next_cursor, with the same sort")]
pub(crate) struct Error;

const fn tag(order: Order) -> u8 {
    match order {
        Order::NewestFirst => NEWEST_FIRST,
        Order::OldestFirst => OLDEST_FIRST,
    }
}

/// The cursor after an incident.
pub(super) fn incidents(order: Order, after: list::After) -> String {
    let mut bytes = vec![tag(order)];
    bytes.extend(after.opened_at.timestamp_micros().to_be_bytes());
    bytes.extend(after.incident_id.as_bytes());
    hex::encode(bytes)
}

/// Reads what [`incidents`] wrote.
pub(super) fn read_incidents(order: Order, text: &str) -> Result<list::After, Error> {
    let mut reader = Reader::new(text, tag(order))?;
    let after = list::After {
        opened_at: reader.time()?,
        incident_id: reader.uuid()?,
    };
    reader.end(after)
}

/// The cursor after a line of a timeline.
pub(super) fn timeline(after: story::After) -> String {
    let mut bytes = vec![TIMELINE];
    bytes.extend(after.at.timestamp_micros().to_be_bytes());
    bytes.extend(after.place.to_be_bytes());
    bytes.extend(after.event_id.as_bytes());
    hex::encode(bytes)
}

/// Reads what [`timeline`] wrote.
pub(super) fn read_timeline(text: &str) -> Result<story::After, Error> {
    let mut reader = Reader::new(text, TIMELINE)?;
    let after = story::After {
        at: reader.time()?,
        place: reader.number()?,
        event_id: reader.uuid()?,
    };
    reader.end(after)
}

struct Reader {
    bytes: Vec<u8>,
    at: usize,
}

impl Reader {
    fn new(text: &str, tag: u8) -> Result<Self, Error> {
        let bytes = hex::decode(text).map_err(|_| Error)?;
        if bytes.first() == Some(&tag) {
            Ok(Self { bytes, at: 1 })
        } else {
            Err(Error)
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = *rest.first_chunk::<N>().ok_or(Error)?;
        self.at += N;
        Ok(taken)
    }

    fn number(&mut self) -> Result<i64, Error> {
        self.take().map(i64::from_be_bytes)
    }

    fn time(&mut self) -> Result<shared_events::Timestamp, Error> {
        DateTime::from_timestamp_micros(self.number()?).ok_or(Error)
    }

    fn uuid(&mut self) -> Result<Uuid, Error> {
        self.take().map(Uuid::from_bytes)
    }

    fn end<T>(&self, value: T) -> Result<T, Error> {
        if self.at == self.bytes.len() {
            Ok(value)
        } else {
            Err(Error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back() {
        let at = DateTime::from_timestamp_micros(1_795_230_872_123_456).expect("in range");
        let (id, place) = (Uuid::from_u128(7), -1);
        let here = list::After {
            opened_at: at,
            incident_id: id,
        };
        let text = incidents(Order::NewestFirst, here);
        assert_eq!(read_incidents(Order::NewestFirst, &text), Ok(here));
        assert_eq!(read_incidents(Order::OldestFirst, &text), Err(Error));
        assert_eq!(read_timeline(&text), Err(Error));
        let line = story::After {
            at,
            place,
            event_id: id,
        };
        assert_eq!(read_timeline(&timeline(line)), Ok(line));
        for wrong in ["", "zz", "01", &text[..40], &format!("{text}00")] {
            assert_eq!(read_incidents(Order::NewestFirst, wrong), Err(Error));
        }
    }
}
