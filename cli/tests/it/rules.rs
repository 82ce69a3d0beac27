//! `rules check`, `rules test`, `rules diff`: offline.

use std::path::Path;

use serde_json::Value;

use crate::command::Cli;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../demo/config/rules/fast");

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("a file");
    path.display().to_string()
}

fn demo_rules() -> String {
    std::fs::read_to_string(format!("{DEMO}/rules.yaml")).expect("the demo's rules")
}

#[tokio::test]
async fn check_says_where_and_what_was_meant() {
    let cli = Cli::default();
    let rules = format!("{DEMO}/rules.yaml");
    let valid = cli.run(&["rules", "check", &rules]).await.ok();
    assert!(
        valid.contains("valid") && valid.contains("cpu-data-missing"),
        "{valid}"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let wrong = demo_rules().replacen("matchers:", "match:", 1);
    let wrong = write(folder.path(), "rules.yaml", &wrong);
    let ran = cli.run(&["rules", "check", &wrong, "-o", "json"]).await;
    assert_eq!(ran.code, Some(1));
    let found = ran.json();
    assert_eq!(found["hint"], "matchers");
    assert!(
        found["line"].as_u64() > Some(5) && found["column"].as_u64() > Some(0),
        "{found}"
    );
    let ran = cli.run(&["rules", "check", &wrong]).await;
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.err.contains("rules.yaml:") && ran.err.contains("did you mean"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn the_demo_rules_pass_their_tests() {
    let cli = Cli::default();
    let file = format!("{DEMO}/rules_test.yaml");
    let ran = cli.run(&["rules", "test", &file, "-o", "json"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let results = ran.json();
    assert_eq!(results.as_array().map(Vec::len), Some(6));

    let folder = tempfile::tempdir().expect("a folder");
    for name in ["rules.yaml", "targets.yaml", "rules_test.yaml"] {
        let text = std::fs::read_to_string(format!("{DEMO}/{name}")).expect("a demo file");
        // another count: the tests must notice
        write(
            folder.path(),
            name,
            &text.replace("replicas: 2, direction: up", "replicas: 3, direction: up"),
        );
    }
    let file = folder.path().join("rules_test.yaml").display().to_string();
    let ran = cli.run(&["rules", "test", &file]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.out
            .contains("expected high-cpu scale app to 2 at 0s; decided: 0s high-cpu fired"),
        "{}",
        ran.out
    );
}

#[tokio::test]
async fn diff_goes_field_by_field() {
    let cli = Cli::default();
    let folder = tempfile::tempdir().expect("a folder");
    let before = write(folder.path(), "before.yaml", &demo_rules());
    let changed = demo_rules()
        .replacen(
            "replicas: 2, direction: up",
            "replicas: 3, direction: up",
            1,
        )
        .replace("name: cpu-data-missing", "name: no-data");
    let after = write(folder.path(), "after.yaml", &changed);
    let ran = cli.run(&["rules", "diff", &before, &after]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for words in [
        "~ high-cpu",
        "action.replicas: 2 -> 3",
        "- cpu-data-missing",
        "+ no-data",
    ] {
        assert!(ran.out.contains(words), "{words} is not in {}", ran.out);
    }
    assert!(!ran.out.contains("low-cpu"), "{}", ran.out);
    assert_eq!(
        cli.run(&["rules", "diff", &before, &before]).await.ok(),
        "no difference\n"
    );
    let json: Value = cli
        .run(&["rules", "diff", &before, &after, "-o", "json"])
        .await
        .json();
    assert_eq!(json[0]["fields"]["action.replicas"]["after"], 3);
}
