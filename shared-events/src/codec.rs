//! Avro: the compiled-in schemas, datums, and the Confluent wire format.
//!
//! The writer's schema of a record is named in its header `ce_dataschema` as
//! `<record name>/<fingerprint>`; a fingerprint among the compiled-in schemas (current and
//! historic) needs no registry to decode.

use std::{collections::HashMap, sync::LazyLock};

use apache_avro::{
    Schema, rabin::Rabin, reader::datum::GenericDatumReader, writer::datum::GenericDatumWriter,
};
use serde::{Serialize, de::DeserializeOwned};

/// First byte of the Confluent wire format; four bytes of schema id follow, big-endian.
const MAGIC: u8 = 0;

/// What can be wrong with bytes or values.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no schema is compiled in for event type {0:?}")]
    UnknownType(String),
    #[error("a {event_type} does not fit its schema")]
    Encode {
        event_type: &'static str,
        #[source]
        source: Box<apache_avro::Error>,
    },
    #[error("not a {event_type} under the schema it was written with")]
    Decode {
        event_type: &'static str,
        #[source]
        source: Box<apache_avro::Error>,
    },
    #[error("not in Confluent wire format: {0}")]
    Frame(&'static str),
    #[error("{0} bytes follow the datum")]
    TrailingBytes(usize),
    #[error("the writer's schema is not Avro")]
    Schema(#[source] Box<apache_avro::Error>),
}

/// The schema of one event type, as in `schemas/`.
#[derive(Debug)]
pub struct Contract {
    /// `ce_type`
    pub event_type: &'static str,
    /// Text of the `.avsc` file.
    pub text: &'static str,
    /// `text`, parsed.
    pub schema: Schema,
    /// Full name of the record: the registry's subject.
    pub record: String,
    /// Rabin fingerprint of the canonical form, hexadecimal.
    pub fingerprint: String,
}

/// A schema that somebody wrote with: one of ours, or one fetched from the registry.
#[derive(Clone, Debug)]
pub struct Writer(WriterSchema);

#[derive(Clone, Debug)]
enum WriterSchema {
    Current,
    Other(std::sync::Arc<Schema>),
}

macro_rules! contracts {
    ($($event_type:literal => $file:literal),+ $(,)?) => {
        static CONTRACTS: LazyLock<Vec<Contract>> = LazyLock::new(|| {
            vec![$(Contract::compiled_in($event_type, include_str!(concat!("../../schemas/", $file)))),+]
        });
    };
}
contracts! {
    "alert.raised" => "alert/AlertRaised.avsc",
    "alert.resolved" => "alert/AlertResolved.avsc",
    "incident.opened" => "incident/IncidentOpened.avsc",
    "incident.updated" => "incident/IncidentUpdated.avsc",
    "incident.resolved" => "incident/IncidentResolved.avsc",
    "incident.failed" => "incident/IncidentFailed.avsc",
    "incident.status" => "incident/IncidentStatus.avsc",
    "action.requested" => "action/ActionRequested.avsc",
    "action.completed" => "action/ActionCompleted.avsc",
    "action.failed" => "action/ActionFailed.avsc",
    "target.paused" => "action/TargetPaused.avsc",
    "target.resumed" => "action/TargetResumed.avsc",
    "rule.changed" => "rule/RuleChanged.avsc",
}

/// Earlier versions whose canonical form differs from the current one: old bytes are decoded for
/// ever. Append only.
const HISTORY: &[(&str, &str)] = &[];

static WRITERS: LazyLock<HashMap<String, Writer>> = LazyLock::new(|| {
    let current = CONTRACTS
        .iter()
        .map(|contract| (contract.dataschema(), Writer(WriterSchema::Current)));
    let historic = HISTORY.iter().map(|&(event_type, text)| {
        let old = Contract::compiled_in(event_type, text);
        let name = old.dataschema();
        (name, Writer(WriterSchema::Other(old.schema.into())))
    });
    historic.chain(current).collect()
});

impl Contract {
    fn compiled_in(event_type: &'static str, text: &'static str) -> Self {
        let schema = Schema::parse_str(text).expect("schemas/ holds Avro: a test reads each file");
        let record = schema
            .name()
            .expect("every file of schemas/ is a record")
            .to_string();
        let fingerprint = hex::encode(schema.fingerprint::<Rabin>().bytes);
        Self {
            event_type,
            text,
            schema,
            record,
            fingerprint,
        }
    }

    /// Value of the header `ce_dataschema`.
    #[must_use]
    pub fn dataschema(&self) -> String {
        format!("{}/{}", self.record, self.fingerprint)
    }
}

impl Writer {
    /// A schema that is not compiled in, as the registry gave it.
    ///
    /// # Errors
    /// When `text` is not an Avro schema.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let schema = Schema::parse_str(text).map_err(|source| Error::Schema(Box::new(source)))?;
        Ok(Self(WriterSchema::Other(schema.into())))
    }
}

