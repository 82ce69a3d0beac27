//! What was ever written stays readable, and a change of a schema is compatible both ways.
//!
//! `schemas/golden/<record>.<fingerprint>.hex` holds bytes of each schema version that was ever
//! current. Append only: to accept a new version, run with `UPDATE_GOLDEN=1` and commit the file.

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use apache_avro::schema_compatibility::SchemaCompatibility;
use serde_json::Value;
use shared_events::{
    ActionEvent, AlertEvent, IncidentEvent, RuleEvent, Topic, TopicEvent,
    codec::{self, Contract},
    incident::IncidentStatusEvent,
};

mod samples;

fn golden_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../schemas/golden")
}

fn golden_file(contract: &Contract) -> PathBuf {
    golden_dir().join(format!("{}.{}.hex", contract.record, contract.fingerprint))
}

/// Each sample as (type, datum, decoded back).
fn encoded() -> Result<Vec<(&'static str, Vec<u8>)>> {
    fn all<E: TopicEvent>(events: Vec<E>) -> Result<Vec<(&'static str, Vec<u8>)>> {
        events
            .iter()
            .map(|event| Ok((event.event_type(), event.encode()?)))
            .collect()
    }
    let mut rows = all(samples::alerts())?;
    rows.extend(all(samples::incidents())?);
    rows.extend(all(samples::actions())?);
    rows.extend(all(samples::statuses())?);
    rows.extend(all(samples::rules())?);
    Ok(rows)
}

#[test]
fn every_event_survives_its_schema() -> Result<()> {
    fn all<E: TopicEvent + PartialEq + std::fmt::Debug>(events: Vec<E>) -> Result<()> {
        for event in events {
            let contract = codec::contract(event.event_type()).context("no contract")?;
            let writer = codec::writer(&contract.dataschema()).context("no writer")?;
            let datum = event.encode()?;
            let back = E::decode(event.event_type(), &writer, &datum)?.context("not listed")?;
            assert_eq!(back, event);
            assert_eq!(back.event_id(), event.event_id());
        }
        Ok(())
    }
    all(samples::alerts())?;
    all(samples::incidents())?;
    all(samples::actions())?;
    all(samples::statuses())?;
    all(samples::rules())
}

/// A fetched writer schema goes through Avro's resolution; the result is the same.
#[test]
fn a_foreign_writer_schema_reads_the_same() -> Result<()> {
    for event in samples::alerts() {
        let contract = codec::contract(event.event_type()).context("no contract")?;
        let writer = codec::Writer::parse(contract.text)?;
        let back = AlertEvent::decode(event.event_type(), &writer, &event.encode()?)?;
        assert_eq!(back, Some(event));
    }
    Ok(())
}

#[test]
fn every_type_has_a_contract_and_a_sample() -> Result<()> {
    let listed: BTreeSet<&str> = [
        AlertEvent::TYPES,
        IncidentEvent::TYPES,
        ActionEvent::TYPES,
        IncidentStatusEvent::TYPES,
        RuleEvent::TYPES,
    ]
    .concat()
    .into_iter()
    .collect();
    let contracts: BTreeSet<&str> = codec::contracts().iter().map(|c| c.event_type).collect();
    let sampled: BTreeSet<&str> = encoded()?.into_iter().map(|(name, _)| name).collect();
    assert_eq!(listed, contracts);
    assert_eq!(listed, sampled);
    for topic in Topic::ALL {
        assert_eq!(Topic::by_name(topic.name()), Some(topic));
    }
    Ok(())
}

