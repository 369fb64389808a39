//! Exit codes and words of the commands, as a script or a person meets them.

use crate::support::host::{Home, Host};
use crate::support::process::{Ran, copy_program, sshkeyd, wait_until};
use crate::support::service::Service;
use crate::support::ssh::public_key;
use crate::support::sshd::put;
use serde_json::Value;
use sshkeyd::wire::State;
use std::process::Command;

fn words(value: &Value) -> Vec<&str> {
    let object = value.as_object().unwrap();
    object.keys().map(String::as_str).collect()
}

#[test]
fn once_ends_with_what_came_of_it() {
    let (service, home, key) = (Service::start(), Home::new(), public_key());
    let host = Host::new()
        .of_account(&service)
        .with_home(&home, "account", "");
    let id = service.save(&key, "laptop", &[]);
    let ran = host.once().done();
    assert!(home.has(&key), "{ran:?}");
    service.delete(id);
    host.once().done();
    assert!(!home.has(&key));
}

#[test]
fn once_without_its_source_is_69_and_keeps_the_keys() {
    let (mut service, home, key) = (Service::start(), Home::new(), public_key());
    let host = Host::new()
        .of_account(&service)
        .with_home(&home, "account", "");
    service.save(&key, "laptop", &[]);
    host.once().done();
    service.stop();
    let ran = host.once();
    assert_eq!(ran.code, Some(69), "{ran:?}");
    assert!(ran.err.contains("source-offline"), "{ran:?}");
    assert!(home.has(&key));
}

#[test]
fn once_with_a_file_it_may_not_write_is_1() {
    let (bad, good) = (Home::new(), Home::new());
    let key = public_key();
    let host = Host::new()
        .with_file("all")
        .with_home(&bad, "all", "")
        .with_home(&good, "all", "");
    host.write_file("all", &format!("{key} k\n"));
    std::fs::create_dir(bad.authorized_keys()).unwrap();
    let ran = host.once();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("not-a-plain-file"), "{ran:?}");
    assert!(good.has(&key));
}

