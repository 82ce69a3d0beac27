//! `doctor`, `completions`, and what the command says of itself.

use service_kit::{
    testing::TestTopics,
    topics::{Wanted, ensure},
};
use tokio_util::sync::CancellationToken;

use crate::{command::Cli, incidents::Store, topics::registry};

#[tokio::test]
async fn doctor_says_what_to_do() {
    let ran = Cli::default().run(&["doctor", "-o", "json"]).await;
    assert_eq!(ran.code, Some(1));
    let findings = ran.json();
    let findings = findings.as_array().expect("a list");
    for part in [
        "ingest",
        "rules",
        "action-runner",
        "incident-store",
        "Kafka 127.0.0.1:1",
    ] {
        let found = findings.iter().find(|finding| finding["part"] == part);
        let found = found.unwrap_or_else(|| panic!("{part} is not in {findings:?}"));
        assert_eq!(found["state"], "wrong", "{found}");
        let advice = found["advice"].as_str().unwrap_or_default();
        assert!(advice.contains("docker compose"), "{found}");
    }

    let topics = TestTopics::fresh().await;
    let cluster = topics.cluster("rules");
    let wanted = [Wanted::events(&cluster, "incident", 2, -1)];
    ensure(&cluster, &wanted, &CancellationToken::new()).await;
    let store = Store::start().await;
    let cli = Cli {
        brokers: topics.brokers.clone(),
        prefix: topics.prefix.clone(),
        registry: registry(),
        ..store.cli.clone()
    };
    let table = cli.run(&["doctor"]).await;
    assert_eq!(
        table.code,
        Some(1),
        "three services and two topics are missing"
    );
    let of = |part: &str| {
        let line = table
            .out
            .lines()
            .find(|line| line.trim_start().starts_with(part));
        line.unwrap_or_else(|| panic!("{part} is not in\n{}", table.out))
            .to_owned()
    };
    assert!(of("incident-store ").contains(" ok "), "{}", table.out);
    // which of ours are there is a matter of what ran before
    assert!(
        of("schema registry").contains(" of them ours"),
        "{}",
        table.out
    );
    assert!(of(&format!("topic {}incident", topics.prefix)).contains("2 partitions, 0 messages"));
    assert!(of(&format!("topic {}alert", topics.prefix)).contains("does not exist"));
}

#[tokio::test]
async fn completions_and_help() {
    let cli = Cli::default();
    let bash = cli.run(&["completions", "bash"]).await.ok();
    assert!(bash.contains("needs-attention"));
    let help = cli.run(&["--help"]).await.ok();
    assert!(help.contains("Exit codes: 0 done"), "{help}");
    assert!(help.contains("[default: http://127.0.0.1:8084]"), "{help}");
}
