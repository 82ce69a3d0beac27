//! Labels that somebody chose to do harm are text on every surface, and nothing else.

use anyhow::{Result, ensure};
use chrono::{TimeDelta, Utc};
use eventpulse_tests::{Stack, cli::Cli, stack::Setup, webhook::Alert};

/// Also the key of records: it goes through headers, topics and every table.
const SERVICE: &str = "a'; DROP TABLE alerts; --\r\nce_id: 0";
const LABELS: [(&str, &str); 7] = [
    ("terminal", "\u{1b}[2J\u{1b}]0;owned\u{7}"),
    ("markup", "<script>alert(1)</script>"),
    (
        "markdown",
        "](http://127.0.0.1) | `x`\n# heading\n| a | b |",
    ),
    ("template", "{{ .Env }} ${HOME} $(reboot) %s"),
    ("json", "\"}],\"status\":\"resolved\",\"x\":[{\""),
    ("bidi", "\u{202e}txt.exe\u{2066}"),
    ("path", "../../etc/passwd"),
];

/// What would move a cursor, turn text around or begin a line of its own.
fn harmless(text: &str) -> Result<()> {
    let steers = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    ensure!(!text.contains(steers), "{text:?}");
    let planted = text.lines().find(|line| line.starts_with("# heading"));
    ensure!(planted.is_none(), "{text}");
    Ok(())
}

#[tokio::test]
async fn hostile_labels_are_text_and_nothing_else() -> Result<()> {
    let stack = Stack::start(&Setup::default()).await?;
    let began = Utc::now() - TimeDelta::seconds(60);
    let alert = LABELS.iter().fold(
        Alert::firing("Down", SERVICE, began),
        |alert, (name, value)| alert.label(name, value),
    );
    stack.accept(std::slice::from_ref(&alert)).await?;
    let open = stack.until(1, "open").await;
    let id = open[0]["id"].as_str().unwrap_or_default();

    let incident = stack.store.get(&format!("/api/v1/incidents/{id}")).await?;
    for (name, value) in LABELS.into_iter().chain([("service", SERVICE)]) {
        ensure!(incident["labels"][name] == value, "{name}: {incident:#}");
    }
    let alerts = stack.ingest.get("/api/v1/alerts").await?;
    ensure!(
        alerts["items"][0]["labels"]["service"] == SERVICE,
        "{alerts:#}"
    );

    let cli = Cli::of(&stack)?;
    for arguments in [
        &["incident", "ls"][..],
        &["incident", "show", id],
        &["incident", "export", id],
        &["incident", "timeline", id],
        &["incident", "ls", "--service", SERVICE],
        &["alert", "ls"],
        &["decision", "ls"],
    ] {
        let said = cli.ok(arguments).await?;
        ensure!(said.contains("DROP TABLE"), "{arguments:?}: {said}");
        harmless(&said)?;
    }

    stack.accept(&[alert.resolved(Utc::now())]).await?;
    stack.until(1, "resolved").await;
    stack.at_rest().await;
    Ok(())
}