#[test]
fn once_beside_a_running_agent_is_1_and_names_sync() {
    let home = Home::new();
    let mut host = Host::new().with_file("all").with_home(&home, "all", "");
    host.write_file("all", &format!("{} k\n", public_key()));
    host.up();
    let ran = host.once();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("sshkeyd sync"), "{ran:?}");
    // A second daemon neither.
    let ran = host.run(&["agent"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    host.run(&["sync"]).done();
}

#[test]
fn a_sync_that_ends_well_is_0_and_one_that_does_not_is_1() {
    let home = Home::new();
    let mut host = Host::new().with_file("all").with_home(&home, "all", "");
    host.write_file("all", &format!("{} k\n", public_key()));
    assert_eq!(host.run(&["check"]).code, Some(78), "no file yet");
    host.configure();
    for command in ["sync", "status"] {
        let ran = host.run(&[command]);
        assert_eq!(ran.code, Some(69), "{ran:?}");
        assert!(ran.err.contains("is it running"), "{ran:?}");
    }
    host.up();
    wait_until("a sync that may be asked for", || {
        host.run(&["sync"]).code == Some(0)
    });
    std::fs::remove_file(host.file("all")).unwrap();
    host.wait_condition("source-not-found");
    wait_until("a sync that is carried out", || {
        let ran = host.run(&["sync", "--json"]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        !ran.out.is_empty()
    });
}

#[test]
fn check_names_every_fault_with_its_place() {
    let home = Home::new();
    let mut host = Host::new().with_file("all").with_home(&home, "all", "");
    host.configure();
    let ran = host.run(&["check"]).done();
    assert!(ran.out.contains("no fault"), "{ran:?}");
    let config = host
        .toml()
        .replace("interval = \"1s\"", "interval = \"1 second\"")
        .replace("sources = [\"all\"]", "sorces = [\"all\"]");
    host.configure_as(config.clone());
    let ran = host.run(&["check"]);
    assert_eq!(ran.code, Some(78), "{ran:?}");
    for at in ["1 second", "sorces"] {
        let (n, line) = config
            .lines()
            .enumerate()
            .find(|(_, line)| line.contains(at))
            .unwrap();
        let column = line.find(at).unwrap();
        let near = (column..=column + 1).any(|column| {
            let place = format!("{}:{}:{column}: ", host.config.display(), n + 1);
            ran.err.contains(&place)
        });
        assert!(near, "{at}: {ran:?}");
    }
    let ran = host.run(&["agent"]);
    assert_eq!(ran.code, Some(78), "{ran:?}");
}

#[test]
fn a_bad_configuration_is_refused_and_a_good_one_needs_no_signal() {
    let (home, second) = (Home::new(), Home::new());
    let key = public_key();
    let mut host = Host::new().with_file("all").with_home(&home, "all", "");
    host.write_file("all", &format!("{key} k\n"));
    host.up();
    home.wait_has(&key, true);
    let good = host.toml();
    host.configure_as(good.replace("[agent]", "[agent]\nno-such-key = 1"));
    host.signal("HUP");
    let condition = host.wait_condition("config-refused");
    assert!(condition.text.contains("no-such-key"), "{condition:?}");
    // Who is asked does not hang on the fault.
    for question in ["status", "plan"] {
        host.run(&[question, "--json"]).done();
    }
    let more = public_key();
    host.write_file("all", &format!("{key} k\n{more} m\n"));
    home.wait_has(&more, true);

    // By the watch alone.
    host = host.with_home(&second, "all", "");
    host.configure_as(host.toml());
    second.wait_has(&key, true);
    host.wait_cleared("config-refused");
    let status = host.wait_status("both targets", |s| s.targets.len() == 2);
    assert_eq!(status.state, State::Ok);
    host.sync();

    // It reads well and cannot begin: the one before it goes on.
    let config = host.toml().replace(
        "[[target]]",
        "[[source]]\nname = \"account\"\naccount.urls = [\"https://localhost:1\"]\n\
         account.enroll-token-file = \"/none\"\naccount.ca-file = \"/nowhere/ca.pem\"\n[[target]]",
    );
    host.configure_as(config);
    host.wait_condition("config-refused");
    let third = public_key();
    host.write_file("all", &format!("{key} k\n{more} m\n{third} t\n"));
    home.wait_has(&third, true);
    second.wait_has(&third, true);
}

#[test]
fn the_status_object_is_as_the_interface_says() {
    let (service, home, key) = (Service::start(), Home::new(), public_key());
    let (host, id) = Host::new().of_new_instance(&service, "web");
    let mut host = host.with_home(&home, "account", "");
    host.up();
    host.wait_listed();
    service.save(&key, "laptop", &["--wait"]);
    let ran = host.run(&["status", "--json"]).done();
    let status: Value = ran.json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["instance"], id);
    assert_eq!(status["state"], "ok");
    let source = &status["sources"][0];
    for (name, value) in [
        ("name", Value::from("account")),
        ("kind", "account".into()),
        ("state", "live".into()),
        ("keys", 1.into()),
        ("rejected", Value::Array(vec![])),
        ("last_error", Value::Null),
    ] {
        assert_eq!(source[name], value, "{name}: {source}");
    }
    assert!(source["revision"].as_u64().unwrap() > 1_600_000_000_000);
    let time = source["last_success"].as_str().unwrap();
    assert!(time.starts_with("20") && time.ends_with('Z'), "{time}");
    let target = &status["targets"][0];
    let fingerprint = key.fingerprint().to_string();
    for (name, value) in [
        ("user", Value::from(home.user.as_str())),
        ("path", home.authorized_keys().to_str().unwrap().into()),
        ("method", "block".into()),
        ("managed", vec![fingerprint.clone()].into()),
        ("foreign", 0.into()),
        ("revision", source["revision"].clone()),
    ] {
        assert_eq!(target[name], value, "{name}: {target}");
    }
    let sum = Command::new("sha256sum")
        .arg(home.authorized_keys())
        .output();
    let sum = String::from_utf8(sum.unwrap().stdout).unwrap();
    let digest = format!("sha256:{}", sum.split(' ').next().unwrap());
    assert_eq!(target["digest"], Value::from(digest));
    assert!(target["applied_at"].is_string());
    let proof = &target["proof"];
    let mut names = words(proof);
    names.sort_unstable();
    assert_eq!(
        names,
        ["accepted", "at", "refused", "still_accepted", "unknown"]
    );
    assert_eq!(proof["unknown"][0]["fingerprint"], Value::from(fingerprint));
    assert_eq!(proof["unknown"][0]["why"], "verify-off");
    let plain = host.run(&["status"]).done();
    assert!(plain.out.contains(home.authorized_keys().to_str().unwrap()));

    service_gone(service, &mut host);
}

/// A condition has all that a person needs.
fn service_gone(mut service: Service, host: &mut Host) {
    service.stop();
    host.wait_condition("source-offline");
    let status: Value = host.run(&["status", "--json"]).done().json();
    let condition = &status["conditions"][0];
    let mut names = words(condition);
    names.sort_unstable();
    assert_eq!(names, ["about", "code", "do", "severity", "since", "text"]);
    assert_eq!(condition["severity"], "warning");
    assert_eq!(condition["about"], "account");
    assert_eq!(status["state"], "degraded");
}

#[test]
fn what_is_no_public_key_is_refused_before_it_leaves_the_machine() {
    let service = Service::start();
    let file = service.dir().join("id_ed25519");
    for (text, says) in [
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE=\n-----END OPENSSH PRIVATE KEY-----\n",
            "private",
        ),
        ("/home/alice/.ssh/id_ed25519.pub\n", "file's name"),
        ("ssh-ed25519 AAAA\n", ""),
        ("", ""),
    ] {
        put(&file, text, 0o600);
        let ran = service.run(&["ssh-keys", "add", file.to_str().unwrap()]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.err.to_lowercase().contains(says), "{ran:?}");
        assert!(!ran.err.contains("b3BlbnNzaC1rZXk"), "{ran:?}");
    }
    let list: Value = service.run(&["ssh-keys", "list", "--json"]).done().json();
    assert_eq!(list["items"], Value::Array(vec![]));
}