/// Every current schema.
#[must_use]
pub fn contracts() -> &'static [Contract] {
    &CONTRACTS
}

/// The current schema of an event type.
#[must_use]
pub fn contract(event_type: &str) -> Option<&'static Contract> {
    CONTRACTS
        .iter()
        .find(|contract| contract.event_type == event_type)
}

/// The compiled-in schema that a header `ce_dataschema` names.
#[must_use]
pub fn writer(dataschema: &str) -> Option<Writer> {
    WRITERS.get(dataschema).cloned()
}

/// Datum of `event` under the current schema of `event_type`.
///
/// # Errors
/// When the value does not fit the schema.
pub fn encode<T: Serialize>(event_type: &'static str, event: &T) -> Result<Vec<u8>, Error> {
    let contract = contract(event_type).ok_or_else(|| Error::UnknownType(event_type.to_owned()))?;
    let fail = |source| Error::Encode {
        event_type,
        source: Box::new(source),
    };
    GenericDatumWriter::builder(&contract.schema)
        .human_readable(true)
        .build()
        .and_then(|writer| writer.write_ser_to_vec(event))
        .map_err(fail)
}

/// The event that `datum`, written under `writer`, is for a reader of the current schema.
///
/// # Errors
/// When the bytes are no datum of `writer`, some are left over, or the fields do not fit.
pub fn decode<T: DeserializeOwned>(
    event_type: &'static str,
    writer: &Writer,
    datum: &[u8],
) -> Result<T, Error> {
    let contract = contract(event_type).ok_or_else(|| Error::UnknownType(event_type.to_owned()))?;
    let fail = |source| Error::Decode {
        event_type,
        source: Box::new(source),
    };
    let mut rest = datum;
    // The direct path of the Avro library does not resolve schemas: what another version wrote is
    // first rewritten under the current one.
    let rewritten;
    if let WriterSchema::Other(written) = &writer.0 {
        rewritten = GenericDatumReader::builder(written)
            .reader_schema(&contract.schema)
            .build()
            .and_then(|reader| reader.read_value(&mut rest))
            .and_then(|value| {
                GenericDatumWriter::builder(&contract.schema)
                    .build()?
                    .write_value_to_vec(value)
            })
            .map_err(fail)?;
        if !rest.is_empty() {
            return Err(Error::TrailingBytes(rest.len()));
        }
        rest = &rewritten;
    }
    let event = GenericDatumReader::builder(&contract.schema)
        .human_readable(true)
        .build()
        .and_then(|reader| reader.read_deser(&mut rest))
        .map_err(fail)?;
    if rest.is_empty() {
        Ok(event)
    } else {
        Err(Error::TrailingBytes(rest.len()))
    }
}

/// `datum` in Confluent wire format.
#[must_use]
pub fn frame(schema_id: u32, datum: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(datum.len() + 5);
    bytes.push(MAGIC);
    bytes.extend_from_slice(&schema_id.to_be_bytes());
    bytes.extend_from_slice(datum);
    bytes
}

/// Schema id and datum of a value in Confluent wire format.
///
/// # Errors
/// When it is shorter than five bytes or begins with another byte than zero.
pub fn unframe(value: &[u8]) -> Result<(u32, &[u8]), Error> {
    match value {
        [MAGIC, a, b, c, d, datum @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), datum)),
        [MAGIC, ..] | [] => Err(Error::Frame("shorter than five bytes")),
        [_, ..] => Err(Error::Frame("first byte is not zero")),
    }
}
