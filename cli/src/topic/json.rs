//! Avro values as JSON that people read: times as RFC 3339, bytes as hexadecimal digits.

use apache_avro::types::Value as Avro;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value};

/// `value` as JSON.
pub(super) fn json(value: Avro) -> Value {
    match value {
        Avro::Null => Value::Null,
        Avro::Boolean(value) => value.into(),
        Avro::Int(value) | Avro::Date(value) | Avro::TimeMillis(value) => value.into(),
        Avro::Long(value)
        | Avro::TimeMicros(value)
        | Avro::LocalTimestampMillis(value)
        | Avro::LocalTimestampMicros(value)
        | Avro::LocalTimestampNanos(value) => value.into(),
        Avro::Float(value) => value.into(),
        Avro::Double(value) => value.into(),
        Avro::Bytes(bytes) | Avro::Fixed(_, bytes) => super::decode::hex(&bytes).into(),
        Avro::String(text) | Avro::Enum(_, text) => text.into(),
        Avro::Uuid(id) => id.to_string().into(),
        Avro::Union(_, value) => json(*value),
        Avro::Array(items) => items.into_iter().map(json).collect(),
        Avro::Map(fields) => fields
            .into_iter()
            .map(|(name, value)| (name, json(value)))
            .collect::<std::collections::BTreeMap<_, _>>()
            .into_iter()
            .collect::<Map<_, _>>()
            .into(),
        Avro::Record(fields) => fields
            .into_iter()
            .map(|(name, value)| (name, json(value)))
            .collect::<Map<_, _>>()
            .into(),
        Avro::TimestampMillis(at) => time(DateTime::from_timestamp_millis(at), at),
        Avro::TimestampMicros(at) => time(DateTime::from_timestamp_micros(at), at),
        Avro::TimestampNanos(at) => time(Some(DateTime::from_timestamp_nanos(at)), at),
        // none of our schemas has these
        other @ (Avro::Decimal(_) | Avro::BigDecimal(_) | Avro::Duration(_)) => {
            format!("{other:?}").into()
        }
    }
}

fn time(at: Option<DateTime<Utc>>, raw: i64) -> Value {
    match at {
        Some(at) => at.to_rfc3339_opts(SecondsFormat::Micros, true).into(),
        None => raw.into(),
    }
}
