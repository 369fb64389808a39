//! The held query: news at once, and what a restart of either side costs, which is nothing.

use crate::support::host::{Home, Host, replace};
use crate::support::process::{WITHIN, pause, wait_until};
use crate::support::service::Service;
use crate::support::ssh::public_key;
use sshkeyd::sys::clock;
use sshkeyd::wire::{InstanceState, SourceState};
use std::time::Duration;

/// A service, and an agent that holds a query.
fn subscribed() -> (Service, Home, Host) {
    let (service, home) = (Service::start(), Home::new());
    let host = Host::new()
        .of_account(&service)
        .with_home(&home, "account", "")
        .up_listed();
    (service, home, host)
}

#[test]
fn a_save_reaches_the_file_while_the_query_is_held() {
    let (service, home, host) = subscribed();
    let mut slowest = Duration::ZERO;
    for n in 0..5 {
        let key = public_key();
        let file = service.key_file(&key, &format!("key-{n}"));
        let add = ["ssh-keys", "add", file.to_str().unwrap()];
        service.run(&add).done();
        let answered = clock::monotonic();
        home.wait_has(&key, true);
        slowest = slowest.max(clock::monotonic() - answered);
    }
    println!("save answered → in the file, slowest of 5: {slowest:?}");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    assert_eq!(host.status().conditions, []);
}

#[test]
fn a_restart_of_the_service_loses_nothing() {
    let (mut service, home, host) = subscribed();
    let [before, after] = [(); 2].map(|()| public_key());
    service.save(&before, "before", &[]);
    home.wait_has(&before, true);
    assert!(service.stop().success());
    host.wait_condition("source-offline");
    assert!(home.has(&before));
    service.up();
    let began = clock::monotonic();
    service.save(&after, "after", &[]);
    home.wait_has(&after, true);
    println!(
        "service up → news in the file: {:?}",
        (clock::monotonic() - began)
    );
    host.wait_cleared("source-offline");
    assert!(home.has(&before));
}

#[test]
fn a_service_that_was_killed_is_found_again() {
    let (mut service, home, host) = subscribed();
    let [before, after] = [(); 2].map(|()| public_key());
    let id = service.save(&before, "before", &[]);
    home.wait_has(&before, true);
    service.kill();
    let status = host.wait_status("the loss", |s| s.sources[0].state == SourceState::Held);
    assert!(status.sources[0].last_error.is_some());
    service.up();
    service.save(&after, "after", &[]);
    service.delete(id);
    home.wait_has(&after, true);
    home.wait_has(&before, false);
    host.wait_status("no trouble", |s| s.conditions.is_empty());
}

#[test]
fn an_agent_without_its_service_keeps_and_repairs_its_keys() {
    let (mut service, home, mut host) = subscribed();
    let [first, second] = [(); 2].map(|()| public_key());
    service.save(&first, "first", &[]);
    service.save(&second, "second", &[]);
    home.wait_has(&second, true);
    let good = home.text();
    host.kill();
    service.kill();
    // Somebody edits inside the block meanwhile.
    let spoiled: String = good
        .lines()
        .filter(|line| !line.contains(&first.to_string()))
        .map(|line| format!("{line}\n"))
        .collect();
    replace(&home.authorized_keys(), &spoiled);
    host.up();
    wait_until("the repair from the last good list", || home.text() == good);
    let status = host.status();
    assert_eq!(status.sources[0].state, SourceState::Held);
    assert!(status.targets[0].revision.is_some());
    host.wait_condition("source-offline");
    // A running agent repairs at once too.
    replace(&home.authorized_keys(), &spoiled);
    wait_until("the repair by the watch", || home.text() == good);
}

#[test]
fn an_agent_that_was_killed_takes_up_where_it_was() {
    let (service, home, mut host) = subscribed();
    let [first, second] = [(); 2].map(|()| public_key());
    let id = service.save(&first, "first", &[]);
    home.wait_has(&first, true);
    host.kill();
    service.delete(id);
    service.save(&second, "second", &[]);
    assert!(home.has(&first) && !home.has(&second));
    host.up();
    home.wait_has(&second, true);
    home.wait_has(&first, false);
    host.wait_status("no trouble", |s| s.conditions.is_empty());
}

