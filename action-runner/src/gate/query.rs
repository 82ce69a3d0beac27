//! Parameters of a request. Each is known, given once, and either taken or without effect.

use std::collections::{BTreeMap, HashMap};

use super::request::Refusal;

/// Most label filters of one list.
const MOST_LABELS: usize = 64;

pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    pub(super) fn parse(query: Option<&str>) -> Result<Self, Refusal> {
        let mut parameters = BTreeMap::new();
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        for (name, value) in pairs.into_owned() {
            // The engine would take the first, another reader the last.
            if parameters.insert(name.clone(), value).is_some() {
                let why = format!("parameter {name:?} is given twice");
                return Err(Refusal::forbidden(why));
            }
        }
        Ok(Self(parameters))
    }

    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Refusal> {
        match self.text(name).as_deref() {
            None | Some("" | "0" | "false") => Ok(false),
            Some("1" | "true") => Ok(true),
            Some(other) => Err(Refusal::forbidden(format!(
                "{name}={other:?} is neither true nor false"
            ))),
        }
    }

    pub(super) fn number(&mut self, name: &str, most: u32) -> Result<Option<u32>, Refusal> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(number) if number <= most => Ok(Some(number)),
            Ok(_) | Err(_) => Err(Refusal::forbidden(format!(
                "{name}={text:?} is no number from 0 to {most}"
            ))),
        }
    }

    /// Clients write out parameters that ask for nothing; with another value they are refused.
    pub(super) fn without(&mut self, name: &str, nothing: &[&str]) -> Result<(), Refusal> {
        match self.text(name) {
            Some(value) if !nothing.contains(&value.as_str()) => Err(Refusal::forbidden(format!(
                "{name}={value:?} is not allowed"
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// `filters={"label":["name=value"]}`.
    pub(super) fn label_filters(&mut self) -> Result<Vec<String>, Refusal> {
        let Some(text) = self.text("filters") else {
            return Ok(Vec::new());
        };
        let filters: HashMap<String, Vec<String>> = serde_json::from_str(&text)
            .map_err(|_| Refusal::forbidden("filters= is no JSON object of lists"))?;
        let mut labels = Vec::new();
        for (kind, values) in filters {
            if kind != "label" {
                let why = format!("a list is filtered by label, not by {kind:?}");
                return Err(Refusal::forbidden(why));
            }
            labels = values;
        }
        if labels.len() > MOST_LABELS {
            return Err(Refusal::forbidden("too many label filters"));
        }
        Ok(labels)
    }

    /// Nothing is left that nobody asked for.
    pub(super) fn end(self) -> Result<(), Refusal> {
        match self.0.into_keys().next() {
            Some(name) => Err(Refusal::forbidden(format!(
                "parameter {name:?} is not allowed"
            ))),
            None => Ok(()),
        }
    }
}
