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

fn seen() -> (Labels, Labels) {
    (
        labels(&[("service", "app"), ("severity", "critical")]),
        labels(&[("value", "0.84")]),
    )
}

fn worked(source: &str) -> (Vec<(String, serde_json::Value)>, String) {
    let (labels, annotations) = seen();
    let facts = Facts {
        labels: &labels,
        annotations: &annotations,
        at: Timestamp::from_timestamp(1_700_000_000, 0).expect("valid"),
        occurrence: 2,
        replicas: None,
    };
    let condition = compile(source).expect(source);
    let steps = condition.steps(&facts).into_iter();
    let shown = |step: crate::domain::condition::Step| match step.error {
        Some(error) => (step.expression, json!({ "error": error })),
        None => (step.expression, step.value),
    };
    (steps.map(shown).collect(), condition.worked_out(&facts))
}

fn pairs(steps: &[(&str, serde_json::Value)]) -> Vec<(String, serde_json::Value)> {
    let owned = |(text, value): &(&str, serde_json::Value)| ((*text).to_owned(), value.clone());
    steps.iter().map(owned).collect()
}

#[test]
fn each_part_of_a_condition_has_its_value() {
    let (steps, formula) = worked("double(annotations.value) > 0.9");
    assert_eq!(
        steps,
        pairs(&[
            ("annotations.value", json!("0.84")),
            ("double(annotations.value)", json!(0.84)),
            ("double(annotations.value) > 0.9", json!(false)),
        ])
    );
    assert_eq!(formula, "0.84 > 0.9");
}

#[test]
fn a_part_that_cannot_be_told_says_why_and_the_others_are_told() {
    let (steps, formula) = worked("labels.severity == \"page\" || double(annotations.none) > 1.0");
    assert_eq!(steps[0], ("labels.severity".to_owned(), json!("critical")));
    assert_eq!(steps[1].1, json!(false));
    assert_eq!(
        steps[2],
        (
            "annotations.none".to_owned(),
            json!({"error": "No such key: none"})
        )
    );
    assert!(steps.last().expect("the whole").1["error"].is_string());
    assert_eq!(
        formula,
        "\"critical\" == \"page\" || double(annotations.none) > 1.0"
    );
}

/// What is shown as text is the same expression.
#[test]
fn the_text_of_a_condition_is_the_condition() {
    for source in [
        "!(occurrence > 3 && labels.a == \"b\") || replicas == null",
        "(occurrence + 1) * 2 - -3 > 4 % 3",
        "has(labels.team) && labels[\"a b\"].startsWith(\"x\")",
        "replicas == null ? occurrence in [1, 2] : {\"a\": 1}[\"a\"] == 1",
        "at > timestamp(\"2020-01-01T00:00:00Z\")",
        "1 - (2 - 3) == 2",
    ] {
        let shown = worked(source).0.pop().expect("the whole").0;
        let again = worked(&shown).0.pop().expect("the whole");
        assert_eq!(again.0, shown, "{source}");
        assert_eq!(
            worked(source).0.pop().expect("the whole").1,
            again.1,
            "{source}"
        );
    }
}
