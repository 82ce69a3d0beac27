//! The demo's configuration files agree with each other, and the two profiles differ in durations only.

use std::{fs, path::PathBuf, time::Duration};

use regex::Regex;
use serde_json::Value;

const FILES: [&str; 6] = [
    "{}/prometheus.yml",
    "{}/rules.yml",
    "{}/alertmanager.yml",
    "rules/{}/rules.yaml",
    "rules/{}/targets.yaml",
    "{}/rules.test.yml",
];
const PROFILES: [&str; 2] = ["fast", "full"];

fn text(file: &str, profile: &str) -> String {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../config"));
    let path = folder.join(file.replace("{}", profile));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(file: &str, profile: &str) -> Value {
    serde_saphyr::from_str(&text(file, profile)).expect("valid YAML")
}

fn duration(value: &Value) -> Duration {
    let text = value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no duration"));
    humantime::parse_duration(text).expect("a duration")
}

/// The element of `list` that has `key: name`.
fn named<'a>(list: &'a Value, key: &str, name: &str) -> &'a Value {
    let found = list
        .as_array()
        .into_iter()
        .flatten()
        .find(|item| item[key] == name);
    found.unwrap_or_else(|| panic!("no {key}: {name}"))
}

struct Durations {
    scrape: Duration,
    evaluation: Duration,
    range: Duration,
    keep_firing: Duration,
    missing_for: Duration,
    group_wait: Duration,
    group_interval: Duration,
    timeout: Duration,
    cooldown: Duration,
    verify: Duration,
}

impl Durations {
    fn of(profile: &str) -> Self {
        let prometheus = yaml(FILES[0], profile);
        let alerts = &yaml(FILES[1], profile)["groups"][0]["rules"];
        let route = &yaml(FILES[2], profile)["route"];
        let rules = yaml(FILES[3], profile);
        let high = named(alerts, "alert", "HighCPU");
        let action = &named(&rules["rules"], "name", "high-cpu")["action"];
        let ranges = Regex::new(r"\[(\w+)\]").expect("a pattern");
        let recorded = named(alerts, "record", "service:cpu_of_limit:avg")["expr"].to_string();
        let range = Value::from(&ranges.captures(&recorded).expect("a rate")[1]);
        Self {
            scrape: duration(&prometheus["global"]["scrape_interval"]),
            evaluation: duration(&prometheus["global"]["evaluation_interval"]),
            range: duration(&range),
            keep_firing: duration(&high["keep_firing_for"]),
            missing_for: duration(&named(alerts, "alert", "CPUDataMissing")["for"]),
            group_wait: duration(&route["group_wait"]),
            group_interval: duration(&route["group_interval"]),
            timeout: duration(&action["timeout"]),
            cooldown: duration(&action["cooldown"]),
            verify: duration(&action["verify_within"]),
        }
    }
}

#[test]
fn the_profiles_differ_in_durations_only() {
    let durations = Regex::new(r"\b(\d+[smhd])+\b").expect("a pattern");
    for file in &FILES[..5] {
        let [fast, full] = PROFILES.map(|profile| text(file, profile));
        assert_eq!(
            durations.replace_all(&fast, "D"),
            durations.replace_all(&full, "D"),
            "{file}"
        );
    }
    // Series of the unit tests are as long as the durations ask for: the names of the tests must agree.
    let [fast, full] = PROFILES.map(|profile| {
        let tests = yaml(FILES[5], profile)["tests"].clone();
        let names = tests
            .as_array()
            .into_iter()
            .flatten()
            .map(|test| test["name"].clone());
        names.collect::<Vec<_>>()
    });
    assert_eq!(fast, full);
}

/// Otherwise an idle replica halves the average and resolves the alert before it has served a request.
#[test]
fn an_alert_outlasts_the_action_that_it_asked_for() {
    for profile in PROFILES {
        let d = Durations::of(profile);
        assert!(
            d.keep_firing > d.timeout + 2 * d.scrape + 2 * d.evaluation,
            "{profile}"
        );
    }
}

/// Otherwise an action that helped is told to have failed.
#[test]
fn an_effect_has_time_to_be_seen() {
    for profile in PROFILES {
        let d = Durations::of(profile);
        let seen = d.keep_firing + d.range + d.group_interval + 2 * d.evaluation;
        assert!(d.verify > seen, "{profile}");
    }
}

/// Otherwise missing data reads like recovery: the alert must be held by the time `HighCPU` is let go.
#[test]
fn missing_data_is_told_before_the_alert_clears() {
    for profile in PROFILES {
        let d = Durations::of(profile);
        assert!(d.missing_for + d.group_wait < d.keep_firing, "{profile}");
    }
}

/// The second half of the story scales again; the mission's first action is ten minutes old by then.
#[test]
fn the_story_is_not_held_up_by_a_cooldown() {
    let between = [
        ("fast", Duration::from_secs(90)),
        ("full", Duration::from_secs(600)),
    ];
    for (profile, pause) in between {
        assert!(Durations::of(profile).cooldown <= pause, "{profile}");
    }
}

/// Prometheus's windows are the mission's in the full profile.
#[test]
fn the_full_profile_has_the_missions_windows() {
    let alerts = &yaml(FILES[1], "full")["groups"][0]["rules"];
    let of = |alert: &str| {
        let alert = named(alerts, "alert", alert);
        (alert["for"].clone(), alert["expr"].to_string())
    };
    let (high, low) = (of("HighCPU"), of("LowCPU"));
    assert_eq!((high.0, low.0), (Value::from("2m"), Value::from("5m")));
    assert!(
        high.1.contains("> 0.50") && low.1.contains("< 0.20"),
        "{} {}",
        high.1,
        low.1
    );
}
