//! Alerts through outboxes to destinations that fail, refuse, come back and are restarted.

use super::testing::{alert, http_server};
use super::*;

fn config(toml: &str) -> ForwardConfig {
    toml::from_str(toml).unwrap()
}

fn numbered(count: u32) -> Vec<Alert> {
    (1..=count).map(|version| Alert { version, ..alert() }).collect()
}

fn file(directory: &Path) -> ForwardConfig {
    let path = directory.join("alerts.json");
    config(&format!(
        "retry_min_ms = 5\nretry_max_ms = 20\n[[destinations]]\nname = \"file\"\ntype = \"json\"\npath = {path:?}\n"
    ))
}

fn versions(directory: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(directory.join("alerts.json")).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["version"].as_u64().unwrap())
        .collect()
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn alerts_arrive_in_order_and_the_outbox_is_empty_after() {
    let directory = tempfile::tempdir().unwrap();
    let forwarder = Forwarder::start(&file(directory.path()), directory.path()).unwrap();
    forwarder.send(&numbered(50));
    let status = forwarder.stop(LONG);
    assert_eq!((status[0].delivered, status[0].waiting, &status[0].failing), (50, 0, &None));
    assert_eq!(versions(directory.path()), (1..=50).collect::<Vec<u64>>());
}

#[test]
fn a_destination_that_is_away_gets_everything_when_it_is_back_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    // A directory in the file's place: no delivery works.
    std::fs::create_dir(directory.path().join("alerts.json")).unwrap();
    let forwarder = Forwarder::start(&file(directory.path()), directory.path()).unwrap();
    forwarder.send(&numbered(3));
    assert!(!forwarder.flush(Duration::from_millis(200)));
    let status = forwarder.status();
    assert!(status[0].failing.as_ref().unwrap().contains("alerts.json"), "{status:?}");
    assert!(status[0].failures >= 2 && status[0].waiting == 3);
    drop(forwarder);
    std::fs::remove_dir(directory.path().join("alerts.json")).unwrap();
    let forwarder = Forwarder::start(&file(directory.path()), directory.path()).unwrap();
    assert!(forwarder.flush(LONG));
    assert_eq!(forwarder.status()[0].failing, None);
    assert_eq!(versions(directory.path()), [1, 2, 3]);
}

#[test]
fn a_webhook_is_tried_again_with_the_same_key_and_a_refusal_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let (url, requests) = http_server(|number| {
        let status = match number {
            0 | 1 => "503 Busy",
            2 => "200 OK",
            3 => "400 Wrong",
            _ => "200 OK",
        };
        format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    });
    let config = config(&format!(
        "retry_min_ms = 5\n[[destinations]]\nname = \"hook\"\ntype = \"webhook\"\nurl = \"{url}\"\n"
    ));
    let forwarder = Forwarder::start(&config, directory.path()).unwrap();
    forwarder.send(&numbered(3));
    let status = forwarder.stop(LONG);
    assert_eq!((status[0].delivered, status[0].failures, status[0].refused, status[0].waiting), (2, 2, 1, 0));
    let keys: Vec<String> = requests
        .try_iter()
        .filter_map(|request| {
            Some(request.to_ascii_lowercase().split("idempotency-key: ").nth(1)?.lines().next()?.to_owned())
        })
        .collect();
    assert_eq!(
        keys,
        [
            "0123456789abcdef-1",
            "0123456789abcdef-1",
            "0123456789abcdef-1",
            "0123456789abcdef-2",
            "0123456789abcdef-3"
        ]
    );
}

#[test]
fn one_destination_that_hangs_holds_up_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let (url, _requests) = http_server(|_| {
        std::thread::sleep(Duration::from_millis(700));
        String::new()
    });
    let mut both = file(directory.path());
    both.destinations.extend(
        config(&format!(
            "[[destinations]]\nname = \"hook\"\ntype = \"webhook\"\nurl = \"{url}\"\ntimeout_ms = 500\n"
        ))
        .destinations,
    );
    let forwarder = Forwarder::start(&both, directory.path()).unwrap();
    forwarder.send(&numbered(5));
    let begin = Instant::now();
    while forwarder.status()[0].delivered < 5 && begin.elapsed() < LONG {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!((forwarder.status()[0].delivered, forwarder.status()[1].delivered), (5, 0));
}

#[test]
fn route_and_severity_decide_who_gets_what() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = file(directory.path());
    config.destinations[0].routes = vec![RouteName::Pager];
    config.destinations[0].severity_min = Severity::High;
    let forwarder = Forwarder::start(&config, directory.path()).unwrap();
    let with = |version, route, severity| Alert { version, route, severity, ..alert() };
    forwarder.send(&[
        with(1, Route::Pager, Severity::High),
        with(2, Route::Ticket, Severity::High),
        with(3, Route::Pager, Severity::Medium),
        with(4, Route::Pager, Severity::Critical),
    ]);
    forwarder.stop(LONG);
    assert_eq!(versions(directory.path()), [1, 4]);
}

#[test]
fn a_full_outbox_drops_the_oldest_and_counts_them() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("alerts.json")).unwrap();
    let config = ForwardConfig { outbox_bytes_max: 1, retry_min_ms: 60_000, ..file(directory.path()) };
    let forwarder = Forwarder::start(&config, directory.path()).unwrap();
    for _ in 0..20 {
        forwarder.send(&numbered(20));
    }
    let status = forwarder.status();
    assert!(status[0].dropped > 0 && status[0].dropped + status[0].waiting == 400, "{status:?}");
    assert!(status[0].outbox_bytes <= 128 * 1024);
}

#[test]
fn every_wrong_destination_is_named() {
    let config = config(
        r#"
        [[destinations]]
        name = "a b"
        type = "json"
        path = "/tmp/x"
        [[destinations]]
        name = "siem"
        type = "syslog"
        address = "siem.example"
        transport = "tcp"
        [[destinations]]
        name = "siem"
        type = "webhook"
        url = "siem.example"
        "#,
    );
    let problems: Vec<String> = check(&config).iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "forward.destinations[0] `a b`: name: expected 1 to 64 letters, digits, `-` and `_`",
            "forward.destinations[1] `siem`: address is `siem.example`: expected HOST:PORT such as siem.example:514",
            "forward.destinations[2] `siem`: name: another destination has it",
            "forward.destinations[2] `siem`: url is `siem.example`: expected https://HOST/PATH or http://HOST/PATH",
        ]
    );
    let started = Forwarder::start(&config, Path::new("/nonexistent"));
    assert!(matches!(started, Err(ForwardError::Config(problems)) if problems.len() == 4));
    let error =
        toml::from_str::<ForwardConfig>("[[destinations]]\nname = \"x\"\ntype = \"jsno\"\n").unwrap_err();
    assert!(error.message().contains("jsno"), "{error}");
}

#[test]
fn an_outbox_that_cannot_be_made_is_the_systems_fault() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("outbox"), "in the way").unwrap();
    let started = Forwarder::start(&file(directory.path()), directory.path());
    assert!(matches!(started, Err(ForwardError::Outbox { path, .. }) if path.ends_with("outbox/file")));
}
