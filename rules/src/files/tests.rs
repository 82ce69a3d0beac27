use chrono::TimeDelta;

use super::*;
use crate::domain::Rule;

const TARGETS: &str = "version: 1
targets:
- name: app
  docker_host: unix:///var/run/docker.sock
  selector: {service: app, com.docker.compose.project: eventpulse}
  min_replicas: 1
  max_replicas: 3
  readiness: {healthcheck: true}
  stop_grace_period: 10s
";

const RULES: &str = r#"version: 1
rules:
- name: high-cpu
  matchers: ['alertname="HighCPU"']
  group_by: [service]
  incident: open
  when: double(annotations.value) > 0.6
  action:
    scale_docker: {target_label: service, replicas: 2, direction: up}
    timeout: 60s
    cooldown: 5m
    verify_within: 5m
    on_failure: {ensure_replicas: previous}
- {name: cpu-data-missing, matchers: ['alertname="CPUDataMissing"'], group_by: [service, zone], incident: open}
"#;

fn compiled(rules: &str, targets: &str) -> Result<RuleSet, String> {
    let source = |name: &str, text: &str| Source {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    let sources = Sources {
        rules: source("rules/rules.yaml", rules),
        targets: source("targets.yaml", targets),
    };
    let policy = Policy {
        settle: TimeDelta::minutes(1),
        action_grace: TimeDelta::seconds(10),
    };
    compile(&sources, policy).map_err(|error| error.to_string())
}

fn fault(from: &str, to: &str) -> String {
    assert!(RULES.contains(from), "{from:?} is not in the file");
    compiled(&RULES.replacen(from, to, 1), TARGETS).expect_err(to)
}

#[test]
fn the_documented_file_is_what_it_says() {
    let set = compiled(RULES, TARGETS).expect("valid");
    let contents: Vec<String> = set.rules.iter().map(Rule::content).collect();
    assert_eq!(
        contents,
        [
            concat!(
                r#"{"name":"high-cpu","matchers":["alertname=\"HighCPU\""],"#,
                r#""when":"double(annotations.value) > 0.6","group_by":["service"],"incident":"open","#,
                r#""action":{"target_label":"service","replicas":2,"direction":"up","timeout_ms":60000,"#,
                r#""cooldown_ms":300000,"verify_within_ms":300000,"on_failure":"previous"}}"#
            ),
            concat!(
                r#"{"name":"cpu-data-missing","matchers":["alertname=\"CPUDataMissing\""],"#,
                r#""group_by":["service","zone"],"incident":"open"}"#
            ),
        ]
    );
    assert_eq!(set.targets["app"].max_replicas, 3);
}

#[test]
fn a_version_is_the_hash_of_what_the_rule_says() {
    let version = |text: &str| {
        compiled(text, TARGETS).expect("valid").rules[0]
            .version
            .clone()
    };
    let spaced = RULES.replace("cooldown: 5m", "cooldown:   300s   # the same");
    assert_eq!(version(RULES), version(&spaced));
    assert_ne!(
        version(RULES),
        version(&RULES.replace("cooldown: 5m", "cooldown: 6m"))
    );
}

#[test]
fn the_hash_of_the_set_covers_order_bounds_and_policy() {
    let hash = |rules: &str, targets: &str| compiled(rules, targets).expect("valid").hash;
    let before = hash(RULES, TARGETS);
    assert_eq!(before, hash(RULES, TARGETS));
    assert_ne!(
        before,
        hash(
            RULES,
            &TARGETS.replace("max_replicas: 3", "max_replicas: 4")
        )
    );
}

#[test]
fn faults_name_the_place_and_guess_what_was_meant() {
    for (from, to, expected) in [
        (
            "  matchers: ['alertname=\"HighCPU\"']",
            "  match: ['alertname=\"HighCPU\"']",
            "rules/rules.yaml:4:3: unknown key \"match\"; did you mean \"matchers\"?",
        ),
        (
            "incident: open",
            "incident: opens",
            "rules/rules.yaml:6:13: \"opens\" is not one of open, attach; did you mean \"open\"?",
        ),
        (
            "[service]",
            "[svc]",
            "rules/rules.yaml:5:13: group_by must contain \"service\": alerts of one service keep their order",
        ),
        (
            "'alertname=\"HighCPU\"'",
            "'alertname'",
            "rules/rules.yaml:4:14: \"alertname\" is no matcher; expected name=\"value\", name!=, name=~ or name!~",
        ),
        (
            "double(annotations.value) > 0.6",
            "label.severity == 'x'",
            "rules/rules.yaml:7:9: unknown variable \"label\"; there are labels, annotations, status, at, occurrence, replicas; did you mean \"labels\"?",
        ),
        (
            "timeout: 60s",
            "timeout: soon",
            "rules/rules.yaml:10:14: \"soon\" is no duration such as 60s, 5m or 1h30m",
        ),
        (
            "ensure_replicas: previous",
            "ensure_replicas: previuos",
            "rules/rules.yaml:13:35: \"previuos\" is neither a number nor \"previous\"; did you mean \"previous\"?",
        ),
        (
            "replicas: 2, direction: up",
            "step: -1, direction: up",
            "rules/rules.yaml:9:19: a negative step does not go up",
        ),
        (
            "name: cpu-data-missing",
            "name: high-cpu",
            "rules/rules.yaml:14:10: a second rule \"high-cpu\"",
        ),
        (
            "version: 1",
            "version: 2",
            "rules/rules.yaml:1:10: this build reads version 1",
        ),
    ] {
        assert_eq!(fault(from, to), expected);
    }
}

#[test]
fn a_relative_step_needs_a_cooldown() {
    let message = fault(
        "replicas: 2, direction: up}\n    timeout: 60s\n    cooldown: 5m",
        "step: 1}\n    timeout: 60s",
    );
    assert!(
        message.contains("a relative step needs a cooldown"),
        "{message}"
    );
}

#[test]
fn missing_keys_are_named() {
    let message = fault("  incident: open\n", "");
    assert!(
        message.ends_with("key \"incident\" is missing"),
        "{message}"
    );
    assert!(message.starts_with("rules/rules.yaml:"), "{message}");
}

#[test]
fn text_that_is_no_yaml_is_a_fault_with_a_place() {
    let message = compiled("version: 1\nrules: [\n", TARGETS).expect_err("not closed");
    assert!(message.starts_with("rules/rules.yaml:"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn bounds_are_checked() {
    let targets = |from: &str, to: &str| compiled(RULES, &TARGETS.replace(from, to)).expect_err(to);
    assert_eq!(
        targets("max_replicas: 3", "max_replicas: 0"),
        "targets.yaml:7:17: max_replicas is below min_replicas (1)"
    );
    assert!(targets("max_replicas: 3", "max_replica: 3").contains("\"max_replicas\" is missing"));
    assert!(targets("min_replicas: 1", "min_replicas: -1").starts_with("targets.yaml:6:"));
}

#[test]
fn limits_and_shadow_are_part_of_what_a_set_is() {
    let set = |text: &str| compiled(text, TARGETS).expect("valid");
    let limited = RULES.replacen("version: 1", "version: 1\nlimits: {actions_per_hour: 6}", 1);
    assert_eq!(set(&limited).limits.actions_per_hour, Some(6));
    assert_ne!(set(&limited).hash, set(RULES).hash);
    let shadow = RULES.replacen("incident: open\n", "incident: open\n  state: shadow\n", 1);
    assert!(!set(&shadow).rules[0].is_live());
    assert_ne!(set(&shadow).rules[0].version, set(RULES).rules[0].version);
    let live = RULES.replacen("incident: open\n", "incident: open\n  state: live\n", 1);
    assert_eq!(set(&live), set(RULES));
    assert_eq!(
        fault("version: 1", "version: 1\nlimits: {actions_per_hour: 0}"),
        "rules/rules.yaml:2:28: a limit of 0 forbids every action; `eventpulse pause` does that"
    );
    assert!(
        fault("incident: open", "state: shadows\n  incident: open")
            .contains("did you mean \"shadow\"?")
    );
}
