//! Query parameters and cursors of the lists. A name that is not known is an error: a typo must not
//! widen what a person or a script asks for.

use chrono::DateTime;
use service_kit::Problem;
use shared_events::matcher::Matcher;
use uuid::Uuid;

use crate::store::{AlertFilter, Place};

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 500;

/// Parameters of a list, in whatever order they came.
#[derive(Debug, Default)]
pub(super) struct ListQuery {
    pub(super) filter: AlertFilter,
    pub(super) receipt_id: Option<Uuid>,
    pub(super) cursor: Option<String>,
    limit: Option<usize>,
}

impl ListQuery {
    /// Reads `pairs`; only names in `known` are taken.
    pub(super) fn read(pairs: Vec<(String, String)>, known: &[&str]) -> Result<Self, Problem> {
        let mut query = Self::default();
        for (name, value) in pairs {
            if !known.contains(&name.as_str()) {
                let known = known.join(", ");
                let detail = format!("there is no parameter {name:?}; known are {known}");
                return Err(Problem::bad_request(detail));
            }
            query.take(&name, value)?;
        }
        Ok(query)
    }

    fn take(&mut self, name: &str, value: String) -> Result<(), Problem> {
        let bad = |why: String| Problem::bad_request(format!("{name}: {why}"));
        match name {
            "status" => match value.as_str() {
                "firing" | "resolved" => self.filter.status = Some(value),
                other => return Err(bad(format!("{other:?} is neither firing nor resolved"))),
            },
            "service" => self.filter.service = Some(value),
            "source" => self.filter.source = Some(value),
            "matcher" => {
                let matchers = Matcher::parse_list(&value).map_err(|why| bad(why.to_string()))?;
                self.filter.matchers.extend(matchers);
            }
            "receipt_id" => {
                let id = value
                    .parse()
                    .map_err(|_| bad(format!("{value:?} is no UUID")))?;
                self.receipt_id = Some(id);
            }
            "limit" => {
                let limit: usize = value.parse().unwrap_or(0);
                if !(1..=MAX_LIMIT).contains(&limit) {
                    return Err(bad(format!("{value:?} is not within 1 to {MAX_LIMIT}")));
                }
                self.limit = Some(limit);
            }
            _ => self.cursor = Some(value),
        }
        Ok(())
    }

    pub(super) fn limit(&self) -> usize {
        self.limit.unwrap_or(DEFAULT_LIMIT)
    }

    /// The place that the cursor names, in list `list`.
    pub(super) fn place(&self, list: List) -> Result<Option<Place>, Problem> {
        self.cursor
            .as_deref()
            .map(|text| read_place(list, text).ok_or_else(foreign))
            .transpose()
    }

    /// The number that the cursor names.
    pub(super) fn number(&self) -> Result<Option<i64>, Problem> {
        let read = |text: &str| {
            let bytes = hex::decode(text).ok()?;
            let bytes: [u8; 9] = bytes.try_into().ok()?;
            let (list, number) = bytes.split_first_chunk::<1>()?;
            let number = number.first_chunk::<8>()?;
            (list[0] == List::Rejects as u8).then(|| i64::from_be_bytes(*number))
        };
        self.cursor
            .as_deref()
            .map(|text| read(text).ok_or_else(foreign))
            .transpose()
    }
}

/// First byte of a cursor, so that one of another list is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Alerts = 1,
    Receipts = 2,
    Rejects = 3,
}

fn foreign() -> Problem {
    Problem::bad_request("cursor: not one of this list: take it from next_cursor")
}

/// The cursor after `place`.
pub(super) fn cursor(list: List, (at, id): Place) -> String {
    let mut bytes = vec![list as u8];
    bytes.extend(at.timestamp_micros().to_be_bytes());
    bytes.extend(id.as_bytes());
    hex::encode(bytes)
}

/// The cursor after the rejected alert `id`.
pub(super) fn reject_cursor(id: i64) -> String {
    let mut bytes = vec![List::Rejects as u8];
    bytes.extend(id.to_be_bytes());
    hex::encode(bytes)
}

fn read_place(list: List, text: &str) -> Option<Place> {
    let bytes: [u8; 25] = hex::decode(text).ok()?.try_into().ok()?;
    let (tag, rest) = bytes.split_first_chunk::<1>()?;
    let (micros, id) = rest.split_first_chunk::<8>()?;
    let at = DateTime::from_timestamp_micros(i64::from_be_bytes(*micros))?;
    (tag[0] == list as u8).then_some((at, Uuid::from_slice(id).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_cursor(text: &str) -> ListQuery {
        let pairs = vec![("cursor".to_owned(), text.to_owned())];
        ListQuery::read(pairs, &["cursor"]).expect("a query")
    }

    #[test]
    fn cursors_come_back_to_their_list_only() {
        let at = DateTime::from_timestamp_micros(1_795_230_872_123_456).expect("in range");
        let place = (at, Uuid::from_u128(7));
        let text = cursor(List::Alerts, place);
        assert_eq!(with_cursor(&text).place(List::Alerts), Ok(Some(place)));
        assert!(with_cursor(&text).place(List::Receipts).is_err());
        assert!(with_cursor(&text).number().is_err());
        let text = reject_cursor(9);
        assert_eq!(with_cursor(&text).number(), Ok(Some(9)));
        for wrong in ["", "zz", "01", &text[..10]] {
            assert!(with_cursor(wrong).number().is_err(), "{wrong}");
            assert!(with_cursor(wrong).place(List::Alerts).is_err(), "{wrong}");
        }
    }

    #[test]
    fn parameters_are_checked() {
        let known = ["status", "limit", "matcher", "cursor", "receipt_id"];
        let refused = [
            ("satus", "firing"),
            ("status", "on fire"),
            ("limit", "0"),
            ("limit", "501"),
            ("limit", "x"),
            ("matcher", "a=~\"(\""),
            ("receipt_id", "7"),
        ];
        for (name, value) in refused {
            let pairs = vec![(name.to_owned(), value.to_owned())];
            let problem = ListQuery::read(pairs, &known).expect_err(name);
            assert_eq!(problem.status, 400);
            assert!(problem.detail.expect("why").contains(name));
        }
    }
}
