//! The service as a process: start, stop, what it refuses, and what it says to whom.

use crate::support::process::{Daemon, Ran, port, sshkeyd, wait_for, wait_until};
use crate::support::service::Service;
use crate::support::ssh::public_key;
use crate::support::sshd::{WorkDir, put};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

#[test]
fn it_says_that_it_is_well_and_ready() {
    let service = Service::start();
    assert_eq!(service.http("GET /healthz", "").0, 200);
    assert_eq!(service.http("GET /readyz", "").0, 200);
    let (status, head, problem) = service.http("GET /nowhere", "");
    assert_eq!(status, 404);
    assert!(head.contains("application/problem+json"), "{head}");
    assert_eq!(problem["status"], 404);
}

#[test]
fn what_is_no_public_key_is_refused_with_what_it_is() {
    let service = Service::start();
    let good = public_key().to_string();
    let two = format!("{good}\n{}", public_key());
    let cases = [
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn\n-----END OPENSSH PRIVATE KEY-----",
        two.as_str(),
        "/home/alice/.ssh/id_ed25519.pub",
        "ssh-dss AAAAB3NzaC1kc3MAAACBAP1/U4EddRIpUt9KnC7s5Of2EbdSPO9EAMMeP4C2USZpRV1AIlH7",
        "ssh-nothing AAAAC3NzaC1lZDI1NTE5AAAAIA==",
        "ssh-ed25519-cert-v01@openssh.com AAAA",
        "ssh-ed25519 AAAA\0",
        "",
    ];
    let mut codes = Vec::new();
    for text in cases {
        let body = serde_json::json!({ "public_key": text }).to_string();
        let (status, head, problem) = service.http("POST /v1/ssh-keys", &body);
        assert!((400..500).contains(&status), "{text}: {problem}");
        assert!(head.contains("application/problem+json"), "{head}");
        assert!(!problem.to_string().contains("b3Blbn"), "{problem}");
        codes.push(problem["code"].as_str().unwrap().to_owned());
    }
    println!("{codes:?}");
    let mut kinds = codes.clone();
    kinds.sort();
    kinds.dedup();
    assert!(kinds.len() >= 6, "each says which: {codes:?}");
    let body = serde_json::json!({ "public_key": format!("no-pty {good}") }).to_string();
    let (status, _, problem) = service.http("POST /v1/ssh-keys", &body);
    assert_eq!(status, 400, "{problem}");
    assert!(problem.to_string().contains("options"), "{problem}");
    let body = serde_json::json!({ "public_key": good }).to_string();
    assert_eq!(service.http("POST /v1/ssh-keys", &body).0, 201);
    assert_eq!(service.http("POST /v1/ssh-keys", &body).0, 200);
}

#[test]
fn an_agents_session_opens_nothing_of_the_owner() {
    let mut service = Service::start();
    let (_, token) = service.create_instance("web");
    let body = serde_json::json!({
        "token": token.split('.').next().unwrap(),
        "public_key": public_key().to_string(),
        "run": "0123456789abcdef0123456789abcdef",
    });
    let (status, _, answer) = service.http("POST /v1/agent/enroll", &body.to_string());
    assert_eq!(status, 200, "{answer}");
    let owner = std::mem::take(&mut service.api_key);
    service.api_key = answer["session_key"].as_str().unwrap().to_owned();
    for request in [
        "GET /v1/ssh-keys",
        "GET /v1/instances",
        "POST /v1/instances",
    ] {
        let (status, ..) = service.http(request, "{\"label\":\"x\"}");
        assert!(matches!(status, 401 | 403), "{request}: {status}");
    }
    // And the owner's key is no agent.
    service.api_key = owner;
    let (status, ..) = service.http("GET /v1/agent/snapshot", "");
    assert!(matches!(status, 401 | 403), "{status}");
}

#[test]
fn accounts_do_not_see_each_other() {
    let mut service = Service::start();
    let id = service.save(&public_key(), "laptop", &[]);
    let (instance, _) = service.create_instance("web");
    let (other, api_key) = service.add_account("bob@example.com");
    assert_ne!(other, service.account);
    service.api_key = api_key;
    let list: Value = service.run(&["ssh-keys", "list", "--json"]).done().json();
    assert_eq!(list["items"], Value::Array(vec![]));
    for request in [
        format!("GET /v1/ssh-keys/{id}"),
        format!("DELETE /v1/ssh-keys/{id}"),
        format!("GET /v1/ssh-keys/{id}/rollout"),
        format!("GET /v1/instances/{instance}"),
        format!("DELETE /v1/instances/{instance}"),
    ] {
        assert_eq!(service.http(&request, "").0, 404, "{request}");
    }
}

