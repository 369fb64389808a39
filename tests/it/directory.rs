//! A directory of users that does not answer: whom only it knows waits and is named, nobody else.

use crate::support::host::{Home, Host};
use crate::support::mounts::ran;
use crate::support::process::wait_until;
use crate::support::service::Service;
use crate::support::ssh::public_key;
use serde_json::Value;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// /etc/passwd as the agent has it, in a mount namespace of its own.
struct Passwd {
    pipe: PathBuf,
    agent: String,
}

impl Passwd {
    fn of(host: &Host) -> Self {
        let pipe = host.dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        Self {
            pipe,
            agent: host.pid().to_string(),
        }
    }

    fn inside(&self, args: &[&Path]) {
        let agent = ["-m", "-t", &self.agent].map(AsRef::as_ref);
        let args: Vec<_> = args.iter().map(|arg| arg.as_os_str()).collect();
        ran("nsenter", &[&agent, &args[..]].concat());
    }

    /// Whoever opens it waits.
    fn hangs(&self) {
        let [mount, bind, passwd] = ["mount", "--bind", "/etc/passwd"].map(Path::new);
        self.inside(&[mount, bind, &self.pipe, passwd]);
    }

    /// It is a file again, and whoever waits is let go with nothing to read.
    fn answers(&self) {
        // Whoever waits still holds it.
        self.inside(&["umount", "-l", "/etc/passwd"].map(Path::new));
        let mut open = OpenOptions::new();
        open.write(true).custom_flags(nix::libc::O_NONBLOCK);
        // That somebody does wait is what the test is about.
        drop(open.open(&self.pipe).expect("nobody waits for the pipe"));
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
    host.up_under(&["unshare".to_owned(), "-m".to_owned()]);
    known.wait_has(&old, true);
    let passwd = Passwd::of(&host);

    passwd.hangs();
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

    passwd.answers();
    unknown.wait_has(&new, true);
    host.wait_cleared("write-failed");
    assert!(known.has(&new));

    // A question that hangs does not hold up the stop either.
    passwd.hangs();
    host.write_file("keys", &format!("{old}\n"));
    known.wait_has(&old, true);
    assert!(host.stop().success());
}
