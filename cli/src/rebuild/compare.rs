//! Two contents side by side.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use service_kit::content::{Content, Difference, Item, difference, sha256, sha256_of};

use super::Made;
use crate::{
    client::{Client, Server},
    error::Error,
    output::{As, Output, line},
};

/// What was found.
pub(super) struct Compared {
    server: Server,
    live: String,
    rebuilt: String,
    items: usize,
    differing: Vec<String>,
    first: Option<First>,
}

struct First {
    id: String,
    found: Found,
}

enum Found {
    OnlyLive,
    OnlyRebuilt,
    Differs(Difference),
    /// The service has gone on meanwhile.
    Moved,
}

impl Compared {
    pub(super) async fn of(
        client: &Client,
        server: Server,
        (live, made): (&Content, &dyn Made),
    ) -> Result<Self, Error> {
        let items = made.items();
        let differing = differing(&live.items, &items);
        let first = match differing.first() {
            Some(id) => Some(First {
                found: look(client, server, (live, made), id).await?,
                id: id.clone(),
            }),
            None => None,
        };
        Ok(Self {
            server,
            live: live.sha256.clone(),
            rebuilt: sha256_of(&items),
            items: items.len(),
            differing,
            first,
        })
    }

    /// Both hashes and the first difference; fails if there is one.
    pub(super) fn show(&self, output: Output) -> Result<(), Error> {
        let equal = self.live == self.rebuilt && self.differing.is_empty();
        if output.is_json() {
            output.json(&json!({
                "service": self.server.name(),
                "equal": equal,
                "live": self.live,
                "rebuilt": self.rebuilt,
                "items": self.items,
                "differing": self.differing,
                "first": self.first.as_ref().map(First::json),
            }))?;
        } else {
            line(&format!("live     {}", self.live))?;
            line(&format!("rebuilt  {}", self.rebuilt))?;
            let words = match equal {
                true => "equal",
                false => "DIFFERENT",
            };
            let (items, apart) = (self.items, self.differing.len());
            line(&format!("{words}: {items} items, {apart} differ"))?;
            if let Some(first) = &self.first {
                first.show(output)?;
            }
        }
        if equal { Ok(()) } else { Err(Error::Unwell) }
    }
}

impl First {
    fn json(&self) -> Value {
        let found = match &self.found {
            Found::OnlyLive => json!({"only": "live"}),
            Found::OnlyRebuilt => json!({"only": "rebuilt"}),
            Found::Differs(found) => {
                json!({"path": found.path, "live": found.one, "rebuilt": found.other})
            }
            Found::Moved => json!({"changed_since": true}),
        };
        json!({"id": self.id, "found": found})
    }

    fn show(&self, output: Output) -> Result<(), Error> {
        let id = output.text(&json!(self.id), As::Text);
        match &self.found {
            Found::OnlyLive => line(&format!("{id}: the topics make no such item")),
            Found::OnlyRebuilt => line(&format!("{id}: the service has no such item")),
            Found::Moved => line(&format!("{id}: it has changed since; compare again")),
            Found::Differs(found) => {
                line(&format!("{id}: first difference at {}", found.path))?;
                line(&format!("  live     {}", output.text(&found.one, As::Text)))?;
                line(&format!(
                    "  rebuilt  {}",
                    output.text(&found.other, As::Text)
                ))
            }
        }
    }
}

/// Ids of items that are not the same on both sides.
fn differing(live: &[Item], rebuilt: &[Item]) -> Vec<String> {
    let by_id = |items: &[Item]| -> BTreeMap<String, Item> {
        let pairs = items.iter().map(|item| (item.id.clone(), item.clone()));
        pairs.collect()
    };
    let (live, rebuilt) = (by_id(live), by_id(rebuilt));
    let ids: BTreeSet<&String> = live.keys().chain(rebuilt.keys()).collect();
    ids.into_iter()
        .filter(|id| live.get(*id) != rebuilt.get(*id))
        .cloned()
        .collect()
}

async fn look(
    client: &Client,
    server: Server,
    (live, made): (&Content, &dyn Made),
    id: &str,
) -> Result<Found, Error> {
    let Some(item) = live.items.iter().find(|item| item.id == id) else {
        return Ok(Found::OnlyRebuilt);
    };
    let Some(rebuilt) = made.document(id) else {
        return Ok(Found::OnlyLive);
    };
    let query = [("id", id.to_owned())];
    let stored = client.get(server, "/api/v1/content/item", &query).await?;
    if sha256(stored.clone()) != item.sha256 {
        return Ok(Found::Moved);
    }
    Ok(difference(&stored, &rebuilt).map_or(Found::Moved, Found::Differs))
}
