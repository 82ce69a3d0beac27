//! Labels: ours on replicas, and those of Compose that we read and write.

use std::collections::{BTreeMap, HashMap};

use shared_events::ActionId;

/// `true` on every container that this service made.
pub const MANAGED: &str = "eventpulse.managed";
/// Name of the target.
pub const TARGET: &str = "eventpulse.target";
/// Slot of the replica: the last part of its name.
pub const SLOT: &str = "eventpulse.slot";
/// Epoch of the target when it was made.
pub const EPOCH: &str = "eventpulse.epoch";
/// Hash of the template that it was made from.
pub const TEMPLATE: &str = "eventpulse.template";
/// The action that asked for it.
pub const ACTION_ID: &str = "eventpulse.action-id";

pub use crate::domain::target::COMPOSE_PROJECT;
pub const COMPOSE_SERVICE: &str = "com.docker.compose.service";
pub const COMPOSE_NUMBER: &str = "com.docker.compose.container-number";
pub const COMPOSE_ONEOFF: &str = "com.docker.compose.oneoff";

/// Labels of one container that say nothing of its kind: not part of a template.
const OF_ONE_CONTAINER: [&str; 4] = [
    COMPOSE_NUMBER,
    COMPOSE_ONEOFF,
    "com.docker.compose.replace",
    "com.docker.compose.slug",
];

/// Labels as the engine gives them, in order.
#[must_use]
pub fn sorted(labels: Option<HashMap<String, String>>) -> BTreeMap<String, String> {
    labels.unwrap_or_default().into_iter().collect()
}

/// Labels that a template hands on: those that select, route and name its kind.
#[must_use]
pub fn of_template(labels: Option<HashMap<String, String>>) -> BTreeMap<String, String> {
    let mut labels = sorted(labels);
    labels.retain(|name, _| {
        !OF_ONE_CONTAINER.contains(&name.as_str()) && !name.starts_with("eventpulse.")
    });
    labels
}

/// Whether this service made it.
#[must_use]
pub fn managed(labels: &BTreeMap<String, String>) -> bool {
    labels.get(MANAGED).is_some_and(|value| value == "true")
}

/// Whether it is a `docker compose run` container: neither counted nor copied.
#[must_use]
pub fn one_off(labels: &BTreeMap<String, String>) -> bool {
    labels
        .get(COMPOSE_ONEOFF)
        .is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// The number that its name ends in.
#[must_use]
pub fn number(labels: &BTreeMap<String, String>) -> Option<u32> {
    labels.get(COMPOSE_NUMBER)?.parse().ok()
}

/// Everything that our labels say of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    pub target: String,
    pub slot: u32,
    pub epoch: i64,
    pub template: String,
    pub action_id: Option<ActionId>,
}

impl Tag {
    /// Reads a replica's labels; `None` when they are not all there.
    #[must_use]
    pub fn read(labels: &BTreeMap<String, String>) -> Option<Self> {
        if !managed(labels) {
            return None;
        }
        Some(Self {
            target: labels.get(TARGET)?.clone(),
            slot: labels.get(SLOT)?.parse().ok()?,
            epoch: labels.get(EPOCH)?.parse().ok()?,
            template: labels.get(TEMPLATE)?.clone(),
            action_id: labels.get(ACTION_ID).and_then(|id| id.parse().ok()),
        })
    }

    /// Writes them, with Compose's own, so that `docker compose ps` and `down` know the replica.
    pub fn write(&self, labels: &mut BTreeMap<String, String>) {
        let mut set = |name: &str, value: String| labels.insert(name.to_owned(), value);
        set(MANAGED, "true".to_owned());
        set(TARGET, self.target.clone());
        set(SLOT, self.slot.to_string());
        set(EPOCH, self.epoch.to_string());
        set(TEMPLATE, self.template.clone());
        if let Some(action_id) = self.action_id {
            set(ACTION_ID, action_id.to_string());
        }
        set(COMPOSE_NUMBER, self.slot.to_string());
        set(COMPOSE_ONEOFF, "False".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_reads_what_it_wrote_and_keeps_the_rest() {
        let tag = Tag {
            target: "app".to_owned(),
            slot: 2,
            epoch: 7,
            template: "cafe".to_owned(),
            action_id: Some(ActionId(uuid::Uuid::from_u128(5))),
        };
        let mut labels: BTreeMap<String, String> = [
            (COMPOSE_PROJECT, "shop"),
            ("traefik.enable", "true"),
            (COMPOSE_NUMBER, "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        tag.write(&mut labels);
        assert_eq!(Tag::read(&labels), Some(tag));
        assert_eq!(labels["traefik.enable"], "true");
        assert_eq!(number(&labels), Some(2));
        assert!(managed(&labels) && !one_off(&labels));
        labels.remove(SLOT);
        assert_eq!(Tag::read(&labels), None, "half a tag is none");
    }

    #[test]
    fn a_template_keeps_what_selects_and_routes_and_drops_what_counts() {
        let labels: HashMap<String, String> = [
            ("service", "app"),
            (COMPOSE_PROJECT, "shop"),
            (COMPOSE_NUMBER, "1"),
            (COMPOSE_ONEOFF, "False"),
            ("com.docker.compose.replace", "abc"),
            (MANAGED, "true"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let kept: Vec<String> = of_template(Some(labels)).into_keys().collect();
        assert_eq!(kept, [COMPOSE_PROJECT, "service"]);
    }
}