#[test]
fn keys_and_instances_are_listed_and_a_second_save_is_the_same_key() {
    let (service, key) = (Service::start(), public_key());
    let id = service.save(&key, "laptop", &[]);
    assert_eq!(service.save(&key, "laptop", &[]), id);
    let again = service.run(&[
        "ssh-keys",
        "add",
        service.key_file(&key, "laptop").to_str().unwrap(),
    ]);
    assert!(again.done().out.contains("was saved before"));
    let table = service.run(&["ssh-keys", "list"]).done().out;
    assert!(table.contains(&key.fingerprint().to_string()), "{table}");
    let made = service
        .run(&["instances", "create", "--label", "web"])
        .done()
        .out;
    assert!(
        made.contains("skd_enr_") && made.contains(".SHA256:"),
        "{made}"
    );
    let list = service.run(&["instances", "list"]).done().out;
    assert!(list.contains("web") && list.contains("never"), "{list}");
    assert!(!list.contains("skd_enr_"));
    service.delete(id);
    let ran = service.run(&["ssh-keys", "delete", &id.to_string()]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
}

#[test]
fn who_may_not_is_77_and_a_service_that_is_away_69() {
    let mut service = Service::start();
    let mut list = service.command(&["ssh-keys", "list"]);
    let ran = Ran::of(list.env("SSHKEYD_API_KEY", "skd_api_wrong"));
    assert_eq!(ran.code, Some(77), "{ran:?}");
    assert!(!ran.err.contains("skd_api_wrong"), "{ran:?}");
    let mut list = service.command(&["ssh-keys", "list"]);
    let ran = Ran::of(list.env_remove("SSHKEYD_API_KEY"));
    assert_eq!(ran.code, Some(77), "{ran:?}");
    let ran = Ran::of(sshkeyd().args(["ssh-keys", "list"]));
    assert_eq!(ran.code, Some(64), "{ran:?}");
    service.stop();
    let ran = service.run(&["ssh-keys", "list"]);
    assert_eq!(ran.code, Some(69), "{ran:?}");
}

#[test]
fn a_wait_ends_1_and_names_the_instance_that_is_behind() {
    let (service, bad, key) = (Service::start(), Home::new(), public_key());
    let mut host = Host::new()
        .of_account(&service)
        .with_home(&bad, "account", "");
    std::fs::create_dir(bad.authorized_keys()).unwrap();
    host.up();
    host.wait_listed();
    let file = service.key_file(&key, "laptop");
    let ran = service.run(&["ssh-keys", "add", file.to_str().unwrap(), "--wait=2s"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("\"web\""), "{ran:?}");
    assert!(ran.out.contains("1 to come"), "{ran:?}");
    // The user puts it right: the next wait ends well.
    std::fs::remove_dir(bad.authorized_keys()).unwrap();
    let ran = service.run(&["ssh-keys", "add", file.to_str().unwrap(), "--wait=30s"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn a_user_sees_his_own_target_and_may_change_nothing() {
    let (root, daemon) = (Home::new(), Home::of_daemon());
    let mut host = Host::new()
        .with_file("all")
        .with_home(&root, "all", "")
        .with_home(&daemon, "all", "");
    let key = public_key();
    host.write_file("all", &format!("{key} k\n"));
    host.up();
    daemon.wait_has(&key, true);
    // The binary and the configuration as that user may read them.
    let program = host.dir.path().join("sshkeyd");
    copy_program(env!("CARGO_BIN_EXE_sshkeyd"), &program);
    let open = host.dir.path().join("open.toml");
    put(&open, &host.toml(), 0o644);
    let as_daemon = |args: &[&str]| {
        let mut command = Command::new(&program);
        std::os::unix::process::CommandExt::uid(&mut command, 1);
        Ran::of(command.args(args).arg("--config").arg(&open))
    };
    let status: Value = as_daemon(&["status", "--json"]).done().json();
    let targets = status["targets"].as_array().unwrap();
    assert_eq!(targets.len(), 1);
    assert_eq!(targets[0]["user"], "daemon");
    assert_eq!(status["sources"], Value::Array(vec![]));
    for command in ["sync", "unmanage"] {
        let ran = as_daemon(&[command]);
        assert_ne!(ran.code, Some(0), "{ran:?}");
    }
    assert_eq!(as_daemon(&["sync"]).code, Some(77));
    assert!(root.has(&key) && daemon.has(&key));
}
