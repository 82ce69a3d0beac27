//! Rule files: loaded at start and on demand; a broken one keeps the last good rules.

use anyhow::Result;
use service_kit::testing::{Database, wait_for};

use crate::http::{Rules, folder};

#[tokio::test]
async fn a_broken_file_keeps_the_last_good_rules_and_says_where_it_is_broken() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let folder = folder()?;
    let rules = Rules::start(&database, &folder).await?;
    let (_, before) = rules.get("/api/v1/rules").await?;
    let good = std::fs::read_to_string(folder.file("rules.yaml"))?;
    std::fs::write(
        folder.file("rules.yaml"),
        good.replacen("matchers:", "match:", 1),
    )?;
    let (status, problem) = rules.post("/-/reload", &serde_json::json!({})).await?;
    assert_eq!(status, 422);
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(
        detail.contains("rules.yaml:4:3: unknown key \"match\"; did you mean \"matchers\"?. Still running version "),
        "{detail}"
    );
    assert_eq!(rules.get("/api/v1/rules").await?.1, before);
    assert!(rules.metric("eventpulse_rule_load_errors_total").await? >= 1.0);
    std::fs::write(
        folder.file("rules.yaml"),
        good.replace("cooldown: 2m", "cooldown: 3m"),
    )?;
    let (status, loaded) = rules.post("/-/reload", &serde_json::json!({})).await?;
    assert_eq!(status, 200, "{loaded}");
    assert_eq!(loaded["unchanged"], false);
    assert_ne!(
        rules.get("/api/v1/rules").await?.1["version"],
        before["version"]
    );
    let (_, loaded) = rules.post("/-/reload", &serde_json::json!({})).await?;
    assert_eq!(loaded["unchanged"], true);
    rules.stop().await
}

#[tokio::test]
async fn a_file_that_was_never_right_leaves_the_service_not_ready_until_it_is() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let folder = folder()?;
    std::fs::write(folder.file("rules.yaml"), "version: 1\nrules: 7\n")?;
    let rules = Rules::launch(&database, &folder).await?;
    wait_for("the reason why it is not ready", async || {
        match rules.get("/readyz?verbose").await {
            Ok((503, seen)) if seen.to_string().contains("rules.yaml:2") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    std::fs::write(folder.file("rules.yaml"), crate::support::RULES)?;
    let (status, loaded) = rules.post("/-/reload", &serde_json::json!({})).await?;
    assert_eq!(status, 200, "{loaded}");
    let (status, seen) = rules.get("/readyz?verbose").await?;
    assert_eq!(status, 200, "{seen}");
    rules.stop().await
}

#[tokio::test]
async fn a_restart_with_a_broken_file_goes_on_with_what_was_active() -> Result<()> {
    let database = Database::fresh(&[]).await;
    let folder = folder()?;
    let rules = Rules::start(&database, &folder).await?;
    let (_, before) = rules.get("/api/v1/rules").await?;
    rules.stop().await?;
    std::fs::remove_file(folder.file("targets.yaml"))?;
    let rules = Rules::start(&database, &folder).await?;
    let (_, after) = rules.get("/api/v1/rules").await?;
    assert_eq!(before, after);
    let (_, seen) = rules.get("/readyz?verbose").await?;
    assert!(
        seen.to_string().contains("targets.yaml: cannot be read"),
        "{seen}"
    );
    rules.stop().await
}

/// The samples that people begin with, and the demo's, are valid.
#[test]
fn the_files_of_this_repository_are_valid() -> Result<()> {
    use rules::files::{Source, Sources, compile};
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for folder in ["deploy", "demo/config/rules/fast", "demo/config/rules/full"] {
        let sources = Sources {
            rules: Source::read(&root.join(folder).join("rules.yaml"))?,
            targets: Source::read(&root.join(folder).join("targets.yaml"))?,
        };
        let set = compile(&sources, crate::support::policy())?;
        assert!(
            set.rules
                .iter()
                .any(|rule| rule.name.as_str() == "high-cpu"),
            "{folder}"
        );
    }
    Ok(())
}
