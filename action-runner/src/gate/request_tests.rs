use std::sync::LazyLock;

use proptest::prelude::*;
use regex::Regex;

use super::*;

fn ask(method: &str, target: &str) -> Result<Request, Refusal> {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    judge(&method, path, query)
}

fn call(method: &str, target: &str) -> Call {
    ask(method, target).expect("is allowed").call
}

#[test]
fn what_the_runners_client_writes_is_understood() {
    let filters = "%7B%22label%22%3A%5B%22service%3Dapp%22%2C%22a%3Db%22%5D%7D";
    assert_eq!(
        call(
            "GET",
            &format!("/containers/json?all=true&size=false&filters={filters}")
        ),
        Call::List {
            all: true,
            labels: vec!["service=app".to_owned(), "a=b".to_owned()],
        }
    );
    assert_eq!(
        call("POST", "/containers/create?name=shop-app-2&platform="),
        Call::Create {
            name: "shop-app-2".to_owned(),
        }
    );
    let logs = "follow=false&stdout=true&stderr=true&since=0&until=0&timestamps=false&tail=50";
    assert_eq!(
        call("GET", &format!("/containers/0123/logs?{logs}")),
        Call::Logs {
            container: "0123".to_owned(),
            stdout: true,
            stderr: true,
            tail: 50,
        }
    );
    assert_eq!(
        call("POST", "/containers/0123/stop?t=10"),
        Call::Stop {
            container: "0123".to_owned(),
            seconds: Some(10),
        }
    );
    assert_eq!(
        call("DELETE", "/containers/0123?v=true&force=true&link=false"),
        Call::Remove {
            container: "0123".to_owned(),
            force: true,
            volumes: true,
        }
    );
    assert_eq!(call("GET", "/version"), Call::Version);
    let request = ask("POST", "/v1.41/networks/shop_edge/connect").expect("is allowed");
    assert_eq!(request.version, "/v1.41");
    assert_eq!(
        request.call,
        Call::Connect {
            network: "shop_edge".to_owned(),
        }
    );
}

#[test]
fn everything_else_is_refused() {
    for (method, target) in [
        ("POST", "/containers/0123/exec"),
        ("POST", "/exec/0123/start"),
        ("POST", "/containers/0123/attach"),
        ("GET", "/containers/0123/attach/ws"),
        ("POST", "/containers/0123/kill"),
        ("POST", "/containers/0123/update"),
        ("POST", "/containers/0123/rename?name=x"),
        ("GET", "/containers/0123/archive?path=/"),
        ("PUT", "/containers/0123/archive?path=/"),
        ("GET", "/containers/0123/export"),
        ("POST", "/commit?container=0123"),
        ("POST", "/build"),
        ("POST", "/images/create?fromImage=x"),
        ("GET", "/images/json"),
        ("GET", "/volumes"),
        ("POST", "/volumes/create"),
        ("GET", "/networks"),
        ("POST", "/networks/create"),
        ("POST", "/networks/x/disconnect"),
        ("POST", "/plugins/pull"),
        ("GET", "/secrets"),
        ("POST", "/swarm/init"),
        ("GET", "/info"),
        ("GET", "/events"),
        ("POST", "/session"),
        ("POST", "/grpc"),
        ("POST", "/containers/prune"),
        ("HEAD", "/_ping"),
        ("GET", "/containers/create"),
        ("GET", "/containers/../info"),
        ("GET", "/containers/./json"),
        ("GET", "/containers//json"),
        ("GET", "//containers/json"),
        ("GET", "/containers/json/"),
        ("GET", "/containers/%2e%2e/json"),
        ("GET", "/containers/a%2fjson"),
        ("GET", "/containers/a%00/json"),
        ("GET", "/v1.41/v1.41/containers/json"),
        ("GET", "/v1.41"),
        ("GET", "/v1/containers/json"),
        ("GET", "/v../containers/json"),
        ("GET", "/v1.99999/containers/json"),
        ("GET", "/containers/-x/json"),
        ("GET", "/containers/.x/json"),
        ("GET", "containers/json"),
        ("GET", ""),
        ("GET", "*"),
        ("CONNECT", "docker:80"),
        ("GET", "/containers/json?all=yes"),
        ("GET", "/containers/json?limit=1"),
        ("GET", "/containers/json?all=true&all=true"),
        (
            "GET",
            "/containers/json?filters=%7B%22name%22%3A%5B%22x%22%5D%7D",
        ),
        ("GET", "/containers/json?filters=x"),
        ("GET", "/containers/json?size=true"),
        ("GET", "/containers/x/json?size=true"),
        ("GET", "/containers/x/logs"),
        ("GET", "/containers/x/logs?tail=all"),
        ("GET", "/containers/x/logs?tail=50&follow=true"),
        ("GET", "/containers/x/logs?tail=50&since=1"),
        ("POST", "/containers/create"),
        ("POST", "/containers/create?name=../x"),
        ("POST", "/containers/create?name=x&platform=linux%2Farm64"),
        ("POST", "/containers/x/start?detachKeys=ctrl-c"),
        ("POST", "/containers/x/stop?t=-1"),
        ("POST", "/containers/x/stop?t=601"),
        ("POST", "/containers/x/stop?signal=SIGKILL"),
        ("DELETE", "/containers/x?link=true"),
        ("DELETE", "/containers/x?force=true&x=y"),
    ] {
        let refusal = ask(method, target).expect_err(&format!("{method} {target}"));
        assert_eq!(refusal.status, 403, "{method} {target}");
    }
    let refusal = ask("POST", "/containers/0123/exec").expect_err("is refused");
    let words = refusal.to_string();
    assert!(
        words.starts_with("docker-gate: POST /containers/0123/exec is not allowed; allowed are")
    );
}

