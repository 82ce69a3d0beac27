//! `docs/asyncapi.yaml` says what the code and `schemas/` say.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, Result};
use serde_json::Value;
use shared_events::{Topic, codec};

fn document() -> Result<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/asyncapi.yaml");
    Ok(serde_saphyr::from_str(&std::fs::read_to_string(path)?)?)
}

#[test]
fn every_event_has_a_message_with_its_schema() -> Result<()> {
    let document = document()?;
    let messages = document["components"]["messages"].as_object();
    let messages = messages.context("no messages")?;
    let mut described = BTreeSet::new();
    for (title, message) in messages {
        let name = message["name"].as_str().context("no name")?;
        let file = message["payload"]["schema"]["$ref"].as_str();
        let file = file.context("no schema")?;
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../docs")
            .join(file);
        let schema: Value = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
        let contract = codec::contract(name).with_context(|| format!("{name} is no event"))?;
        let compiled: Value = serde_json::from_str(contract.text)?;
        assert_eq!(schema, compiled, "{file} is not the schema of {name}");
        assert_eq!(schema["name"], title.as_str());
        described.insert(name.to_owned());
    }
    let said = codec::contracts().iter();
    let said: BTreeSet<String> = said
        .map(|contract| contract.event_type.to_owned())
        .collect();
    assert_eq!(described, said);
    Ok(())
}

#[test]
fn every_topic_has_a_channel() -> Result<()> {
    let document = document()?;
    let channels = document["channels"].as_object().context("no channels")?;
    let addresses: BTreeSet<&str> = channels
        .values()
        .filter_map(|channel| channel["address"].as_str())
        .collect();
    let topics: BTreeSet<&str> = Topic::ALL.into_iter().map(Topic::name).collect();
    assert_eq!(addresses, topics);
    for channel in channels.values() {
        let address = channel["address"].as_str().unwrap_or_default();
        let messages = channel["messages"].as_object().context("no messages")?;
        for title in messages.keys() {
            let path = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../schemas")
                .join(address.split('.').next().unwrap_or_default())
                .join(format!("{title}.avsc"));
            assert!(path.exists(), "{title} is not an event of {address}");
        }
    }
    Ok(())
}
