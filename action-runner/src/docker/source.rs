//! Which container a target's replicas are made from: Action Runner and the gate choose alike.

use bollard::models::ContainerSummary;

use super::{
    labels::{managed, one_off, sorted},
    observe::phase,
};
use crate::domain::observed::Phase;

/// Containers of a target that Compose or a person made, the one to copy first: the oldest, a
/// running one before others.
pub(crate) fn candidates(mut listed: Vec<ContainerSummary>) -> Vec<ContainerSummary> {
    listed.retain(|summary| {
        let labels = sorted(summary.labels.clone());
        !managed(&labels) && !one_off(&labels)
    });
    listed.sort_by_key(|summary| {
        let live = phase(summary.state) == Phase::Live;
        (!live, summary.created, summary.id.clone())
    });
    listed
}
