use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;
use shared_events::{Labels, Timestamp};

use crate::domain::condition::{Condition, Error, Facts};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    pairs.iter().map(owned).collect()
}

/// The parser recurses deeply: real files are compiled on a large stack too.
fn compile(source: &str) -> Result<Condition, Error> {
    crate::files::on_large_stack(|| Condition::compile(source))
}

fn holds(source: &str) -> Result<bool, String> {
    let (labels, annotations) = (
        labels(&[("service", "app"), ("severity", "critical")]),
        labels(&[("value", "0.84")]),
    );
    compile(source).expect(source).holds(&Facts {
        labels: &labels,
        annotations: &annotations,
        at: Timestamp::from_timestamp(1_700_000_000, 0).expect("valid"),
        occurrence: 2,
        replicas: Some(1),
    })
}

#[test]
fn conditions_see_the_alert_and_the_target() {
    for (source, expected) in [
        ("double(annotations.value) > 0.6", true),
        ("labels.severity == 'critical' && occurrence > 1", true),
        ("labels['service'].startsWith('a')", true),
        (
            "status == 'firing' && (replicas == null || replicas < 3)",
            true,
        ),
        ("has(annotations.runbook) || has(labels.team)", false),
        ("labels.exists(name, name == 'severity')", true),
        ("at.getHours('UTC') == 22", true),
        ("labels.severity.matches('^crit')", true),
        ("replicas >= 2", false),
    ] {
        assert_eq!(holds(source), Ok(expected), "{source}");
    }
}

#[test]
fn what_cannot_be_told_says_why() {
    let missing = holds("double(annotations.load) > 0.6").expect_err("no such annotation");
    assert!(missing.contains("load"), "{missing}");
    assert_eq!(
        holds("replicas + 1"),
        Err("it gives a int, not a bool".to_owned())
    );
    assert!(holds("double(labels.service) > 1.0").is_err());
}

#[test]
fn its_inputs_are_named_as_in_its_text() {
    let condition =
        compile("double(annotations.value) > 0.6 && labels[\"zone\"] != 'x' && replicas < 3")
            .expect("valid");
    let annotations = labels(&[("value", "0.84")]);
    let inputs = condition.inputs(&Facts {
        labels: &Labels::new(),
        annotations: &annotations,
        at: Timestamp::UNIX_EPOCH,
        occurrence: 1,
        replicas: None,
    });
    let expected: BTreeMap<String, serde_json::Value> = [
        ("annotations.value".to_owned(), json!("0.84")),
        ("labels.zone".to_owned(), json!(null)),
        ("replicas".to_owned(), json!(null)),
    ]
    .into();
    assert_eq!(inputs, expected);
}

#[test]
fn refusals_say_what_is_wrong() {
    let error = |source: &str| compile(source).expect_err(source);
    assert!(matches!(error("labels."), Error::Syntax(_)));
    assert_eq!(
        error("label.severity == 'x'"),
        Error::UnknownVariable {
            name: "label".to_owned()
        }
    );
    assert_eq!(
        error("now > at"),
        Error::UnknownVariable {
            name: "now".to_owned()
        }
    );
    assert_eq!(
        error("shout(labels.service)"),
        Error::UnknownFunction("shout".to_owned())
    );
    assert_eq!(error(&"x".repeat(2049)), Error::TooLong(2049));
    assert_eq!(
        error(&format!("{}1{}", "(".repeat(9), ")".repeat(9))),
        Error::TooDeep
    );
    assert_eq!(error("!!!!!!true"), Error::TooDeep);
    assert_eq!(
        error("labels.all(a, labels.all(b, a == b))"),
        Error::NestedMacro
    );
}

/// The inputs that blew the parser up or overflowed its stack in earlier versions.
#[test]
fn hostile_texts_are_refused_and_do_no_harm() {
    for source in [
        "[".repeat(2000),
        "(".repeat(125),
        "-".repeat(2000),
        "a?".repeat(900),
        "a.".repeat(1000),
        "{".repeat(40),
        "'".repeat(2047),
        "labels.a".to_owned() + &"[0".repeat(8),
        format!("labels.x{}", " == labels.x ? labels.x".repeat(60)),
    ] {
        assert!(compile(&source).is_err(), "{source}");
    }
}

#[test]
fn long_lists_of_alternatives_are_fine() {
    let terms: Vec<String> = (0..40)
        .map(|n| format!("labels.service == 'a{n}'"))
        .collect();
    assert_eq!(holds(&terms.join(" || ")), Ok(false));
}

/// The deepest that is let through runs on the stack of an ordinary worker thread.
#[test]
fn the_deepest_expression_runs_on_an_ordinary_stack() {
    let deepest = (1..200)
        .map(|terms| format!("1{} > 0", " + 1".repeat(terms)))
        .take_while(|source| compile(source).is_ok())
        .last()
        .expect("some depth is allowed");
    let condition = compile(&deepest).expect("it compiled before");
    let worker = std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(move || {
            let none = Labels::new();
            condition.holds(&Facts {
                labels: &none,
                annotations: &none,
                at: Timestamp::UNIX_EPOCH,
                occurrence: 1,
                replicas: None,
            })
        })
        .expect("a thread starts");
    assert_eq!(worker.join().expect("no overflow"), Ok(true));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_text_makes_it_panic(source in "[a-z().\\[\\]!<>=&|? '\"0-9+-]{0,60}") {
        let _ = compile(&source);
    }
}