#[test]
fn its_secrets_are_its_own_and_its_state_outlives_a_kill() {
    let mut service = Service::start();
    let id = service.save(&public_key(), "laptop", &[]);
    for secret in [
        "secrets/snapshot-signer",
        "secrets/sealing-key",
        "sshkeyd.db",
    ] {
        let meta = std::fs::metadata(service.dir().join(secret)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o077, 0, "{secret}");
    }
    let mut log = String::new();
    for entry in std::fs::read_dir(service.dir()).unwrap().flatten() {
        if entry.path().extension().is_some_and(|e| e == "log") {
            log.push_str(&std::fs::read_to_string(entry.path()).unwrap());
        }
    }
    assert!(!log.contains("skd_") && log.contains("serving"), "{log}");
    service.kill();
    service.up();
    assert_eq!(service.rollout(id).id, id);
}

#[test]
fn a_second_account_of_one_email_is_refused() {
    let service = Service::start();
    let mut add = sshkeyd();
    add.args(["account", "add", "alice@example.com", "--config"])
        .arg(service.dir().join("server.toml"));
    let ran = Ran::of(&mut add);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(!ran.out.contains("skd_api_"));
}

#[test]
fn it_does_not_listen_in_the_clear_for_others() {
    let dir = WorkDir::new();
    let config = dir.path().join("server.toml");
    let path = dir.path().display();
    put(
        &config,
        &format!(
            "[server]\nlisten = \"0.0.0.0:{}\"\npublic-url = \"https://keys.example.com\"\n\
             database = \"sqlite:{path}/db\"\nsecrets-dir = \"{path}/secrets\"\n",
            port()
        ),
        0o600,
    );
    let ran = Ran::of(sshkeyd().arg("server").arg("--config").arg(&config));
    assert_eq!(ran.code, Some(78), "{ran:?}");
    let at = format!("{}:2:", config.display());
    assert!(ran.err.contains(&at), "{ran:?}");
}

#[test]
fn a_stop_ends_held_queries_at_once() {
    let mut service = Service::start();
    let id = service.save(&public_key(), "laptop", &[]);
    let (address, api_key) = (service.address, service.api_key.clone());
    // A wait of the owner's is held: nothing lives, so nothing will come.
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET /v1/ssh-keys/{id}/rollout HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api_key}\r\n\r\n"
    )
    .unwrap();
    let mut part = [0; 4096];
    let read = stream.read(&mut part).unwrap();
    let head = String::from_utf8_lossy(&part[..read]).to_ascii_lowercase();
    let etag = head
        .lines()
        .find_map(|line| line.strip_prefix("etag: "))
        .unwrap_or_else(|| panic!("{head}"))
        .to_owned();
    write!(
        stream,
        "GET /v1/ssh-keys/{id}/rollout?wait=300 HTTP/1.1\r\nHost: x\r\nIf-None-Match: {etag}\r\n\
         Authorization: Bearer {api_key}\r\n\r\n"
    )
    .unwrap();
    assert!(service.stop().success());
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 "), "{rest}");
}

#[test]
fn a_renewed_certificate_is_served_without_a_restart() {
    let service = Service::start_with_tls();
    service.run(&["ssh-keys", "list"]).done();
    let key = rcgen::KeyPair::generate().unwrap();
    let new = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let ca = service.ca.clone().unwrap();
    let old_ca = service.dir().join("old.pem");
    std::fs::copy(&ca, &old_ca).unwrap();
    put(&service.dir().join("tls.key"), &key.serialize_pem(), 0o600);
    put(&ca, &new.pem(), 0o644);
    wait_until("the new certificate", || {
        service.run(&["ssh-keys", "list"]).code == Some(0)
    });
    let mut list = service.command(&["ssh-keys", "list"]);
    let at = list.get_args().position(|arg| arg == "--ca-file").unwrap();
    let args: Vec<_> = list.get_args().map(ToOwned::to_owned).collect();
    let mut with_old = sshkeyd();
    with_old
        .args(&args[..at])
        .arg("--ca-file")
        .arg(old_ca)
        .env("SSHKEYD_URL", &service.url)
        .env("SSHKEYD_API_KEY", &service.api_key);
    let ran = Ran::of(&mut with_old);
    assert_eq!(ran.code, Some(69), "{ran:?}");
    Ran::of(&mut list).done();
}

#[test]
fn a_reload_with_a_fault_keeps_it_running() {
    let service = Service::start();
    let config = service.dir().join("server.toml");
    let good = std::fs::read_to_string(&config).unwrap();
    put(&config, &good.replace("listen", "lissten"), 0o600);
    service.signal("HUP");
    wait_for("the log", || {
        service
            .log()
            .contains("configuration refused")
            .then_some(())
    });
    service.run(&["ssh-keys", "list"]).done();
    // Nobody starts on it.
    let mut second = sshkeyd();
    second.arg("server").arg("--config").arg(&config);
    let mut second = Daemon::start("second", &mut second, service.dir());
    wait_until("its end", || !second.is_up());
    assert!(second.log().contains("server.toml:2:"), "{}", second.log());
}