#[test]
fn every_version_ever_written_still_decodes() -> Result<()> {
    for (event_type, datum) in encoded()? {
        let contract = codec::contract(event_type).context("no contract")?;
        let file = golden_file(contract);
        if std::env::var_os("UPDATE_GOLDEN").is_some() && !file.exists() {
            fs::create_dir_all(golden_dir())?;
            fs::write(&file, format!("{event_type} {}\n", hex::encode(&datum)))?;
        }
        ensure!(
            file.exists(),
            "{} has no golden bytes. If its schema changed on purpose: move the old text to \
             codec::HISTORY and run with UPDATE_GOLDEN=1",
            contract.record
        );
    }
    for entry in fs::read_dir(golden_dir())? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        let (event_type, bytes) = text.trim().split_once(' ').context("type and bytes")?;
        let stem = path.file_stem().and_then(|s| s.to_str()).context("name")?;
        let (record, fingerprint) = stem.rsplit_once('.').context("record.fingerprint")?;
        let writer = codec::writer(&format!("{record}/{fingerprint}"))
            .with_context(|| format!("{record}/{fingerprint} is neither current nor in HISTORY"))?;
        let datum = hex::decode(bytes)?;
        let known = AlertEvent::decode(event_type, &writer, &datum)?.is_some()
            || IncidentEvent::decode(event_type, &writer, &datum)?.is_some()
            || ActionEvent::decode(event_type, &writer, &datum)?.is_some()
            || IncidentStatusEvent::decode(event_type, &writer, &datum)?.is_some()
            || RuleEvent::decode(event_type, &writer, &datum)?.is_some();
        ensure!(known, "{event_type} is not listed any more");
    }
    Ok(())
}

/// FULL_TRANSITIVE demands that a field can be added or dropped only if it has a default. The
/// fields without one are frozen here.
#[test]
fn fields_without_a_default_are_for_ever() -> Result<()> {
    let mut frozen = String::new();
    for contract in codec::contracts() {
        let schema: Value = serde_json::from_str(contract.text)?;
        let fields = schema["fields"].as_array().context("fields")?;
        let bare: Vec<&str> = fields
            .iter()
            .filter(|field| field.get("default").is_none())
            .filter_map(|field| field["name"].as_str())
            .collect();
        frozen.push_str(&format!("{}: {}\n", contract.record, bare.join(", ")));
        for field in fields {
            let name = field["name"].as_str().unwrap_or_default();
            ensure!(
                field["doc"].is_string(),
                "{}.{name} has no doc",
                contract.record
            );
        }
        ensure!(
            !contract.text.contains("\"enum\""),
            "{}: no Avro enum, a string with documented values instead",
            contract.record
        );
    }
    insta::assert_snapshot!(frozen);
    Ok(())
}

/// The compatibility check itself works: it accepts a new field with a default and refuses one
/// without, in both directions.
#[test]
fn an_incompatible_change_is_seen() -> Result<()> {
    let contract = codec::contract("alert.resolved").context("no contract")?;
    let changed = |default: bool| -> Result<apache_avro::Schema> {
        let mut schema: Value = serde_json::from_str(contract.text)?;
        let mut field = serde_json::json!({"name": "extra", "type": "string", "doc": "new"});
        if default {
            field["default"] = "".into();
        }
        schema["fields"]
            .as_array_mut()
            .context("fields")?
            .push(field);
        Ok(apache_avro::Schema::parse(&schema)?)
    };
    let both = |schema: &apache_avro::Schema| {
        SchemaCompatibility::can_read(&contract.schema, schema).is_ok()
            && SchemaCompatibility::can_read(schema, &contract.schema).is_ok()
    };
    assert!(both(&changed(true)?));
    assert!(!both(&changed(false)?));
    Ok(())
}

#[test]
fn frames_and_garbage() {
    let framed = codec::frame(7, b"abc");
    assert_eq!(
        codec::unframe(&framed).expect("framed"),
        (7, b"abc".as_slice())
    );
    assert!(codec::unframe(&framed[..4]).is_err());
    assert!(codec::unframe(b"{\"json\": true}").is_err());
    let writer = codec::writer(
        &codec::contract("alert.raised")
            .expect("listed")
            .dataschema(),
    );
    let garbage = AlertEvent::decode("alert.raised", &writer.expect("listed"), &[0xff; 64]);
    assert!(garbage.is_err());
}