#[test]
fn a_first_start_without_the_service_only_adds() {
    let mut service = Service::start();
    let (home, account, own) = (Home::new(), public_key(), public_key());
    service.save(&account, "laptop", &[]);
    let mut host = Host::new()
        .of_account(&service)
        .with_file("break-glass")
        .with_home(&home, "account break-glass", "");
    host.write_file("break-glass", &format!("{own} own\n"));
    // A container lost its state directory and kept its home: the block is there already.
    host.up();
    home.wait_has(&account, true);
    host.stop();
    std::fs::remove_dir_all(host.dir.path().join("state")).unwrap();
    service.stop();
    let emergency = public_key();
    host.write_file(
        "break-glass",
        &format!("{own} own\n{emergency} emergency\n"),
    );
    host.up();
    home.wait_has(&emergency, true);
    assert!(home.has(&account), "unknown is not empty");
    let condition = host.wait_condition("source-unknown");
    assert!(condition.text.contains("account"), "{condition:?}");
    let status = host.status();
    assert_eq!(status.sources[0].state, SourceState::Unknown);
    assert_eq!(status.sources[1].state, SourceState::Live);
    // Not even the file's own key goes while a source is unknown.
    host.write_file("break-glass", &format!("{emergency} emergency\n"));
    host.wait_status("the shorter list", |s| s.sources[1].keys == 1);
    assert!(home.has(&own));

    // The service is back, and its token is spent: a new one, and all is as it should be.
    service.up();
    let (_, token) = service.create_instance("again");
    replace(&host.token_file(), &token);
    host.wait_cleared("source-unknown");
    home.wait_has(&own, false);
    assert!(home.has(&account) && home.has(&emergency));
}

#[test]
fn a_clean_stop_is_seen_at_once_and_a_running_agent_is_live() {
    let (service, home) = (Service::start(), Home::new());
    let (host, id) = Host::new().of_new_instance(&service, "web");
    let mut host = host.with_home(&home, "account", "");
    assert_eq!(service.instance_state(id), InstanceState::Never);
    host.up();
    wait_until("live", || service.instance_state(id) == InstanceState::Live);
    let began = clock::monotonic();
    assert!(host.stop().success());
    assert_eq!(service.instance_state(id), InstanceState::Offline);
    assert!(clock::monotonic() - began < WITHIN);
    host.up();
    wait_until("live again", || {
        service.instance_state(id) == InstanceState::Live
    });
}

#[test]
fn the_whole_way_works_over_tls_with_a_ca_of_ones_own() {
    let (service, home, key) = (Service::start_with_tls(), Home::new(), public_key());
    let _host = Host::new()
        .of_account(&service)
        .with_home(&home, "account", "")
        .up_listed();
    let id = service.save(&key, "laptop", &["--wait"]);
    assert!(home.has(&key));
    service.delete(id);
    home.wait_has(&key, false);

    // Without the CA nothing is believed.
    let other = Home::new();
    let (_, token) = service.create_instance("other");
    let mut distrustful = Host::new()
        .with_token(&service, &token)
        .with_home(&other, "account", "");
    let config = distrustful
        .toml()
        .replace("account.ca-file", "# account.ca-file");
    distrustful.configure_as(config);
    distrustful.up();
    distrustful.wait_condition("source-offline");
    assert_eq!(distrustful.status().instance, None);
}

#[test]
fn a_burst_of_saves_and_deletes_ends_as_the_last_of_them_says() {
    let (service, home, host) = subscribed();
    let keys = [(); 12].map(|()| public_key());
    let ids: Vec<_> = std::thread::scope(|scope| {
        let saves: Vec<_> = keys
            .iter()
            .enumerate()
            .map(|(n, key)| {
                let service = &service;
                scope.spawn(move || service.save(key, &format!("key-{n}"), &[]))
            })
            .collect();
        saves.into_iter().map(|s| s.join().unwrap()).collect()
    });
    for id in &ids[..11] {
        service.delete(*id);
    }
    home.wait_has(&keys[10], false);
    assert!(home.has(&keys[11]));
    assert_eq!(home.text().matches("ssh-ed25519").count(), 1);
    let status = host.sync();
    assert_eq!((status.sources[0].keys, status.conditions), (1, vec![]));
}

#[test]
fn an_idle_agent_rests() {
    let (service, home, host) = subscribed();
    let key = public_key();
    let file = service.key_file(&key, "short");
    let add = ["ssh-keys", "add", file.to_str().unwrap(), "--expires", "2s"];
    service.run(&add).done();
    home.wait_has(&key, true);
    home.wait_has(&key, false);
    host.run(&["unmanage"]).done();
    let busy = host.daemon.as_ref().unwrap().cpu();
    pause(Duration::from_secs(2));
    let busy = host.daemon.as_ref().unwrap().cpu() - busy;
    assert!(
        busy < Duration::from_millis(200),
        "{busy:?} of CPU in 2 s of rest"
    );
}
