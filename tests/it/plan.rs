//! `sshkeyd plan`: what a sync would change, and nothing written.

use crate::support::host::{Home, Host, read};
use crate::support::process::{pause, wait_until};
use crate::support::service::Service;
use crate::support::ssh::public_key;
use sshkeyd::keys::PublicKey;
use sshkeyd::wire::{Plan, PlanAction, PlannedKey};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

fn plan(host: &Host) -> Plan {
    host.run(&["plan", "--json"]).done().json()
}

fn of<'a>(plan: &'a Plan, key: &PublicKey) -> &'a PlannedKey {
    let print = key.fingerprint().to_string();
    let mut keys = plan.targets[0].keys.iter();
    let found = keys.find(|k| k.fingerprint == print);
    found.unwrap_or_else(|| panic!("{print}: {plan:?}"))
}

/// Every file below, with what would show a write.
fn tree(dir: &Path) -> BTreeMap<PathBuf, (SystemTime, u64)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let about = entry.metadata().unwrap();
        found.insert(entry.path(), (about.modified().unwrap(), about.len()));
        if about.is_dir() {
            found.extend(tree(&entry.path()));
        }
    }
    found
}

/// An agent that has let go, so that what it would do can be looked at for as long as it takes.
fn unmanaged(keys: &[&PublicKey], before: &str, more: &str) -> (Host, Home) {
    let home = Home::new();
    let mut host = Host::new().with_file("all").with_home(&home, "all", more);
    let text: String = keys.iter().map(|key| format!("{key} k\n")).collect();
    host.write_file("all", &text);
    home.write(before);
    host.up();
    host.wait_status("all keys managed", |s| {
        s.targets[0].managed.len() == keys.len()
    });
    keys.iter().for_each(|key| home.wait_has(key, true));
    host.run(&["unmanage"]).done();
    (host, home)
}

#[test]
fn with_nothing_to_do_it_says_so_and_names_every_key() {
    let (service, home, key) = (Service::start(), Home::new(), public_key());
    let host = Host::new()
        .of_account(&service)
        .with_home(&home, "account", "")
        .up_listed();
    let id = service.save(&key, "laptop", &["--wait"]);
    let plan = plan(&host);
    assert!(!plan.changes() && !plan.unmanaged, "{plan:?}");
    let kept = of(&plan, &key);
    assert_eq!(kept.action, PlanAction::Keep);
    let says = format!("account key {id} \"laptop\"");
    assert!(kept.why.contains(&says), "{kept:?}");
    let source = &plan.sources[0];
    assert_eq!(source.name, "account");
    assert_eq!(source.revision, host.status().sources[0].revision);
    assert!(source.last_success.is_some());
    assert_eq!(host.run(&["plan", "--exit-code"]).code, Some(0));
    let text = host.run(&["plan"]).done().out;
    assert!(text.contains("no change") && text.contains(&says), "{text}");
}

#[test]
fn a_swapped_key_is_shown_by_fingerprint_and_nothing_is_written() {
    let (first, second) = (public_key(), public_key());
    let (host, home) = unmanaged(&[&first], "", "");
    host.write_file("all", &format!("{second} k\n"));
    wait_until("the source to have read it", || {
        plan(&host).targets[0]
            .keys
            .iter()
            .any(|k| k.fingerprint == second.fingerprint().to_string())
    });
    // Our block with the old key, as if it had never been taken out.
    let block = format!(
        "# BEGIN sshkeyd - x\n{first} k\n# END sshkeyd\n# mine\n{} m\n",
        public_key()
    );
    home.write(&block);
    let before = (tree(&home.path()), tree(&host.dir.path().join("state")));
    let plan = plan(&host);
    assert!(plan.unmanaged && plan.changes(), "{plan:?}");
    assert_eq!(of(&plan, &second).action, PlanAction::Add);
    let gone = of(&plan, &first);
    assert!(
        gone.action == PlanAction::Remove && gone.why.contains("no source lists it"),
        "{gone:?}"
    );
    let ran = host.run(&["plan", "--exit-code"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for key in [&first, &second] {
        assert!(ran.out.contains(&key.fingerprint().to_string()), "{ran:?}");
    }
    assert!(
        ran.out.contains("+ add") && ran.out.contains("- remove"),
        "{ran:?}"
    );
    assert_eq!(home.text(), block);
    let after = (tree(&home.path()), tree(&host.dir.path().join("state")));
    assert_eq!(before, after, "a plan writes nothing at all");
}

#[test]
fn a_line_that_would_move_and_a_foreign_one_that_stays() {
    let (key, foreign) = (public_key(), public_key());
    let mine = format!("{key} mine\n{foreign} other\n");
    let (host, home) = unmanaged(&[&key], &mine, "adopt = \"same-key\"\n");
    assert_eq!(home.text(), mine);
    let plan = plan(&host);
    assert_eq!(of(&plan, &key).action, PlanAction::Adopt);
    assert_eq!(
        plan.targets[0].keys.len(),
        1,
        "a foreign key is none of ours: {plan:?}"
    );
}

#[test]
fn what_is_held_says_why() {
    let (home, key) = (Home::new(), public_key());
    let mut host = Host::new().with_file("all").with_home(&home, "all", "");
    host.write_file("all", &format!("{key} k\n"));
    home.write("# BEGIN sshkeyd id=ab12 - x\n# END sshkeyd\n");
    host.up();
    host.wait_condition("another-agent");
    let plan = plan(&host);
    let held = plan.targets[0].held.as_deref().unwrap_or_default();
    assert!(held.contains("id=ab12") && !plan.changes(), "{plan:?}");
    let text = host.run(&["plan"]).done().out;
    assert!(text.contains("held: "), "{text}");
}

#[test]
fn an_expired_key_goes_with_the_time_of_its_end() {
    let (service, home, key) = (Service::start(), Home::new(), public_key());
    let host = Host::new()
        .of_account(&service)
        .with_home(&home, "account", "")
        .up_listed();
    service.save(&key, "short", &["--expires", "3s", "--wait"]);
    let block = read(&home.authorized_keys());
    host.run(&["unmanage"]).done();
    // What an agent that was stopped meanwhile finds.
    pause(Duration::from_secs(3));
    home.write(&block);
    let plan = plan(&host);
    let gone = of(&plan, &key);
    assert_eq!(gone.action, PlanAction::Remove);
    assert!(gone.why.contains("\"short\" expired at 20"), "{gone:?}");
}

#[test]
fn without_an_agent_it_is_69() {
    let home = Home::new();
    let host = Host::new().with_file("all").with_home(&home, "all", "");
    host.configure();
    for args in [&["plan"] as &[_], &["plan", "--json", "--exit-code"]] {
        let ran = host.run(args);
        assert_eq!(ran.code, Some(69), "{ran:?}");
        assert!(ran.out.is_empty(), "{ran:?}");
    }
}
