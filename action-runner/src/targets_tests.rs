use super::*;

const GOOD: &str = "\
version: 1
targets:
- name: app
  docker_host: unix:///var/run/docker.sock
  selector: {service: app, com.docker.compose.project: eventpulse}
  min_replicas: 1
  max_replicas: 3
  readiness: {healthcheck: true}
  stop_grace_period: 10s
- name: far
  docker_host: tcp://engine.example:2376
  selector: {service: far}
  any_project: true
  min_replicas: 0
  max_replicas: 9
  readiness: {http_get: {path: /healthz, port: 8080}}
- name: socket
  selector: {com.docker.compose.project: shop}
  min_replicas: 1
  max_replicas: 1
  readiness: {tcp_socket: {port: 6379}}
";

fn parse(text: &str) -> Result<Targets, String> {
    Targets::parse(Path::new("targets.yaml"), text).map_err(|error| error.to_string())
}

/// `GOOD` with one line replaced, and what is said of it.
fn refusal(old: &str, new: &str) -> String {
    assert!(GOOD.contains(old), "{old:?} is not in the example");
    parse(&GOOD.replacen(old, new, 1)).expect_err("is refused")
}

#[test]
fn a_good_file_is_read_with_its_defaults() {
    let targets = parse(GOOD).expect("is good");
    let app = &targets.by_name["app"];
    assert_eq!(app.bounds.max_replicas, 3);
    assert_eq!(app.readiness, Readiness::Healthcheck);
    assert_eq!(app.stop_grace_period, Duration::from_secs(10));
    let far = &targets.by_name["far"];
    let get = Readiness::HttpGet {
        path: "/healthz".to_owned(),
        port: 8080,
    };
    assert_eq!(far.readiness, get);
    let socket = &targets.by_name["socket"];
    assert_eq!(socket.docker_host, LOCAL_DOCKER);
    assert_eq!(socket.readiness, Readiness::TcpSocket { port: 6379 });
    assert_eq!(
        targets.hosts(),
        ["tcp://engine.example:2376", "unix:///var/run/docker.sock"]
    );
    assert_eq!(targets.version.len(), 8);
}

#[test]
fn an_unknown_key_is_refused_with_its_place_and_the_likely_word() {
    assert_eq!(
        refusal("  max_replicas: 3", "  max_replica: 3"),
        r#"targets.yaml:7:3: unknown key "max_replica"; did you mean "max_replicas"?"#
    );
    assert_eq!(
        refusal("{healthcheck: true}", "{health: true}"),
        r#"targets.yaml:8:15: unknown key "health"; did you mean "healthcheck"?"#
    );
    let nonsense = refusal("  max_replicas: 3", "  qqq: 3");
    assert!(
        nonsense.starts_with(r#"targets.yaml:7:3: unknown key "qqq"; known are name, "#),
        "{nonsense}"
    );
}

#[test]
fn a_selector_without_a_project_must_say_so() {
    let said = refusal(
        "{service: app, com.docker.compose.project: eventpulse}",
        "{service: app}",
    );
    assert!(
        said.starts_with("targets.yaml:5:13: selector must contain com.docker.compose.project"),
        "{said}"
    );
    let said = refusal("selector: {service: far}", "selector: {}");
    assert!(said.contains("every container"), "{said}");
}

#[test]
fn what_contradicts_itself_is_refused() {
    for (old, new, words) in [
        (
            "max_replicas: 3",
            "max_replicas: 0",
            "7:17: max_replicas is 0",
        ),
        (
            "min_replicas: 0",
            "min_replicas: 10",
            "15:17: max_replicas is 9",
        ),
        (
            "name: far",
            "name: app",
            "10:9: target \"app\" is declared twice",
        ),
        ("name: far", "name: a b", "10:9: \"a b\" is no name"),
        ("version: 1", "version: 2", "1:10: version 2 is not known"),
        (
            "{healthcheck: true}",
            "{healthcheck: true, tcp_socket: {port: 1}}",
            "8:14: readiness is exactly one",
        ),
        (
            "{healthcheck: true}",
            "{}",
            "8:14: readiness is exactly one",
        ),
        (
            "/healthz",
            "healthz",
            "16:32: path \"healthz\" must begin with '/'",
        ),
        (
            "stop_grace_period: 10s",
            "stop_grace_period: soon",
            "9:22: stop_grace_period \"soon\"",
        ),
        (
            "stop_grace_period: 10s",
            "stop_grace_period: 1h",
            "9:22: stop_grace_period 1h is longer",
        ),
        (
            "tcp://engine.example:2376",
            "engine.example",
            "11:16: docker_host",
        ),
        ("port: 6379", "port: 70000", "21:"),
        ("  min_replicas: 0\n", "", "missing field `min_replicas`"),
    ] {
        let said = refusal(old, new);
        assert!(
            said.contains(words),
            "{new:?}: {said:?} should contain {words:?}"
        );
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Targets::read(Path::new("/nowhere/targets.yaml")).expect_err("is not there");
    assert!(
        error
            .to_string()
            .starts_with("/nowhere/targets.yaml: cannot be read"),
        "{error}"
    );
}
