//! People at a real service: logging in over a socket, being cut off, and what whoever runs the
//! service does to an account while it runs.

use crate::support::host::{Home, Host};
use crate::support::process::{Ran, WITHIN, sshkeyd, wait_until};
use crate::support::service::Service;
use crate::support::ssh::public_key;
use crate::support::sshd::put;
use serde_json::{Value, json};
use sshkeyd::sys::clock;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

const EMAIL: &str = "alice@example.com";
const PASSWORD: &str = "correct horse";

/// One of the commands on the server's machine.
fn account(service: &Service, args: &[&str]) -> Ran {
    let config = service.dir().join("server.toml");
    let mut command = sshkeyd();
    command.arg("account").args(args);
    Ran::of(command.arg("--config").arg(config))
}

fn passwd(service: &Service, password: &str) {
    let file = service.dir().join("password");
    put(&file, password, 0o600);
    let file = file.to_str().unwrap();
    account(service, &["passwd", EMAIL, "--password-file", file]).done();
}

/// Sends a request and leaves the answer to come.
fn send(service: &Service, request: &str, headers: &[String], body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(service.address).unwrap();
    stream.set_read_timeout(Some(WITHIN)).unwrap();
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        service.address,
        body.len()
    )
    .unwrap();
    stream
}

fn answer(mut stream: TcpStream) -> (u16, String, Value) {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let value = serde_json::from_str(body).unwrap_or(Value::Null);
    (status, head.to_owned(), value)
}

fn ask(service: &Service, request: &str, headers: &[String], body: &Value) -> (u16, String, Value) {
    answer(send(service, request, headers, &body.to_string()))
}

fn bearer(token: &str) -> [String; 1] {
    [format!("Authorization: Bearer {token}")]
}

fn login(service: &Service) -> (u16, Value) {
    let body = json!({"email": EMAIL, "password": PASSWORD, "device": {"name": "laptop"}});
    let (status, _, answer) = ask(service, "POST /v1/login", &[], &body);
    (status, answer)
}

/// A session key.
fn session(service: &Service) -> String {
    let (status, answer) = login(service);
    assert_eq!(status, 200, "{answer}");
    answer["session_key"].as_str().unwrap().to_owned()
}

fn header<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines
        .filter(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .collect()
}

#[test]
fn a_browser_logs_in_by_cookie_and_out_again() {
    let service = Service::start();
    passwd(&service, PASSWORD);
    let ours = [
        format!("Origin: http://{}", service.address),
        "X-Sshkeyd: 1".to_owned(),
    ];
    let body = json!({"email": EMAIL, "password": PASSWORD});
    let foreign = [
        String::from("Origin: https://evil.example"),
        ours[1].clone(),
    ];
    assert_eq!(ask(&service, "POST /v1/login", &foreign, &body).0, 403);
    let (status, head, answer) = ask(&service, "POST /v1/login", &ours, &body);
    assert_eq!(status, 200, "{answer}");
    assert!(answer.get("session_key").is_none());
    let cookies = header(&head, "set-cookie");
    let cookie = cookies.iter().find(|c| c.starts_with("sshkeyd=")).unwrap();
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let cookie = format!("Cookie: {}", cookie.split(';').next().unwrap());
    let with = [ours.as_slice(), std::slice::from_ref(&cookie)].concat();
    let (status, _, shown) = ask(&service, "GET /v1/account", &with, &Value::Null);
    assert_eq!((status, &shown["email"]), (200, &json!(EMAIL)));
    let out = "DELETE /v1/sessions/current";
    let bare = std::slice::from_ref(&cookie);
    assert_eq!(ask(&service, out, bare, &Value::Null).0, 403);
    assert_eq!(ask(&service, out, &with, &Value::Null).0, 204);
    assert_eq!(ask(&service, "GET /v1/account", &with, &Value::Null).0, 401);
    let log = service.log();
    assert!(
        !log.contains("skd_ses_") && !log.contains(PASSWORD),
        "{log}"
    );
}

