//! What systemd hears of an agent: sd_notify(3) on a socket of the test's own.

use crate::support::host::{Home, Host};
use crate::support::process::wait_until;
use crate::support::ssh::public_key;
use sshkeyd::sys::clock;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What was heard, and when.
#[derive(Debug, Clone)]
struct Heard(Arc<Mutex<Vec<(Duration, String)>>>);

impl Heard {
    fn on(socket: UnixDatagram) -> Self {
        let heard = Self(Arc::default());
        let all = Arc::clone(&heard.0);
        // Ends with the process: nothing tells a datagram's reader that its sender has gone.
        std::thread::spawn(move || {
            let mut bytes = [0; 512];
            while let Ok(n) = socket.recv(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..n]).into_owned();
                all.lock().unwrap().push((clock::monotonic(), text));
            }
        });
        heard
    }

    fn count(&self, word: &str) -> usize {
        let all = self.0.lock().unwrap();
        all.iter().filter(|(_, text)| text.contains(word)).count()
    }

    /// The longest silence of the watchdog.
    fn longest_gap(&self) -> Duration {
        let all = self.0.lock().unwrap();
        let mut last = None;
        let mut longest = Duration::ZERO;
        for (at, _) in all.iter().filter(|(_, text)| text.contains("WATCHDOG=1")) {
            longest = longest.max(*at - last.unwrap_or(*at));
            last = Some(*at);
        }
        longest
    }
}

/// An agent whose renames at this path take 4 s, as on a disk that has gone away for a while.
fn slow_at(path: &Path, notify: &Path) -> Vec<String> {
    let calls = "rename,renameat,renameat2";
    [
        "env",
        &format!("NOTIFY_SOCKET={}", notify.display()),
        "WATCHDOG_USEC=1000000",
        "strace",
        "-D",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-P",
        &path.display().to_string(),
        "-e",
        &format!("trace={calls}"),
        "-e",
        &format!("inject={calls}:delay_enter=4000000"),
    ]
    .map(str::to_owned)
    .to_vec()
}

/// The longest silence while a second key comes, from an agent that is slow at one path.
fn silence(at: impl Fn(&Host, &Home) -> PathBuf) -> Duration {
    let home = Home::new();
    let mut host = Host::new().with_file("keys").with_home(&home, "keys", "");
    let (first, second) = (public_key(), public_key());
    host.write_file("keys", &format!("{first}\n"));
    fs::create_dir(host.dir.path().join("state")).unwrap();
    let path = host.dir.path().join("notify");
    let heard = Heard::on(UnixDatagram::bind(&path).unwrap());
    let slow = at(&host, &home);
    host.up_under(&slow_at(&slow, &path));
    wait_until("the first key", || home.text().contains(&first.to_string()));
    assert_eq!(heard.count("READY=1"), 1, "{heard:?}");
    let at_rest = heard.count("WATCHDOG=1");
    wait_until("a watchdog that is fed", || {
        heard.count("WATCHDOG=1") >= at_rest + 3
    });
    host.write_file("keys", &format!("{first}\n{second}\n"));
    wait_until("the second key", || {
        home.text().contains(&second.to_string())
    });
    let after = heard.count("WATCHDOG=1");
    wait_until("a watchdog that is fed again", || {
        heard.count("WATCHDOG=1") > after + 1
    });
    assert!(host.stop().success());
    wait_until("the last word", || heard.count("STOPPING=1") == 1);
    heard.longest_gap()
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn the_watchdog_hears_nothing_from_a_loop_that_waits_for_its_state() {
    let gap = silence(|host, _| host.dir.path().join("state/targets.json"));
    assert!(gap > Duration::from_secs(3), "{gap:?}");
}

/// A restart would hang at the same file: it is a condition, not a reason to be ended.
#[test]
#[ignore = "needs root; tests/run includes it"]
fn a_turn_that_waits_for_a_users_disk_does_not_starve_the_watchdog() {
    let gap = silence(|_, home| home.path().join(".ssh"));
    assert!(gap < Duration::from_secs(3), "{gap:?}");
}
