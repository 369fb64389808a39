//! A directory of users that does not answer: whom only it knows waits and is named, nobody else.

use crate::support::host::{Home, Host};
use crate::support::mounts::ran;
use crate::support::process::wait_until;
use crate::support::service::Service;
use crate::support::ssh::public_key;
use serde_json::Value;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

/// /etc as the agent has it, in a mount namespace of its own: other tests make users meanwhile.
struct Etc(PathBuf);

impl Etc {
    fn of(host: &Host) -> Self {
        Self(host.dir.path().join("etc"))
    }

    /// What goes before the agent's command line.
    fn wrapper(&self) -> Vec<String> {
        let script = "cp -a /etc \"$0\" && mount --bind \"$0\" /etc && exec \"$@\"";
        let etc = self.0.display().to_string();
        ["unshare", "-m", "sh", "-c", script, &etc]
            .map(str::to_owned)
            .into()
    }

    /// Whoever opens /etc/passwd waits.
    fn hangs(&self) {
        let (passwd, kept) = (self.0.join("passwd"), self.0.join("kept"));
        ran("mv", &[passwd.as_ref(), kept.as_ref()]);
        nix::unistd::mkfifo(&passwd, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    }

    /// It is a file again, and whoever waits is let go with nothing to read.
    fn answers(&self) {
        let (passwd, kept) = (self.0.join("passwd"), self.0.join("kept"));
        let mut open = OpenOptions::new();
        open.write(true).custom_flags(nix::libc::O_NONBLOCK);
        // That somebody does wait is what the test is about.
        let pipe = open.open(&passwd).expect("nobody waits for the pipe");
        ran("mv", &[kept.as_ref(), passwd.as_ref()]);
        drop(pipe);
    }
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn a_directory_of_users_that_hangs_holds_up_only_whom_nobody_knows_yet() {
    let (service, known, unknown) = (Service::start(), Home::new(), Home::of_daemon());
    let (mut host, id) = Host::new().of_new_instance(&service, "web");
    host = host.with_file("keys").with_home(&known, "keys", "");
    let (old, new) = (public_key(), public_key());
    host.write_file("keys", &format!("{old}\n"));
    let etc = Etc::of(&host);
    host.up_under(&etc.wrapper());
    known.wait_has(&old, true);

    etc.hangs();
    host = host.with_home(&unknown, "keys", "");
    host.configure();
    let named = host.wait_condition("write-failed");
    assert!(
        named.text.contains("the user daemon could not be"),
        "{named:?}"
    );
    // What was known of the other holds over the reload: keys come, and go.
    host.write_file("keys", &format!("{new}\n"));
    known.wait_has(&new, true);
    known.wait_has(&old, false);
    assert_eq!(unknown.text(), "");
    // Heartbeats go on, and say so.
    let shown = || -> Value {
        let args = ["instances", "show", &id.to_string(), "--json"];
        service.run(&args).done().json()
    };
    wait_until("the service to hear of it", || {
        shown()["status"]["conditions"]
            .to_string()
            .contains("the user daemon could not be")
    });
    let seen = shown()["last_seen"].clone();
    wait_until("one more heartbeat", || shown()["last_seen"] != seen);
    assert!(host.condition("write-failed").is_some());

    etc.answers();
    unknown.wait_has(&new, true);
    host.wait_cleared("write-failed");
    assert!(known.has(&new));

    // A question that hangs does not hold up the stop either.
    etc.hangs();
    host.write_file("keys", &format!("{old}\n"));
    known.wait_has(&old, true);
    assert!(host.stop().success());
}