#[test]
fn what_a_deleted_session_holds_ends_within_a_second() {
    let service = Service::start();
    passwd(&service, PASSWORD);
    let key = service.save(&public_key(), "laptop", &[]);
    let (one, two) = (session(&service), session(&service));
    let list = |token: &str| ask(&service, "GET /v1/sessions", &bearer(token), &Value::Null).2;
    let victim = list(&two)["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|session| session["current"] == true)
        .unwrap()["id"]
        .clone();
    let (_, token) = service.create_instance("web");
    let run = "0123456789abcdef";
    let body = json!({"token": token.split('.').next().unwrap(), "run": run,
        "public_key": public_key().to_string()});
    let (status, _, enrolled) = ask(&service, "POST /v1/agent/enroll", &[], &body);
    assert_eq!(status, 200, "{enrolled}");
    let agent = enrolled["session_key"].as_str().unwrap();
    let agents = [bearer(agent).as_slice(), &[format!("X-Sshkeyd-Run: {run}")]].concat();
    let (_, head, _) = ask(&service, "GET /v1/agent/snapshot", &agents, &Value::Null);
    let etag = header(&head, "etag")[0].to_owned();
    let of_agent = list(&one)["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|session| session["kind"] == "agent")
        .unwrap()["id"]
        .clone();

    let rollout = format!("GET /v1/ssh-keys/{key}/rollout?wait=60");
    let held = [agents.as_slice(), &[format!("If-None-Match: {etag}")]].concat();
    let holds = [
        (victim, send(&service, &rollout, &bearer(&two), "")),
        (
            of_agent,
            send(&service, "GET /v1/agent/snapshot?wait=300", &held, ""),
        ),
    ];
    // The instance is live while its agent's query is held: so are both.
    wait_until("the agent's query", || {
        let page = ask(&service, "GET /v1/instances", &bearer(&one), &Value::Null).2;
        page["items"][0]["state"] == "live"
    });
    for (id, stream) in holds {
        let call = format!("DELETE /v1/sessions/{id}");
        let (status, ..) = ask(&service, &call, &bearer(&one), &Value::Null);
        assert_eq!(status, 204);
        let began = clock::monotonic();
        let (status, ..) = answer(stream);
        let took = clock::monotonic() - began;
        assert_eq!(status, 401, "{call}");
        assert!(took < Duration::from_secs(1), "{call}: {took:?}");
    }
    let dead = ask(&service, "GET /v1/account", &bearer(&two), &Value::Null);
    assert_eq!(dead.0, 401);
    assert_eq!(
        ask(&service, "GET /v1/agent/snapshot", &agents, &Value::Null).0,
        401
    );
}

#[test]
fn when_a_session_was_last_used_outlives_a_stop() {
    let mut service = Service::start();
    passwd(&service, PASSWORD);
    let token = session(&service);
    let seen = |service: &Service| {
        let page = ask(service, "GET /v1/sessions", &bearer(&token), &Value::Null).2;
        let session = page["items"][0].clone();
        assert_eq!(session["device"]["address"], "127.0.0.1");
        assert_eq!(session["device"]["name"], "laptop");
        let last_seen = session["last_seen"].as_str().unwrap();
        last_seen.parse::<jiff::Timestamp>().unwrap()
    };
    seen(&service);
    let last = seen(&service);
    assert!(service.stop().success());
    let db = rusqlite_last_seen(&service);
    assert_eq!(db, last, "written at the stop");
    service.up();
    assert!(seen(&service) > last);
}

/// What a listing by the next process begins with.
fn rusqlite_last_seen(service: &Service) -> jiff::Timestamp {
    let db = rusqlite::Connection::open(service.dir().join("sshkeyd.db")).unwrap();
    let millis: i64 = db
        .query_row("SELECT max(last_seen) FROM sessions", [], |row| row.get(0))
        .unwrap();
    jiff::Timestamp::from_millisecond(millis).unwrap()
}

#[test]
fn an_account_is_switched_off_and_on_and_removed_beside_a_running_server() {
    let service = Service::start();
    passwd(&service, PASSWORD);
    let home = Home::new();
    let mut host = Host::new()
        .of_account(&service)
        .with_home(&home, "account", "");
    host.up();
    let key = public_key();
    let id = service.save(&key, "laptop", &[]);
    home.wait_has(&key, true);
    let token = session(&service);
    let rollout = format!("GET /v1/ssh-keys/{id}/rollout?wait=60");
    let held = send(&service, &rollout, &bearer(&token), "");

    let early = account(&service, &["remove", EMAIL, "--yes", "--force"]);
    assert_eq!(early.code, Some(1), "{early:?}");
    assert!(early.err.contains("disable"), "{early:?}");
    let off = account(&service, &["disable", EMAIL]).done();
    let began = clock::monotonic();
    assert!(off.out.contains("disabled"), "{off:?}");
    home.wait_has(&key, false);
    assert_eq!(answer(held).0, 401);
    let took = clock::monotonic() - began;
    println!("noticed from another process within {took:?}");
    assert_eq!(service.run(&["ssh-keys", "list"]).code, Some(77));
    assert_eq!(login(&service).0, 401);
    let list: Value = account(&service, &["list", "--json"]).done().json();
    let alice = &list["items"][0];
    assert_eq!(
        (&alice["email"], &alice["ssh_keys"]),
        (&json!(EMAIL), &json!(1))
    );
    assert!(alice["disabled_at"].is_string(), "{alice}");
    let table = account(&service, &["list"]).done();
    assert!(table.out.contains("disabled since"), "{}", table.out);

    account(&service, &["enable", EMAIL]).done();
    home.wait_has(&key, true);
    service.run(&["ssh-keys", "list"]).done();
    let alive = ask(&service, "GET /v1/account", &bearer(&token), &Value::Null);
    assert_eq!(alive.0, 200, "it has all that it had");
    // A new password ends the logins of people at once, and no API key.
    let held = send(&service, &rollout, &bearer(&token), "");
    passwd(&service, "another horse");
    assert_eq!(answer(held).0, 401);
    service.run(&["ssh-keys", "list"]).done();

    account(&service, &["disable", &service.account.to_string()]).done();
    home.wait_has(&key, false);
    let unsure = account(&service, &["remove", EMAIL]);
    assert_eq!(unsure.code, Some(1), "{unsure:?}");
    assert!(unsure.err.contains("--yes"), "{unsure:?}");
    // Once the agent has said that the key is gone.
    wait_until("its agent's word", || {
        account(&service, &["remove", EMAIL, "--yes"]).code == Some(0)
    });
    let list: Value = account(&service, &["list", "--json"]).done().json();
    assert_eq!(list["items"], json!([]));
    assert!(!home.text().contains(&key.to_string()));
    let unknown = account(&service, &["enable", EMAIL]);
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
}
