//! What people write: a condition, and a rules file.

use chrono::{DateTime, TimeDelta};
use rules::{
    domain::{Condition, Policy, condition::Facts},
    files::{Source, Sources, compile, on_large_stack},
};
use shared_events::Labels;

/// A condition that compiles can be asked, and gives an answer or says why it has none.
pub(crate) fn condition(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    on_large_stack(|| {
        let Ok(condition) = Condition::compile(text) else {
            return;
        };
        let labels: Labels = [("service".to_owned(), "app".to_owned())].into();
        let annotations: Labels = [("value".to_owned(), "0.84".to_owned())].into();
        let facts = Facts {
            labels: &labels,
            annotations: &annotations,
            at: DateTime::UNIX_EPOCH + TimeDelta::days(20_000),
            occurrence: 2,
            replicas: Some(3),
        };
        assert_eq!(condition.holds(&facts), condition.holds(&facts));
        drop(condition.inputs(&facts));
    });
}

/// A file compiles to the same rule set each time, or has a fault that names its place.
pub(crate) fn rules_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let source = |name: &str, text: &str| Source {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    let sources = Sources {
        rules: source("rules.yaml", text),
        targets: source(
            "targets.yaml",
            include_str!("../../demo/config/rules/full/targets.yaml"),
        ),
    };
    let policy = Policy {
        settle: TimeDelta::minutes(1),
        action_grace: TimeDelta::seconds(30),
    };
    match compile(&sources, policy) {
        Ok(set) => {
            let again = compile(&sources, policy).expect("it did before");
            assert_eq!(set.hash, again.hash);
        }
        Err(fault) => assert!(fault.to_string().contains("rules.yaml"), "{fault}"),
    }
}
