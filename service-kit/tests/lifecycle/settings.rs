//! Settings come from options, variables and files, and no password shows anywhere.

use anyhow::Result;
use clap::{CommandFactory, Parser};
use service_kit::{
    KitArgs,
    config::{ExposeSecret, secret},
};

#[derive(Debug, Parser)]
struct Config {
    #[command(flatten)]
    kit: KitArgs,
}

const URL: &str = "postgres://user:hunter2@db/name";

fn parse(arguments: &[&str]) -> Result<KitArgs, clap::Error> {
    Config::try_parse_from([&["test"], arguments].concat()).map(|config| config.kit)
}

#[test]
fn defaults_are_enough_but_for_the_database() -> Result<()> {
    let refused = parse(&[]).expect_err("there is no database");
    assert!(refused.to_string().contains("--database-url"));
    let args = parse(&["--database-url", URL])?;
    assert_eq!(args.http.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(args.kafka.topic_partitions, 6);
    assert_eq!(args.outbox_limit, 1_000_000);
    assert!(!args.database.allow_unsafe_database);
    assert_eq!(args.database.url()?.expose_secret(), URL);
    Ok(())
}

#[test]
fn no_password_shows() -> Result<()> {
    let args = parse(&[
        "--database-url",
        URL,
        "--registry-url",
        "https://me:hunter2@registry:8085/apis",
        "--otlp-endpoint",
        "http://me:hunter2@otel:4317",
    ])?;
    let shown = format!("{args:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("https://***@registry:8085/apis"), "{shown}");
    assert_eq!(
        args.registry.registry_url.expose(),
        "https://me:hunter2@registry:8085/apis"
    );
    // clap prints values of the environment in --help, unless told not to
    for argument in Config::command().get_arguments() {
        let id = argument.get_id().as_str();
        let may_be_secret = id.ends_with("url") || id.ends_with("endpoint");
        assert!(
            !may_be_secret || argument.is_hide_env_values_set(),
            "{id} shows in --help"
        );
    }
    Ok(())
}

#[test]
fn every_setting_has_a_variable_and_words() {
    let command = Config::command();
    for argument in command.get_arguments() {
        let id = argument.get_id();
        assert!(argument.get_env().is_some(), "{id} has no variable");
        assert!(argument.get_help().is_some(), "{id} is not explained");
    }
}

#[test]
fn a_secret_comes_from_a_file_or_directly() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("eventpulse-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("url");
    std::fs::write(&path, format!("{URL}\n"))?;
    let file = path.to_str().expect("a name in ASCII");
    let args = parse(&["--database-url-file", file])?;
    assert_eq!(args.database.url()?.expose_secret(), URL);
    let both = parse(&["--database-url", URL, "--database-url-file", file])?;
    assert!(both.database.url().is_err());
    // compose files pass an unset variable as an empty one
    let empty = parse(&["--database-url", "", "--database-url-file", file])?;
    assert_eq!(empty.database.url()?.expose_secret(), URL);
    let nothing = parse(&["--database-url", ""])?;
    let error = nothing.database.url().expect_err("it is empty");
    assert!(error.to_string().contains("EVENTPULSE_DATABASE_URL"));
    std::fs::write(&path, " \n")?;
    assert!(secret("X", None, Some(&path)).is_err());
    std::fs::remove_dir_all(&folder)?;
    let error = secret("X", None, Some(&path)).expect_err("it is gone");
    assert!(error.to_string().contains("reading"), "{error}");
    assert!(secret("X", None, None)?.is_none());
    Ok(())
}
