//! The Incident Store from topics `incident` and `action`.

use incident_store::rebuild::Rebuilt;
use serde_json::Value;
use service_kit::{Record, content::Item};
use shared_events::{IncidentId, Topic};

use super::{Made, Past};
use crate::{backtest::Progress, error::Error};

impl Made for Rebuilt {
    fn items(&self) -> Vec<Item> {
        Self::items(self)
    }

    fn document(&self, id: &str) -> Option<Value> {
        let id: IncidentId = id.parse().ok()?;
        Self::document(self, id)
    }
}

pub(super) async fn rebuild(past: &Past<'_>, progress: &Progress) -> Result<Box<dyn Made>, Error> {
    let mut rebuilt = Rebuilt::default();
    for family in [Topic::Incident, Topic::Action] {
        past.read(family, progress, |opened| {
            let record = Record {
                topic: family.name(),
                envelope: &opened.envelope,
                writer: &opened.writer,
                datum: &opened.datum,
            };
            // poison is in the dead letters, and had no effect
            drop(rebuilt.record(&record));
        })
        .await?;
    }
    Ok(Box::new(rebuilt))
}
