//! Live sessions as the account's owner meets them: listed, ended by an order, and told of.
//!
//! The instances here are a few calls of the agents' API, so that what they say can be chosen; the
//! service and the commands are the real ones.

use crate::support::process::{Ran, wait_for};
use crate::support::service::Service;
use crate::support::ssh::public_key;
use crate::support::told::{Told, session};
use jiff::Timestamp;
use sshkeyd::sys::clock;
use sshkeyd::wire::{Device, Instance, OrderOutcome, Page, RolloutState, SshKey};
use std::thread::JoinHandle;

/// The owner's command, waiting as long as `wait` says.
fn deletion(service: &Service, id: i64, wait: &str) -> JoinHandle<Ran> {
    let (id, wait) = (id.to_string(), format!("--wait={wait}"));
    let mut command = service.command(&["ssh-keys", "delete", &id, "--end-sessions", &wait]);
    std::thread::spawn(move || Ran::of(&mut command))
}

#[test]
fn live_sessions_are_listed_by_key_and_end_with_it_while_the_owner_waits() {
    let mut service = Service::start();
    let (mut web, mut db) = (Told::enrol(&service, "web"), Told::enrol(&service, "db"));
    let [lost, kept] = [(); 2].map(|()| public_key());
    let id = service.save(&lost, "lost", &[]);
    service.save(&kept, "kept", &[]);
    let device = Device {
        hostname: "box".to_owned(),
        os: "Debian GNU/Linux 12".to_owned(),
        kernel: "6.1.0".to_owned(),
        agent_version: "0.1.0".to_owned(),
        host_keys: vec!["SHA256:host".to_owned()],
        boot_time: Some(clock::now()),
    };
    web.status.sessions = vec![
        session(&lost, 811),
        session(&lost, 812),
        session(&kept, 813),
    ];
    web.status.sessions.push(session(&public_key(), 814));
    web.say(Some(device.clone()), Vec::new());
    db.say(None, Vec::new());

    let shown = service.run(&["instances", "show", "web"]).done().out;
    let row = |pid: &str| {
        let ends = |line: &&str| line.ends_with(pid);
        shown
            .lines()
            .find(ends)
            .unwrap_or_else(|| panic!("{shown}"))
    };
    assert!(row("811").contains("1 \"lost\"") && row("813").contains("2 \"kept\""));
    assert!(row("814").contains("unknown SHA256:"), "{shown}");
    assert!(shown.contains("Debian GNU/Linux 12") && shown.contains("SHA256:host"));
    let by_id = ["instances", "show", &web.id.to_string(), "--json"];
    let json: Instance = service.run(&by_id).done().json();
    assert_eq!(json.device, Some(device));
    assert_eq!(json.status.unwrap().sessions, web.status.sessions);
    let nobody = service.run(&["instances", "show", "nobody"]);
    assert!(
        nobody.code == Some(1) && nobody.err.contains("\"nobody\""),
        "{nobody:?}"
    );
    let keys = service.run(&["ssh-keys", "list", "--json"]).done();
    let keys: Page<SshKey> = keys.json();
    // The database keeps milliseconds.
    let used = |key: &SshKey| key.last_used_at.map(Timestamp::as_millisecond);
    let began = |nth: usize| Some(web.status.sessions[nth].since.as_millisecond());
    assert_eq!(used(&keys.items[0]), began(1));
    assert_eq!(used(&keys.items[1]), began(2));
    let table = service.run(&["ssh-keys", "list"]).done().out;
    let used = format!("{:.0}", keys.items[0].last_used_at.unwrap());
    assert!(
        table.contains("LAST USED") && table.contains(&used),
        "{table}"
    );

    let (_, etag) = web.list(None);
    let delete = deletion(&service, id, "30s");
    let (list, etag) = web.list(Some(&etag));
    assert_eq!(list.keys.len(), 1);
    let order = list.end_sessions[0].clone();
    assert_eq!(order.fingerprint, Some(lost.fingerprint().to_string()));
    web.answer(&order, OrderOutcome::Ended, 2);
    let rollout = service.rollout(id);
    assert_eq!(rollout.instances[0].end_sessions.unwrap().ended, 2);
    assert_eq!(rollout.instances[1].end_sessions, None);
    assert!(
        !delete.is_finished(),
        "the other instance has still to answer"
    );
    let (list, _) = db.list(None);
    assert_eq!(list.end_sessions, std::slice::from_ref(&order));
    db.answer(&order, OrderOutcome::None, 0);
    let told = delete.join().unwrap().done();
    assert!(told.err.contains("to come"), "{told:?}");
    let lines = "deleted key 1\n2 sessions ended, 2 of 2 have answered\n\
                 instance 1 \"web\": 2 sessions ended\ninstance 2 \"db\": no session of it\n";
    assert_eq!(told.out, lines);

    // The order has done its work: it leaves, in a list of its own.
    let (after, _) = web.list(Some(&etag));
    assert_eq!(after.end_sessions, []);
    assert!(after.revision > list.revision && after.keys == list.keys);

    assert!(service.stop().success());
    service.up();
    let rollout = service.rollout(id);
    assert_eq!(rollout.fingerprint, lost.fingerprint().to_string());
    assert!(!rollout.end_sessions.unwrap().open);
    assert_eq!(
        rollout.instances[0].state,
        RolloutState::Wanted,
        "it named no list"
    );
    let ends: Vec<_> = rollout
        .instances
        .iter()
        .map(|i| i.end_sessions.unwrap())
        .collect();
    assert_eq!((ends[0].outcome, ends[0].ended), (OrderOutcome::Ended, 2));
    assert_eq!((ends[1].outcome, ends[1].ended), (OrderOutcome::None, 0));
    let text = service
        .run(&["ssh-keys", "rollout", &id.to_string()])
        .done()
        .out;
    assert!(
        text.contains("2 sessions ended") && text.contains("no session of it"),
        "{text}"
    );
}

#[test]
fn an_instance_that_cannot_end_them_or_does_not_answer_is_told_and_the_command_is_not_done() {
    let service = Service::start();
    let (mut web, db) = (Told::enrol(&service, "web"), Told::enrol(&service, "db"));
    let id = service.save(&public_key(), "lost", &[]);
    for told in [&web, &db] {
        told.say(None, Vec::new());
    }
    let delete = deletion(&service, id, "3s");
    let order = wait_for("the order", || web.list(None).0.end_sessions.pop());
    web.answer(&order, OrderOutcome::NotMapped, 0);
    let told = delete.join().unwrap();
    assert_eq!(told.code, Some(1), "{told:?}");
    for line in [
        "instance 1 \"web\": cannot tell whose key",
        "instance 2 \"db\": has not answered yet",
    ] {
        assert!(told.err.contains(line), "{told:?}");
    }
    let rollout = service.rollout(id);
    assert!(rollout.end_sessions.unwrap().open, "db may still answer");
}
