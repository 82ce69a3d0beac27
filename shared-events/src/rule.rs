//! Events of topic `rule`, written and read by Rules.

use chrono::serde::ts_microseconds;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    EventId, Timestamp, Topic,
    ids::{derive, event_id},
    topic::topic_event,
};

/// What happens to rules.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum RuleEvent {
    Changed(RuleChanged),
}

topic_event!(RuleEvent, Topic::Rule, {
    Changed(RuleChanged) = "rule.changed",
});

/// Key of every event: changes of rules have one order.
pub const KEY: &str = "rules";

/// Actor of the change that begins an empty topic with the rules file.
pub const FILE: &str = "file";

/// The rules file is another one from here on; fields as `schemas/rule/RuleChanged.avsc` documents them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleChanged {
    /// SHA-256 of `text`, hexadecimal.
    pub hash: String,
    pub text: String,
    #[serde(with = "ts_microseconds")]
    pub at: Timestamp,
    /// Of this change, from 1.
    pub number: i64,
    pub previous: Option<String>,
    pub actor: String,
    pub reason: String,
}

impl RuleChanged {
    fn key(&self) -> String {
        KEY.to_owned()
    }
    fn event_id(&self) -> EventId {
        // a database that was restored from an older dump may give a number again
        let which = format!("{}/{}", self.number, self.hash);
        event_id("rules", "rule.changed", derive([KEY]), &which)
    }
    fn subject(&self) -> String {
        self.hash.clone()
    }
    fn correlation_id(&self) -> Uuid {
        derive([KEY])
    }
}
