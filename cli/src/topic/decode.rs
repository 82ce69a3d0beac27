//! Values of records: by the compiled-in schemas, else by the registry's, else as digits.

use std::collections::HashMap;

use apache_avro::{Schema, reader::datum::GenericDatumReader};
use serde_json::Value;
use shared_events::codec;

use super::json::json;
use crate::{
    client::{Client, Server},
    error::chain,
};

/// Decodes values and remembers what the registry said.
pub(crate) struct Decoder<'a> {
    client: &'a Client,
    fetched: HashMap<u32, Result<Schema, String>>,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(client: &'a Client) -> Self {
        Self {
            client,
            fetched: HashMap::new(),
        }
    }

    /// The value as JSON, or why it cannot be read. `dataschema` is the header `ce_dataschema`.
    pub(crate) async fn decode(
        &mut self,
        value: &[u8],
        dataschema: Option<&str>,
    ) -> Result<Value, String> {
        let (id, datum) = codec::unframe(value).map_err(|error| chain(&error))?;
        let contract = dataschema.and_then(|name| {
            codec::contracts()
                .iter()
                .find(|contract| contract.dataschema() == name)
        });
        match contract {
            Some(contract) => read(&contract.schema, datum),
            None => read(self.fetched(id).await?, datum),
        }
    }

    async fn fetched(&mut self, id: u32) -> Result<&Schema, String> {
        if !self.fetched.contains_key(&id) {
            let schema = fetch(self.client, id).await;
            self.fetched.insert(id, schema);
        }
        let schema = self.fetched.get(&id).expect("just inserted");
        schema.as_ref().map_err(Clone::clone)
    }
}

async fn fetch(client: &Client, id: u32) -> Result<Schema, String> {
    let path = format!("/schemas/ids/{id}");
    let answer = client
        .get(Server::Registry, &path, &[])
        .await
        .map_err(|error| format!("schema {id}: {}", chain(&error)))?;
    let text = answer["schema"].as_str().unwrap_or_default();
    Schema::parse_str(text).map_err(|error| format!("schema {id} is not Avro: {}", chain(&error)))
}

fn read(schema: &Schema, datum: &[u8]) -> Result<Value, String> {
    let mut rest = datum;
    let value = GenericDatumReader::builder(schema)
        .build()
        .and_then(|reader| reader.read_value(&mut rest))
        .map_err(|error| chain(&error))?;
    if rest.is_empty() {
        Ok(json(value))
    } else {
        Err(format!("{} bytes follow the datum", rest.len()))
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
