//! Rules change while the system runs, and its own past is decided again.

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use eventpulse_tests::{App, Cli, Stack, stack::Setup, webhook::Alert};
use serde_json::Value;
use service_kit::testing::wait_for;

const WHEN: &str = "  when: double(annotations.value) > 0.9\n";

/// `rules apply` of a stricter condition, the next HighCPU, `rules rollback`, and the same alert
/// again; then a backtest of all of it.
#[tokio::test]
async fn rules_change_and_the_past_is_decided_again() -> Result<()> {
    let app = App::start("true").await?;
    let stack = Stack::start(&Setup {
        project: app.project.clone(),
        verify_within: "1h",
        ..Setup::default()
    })
    .await?;
    let cli = Cli::of(&stack)?;
    let rules = stack.folder.path().join("rules.yaml");
    let text = std::fs::read_to_string(&rules)?;
    let strict = stack.folder.path().join("strict.yaml");
    let group = "  group_by: [service]\n";
    std::fs::write(&strict, text.replacen(group, &format!("{WHEN}{group}"), 1))?;
    let path = |path: &std::path::Path| path.display().to_string();
    let (rules, strict) = (path(&rules), path(&strict));

    up_and_down(&stack, &app).await?;
    changed_and_back(&stack, &cli, &strict).await?;
    wait_for("two containers", async || app.running(2).await).await;
    stack
        .incidents_are(2, |incidents| incidents[0]["status"] == "mitigating")
        .await;
    stack.at_rest().await;
    reproduced(&cli, &rules).await?;
    different(&cli, &strict).await?;
    read_again(&stack, &cli).await
}

/// A first incident, all over, under the rules that the topic began with.
async fn up_and_down(stack: &Stack, app: &App) -> Result<()> {
    let high = Alert::firing("HighCPU", "app", Utc::now());
    stack.accept(std::slice::from_ref(&high)).await?;
    stack.until(1, "mitigating").await;
    wait_for("two containers", async || app.running(2).await).await;
    let over = Utc::now() + TimeDelta::seconds(1);
    stack.accept(&[high.resolved(over)]).await?;
    stack.until(1, "resolved").await;
    let low = Alert::firing("LowCPU", "app", Utc::now());
    stack.accept(std::slice::from_ref(&low)).await?;
    wait_for("one container", async || app.running(1).await).await;
    stack
        .accept(&[low.resolved(Utc::now() + TimeDelta::seconds(1))])
        .await
}

async fn changed_and_back(stack: &Stack, cli: &Cli, strict: &str) -> Result<()> {
    let who = ["--reason", "less noise", "--actor", "ana"];
    let applied = cli
        .ok(&[&["rules", "apply", strict][..], &who].concat())
        .await?;
    ensure!(
        applied.contains("number 2 from rule/0 offset 1"),
        "{applied}"
    );
    let began: DateTime<Utc> = Utc::now();
    let high = Alert::firing("HighCPU", "app", began);
    stack.accept(std::slice::from_ref(&high)).await?;
    let told = [
        "(change 2 by ana, rule/0 offset 1)",
        "): condition_false (0.84 > 0.9): ",
        "annotations.value = 0.84",
        "double(annotations.value) > 0.9 = false",
    ];
    cli.says(&["why", "HighCPU", "--rule", "high-cpu"], &told)
        .await;

    let versions = cli.json(&["rules", "versions"]).await?;
    let before = versions[1]["hash"].as_str().context("a hash")?;
    let back = ["--reason", "too quiet", "--actor", "ben"];
    let back = cli
        .ok(&[&["rules", "rollback", before][..], &back].concat())
        .await?;
    ensure!(back.contains("number 3 from rule/0 offset 2"), "{back}");
    // Alertmanager says again that it fires
    stack.accept(&[high]).await?;
    let told = ["(change 3 by ben, rule/0 offset 2)", "): fired: "];
    cli.says(&["why", "HighCPU", "--rule", "high-cpu"], &told)
        .await;
    Ok(())
}

/// The rules of then make the log again, byte for byte, and so does the file of now: it is what was
/// in force last.
async fn reproduced(cli: &Cli, rules: &str) -> Result<()> {
    for arguments in [
        &["backtest", "--exact"][..],
        &["backtest", "--rules", rules, "--settle", "1s", "--exact"],
    ] {
        let told = cli.ok(arguments).await?;
        ensure!(told.contains("byte for byte"), "{told}");
        ensure!(told.contains("in the recorded order"), "{told}");
    }
    Ok(())
}

async fn different(cli: &Cli, strict: &str) -> Result<()> {
    let strict = ["backtest", "--rules", strict, "--settle", "1s"];
    let found = cli.json(&strict).await?;
    ensure!(found["order"] == "recorded", "{found:#}");
    let of = |outcome: &str| -> Option<(u64, u64)> {
        let row = found["table"]
            .as_array()?
            .iter()
            .find(|row: &&Value| row["rule"] == "high-cpu" && row["outcome"] == outcome)?;
        Some((row["then"].as_u64()?, row["now"].as_u64()?))
    };
    let (then, now) = of("condition_false").context("nothing was false")?;
    ensure!((then, now) == (1, 3), "{found:#}");
    ensure!(of("fired") == Some((2, 0)), "{found:#}");
    let (one, two) = of_an_equal_log(cli, &strict).await;
    ensure!(one == two, "equal input, and {one} is not {two}");
    let exact = cli.run(&[&strict[..], &["--exact"]].concat()).await?;
    ensure!(exact.code == Some(1), "{exact:?}");
    Ok(())
}

/// One more target is known to both who read the file; an edited rules file is told of and left alone.
async fn read_again(stack: &Stack, cli: &Cli) -> Result<()> {
    let file = |name: &str| stack.folder.path().join(name);
    let targets = std::fs::read_to_string(file("targets.yaml"))?;
    let (_, app) = targets.split_once("targets:\n").context("targets")?;
    let other = app.replace("name: app", "name: other");
    std::fs::write(file("targets.yaml"), format!("{targets}{other}"))?;
    std::fs::copy(file("strict.yaml"), file("rules.yaml"))?;
    let told = cli.ok(&["target", "reload"]).await?;
    ensure!(told.contains("app, other"), "{told}");
    let listed = cli.json(&["target", "ls"]).await?;
    ensure!(listed.as_array().map(Vec::len) == Some(2), "{listed:#}");
    let told = cli.ok(&["rules", "reload"]).await?;
    ensure!(told.contains("was left alone"), "{told}");

    std::fs::write(file("targets.yaml"), "version: 1\ntargets: [{name: app}]\n")?;
    let refused = cli.run(&["target", "reload"]).await?;
    ensure!(refused.code == Some(1), "{refused:?}");
    ensure!(refused.err.contains("targets.yaml"), "{refused:?}");
    Ok(())
}

/// What `command` prints, twice, while nobody decides anything.
async fn of_an_equal_log(cli: &Cli, command: &[&str]) -> (String, String) {
    let command = [command, &["-o", "json"]].concat();
    wait_for("a log that does not grow meanwhile", async || {
        let log = cli.json(&["decision", "ls", "--limit", "500"]).await?;
        let looks = (cli.ok(&command).await?, cli.ok(&command).await?);
        let now = cli.json(&["decision", "ls", "--limit", "500"]).await?;
        ensure!(log == now, "{log:#} and then {now:#}");
        Ok(looks)
    })
    .await
}
