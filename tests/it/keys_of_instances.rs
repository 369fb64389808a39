//! Keys of single instances, and keys that are edited: two agents with files of their own.

use crate::support::host::{Home, Host};
use crate::support::process::wait_until;
use crate::support::service::Service;
use crate::support::ssh::public_key;
use serde_json::{Value, json};
use sshkeyd::keys::PublicKey;
use sshkeyd::wire::{Rollout, SourceState, Status};

/// A machine with a file of its own.
struct Machine {
    id: i64,
    home: Home,
    host: Host,
}

impl Machine {
    fn up(service: &Service, label: &str) -> Self {
        let home = Home::new();
        let (host, id) = Host::new().of_new_instance(service, label);
        let mut host = host.with_home(&home, "account", "");
        host.up();
        host.wait_listed();
        Self { id, home, host }
    }

    fn wait_has(&self, keys: &[(&PublicKey, bool)]) {
        for (key, wanted) in keys {
            self.home.wait_has(key, *wanted);
        }
    }

    fn revision(&self) -> u64 {
        revision(&self.host.status())
    }

    /// Its list is that of the account's last change, and nothing is amiss.
    fn wait_revision(&self, at_least: u64) {
        let what = format!("revision {at_least} on {}", self.id);
        self.host.wait_status(&what, |status| {
            status.conditions.is_empty()
                && status.sources[0].state == SourceState::Live
                && revision(status) >= at_least
        });
    }
}

fn revision(status: &Status) -> u64 {
    status.sources[0].revision.unwrap_or(0)
}

fn call(service: &Service, call: &str, body: &Value) -> (u16, Value) {
    let (status, _, value) = service.http(call, &body.to_string());
    (status, value)
}

fn set(service: &Service, method: &str, machine: &Machine, key: i64) -> Value {
    let path = format!("{method} /v1/instances/{}/ssh-keys/{key}", machine.id);
    let (status, value) = call(service, &path, &json!({}));
    assert_eq!(status, 200, "{value}");
    value
}

fn save_for_some(service: &Service, key: &PublicKey) -> i64 {
    let body = json!({"public_key": key.to_string(), "name": "some", "scope": "some"});
    let (status, saved) = call(service, "POST /v1/ssh-keys", &body);
    assert_eq!(status, 201, "{saved}");
    saved["id"].as_i64().unwrap()
}

fn wanted(rollout: &Rollout) -> Vec<i64> {
    rollout.instances.iter().map(|i| i.instance).collect()
}

#[test]
fn a_key_is_on_the_instances_that_it_is_attached_to() {
    let service = Service::start();
    let (one, two) = (Machine::up(&service, "one"), Machine::up(&service, "two"));
    let [all, some] = [(); 2].map(|()| public_key());
    let all_id = service.save(&all, "all", &[]);
    let some_id = save_for_some(&service, &some);
    for machine in [&one, &two] {
        machine.wait_has(&[(&all, true), (&some, false)]);
    }
    assert!(wanted(&service.rollout(some_id)).is_empty());

    // The one becomes special while its query is held, the other is told to refuse its list.
    assert_eq!(set(&service, "PUT", &one, some_id)["nowhere"], false);
    one.wait_has(&[(&all, true), (&some, true)]);
    assert_eq!(wanted(&service.rollout(some_id)), [one.id]);
    two.wait_revision(one.revision());
    two.wait_has(&[(&all, true), (&some, false)]);

    // A key for all still reaches both, and a detached one leaves one of them.
    let later = public_key();
    let later_id = service.save(&later, "later", &[]);
    for machine in [&one, &two] {
        machine.wait_has(&[(&later, true)]);
    }
    set(&service, "DELETE", &one, all_id);
    one.wait_has(&[(&all, false), (&some, true), (&later, true)]);
    two.wait_revision(one.revision());
    two.wait_has(&[(&all, true)]);

    // Like all others again.
    assert_eq!(set(&service, "DELETE", &one, some_id)["nowhere"], true);
    set(&service, "PUT", &one, all_id);
    one.wait_has(&[(&all, true), (&some, false), (&later, true)]);
    let last = one.revision();
    for machine in [&one, &two] {
        machine.wait_revision(last);
    }
    service.delete(later_id);
    for machine in [&one, &two] {
        machine.wait_has(&[(&all, true), (&later, false)]);
        machine.wait_revision(last + 1);
    }
}

#[test]
fn what_an_instance_has_for_itself_outlives_restarts_of_both_sides() {
    let mut service = Service::start();
    let (mut one, two) = (Machine::up(&service, "one"), Machine::up(&service, "two"));
    let some = public_key();
    let some_id = save_for_some(&service, &some);
    set(&service, "PUT", &one, some_id);
    one.wait_has(&[(&some, true)]);
    assert!(one.host.stop().success());
    assert!(service.stop().success());
    service.up();
    one.host.up();
    let all = public_key();
    service.save(&all, "all", &[]);
    one.wait_has(&[(&some, true), (&all, true)]);
    two.wait_has(&[(&some, false), (&all, true)]);
    // Attached while it was off.
    assert!(one.host.stop().success());
    set(&service, "DELETE", &one, some_id);
    set(&service, "PUT", &two, some_id);
    two.wait_has(&[(&some, true)]);
    one.host.up();
    one.wait_has(&[(&some, false), (&all, true)]);
    one.wait_revision(two.revision());
}

#[test]
fn another_text_comes_and_the_old_one_goes_at_once() {
    let service = Service::start();
    let machine = Machine::up(&service, "one");
    let [old, new] = [(); 2].map(|()| public_key());
    let id = service.save(&old, "laptop", &[]);
    machine.wait_has(&[(&old, true)]);
    let patch = format!("PATCH /v1/ssh-keys/{id}");
    let (status, edited) = call(&service, &patch, &json!({"public_key": new.to_string()}));
    assert_eq!((status, &edited["id"]), (200, &json!(id)), "{edited}");
    assert_eq!(edited["name"], "laptop");
    let mut seen = String::new();
    wait_until("the new text", || {
        seen = machine.home.text();
        seen.contains(&new.to_string())
    });
    assert!(!seen.contains(&old.to_string()), "both at a time: {seen}");
    let rollout = service.rollout(id);
    assert_eq!(rollout.fingerprint, new.fingerprint().to_string());

    let (status, named) = call(&service, &patch, &json!({"name": "desk"}));
    assert_eq!(status, 200, "{named}");
    let line = format!("key {id} \"desk\"");
    wait_until("the new name", || machine.home.text().contains(&line));
    let (status, gone) = call(&service, &patch, &json!({"scope": "some"}));
    assert_eq!(status, 200, "{gone}");
    machine.wait_has(&[(&new, false)]);
}
