//! What others do to our part of a file: put back within a second, said, and not fought over.

use crate::support::host::{Home, Host, read};
use crate::support::process::{pause, wait_until};
use crate::support::ssh::public_key;
use crate::support::sshd::put;
use sshkeyd::keys::PublicKey;
use sshkeyd::sys::clock;
use sshkeyd::wire::{Severity, State};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// An agent that keeps one key in a home.
fn kept() -> (Home, Host, PublicKey) {
    let (home, key) = (Home::new(), public_key());
    let mut host = Host::new().with_file("keys").with_home(&home, "keys", "");
    host.write_file("keys", &format!("{key} mine\n"));
    host.up();
    home.wait_has(&key, true);
    host.wait_status("a settled file", |s| s.targets[0].digest.is_some());
    (home, host, key)
}

/// How long it is since then.
fn since(began: Duration) -> Duration {
    clock::monotonic().saturating_sub(began)
}

/// Has somebody do this, until the file reads so again; within a second, on a machine that is not
/// busy with all else. A third time would not be the agent's to hurry with.
#[track_caller]
fn back_within_a_second(home: &Home, drift: impl Fn(), wanted: &str) {
    let took = [(); 2].map(|()| {
        drift();
        let began = clock::monotonic();
        wait_until("the block to be back", || home.text() == wanted);
        since(began)
    });
    let best = took.into_iter().min();
    assert!(best < Some(Duration::from_secs(1)), "{took:?}");
}

#[test]
fn what_somebody_does_to_the_block_is_put_back_within_a_second_and_told() {
    let (home, host, key) = kept();
    let whole = home.text();
    assert!(host.condition("drift").is_none());
    let intruder = public_key();

    // A platform script writes the file anew; its own line stays.
    let theirs = public_key();
    let script = || home.write(&format!("{theirs} platform\n"));
    back_within_a_second(&home, script, &format!("{theirs} platform\n{whole}"));
    let told = host.wait_condition("drift");
    assert_eq!(told.severity, Severity::Notice);
    assert!(
        told.text
            .contains(&format!("took out {}", key.fingerprint())),
        "{}",
        told.text
    );
    let status = host.status();
    assert_eq!(
        status.state,
        State::Ok,
        "a drift that was mended is no trouble"
    );
    assert_eq!(
        status.targets[0].foreign_keys,
        [theirs.fingerprint().to_string()]
    );

    // Somebody smuggles a key in among ours: it goes, and is named.
    let before = home.text();
    let smuggle = || home.write(&before.replace("# END", &format!("{intruder} me\n# END")));
    back_within_a_second(&home, smuggle, &before);
    let put = format!("put in {}", intruder.fingerprint());
    wait_until("the intruder to be named", || {
        host.condition("drift")
            .is_some_and(|c| c.text.contains(&put))
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "as others move files")]
fn the_watch_survives_a_replaced_directory_and_a_moved_file() {
    let (home, _host, key) = kept();
    let (ssh, aside) = (home.path().join(".ssh"), home.path().join("aside"));
    let mut took = Vec::new();
    for _ in 0..3 {
        fs::rename(&ssh, &aside).unwrap();
        fs::create_dir(&ssh).unwrap();
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o700)).unwrap();
        let began = clock::monotonic();
        home.wait_has(&key, true);
        took.push(since(began));
        assert_eq!(read(&aside.join("authorized_keys")), home.text());
        fs::remove_dir_all(&aside).unwrap();
        let moved = ssh.join("moved");
        fs::rename(home.authorized_keys(), &moved).unwrap();
        home.wait_has(&key, true);
        fs::remove_file(&moved).unwrap();
    }
    // A machine that is busy with all else may take longer once or twice.
    let best = took.iter().min();
    assert!(best < Some(&Duration::from_secs(1)), "{took:?}");
}

/// Takes the block out whenever it comes back, for as long as it lives.
struct Rewriter {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Rewriter {
    fn start(file: PathBuf) -> Self {
        let (stop, seen) = <(Arc<AtomicBool>, Arc<Mutex<Vec<String>>>)>::default();
        let (stopped, sees) = (stop.clone(), seen.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let text = read(&file);
                if !text.is_empty() {
                    put(&file, "", 0o600);
                    sees.lock().unwrap().push(text);
                }
                pause(Duration::from_millis(5));
            }
        });
        Self {
            stop,
            seen,
            thread: Some(thread),
        }
    }

    /// What it has taken out so far, a text a round.
    fn rounds(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Rewriter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Waits until the agent tells of this many rounds of a fight. `before` is when it was asked for
/// the last time that it told of fewer: the round began after that.
fn wait_rounds(host: &Host, rounds: u32, before: &mut Duration) {
    wait_until(&format!("round {rounds}"), || {
        let asked = clock::monotonic();
        let told = host.condition("drift-fight").map_or(0, |told| {
            let (_, after) = told.text.split_once("; after ").unwrap();
            after.split(' ').next().unwrap().parse().unwrap()
        });
        if told < rounds {
            *before = asked;
        }
        told >= rounds
    });
}

#[test]
fn a_program_that_rewrites_the_file_again_and_again_is_not_fought() {
    let (home, host, key) = kept();
    let rewriter = Rewriter::start(home.authorized_keys());
    let mut before = clock::monotonic();
    wait_rounds(&host, 1, &mut before);
    let told = host.wait_condition("drift-fight");
    assert_eq!(told.severity, Severity::Warning);
    assert!(told.text.contains("could not be told"), "{}", told.text);
    assert_eq!(host.status().state, State::Degraded);
    // Each round is left standing longer than the one before. The agent rests between the two,
    // however busy the machine is.
    for (round, rest) in [(2, 1), (3, 2), (4, 4)] {
        let began = before;
        wait_rounds(&host, round, &mut before);
        let rested = since(began);
        assert!(
            rested >= Duration::from_secs(rest),
            "{rested:?} before round {round}"
        );
    }
    // What a source says anew does not wait for the end of the rest that runs by now.
    let new = public_key();
    host.write_file("keys", &format!("{key} mine\n{new} new\n"));
    wait_until("the new key", || {
        let rounds = rewriter.rounds();
        rounds.iter().any(|text| text.contains(&new.to_string()))
    });
    let took = since(before);
    assert!(took < Duration::from_secs(8), "{took:?} with a rest of 8 s");
    drop(rewriter);
    // A person's sync puts it back now.
    home.write("");
    host.sync();
    assert!(home.has(&key));
}