/// The list once more, written another way.
static LISTED: LazyLock<Vec<(&str, Regex)>> = LazyLock::new(|| {
    let version = r"^(/v[0-9]{1,3}\.[0-9]{1,3})?";
    let name = "[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}";
    [
        ("GET", "/_ping".to_owned()),
        ("GET", "/version".to_owned()),
        ("GET", "/containers/json".to_owned()),
        ("GET", format!("/containers/{name}/(json|logs)")),
        ("POST", "/containers/create".to_owned()),
        ("POST", format!("/containers/{name}/(start|stop)")),
        ("POST", format!("/networks/{name}/connect")),
        ("DELETE", format!("/containers/{name}")),
    ]
    .map(|(method, path)| {
        let whole = format!("{version}{path}$");
        (method, Regex::new(&whole).expect("a pattern"))
    })
    .into()
});

/// Pieces that paths of this and other kinds are made of.
fn paths() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => prop::sample::select(vec![
            "/", "containers", "json", "logs", "create", "start", "stop", "connect", "networks",
            "_ping", "version", "v1.41", "0123abcd", "shop-app-2",
        ])
        .prop_map(str::to_owned),
        2 => prop::sample::select(vec![
            "//", "..", ".", "/../", "%2f", "%2e%2e", "%00", "exec", "attach", "archive", "images",
            "volumes", "build", "kill", "\\", ";", " ", "\u{e9}", "V1.41", "v1.", "v1.41.2",
        ])
        .prop_map(str::to_owned),
        1 => ".{0,6}",
    ];
    let pieces = prop::collection::vec(piece, 0..8);
    prop_oneof![
        pieces.clone().prop_map(|pieces| pieces.concat()),
        pieces.prop_map(|pieces| format!("/{}", pieces.join("/"))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn no_path_beyond_the_list_is_let_through(
        method in prop::sample::select(vec!["GET", "POST", "DELETE", "PUT", "HEAD", "PATCH", "get", "OPTIONS"]),
        path in paths(),
        query in prop_oneof![
            Just(None),
            Just(Some("name=shop-app-2".to_owned())),
            Just(Some("tail=5".to_owned())),
            ".{0,20}".prop_map(Some),
        ],
    ) {
        let asked = Method::from_bytes(method.as_bytes()).expect("a method");
        if let Ok(request) = judge(&asked, &path, query.as_deref()) {
            let known = LISTED
                .iter()
                .any(|(own, pattern)| *own == method && pattern.is_match(&path));
            prop_assert!(known, "{method} {path} is {request:?}");
        }
    }

    #[test]
    fn a_name_that_is_let_through_stays_one_part_of_a_path(text in ".{0,40}") {
        if let Ok(name) = name(&text) {
            prop_assert_eq!(&name, &text);
            let safe = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
            prop_assert!(name.bytes().all(safe) && !name.starts_with('.'));
        }
    }
}
