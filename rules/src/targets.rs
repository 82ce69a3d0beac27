//! `targets.yaml`: the only place for bounds. Rules and Action Runner mount the same file; Rules
//! read names and bounds of it, and leave the rest to Action Runner, which checks it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::{
    domain::Bounds,
    files::{Fault, Source, read},
};

/// Most replicas that a target may be allowed to have.
const MOST: u32 = 1000;

#[derive(Deserialize)]
struct File {
    version: Spanned<u32>,
    targets: Vec<RawTarget>,
}

#[derive(Deserialize)]
struct RawTarget {
    name: Spanned<String>,
    min_replicas: Spanned<u32>,
    max_replicas: Spanned<u32>,
}

/// The bounds of each target, by name.
///
/// # Errors
/// When the file does not fit, or names a target twice.
pub fn parse(file: &Source) -> Result<BTreeMap<String, Bounds>, Fault> {
    let raw: File = read(file)?;
    if raw.version.value != 1 {
        return Err(Fault::of(file, &raw.version, "this build reads version 1"));
    }
    let mut targets = BTreeMap::new();
    for target in raw.targets {
        let bounds = bounds(file, &target)?;
        if target.name.value.is_empty() || target.name.value == shared_events::action::ALL_TARGETS {
            return Err(Fault::of(
                file,
                &target.name,
                "this is no name for a target",
            ));
        }
        if targets.insert(target.name.value.clone(), bounds).is_some() {
            let message = format!("a second target {:?}", target.name.value);
            return Err(Fault::of(file, &target.name, message));
        }
    }
    Ok(targets)
}

fn bounds(file: &Source, target: &RawTarget) -> Result<Bounds, Fault> {
    let (min, max) = (&target.min_replicas, &target.max_replicas);
    if max.value > MOST {
        let message = format!("more than {MOST} replicas are not allowed");
        return Err(Fault::of(file, max, message));
    }
    if max.value < min.value {
        let message = format!("max_replicas is below min_replicas ({})", min.value);
        return Err(Fault::of(file, max, message));
    }
    let count = |value: u32| i32::try_from(value).expect("at most MOST");
    Ok(Bounds {
        min_replicas: count(min.value),
        max_replicas: count(max.value),
    })
}
