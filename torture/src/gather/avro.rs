//! Values in Confluent wire format, read with the schema that they were written with.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, ensure};
use apache_avro::{Schema, reader::datum::GenericDatumReader};
use serde_json::Value;

/// Schemas of a registry, by id.
#[derive(Debug)]
pub(super) struct Registry {
    url: String,
    client: reqwest::Client,
    schemas: HashMap<u32, Option<Schema>>,
}

impl Registry {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            client: reqwest::Client::new(),
            schemas: HashMap::new(),
        }
    }

    /// Fetches the schema of `id`; one that the registry does not have stays unknown.
    pub(super) async fn learn(&mut self, id: u32) -> Result<()> {
        if self.schemas.contains_key(&id) {
            return Ok(());
        }
        let answer = self
            .client
            .get(format!("{}/schemas/ids/{id}", self.url))
            .send()
            .await
            .context("asking the registry")?;
        let schema = if answer.status() == reqwest::StatusCode::NOT_FOUND {
            None
        } else {
            let body: Value = answer.error_for_status()?.json().await?;
            let text = body["schema"].as_str().context("no schema in the answer")?;
            Some(Schema::parse_str(text)?)
        };
        self.schemas.insert(id, schema);
        Ok(())
    }

    pub(super) fn readers(&self) -> Result<Readers<'_>> {
        let mut readers = BTreeMap::new();
        for (id, schema) in &self.schemas {
            if let Some(schema) = schema {
                let reader = GenericDatumReader::builder(schema)
                    .human_readable(true)
                    .build()?;
                readers.insert(*id, reader);
            }
        }
        Ok(Readers(readers))
    }
}

/// The schema id in a value, if it has one.
pub(super) fn schema_id(value: &[u8]) -> Option<u32> {
    match value {
        [0, a, b, c, d, ..] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

pub(super) struct Readers<'a>(BTreeMap<u32, GenericDatumReader<'a>>);

impl Readers<'_> {
    pub(super) fn read(&self, value: &[u8]) -> Result<Value> {
        let id = schema_id(value).context("no Confluent wire format")?;
        let reader = self.0.get(&id).with_context(|| format!("no schema {id}"))?;
        let mut datum = &value[5..];
        let read = reader.read_value(&mut datum)?;
        ensure!(datum.is_empty(), "{} bytes are left over", datum.len());
        Ok(read.try_into()?)
    }
}
