//! A proxy, a cache or a mirror that lies: no key gets in, and none comes back.

use crate::support::host::{Home, Host};
use crate::support::process::{wait_for, wait_until};
use crate::support::proxy::{Answer, Proxy};
use crate::support::service::Service;
use crate::support::ssh::public_key;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sshkeyd::keys::PublicKey;
use sshkeyd::sys::clock;
use sshkeyd::wire::SourceState;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// An agent that has one key through an honest proxy.
struct Setting {
    // Dropped in this order: who writes goes before what is written.
    host: Host,
    service: Service,
    proxy: Proxy,
    home: Home,
    first: PublicKey,
}

fn setting() -> Setting {
    let proxy = Proxy::start();
    let service = Service::start_behind(Some(proxy.address));
    proxy.stand_before(service.address);
    let (home, first) = (Home::new(), public_key());
    let mut host = Host::new()
        .of_account(&service)
        .with_home(&home, "account", "");
    host.up();
    host.wait_listed();
    service.save(&first, "first", &[]);
    home.wait_has(&first, true);
    Setting {
        proxy,
        service,
        home,
        host,
        first,
    }
}

fn is_snapshot(request: &str, answer: &Answer) -> bool {
    request.contains("/v1/agent/snapshot") && answer.head.contains(" 200 ")
}

