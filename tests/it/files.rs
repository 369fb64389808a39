//! What happens to a file and to the lists that come from files; no service, no SSH.

use crate::support::host::{Home, Host, read};
use crate::support::process::{pause, wait_until};
use crate::support::service::Service;
use crate::support::ssh::public_key;
use crate::support::sshd::put;
use jiff::Timestamp;
use sshkeyd::keys::{KeyList, PublicKey};
use sshkeyd::sinks::{Carry, KeysFile, SinkError};
use sshkeyd::sync::{Decision, Dialect, Owned, View, decide, plan, render};
use sshkeyd::sys::clock;
use sshkeyd::wire::{SourceState, State};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// An agent with one file source and one target, running.
fn break_glass(more: &str) -> (Home, Host) {
    let home = Home::new();
    let host = Host::new()
        .with_file("break-glass")
        .with_home(&home, "break-glass", more);
    (home, host)
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn two_sources_and_two_users_get_the_union_that_is_theirs() {
    let (root, daemon) = (Home::new(), Home::of_daemon());
    let [both, one] = [(); 2].map(|()| public_key());
    let mut host = Host::new()
        .with_file("all")
        .with_file("root-only")
        .with_home(&root, "all root-only", "")
        .with_home(&daemon, "all", "");
    host.write_file("all", &format!("{both} both\n"));
    // A key of both sources stands once.
    host.write_file("root-only", &format!("{both} again\n{one} one\n"));
    host.up();
    root.wait_has(&one, true);
    daemon.wait_has(&both, true);
    assert!(root.has(&both) && !daemon.has(&one));
    assert_eq!(root.text().matches(&both.to_string()).count(), 1);
    let meta = fs::metadata(daemon.authorized_keys()).unwrap();
    assert_eq!(
        (meta.uid(), meta.gid(), meta.mode() & 0o7777),
        (1, 1, 0o600)
    );
    // A source taken out of the configuration is a decision: its keys go.
    host.forget_source("root-only");
    host.configure();
    root.wait_has(&one, false);
    assert!(root.has(&both) && daemon.has(&both));
}

#[test]
fn one_bad_key_costs_one_key() {
    let (home, mut host) = break_glass("");
    let [first, last] = [(); 2].map(|()| public_key());
    let junk = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAQQ short\n\
                -----BEGIN OPENSSH PRIVATE KEY-----\n\
                ssh-ed25519 AAAA===\n";
    host.write_file(
        "break-glass",
        &format!("{first} first\n{junk}{last} last\n"),
    );
    host.up();
    home.wait_has(&last, true);
    assert!(home.has(&first));
    let status = host.status();
    let source = &status.sources[0];
    assert_eq!((source.state, source.keys), (SourceState::Live, 2));
    let file = host.file("break-glass");
    let places: Vec<_> = source.rejected.iter().map(|r| r.at.clone()).collect();
    let wanted: Vec<_> = (2..=4).map(|n| format!("{}:{n}", file.display())).collect();
    assert_eq!(places, wanted, "{:?}", source.rejected);
    assert!(source.rejected.iter().all(|r| !r.why.is_empty()));
    assert!(!home.text().contains("PRIVATE"));
}

#[test]
fn an_empty_file_is_held_unless_it_may_be_empty() {
    let (home, mut host) = break_glass("");
    let key = public_key();
    host.write_file("break-glass", &format!("{key} mine\n"));
    host.up();
    home.wait_has(&key, true);
    host.write_file("break-glass", "# nobody any more\n");
    let condition = host.wait_condition("hold-empty-list");
    assert_eq!(condition.about, "break-glass");
    assert!(
        condition.todo.contains("danger-allow-empty"),
        "{condition:?}"
    );
    let status = host.sync();
    assert_eq!(status.state, State::Degraded);
    assert_eq!(status.sources[0].state, SourceState::Held);
    assert!(home.has(&key));
    fs::remove_file(host.file("break-glass")).unwrap();
    host.wait_condition("source-not-found");
    assert!(home.has(&key));

    host.write_file("break-glass", "");
    let config = host.toml();
    host.configure_as(config.replace("file.path", "danger-allow-empty = true\nfile.path"));
    home.wait_has(&key, false);
    host.wait_status("no trouble", |s| s.conditions.is_empty());
}

#[test]
fn a_list_that_lost_most_of_its_keys_is_held_until_two_more_agree() {
    let (home, mut host) = break_glass("");
    let keys = [(); 6].map(|()| public_key());
    let text: String = keys.iter().map(|key| format!("{key} k\n")).collect();
    host.write_file("break-glass", &text);
    host.up();
    home.wait_has(&keys[5], true);
    host.write_file("break-glass", &format!("{} k\n", keys[0]));
    host.wait_condition("hold-shrunk-list");
    assert!(home.has(&keys[5]));
    wait_until("two more answers to be obeyed", || {
        host.sync();
        !home.has(&keys[5])
    });
    assert!(home.has(&keys[0]));
    host.wait_cleared("hold-shrunk-list");
}

#[test]
fn a_sync_without_news_writes_nothing() {
    let (home, mut host) = break_glass("");
    let key = public_key();
    home.write("# mine\n");
    host.write_file("break-glass", &format!("{key} mine\n"));
    host.up();
    home.wait_has(&key, true);
    // The turn is over: its record is on the disk as well.
    host.sync();
    let state = host.dir.path().join("state");
    let look = || {
        let of = |path: PathBuf| {
            let meta = fs::metadata(path).unwrap();
            (
                meta.ino(),
                meta.mtime(),
                meta.mtime_nsec(),
                meta.ctime_nsec(),
            )
        };
        (
            of(home.authorized_keys()),
            of(home.path().join(".ssh")),
            of(state.join("targets.json")),
            of(state.join("sources/break-glass.json")),
        )
    };
    host.sync();
    let before = look();
    for _ in 0..2 {
        assert_eq!(host.sync().state, State::Ok);
    }
    host.signal("USR1");
    host.sync();
    assert_eq!(look(), before);
    // Nor does a start.
    host.stop();
    host.up();
    host.sync();
    assert_eq!(look(), before);
}

#[test]
fn an_adopted_line_moves_into_the_block_and_a_delete_takes_it() {
    let (service, home) = (Service::start(), Home::new());
    let [cloud, own] = [(); 2].map(|()| public_key());
    home.write(&format!("{own} own\n{cloud} from-the-cloud\n# end\n"));
    let mut host =
        Host::new()
            .of_account(&service)
            .with_home(&home, "account", "adopt = \"same-key\"\n");
    host.up();
    host.wait_listed();
    let id = service.save(&cloud, "laptop", &["--wait"]);
    let text = home.text();
    assert_eq!(text.matches(&cloud.to_string()).count(), 1, "{text}");
    assert!(
        text.starts_with(&format!("{own} own\n# end\n# BEGIN sshkeyd")),
        "{text}"
    );
    service.delete(id);
    home.wait_has(&cloud, false);
    assert_eq!(home.text(), format!("{own} own\n# end\n"));
    assert_eq!(host.sync().state, State::Ok);
}

#[test]
fn unmanage_puts_everything_back_byte_for_byte() {
    let (home, mut host) = break_glass("adopt = \"same-key\"\n");
    let [cloud, own, new] = [(); 3].map(|()| public_key());
    let before = format!("# top\n{own} own\n{cloud}   from-the-cloud\r\n\n# end\n");
    home.write(&before);
    host.write_file("break-glass", &format!("{cloud} c\n{new} n\n"));
    host.up();
    home.wait_has(&new, true);
    assert_ne!(home.text(), before);

    let ran = host.run(&["unmanage"]).done();
    assert!(ran.err.contains("writes nothing until"), "{ran:?}");
    let status = host.status();
    assert_eq!(status.state, State::Unmanaged);
    assert!(status.conditions.is_empty(), "{status:?}");
    assert_eq!(home.text(), before);
    let more = public_key();
    host.write_file("break-glass", &format!("{cloud} c\n{new} n\n{more} m\n"));
    host.wait_status("the new list", |s| s.sources[0].keys == 3);
    host.sync();
    assert_eq!(home.text(), before, "nothing is written until a reload");
    host.signal("HUP");
    home.wait_has(&more, true);
    wait_until("the state", || host.status().state == State::Ok);

    // The same without an agent.
    host.stop();
    host.run(&["unmanage"]).done();
    assert_eq!(home.text(), before);
}

#[test]
fn a_target_taken_out_leaves_its_file_and_says_so() {
    let (root, daemon) = (Home::new(), Home::new());
    let key = public_key();
    let mut host = Host::new()
        .with_file("all")
        .with_home(&root, "all", "")
        .with_home(&daemon, "all", "");
    host.write_file("all", &format!("{key} k\n"));
    host.up();
    root.wait_has(&key, true);
    daemon.wait_has(&key, true);
    let one = host.toml();
    let second = one.rfind("[[target]]").unwrap();
    let end = one.find("[verify]").unwrap();
    host.configure_as(format!("{}{}", &one[..second], &one[end..]));
    let condition = host.wait_condition("left-behind");
    assert_eq!(condition.about, daemon.authorized_keys().to_str().unwrap());
    assert!(root.has(&key) && daemon.has(&key));
}

#[test]
fn a_user_or_a_home_that_is_not_there_costs_nobody_else() {
    let (home, mut host) = break_glass("");
    let key = public_key();
    host.write_file("break-glass", &format!("{key} k\n"));
    let gone = host.dir.path().join("no-home/.ssh/authorized_keys");
    let config = host.toml().replace(
        "[verify]",
        &format!(
            "[[target]]\nuser = \"no-such-user\"\nsources = [\"break-glass\"]\n\
             [[target]]\nuser = \"{}\"\nsources = [\"break-glass\"]\npath = \"{}\"\n[verify]",
            home.user,
            gone.display()
        ),
    );
    host.configure_as(config);
    host.up();
    home.wait_has(&key, true);
    host.wait_condition("user-missing");
    let status = host.status();
    let about = gone.to_str().unwrap();
    assert!(
        status.conditions.iter().any(|c| c.about == about),
        "{status:?}"
    );
    assert!(!host.dir.path().join("no-home").exists());
}

/// One apply as the agent does it; gives how often the file had to be read again.
fn apply(
    home: &Home,
    list: &KeyList,
    owned: &mut Owned,
    unique: &mut u64,
    carry: &mut Carry,
) -> usize {
    let views = [View {
        source: "account",
        list: Some(list),
    }];
    let decision = decide(&views, Timestamp::UNIX_EPOCH, &Dialect::default());
    let Decision::Apply(desired) = decision else {
        panic!("held: {decision:?}");
    };
    let path = home.authorized_keys();
    let mut file = KeysFile::open(&path, &home.path(), home.owner()).unwrap();
    file.resume(std::mem::take(carry));
    let mut again = 0;
    loop {
        let read = file.read().unwrap();
        let plan = plan(&read.keys, &desired, owned, false).unwrap();
        if plan.is_empty() && !file.has_late() {
            *owned = plan.owned_after(owned);
            *carry = file.hand_over();
            return again;
        }
        let write = render(&read.keys, &plan);
        *unique += 1;
        match file.replace(read, write, *unique) {
            Ok(()) => *owned = plan.owned_after(owned),
            Err(SinkError::Changed) => again += 1,
            Err(fault) => panic!("{fault}"),
        }
    }
}

#[test]
fn nothing_that_is_appended_during_a_thousand_applies_is_lost() {
    /// Where the disk is fast, applies go on until there are as many lines.
    const APPENDS: usize = 250;
    /// A writer that is put to sleep between its open and its write for longer than replaced files
    /// are watched writes to one that has no name any more, as it would after any editor's save.
    /// Here a file is replaced every millisecond, and the last 64 are watched.
    const PROMPT: Duration = Duration::from_millis(20);
    /// Lines that may be appended before the first apply has ended; two more for each.
    const AHEAD: usize = 30;
    // `tests/run --long` asks for ten times as many.
    let long = std::env::var_os("SSHKEYD_LONG").is_some();
    let least = if long { 10_000 } else { 1000 };
    let home = Home::new();
    home.write("");
    let path = home.authorized_keys();
    let done = Arc::new(AtomicBool::new(false));
    let appended = Arc::new(AtomicUsize::new(0));
    // On a machine so busy that every apply meets an append, none would ever end.
    let room = Arc::new(AtomicUsize::new(AHEAD));
    let (stop, count) = (Arc::clone(&done), Arc::clone(&appended));
    let may = Arc::clone(&room);
    let appender = std::thread::spawn(move || {
        let mut prompt = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            if count.load(Ordering::Relaxed) >= may.load(Ordering::Relaxed) {
                pause(Duration::from_millis(1));
                continue;
            }
            let n = count.fetch_add(1, Ordering::Relaxed);
            let line = format!("# appended {n} #\n");
            let began = clock::monotonic();
            let mut file = OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(line.as_bytes()).unwrap();
            if (clock::monotonic() - began) < PROMPT {
                prompt.push(line);
            }
            drop(file);
            // Room for an apply now and then, at every phase of one.
            let phase = u64::try_from(n * 7919 % 10_000).unwrap();
            pause(Duration::from_micros(2000 + phase));
        }
        prompt
    });
    let lists = [(); 2].map(|()| {
        let text = format!("{}\n", public_key());
        KeyList::from_authorized_keys(text.as_bytes(), "test")
    });
    let (mut owned, mut unique, mut again) = (Owned::default(), 0, 0);
    let mut carry = Carry::default();
    let began = clock::monotonic();
    let mut applies = 0;
    while applies < least || appended.load(Ordering::Relaxed) < APPENDS {
        let list = &lists[applies % 2];
        again += apply(&home, list, &mut owned, &mut unique, &mut carry);
        applies += 1;
        room.fetch_add(2, Ordering::Relaxed);
    }
    done.store(true, Ordering::Relaxed);
    let prompt = appender.join().unwrap();
    let list = &lists[(applies - 1) % 2];
    again += apply(&home, list, &mut owned, &mut unique, &mut carry);
    println!(
        "{applies} applies in {:?}, {} lines appended ({} at once), read again {again} times",
        (clock::monotonic() - began),
        appended.load(Ordering::Relaxed),
        prompt.len()
    );
    let text = read(&home.authorized_keys());
    let mut seen = std::collections::HashMap::<&str, usize>::new();
    for line in text.lines() {
        *seen.entry(line).or_default() += 1;
    }
    for line in &prompt {
        assert_eq!(seen.get(line.trim_end()), Some(&1), "{line}");
    }
    assert!(prompt.len() > APPENDS / 2 && seen.values().all(|times| *times == 1));
    let last: &PublicKey = &lists[(applies - 1) % 2].accepted[0].key;
    assert!(home.has(last) && text.matches("ssh-ed25519").count() == 1);
}

#[test]
fn a_slow_writer_who_had_the_file_open_before_an_apply_loses_nothing() {
    let (home, mut host) = break_glass("");
    home.write("# mine\n");
    let (first, second) = (public_key(), public_key());
    host.write_file("break-glass", &format!("{first} k\n"));
    host.start();
    home.wait_has(&first, true);
    let mut slow = OpenOptions::new()
        .append(true)
        .open(home.authorized_keys())
        .unwrap();
    host.write_file("break-glass", &format!("{first} k\n{second} l\n"));
    home.wait_has(&second, true);
    slow.write_all(b"# what came late\n").unwrap();
    drop(slow);
    wait_until("the late line in the file", || {
        home.text().contains("# what came late\n")
    });
    assert!(home.has(&first) && home.has(&second) && home.text().contains("# mine\n"));
}

#[test]
fn a_control_socket_that_cannot_be_had_does_not_keep_keys_out() {
    let (home, mut host) = break_glass("");
    let key = public_key();
    host.write_file("break-glass", &format!("{key} k\n"));
    put(&host.dir.path().join("run"), "a file stands here\n", 0o600);
    host.start();
    home.wait_has(&key, true);
}
