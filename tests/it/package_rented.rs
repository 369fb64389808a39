//! What a rented machine is given at its start: the onstart script and the user data, as they stand in
//! package/, run on a machine without systemd against a real service.

use crate::install::{Machine, instance};
use crate::support::host::read;
use crate::support::process::{Ran, wait_until};
use crate::support::service::Service;
use crate::support::ssh::public_key;
use crate::support::sshd::put;
use serde_json::Value;
use sshkeyd::wire::InstanceState;
use std::path::{Path, PathBuf};
use std::process::Command;

fn packaged(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("package")
        .join(name)
}

/// The text with this service's address and this token put in, as its owner does it.
fn filled(text: &str, service: &Service, line: &str) -> String {
    let token = line.split_once("SSHKEYD_TOKEN=").unwrap().1;
    let token = token.split(' ').next().unwrap();
    for place in ["https://keys.example.com", "skd_enr_REPLACE"] {
        assert_eq!(text.matches(place).count(), 1, "{place}: {text}");
    }
    text.replace("https://keys.example.com", &service.url)
        .replace("skd_enr_REPLACE", token)
}

/// A container that runs this at every start of its own has the account's keys.
fn makes_an_instance(service: &Service, machine: &Machine, id: i64, start: &str) {
    let [key, later] = [(); 2].map(|()| public_key());
    service.save(&key, &format!("{id}-first"), &[]);
    let ran = machine.shell(start).done();
    assert!(ran.out.contains("has the account's keys"), "{ran:?}");
    assert!(machine.keys().contains(&key.to_string()));
    assert_eq!(service.instance_state(id), InstanceState::Live);
    // The container stops, and starts again with the same line.
    machine.shell("kill $(cat /run/sshkeyd/agent.pid)").done();
    wait_until("the end", || machine.agents() == 0);
    service.save(&later, &format!("{id}-later"), &[]);
    machine.shell(start).done();
    assert_eq!(machine.agents(), 1);
    wait_until("the key that came meanwhile", || {
        machine.keys().contains(&later.to_string())
    });
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn onstart_makes_a_rented_machine_an_instance_with_curl_or_wget() {
    let service = Service::start();
    for without in ["wget", "curl"] {
        let machine = Machine::boot(without);
        let (id, line) = instance(&service, without);
        let text = filled(&read(&packaged("onstart")), &service, &line);
        put(&machine.path("root/onstart"), &text, 0o755);
        makes_an_instance(&service, &machine, id, "/root/onstart");
    }
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn cloud_init_takes_the_user_data_and_its_command_makes_an_instance() {
    let (service, machine) = (Service::start(), Machine::boot(""));
    let (id, line) = instance(&service, "cloud");
    let text = filled(&read(&packaged("cloud-init.yaml")), &service, &line);
    let file = service.dir().join("user-data");
    put(&file, &text, 0o600);
    let mut schema = Command::new("cloud-init");
    schema.args(["schema", "--config-file"]).arg(&file);
    let said = Ran::of(&mut schema).done();
    assert!(said.out.contains("Valid cloud-config"), "{said:?}");
    // As cloud-init itself reads it: a list is a command, with its words as they are.
    let mut reader = Command::new("python3");
    reader
        .args([
            "-c",
            "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))",
        ])
        .arg(&file);
    let read: Value = Ran::of(&mut reader).done().json();
    let [command] = &read["runcmd"].as_array().unwrap()[..] else {
        panic!("not one command: {read}");
    };
    let words = command.as_array().unwrap();
    let words: Vec<_> = words.iter().map(|word| word.as_str().unwrap()).collect();
    let ["sh", "-c", start] = words[..] else {
        panic!("another command: {words:?}");
    };
    makes_an_instance(&service, &machine, id, start);
}