/// The payload of a snapshot's answer.
fn payload(answer: &Answer) -> Value {
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    let bytes = STANDARD.decode(body["payload"].as_str().unwrap()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// The answer with another payload under the old signature.
fn with_payload(answer: &Answer, payload: &[u8]) -> Answer {
    let mut body: Value = serde_json::from_slice(&answer.body).unwrap();
    body["payload"] = Value::from(STANDARD.encode(payload));
    Answer {
        head: answer.head.clone(),
        body: serde_json::to_vec(&body).unwrap(),
    }
}

impl Setting {
    /// Saves a key while the proxy lies: the file stays as it is, the condition comes. Then the
    /// proxy turns honest: the key comes and the condition goes.
    fn is_refused_as(&self, code: &str) {
        let before = self.home.text();
        let second = public_key();
        self.service.save(&second, "second", &[]);
        let condition = self.host.wait_condition(code);
        assert_eq!(condition.about, "account");
        let status = self.host.sync();
        assert_eq!(status.sources[0].state, SourceState::Held);
        assert!(status.sources[0].last_error.is_some());
        assert_eq!(self.home.text(), before);
        self.proxy.be_honest();
        self.home.wait_has(&second, true);
        assert!(self.home.has(&self.first));
        self.host.wait_cleared(code);
        let status = self
            .host
            .wait_status("no trouble", |s| s.conditions.is_empty());
        assert_eq!(status.sources[0].last_error, None);
    }
}

#[test]
fn an_old_list_played_back_is_refused() {
    let setting = setting();
    let snapshots = setting.proxy.snapshots();
    let old = snapshots
        .iter()
        .find(|s| payload(s)["keys"].as_array().unwrap().is_empty())
        .unwrap()
        .clone();
    setting.proxy.lie(move |request, answer| {
        Some(match is_snapshot(request, &answer) {
            true => old.clone(),
            false => answer,
        })
    });
    setting.is_refused_as("snapshot-lower-revision");
}

#[test]
fn a_list_with_a_byte_changed_is_refused() {
    let setting = setting();
    setting.proxy.lie(|request, answer| {
        if !is_snapshot(request, &answer) {
            return Some(answer);
        }
        let bytes = serde_json::to_vec(&payload(&answer)).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let changed = text.replacen("\"second\"", "\"secomd\"", 1);
        Some(with_payload(&answer, changed.as_bytes()))
    });
    setting.is_refused_as("snapshot-signature");
}

#[test]
fn a_list_with_a_key_put_in_or_left_out_is_refused() {
    let setting = setting();
    let intruder = public_key();
    let theirs = intruder.clone();
    setting.proxy.lie(move |request, answer| {
        if !is_snapshot(request, &answer) {
            return Some(answer);
        }
        let mut payload = payload(&answer);
        payload["keys"][0]["public_key"] = Value::from(theirs.to_string());
        Some(with_payload(
            &answer,
            &serde_json::to_vec(&payload).unwrap(),
        ))
    });
    setting.is_refused_as("snapshot-signature");
    assert!(!setting.home.has(&intruder));
}

#[test]
fn a_list_of_another_account_is_refused() {
    let setting = setting();
    let (_, api_key) = setting.service.add_account("mallory@example.com");
    let mut made = setting
        .service
        .command(&["instances", "create", "--label", "m", "--json"]);
    let made = crate::support::process::Ran::of(made.env("SSHKEYD_API_KEY", api_key));
    let made: Value = made.done().json();
    let theirs = Home::new();
    let host = Host::new()
        .with_token(&setting.service, made["enroll_token"].as_str().unwrap())
        .with_home(&theirs, "account", "");
    host.once().done();
    let foreign = wait_for("the other account's list", || {
        let all = setting.proxy.snapshots();
        all.into_iter().find(|s| payload(s)["account"] == 2)
    });
    setting.proxy.lie(move |request, answer| {
        Some(match is_snapshot(request, &answer) {
            true => foreign.clone(),
            false => answer,
        })
    });
    setting.is_refused_as("wrong-account");
}

#[test]
fn an_answer_that_is_none_is_refused() {
    let setting = setting();
    setting.proxy.lie(|request, mut answer| {
        if request.contains("/v1/agent/snapshot") {
            answer.head = "HTTP/1.1 200 OK\r\ncontent-type: text/html".to_owned();
            answer.body = b"<h1>Sign in to the hotel's network</h1>".to_vec();
        }
        Some(answer)
    });
    setting.is_refused_as("source-malformed");
}

#[test]
fn a_cut_answer_is_refused() {
    let setting = setting();
    setting.proxy.lie(|request, mut answer| {
        if is_snapshot(request, &answer) {
            let half = answer.body.len() / 2;
            answer.body.truncate(half);
        }
        Some(answer)
    });
    setting.is_refused_as("source-malformed");
}

#[test]
fn a_service_that_refuses_everything_takes_no_key_out() {
    let setting = setting();
    for (status, code) in [
        ("404 Not Found", "source-not-found"),
        ("403 Forbidden", "source-unauthorized"),
        // Renewing the session key works, and helps nothing.
        ("401 Unauthorized", "source-unauthorized"),
        ("500 Internal Server Error", "source-offline"),
    ] {
        setting.proxy.lie(move |request, mut answer| {
            if request.contains("/v1/agent/snapshot") {
                answer.head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json");
                answer.body = b"{}".to_vec();
            }
            Some(answer)
        });
        setting.is_refused_as(code);
    }
    wait_until("the heartbeat to go on", || {
        setting.host.status().conditions.is_empty()
    });
}

#[test]
fn an_old_list_is_refused_after_a_restart_too() {
    let mut setting = setting();
    let old = setting.proxy.snapshots();
    let old = old
        .into_iter()
        .find(|s| payload(s)["keys"].as_array().unwrap().is_empty())
        .unwrap();
    setting.host.stop();
    setting.proxy.lie(move |request, answer| {
        Some(match is_snapshot(request, &answer) {
            true => old.clone(),
            false => answer,
        })
    });
    setting.host.up();
    setting.host.wait_condition("snapshot-lower-revision");
    assert!(setting.home.has(&setting.first));
    setting.is_refused_as("snapshot-lower-revision");
}

#[test]
fn a_proxy_that_loses_the_etag_is_not_asked_in_a_loop() {
    let setting = setting();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    setting.proxy.lie(move |request, mut answer| {
        if is_snapshot(request, &answer) {
            count.fetch_add(1, Ordering::SeqCst);
            let kept = answer.head.lines();
            let kept = kept.filter(|line| !line.to_ascii_lowercase().starts_with("etag:"));
            answer.head = kept.collect::<Vec<_>>().join("\r\n");
        }
        Some(answer)
    });
    let second = public_key();
    setting.service.save(&second, "second", &[]);
    setting.home.wait_has(&second, true);
    let last_good = setting.host.dir.path().join("state/sources/account.json");
    let written = std::fs::metadata(&last_good).unwrap().modified().unwrap();
    let began = clock::monotonic();
    wait_until("the list to be asked for again", || {
        asked.load(Ordering::SeqCst) > 4
    });
    // Each of three waits is a quarter of a second at the least.
    assert!(clock::monotonic() - began >= Duration::from_millis(500));
    let now = std::fs::metadata(&last_good).unwrap().modified().unwrap();
    assert_eq!(now, written, "what did not change was written");
}

#[test]
fn heartbeats_go_where_the_lists_come_from() {
    let (near, far) = (Proxy::start(), Proxy::start());
    let service = Service::start_behind(Some(near.address));
    near.stand_before(service.address);
    far.stand_before(service.address);
    let (home, key) = (Home::new(), public_key());
    let mut host = Host::new()
        .of_account(&service)
        .with_home(&home, "account", "");
    let both = format!("urls = [\"{}\", \"http://{}\"]", service.url, far.address);
    let one = format!("urls = [\"{}\"]", service.url);
    let text = host.toml();
    assert!(text.contains(&one));
    host.configure_as(text.replace(&one, &both));
    host.up();
    let beats = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&beats);
    far.lie(move |request, answer| {
        if request.contains("/v1/agent/heartbeat") {
            count.fetch_add(1, Ordering::SeqCst);
        }
        Some(answer)
    });
    near.lie(|_, _| None);
    service.save(&key, "key", &[]);
    home.wait_has(&key, true);
    wait_until("a heartbeat by the other way", || {
        beats.load(Ordering::SeqCst) > 0
    });
}
