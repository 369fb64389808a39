//! A recording: every call of today's program to today's service with its answer, what the agent's
//! own commands print, the documents that describe them, and both state directories.

use super::shape::Shape;
use crate::signers::{ADOPTED, reload, rotate};
use crate::support::host::{Home, Host, read};
use crate::support::process::wait_until;
use crate::support::proxy::{Exchange, Proxy};
use crate::support::service::Service;
use crate::support::ssh::public_key;
use crate::support::sshd::put;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

/// Stands for the home directory of the recorded agent's target.
pub(super) const HOME: &str = "@HOME@";
pub(super) const PASSWORD: &str = "correct horse battery staple";

/// One call with one status: bodies that are made of something else than those before.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    pub(super) requests: Vec<Value>,
    pub(super) answers: Vec<Value>,
}

/// By call and status.
pub(super) type Calls = BTreeMap<(String, u16), Bodies>;

/// `GET /v1/ssh-keys/7?x=y` is `GET /v1/ssh-keys/{id}`.
pub(super) fn normal(call: &str) -> String {
    let path = call.split('?').next().unwrap();
    let part = |part: &str| match part.parse::<i64>() {
        Ok(_) => "{id}".to_owned(),
        Err(_) => part.to_owned(),
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

pub(super) fn calls(exchanges: &[Exchange]) -> Calls {
    let mut calls = Calls::new();
    for exchange in exchanges {
        let status = exchange.answer.head.split(' ').nth(1).unwrap();
        let status: u16 = status.parse().unwrap();
        // How often an agent asked in vain, and what it waited for, is chance.
        if status >= 300 && exchange.call.contains("/v1/agent/") {
            continue;
        }
        let bodies = calls.entry((normal(&exchange.call), status)).or_default();
        for (kept, bytes) in [
            (&mut bodies.requests, &exchange.request),
            (&mut bodies.answers, &exchange.answer.body),
        ] {
            if let Ok(body) = serde_json::from_slice::<Value>(bytes) {
                let shape = Shape::of([&body]);
                if kept.iter().all(|kept| Shape::of([kept]) != shape) {
                    kept.push(body);
                }
            }
        }
    }
    calls
}

/// One call as any HTTP client makes it; gives status and body.
pub(super) fn ask(at: SocketAddr, token: &str, call: &str, body: &Value) -> (u16, Value) {
    let mut stream = TcpStream::connect(at).unwrap();
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let authorization = match token {
        "" => String::new(),
        token => format!("authorization: Bearer {token}\r\n"),
    };
    let run = "x-sshkeyd-run: 00000000000000000000000000000001\r\n";
    write!(
        stream,
        "{call} HTTP/1.1\r\nhost: {at}\r\n{authorization}{run}connection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

/// The same, and it must have gone well.
pub(super) fn done(at: SocketAddr, token: &str, call: &str, body: &Value) -> Value {
    let (status, answer) = ask(at, token, call, body);
    assert!(
        (200..300).contains(&status),
        "{call} {body}: {status} {answer}"
    );
    answer
}

/// What a person does with an account, through the calls that there are.
fn person(at: SocketAddr, service: &Service, instance: i64) {
    let key = &service.api_key;
    let call = |call: &str, body: Value| done(at, key, call, &body);
    let id = |answer: &Value| answer["id"].as_i64().unwrap();
    let none = || Value::Null;
    let saved = json!({"name": "phone", "public_key": public_key().to_string(), "options": "no-pty",
        "expires_at": "2036-01-01T00:00:00Z", "scope": "some"});
    let phone = id(&call("POST /v1/ssh-keys", saved));
    call(
        &format!("PUT /v1/instances/{instance}/ssh-keys/{phone}"),
        none(),
    );
    call(
        &format!("DELETE /v1/instances/{instance}/ssh-keys/{phone}"),
        none(),
    );
    let edit = json!({"name": "tablet", "options": "", "expires_at": null, "scope": "all"});
    call(&format!("PATCH /v1/ssh-keys/{phone}"), edit);
    for read in [
        "ssh-keys",
        "api-keys",
        "instances",
        "sessions",
        "account",
        "audit",
    ] {
        call(&format!("GET /v1/{read}"), none());
    }
    call(&format!("GET /v1/ssh-keys/{phone}"), none());
    call(&format!("GET /v1/ssh-keys/{phone}/rollout"), none());
    call(
        &format!("DELETE /v1/ssh-keys/{phone}?end_sessions=true"),
        none(),
    );
    let lost = json!({"public_key": public_key().to_string()});
    let lost = id(&call("POST /v1/ssh-keys", lost));
    call(&format!("POST /v1/ssh-keys/{lost}/revoke"), none());

    let robot = json!({"name": "robot", "permissions": {"api": {"user_read": {}}},
        "addresses": ["127.0.0.0/8"], "expires_at": "2036-01-01T00:00:00Z"});
    let robot = id(&call("POST /v1/api-keys", robot));
    call(
        &format!("PATCH /v1/api-keys/{robot}"),
        json!({"name": "android", "addresses": []}),
    );
    call(&format!("GET /v1/api-keys/{robot}"), none());
    call(&format!("POST /v1/api-keys/{robot}/reset"), none());

    let login = json!({"email": "person@example.com", "password": PASSWORD,
        "device": {"name": "laptop", "os": "Linux"}});
    let session = done(at, "", "POST /v1/login", &login);
    let session = session["session_key"].as_str().unwrap().to_owned();
    let password = json!({"password": PASSWORD});
    done(
        at,
        &session,
        &format!("POST /v1/api-keys/{robot}/reveal"),
        &password,
    );
    done(at, &session, "GET /v1/account/totp", &none());
    done(at, &session, "POST /v1/account/totp", &password);
    done(at, &session, "DELETE /v1/sessions/current", &none());
    call(&format!("DELETE /v1/api-keys/{robot}"), none());

    let other = id(&call("POST /v1/instances", json!({"label": "other"})));
    call(
        &format!("PATCH /v1/instances/{other}"),
        json!({"label": "another"}),
    );
    call(&format!("GET /v1/instances/{other}"), none());
    call(
        &format!("DELETE /v1/instances/{other}?take_keys=false"),
        none(),
    );
    call(&format!("GET /v1/instances/{instance}"), none());
    // What is refused says so in a body of its own.
    ask(at, key, "GET /v1/ssh-keys/999999", &none());
    ask(
        at,
        key,
        "POST /v1/ssh-keys",
        &json!({"public_key": "no key"}),
    );
    ask(at, "", "GET /v1/account", &none());
}

/// Under another name than this machine's.
fn elsewhere() -> Vec<String> {
    let script = "hostname machine.example && exec \"$@\"";
    ["unshare", "--uts", "sh", "-c", script, "sh"]
        .map(str::to_owned)
        .to_vec()
}

/// What is kept of a session is good for nothing any more.
pub(super) fn end_session(host: &Host) {
    let file = host.dir.path().join("state/sources/account.enrolment");
    let mut enrolment: Value = serde_json::from_str(&read(&file)).unwrap();
    let key = enrolment["session_key"].as_str().unwrap();
    assert!(key.starts_with("skd_ses_"), "{key}");
    enrolment["session_key"] = json!(format!("skd_ses_{}", "a".repeat(key.len() - 8)));
    put(&file, &enrolment.to_string(), 0o600);
}

/// Makes a recording in a directory that is there.
pub(super) fn make(into: &Path) {
    let proxy = Proxy::start();
    let service = Service::start_behind(Some(proxy.address));
    let mut service = service.for_person("person@example.com", PASSWORD);
    proxy.stand_before(service.address);
    let (home, laptop) = (Home::new(), public_key());
    home.write("# mine\n");
    service.save(&laptop, "laptop", &[]);
    let (host, instance) = Host::new().of_new_instance(&service, "web");
    let mut host = host.with_home(&home, "account", "");
    host.up_under(&elsewhere());
    home.wait_has(&laptop, true);
    person(proxy.address, &service, instance);
    let beats = || proxy.requests_of("/v1/agent/heartbeat").len();
    wait_until("a first heartbeat", || beats() > 0);
    // A restart with a session that has ended renews it, and finds the way to a signer that it does
    // not know.
    host.stop();
    end_session(&host);
    for _ in 0..2 {
        rotate(&service, &[]).done();
        reload(&service, ADOPTED);
    }
    let stopped = beats();
    host.up_under(&elsewhere());
    host.wait_listed();
    wait_until("a heartbeat", || beats() > stopped);
    let led = || !proxy.requests_of("/v1/agent/signers").is_empty();
    wait_until("the way to the signer", led);
    fs::create_dir_all(into.join("local")).unwrap();
    for (name, args) in [
        ("status", &["status", "--json"][..]),
        ("plan", &["plan", "--json"]),
        ("doctor", &["doctor", "--json"]),
    ] {
        let said: Value = serde_json::from_str(&host.run(args).out).unwrap();
        write(&into.join(format!("local/{name}.json")), &said);
    }
    write(
        &into.join("openapi.json"),
        &done(service.address, "", "GET /openapi.json", &Value::Null),
    );
    let schema = |name: &str, schema: schemars::Schema| {
        fs::create_dir_all(into.join("schemas")).unwrap();
        write(
            &into.join(format!("schemas/{name}.json")),
            &schema.to_value(),
        );
    };
    schema("Payload", schemars::schema_for!(sshkeyd::wire::Payload));
    schema(
        "HandoverPayload",
        schemars::schema_for!(sshkeyd::wire::HandoverPayload),
    );

    host.stop();
    service.stop();
    fs::create_dir_all(into.join("calls")).unwrap();
    for ((call, status), bodies) in calls(&proxy.exchanges()) {
        let name = call
            .replace([' ', '/'], "-")
            .replace(['{', '}'], "")
            .replace("--", "-");
        let file = into.join(format!("calls/{}-{status}.json", name.to_lowercase()));
        let recorded = json!({"call": call, "status": status,
            "requests": bodies.requests, "answers": bodies.answers});
        write(&file, &recorded);
    }
    keep_state(into, &host, &home, &service, instance);
}

/// Both state directories, bound to no host and to no place.
fn keep_state(into: &Path, host: &Host, home: &Home, service: &Service, instance: i64) {
    let state = into.join("state");
    let (from, home_path) = (
        host.dir.path().join("state"),
        home.path().display().to_string(),
    );
    let mut todo = vec![from.clone()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(&directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                todo.push(path);
                continue;
            }
            let name = path.strip_prefix(&from).unwrap();
            if name == Path::new("lock") {
                continue;
            }
            let mut text = read(&path).replace(&home_path, HOME);
            if name.ends_with("account.enrolment") {
                let mut enrolment: Value = serde_json::from_str(&text).unwrap();
                enrolment["host"] = json!({});
                text = enrolment.to_string();
            }
            let to = state.join("agent").join(name);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            put(&to, &text, 0o600);
        }
    }
    put(&state.join("authorized_keys"), &home.text(), 0o600);
    let data = state.join("service");
    fs::create_dir_all(data.join("secrets")).unwrap();
    for entry in fs::read_dir(service.dir().join("secrets"))
        .unwrap()
        .map(Result::unwrap)
    {
        fs::copy(entry.path(), data.join("secrets").join(entry.file_name())).unwrap();
    }
    let database = rusqlite::Connection::open(service.dir().join("sshkeyd.db")).unwrap();
    // A service of the tests makes an account of that name at its start.
    let renamed = database.execute(
        "UPDATE accounts SET email = 'first@example.com', email_key = 'first@example.com'
         WHERE email_key = 'alice@example.com'",
        [],
    );
    assert_eq!(renamed, Ok(1));
    fs::create_dir_all(data.join("data")).unwrap();
    let one_file = data.join("data/sshkeyd.db").display().to_string();
    database.execute("VACUUM INTO ?1", [one_file]).unwrap();
    write(
        &state.join("about.json"),
        &json!({"account": service.account, "instance": instance, "api_key": service.api_key}),
    );
}

fn write(file: &Path, value: &Value) {
    put(file, &format!("{value:#}\n"), 0o644);
}
