//! Live sessions: which key opened which, and ending exactly those; with a real sshd and real
//! clients, and with people who write into the log what they please.

use crate::support::host::Host;
use crate::support::logins::{Client, LoggedSshd, runs};
use crate::support::process::{Daemon, WITHIN, pause, port, wait_until};
use crate::support::service::Service;
use crate::support::sshd::{KeyPair, User, put};
use sshkeyd::sinks::sessions::unbound;
use sshkeyd::sys::clock;
use sshkeyd::sys::datagrams::Datagrams;
use sshkeyd::sys::processes::{self, Held, Signal};
use sshkeyd::wire::{OrderOutcome, Session, Status};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) const ALWAYS: &str = "auth-log = \"syslog-socket\"\nend-on-revoke = \"always\"";

/// sshd, a user, and an agent that keeps the user's keys from a file.
pub(crate) struct Bed {
    pub(crate) sshd: LoggedSshd,
    pub(crate) user: User,
    pub(crate) host: Host,
    /// A key of the agent's; taking it out ends its sessions.
    pub(crate) mine: KeyPair,
    /// Another one of the agent's, which stays.
    pub(crate) stays: KeyPair,
    /// A key that the user has put there himself.
    pub(crate) own: KeyPair,
}

impl Bed {
    fn new(sshd: &str, sessions: &str) -> Self {
        Self::of(LoggedSshd::start(sshd), sessions)
    }

    pub(crate) fn of(sshd: LoggedSshd, sessions: &str) -> Self {
        let user = User::new();
        sshd.admit(&user);
        let [mine, stays, own] = ["mine", "stays", "own"].map(|name| sshd.pair(name));
        user.authorize(&format!("{} own\n", own.public));
        let host = sshd
            .asked_by(Host::new())
            .with_file("keys")
            .with_target(&user, "keys", "")
            .with_sessions(sessions);
        host.write_file("keys", &format!("{} a\n{} b\n", mine.public, stays.public));
        host.configure();
        Self {
            sshd,
            user,
            host,
            mine,
            stays,
            own,
        }
    }

    /// Is /dev/log for sshd.
    pub(crate) fn syslog_socket(&self) -> Daemon {
        let mut command = self.sshd.syslog_socket(&self.host.config);
        let daemon = Daemon::start("syslog-socket", &mut command, self.host.dir.path());
        wait_until("the socket", || self.sshd.dev_log().exists());
        daemon
    }

    /// Starts the agent, and waits until the keys open the door.
    pub(crate) fn up(&mut self) {
        self.host.up();
        self.host.wait_status("the keys to be there", |status| {
            status.targets[0].managed.len() == 2
        });
    }

    /// Takes the key out of the list.
    pub(crate) fn take_out_mine(&self) {
        self.host
            .write_file("keys", &format!("{} b\n", self.stays.public));
    }

    pub(crate) fn open(&self, key: &KeyPair, args: &[&str], command: &str) -> Client {
        self.sshd.client(&self.user.name, key, args, command)
    }

    /// Sessions as the agent tells of them: how many of each key.
    fn told(&self) -> BTreeMap<String, usize> {
        count(&self.host.status())
    }

    #[track_caller]
    pub(crate) fn wait_told(&self, wanted: &[(&KeyPair, usize)]) -> Vec<Session> {
        let wanted: BTreeMap<String, usize> = wanted
            .iter()
            .map(|(key, count)| (key.public.fingerprint().to_string(), *count))
            .collect();
        let mut last: Vec<Session> = Vec::new();
        let began = clock::monotonic();
        loop {
            let status = self.host.status();
            if count(&status) == wanted {
                return status.sessions;
            }
            last.clone_from(&status.sessions);
            let waited = clock::monotonic() - began;
            assert!(waited < WITHIN, "{wanted:?}, and there are {last:#?}");
            pause(Duration::from_millis(30));
        }
    }

    fn sessions_of(&self, key: &KeyPair) -> Vec<Session> {
        let key = key.public.fingerprint().to_string();
        let all = self.host.status().sessions;
        let of = |session: &Session| session.fingerprint.as_ref() == Some(&key);
        all.into_iter().filter(of).collect()
    }

    /// Writes a line to /dev/log as this user may: any local user can.
    fn forge(&self, pid: u32, message: &str) {
        let forged = Command::new("setpriv")
            .args(["--reuid", &self.user.uid.to_string(), "--clear-groups"])
            .args(["logger", "-p", "auth.info", "-t", "sshd"])
            .arg(format!("--id={pid}"))
            .arg("-u")
            .arg(self.sshd.dev_log())
            .arg(message)
            .status();
        assert!(forged.unwrap().success());
    }
}

impl Drop for Bed {
    /// What a session has started outlives its connection.
    fn drop(&mut self) {
        let uid = self.user.uid;
        let of_user = |pid: u32| processes::users_of(pid) == Some((uid, uid));
        for stat in processes::all() {
            if of_user(stat.process.pid)
                && let Ok(held) = Held::open(stat.process)
            {
                let _ = held.signal(Signal::Kill);
            }
        }
    }
}

fn count(status: &Status) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for session in &status.sessions {
        let key = session.fingerprint.clone().unwrap_or_default();
        *all.entry(key).or_default() += 1;
    }
    all
}

fn accepted(user: &User, from: &str, key: &KeyPair) -> String {
    let (address, port) = from.rsplit_once(':').unwrap();
    format!(
        "Accepted publickey for {} from {address} port {port} ssh2: ED25519 {}",
        user.name,
        key.public.fingerprint()
    )
}

/// Every kind of session of one key ends, and nobody else's.
pub(crate) fn every_kind_ends(sshd: LoggedSshd) {
    let mut bed = Bed::of(sshd, ALWAYS);
    let _socket = bed.syslog_socket();
    bed.up();
    let control = bed.sshd.dir().join("control");
    let control = control.to_str().unwrap();
    let uid = format!("{}{}", std::process::id() % 10_000, bed.user.uid);
    let forward = format!("127.0.0.1:{}:127.0.0.1:9", port());
    let sleeps = |n: u32| format!("sleep {uid}{n}");
    let mut theirs = vec![
        bed.open(&bed.mine, &[], &sleeps(1)),
        bed.open(&bed.mine, &["-tt"], ""),
        bed.open(&bed.mine, &["-N", "-L", &forward], ""),
        bed.sshd.sftp(&bed.user.name, &bed.mine),
        bed.open(&bed.mine, &["-M", "-S", control, "-N"], ""),
        bed.open(&bed.mine, &[], &format!("exec env -i {}", sleeps(2))),
        bed.open(
            &bed.mine,
            &[],
            &format!(
                "setsid nohup {} >/dev/null 2>&1 & trap '' TERM; {}; {}",
                sleeps(3),
                sleeps(4),
                sleeps(4)
            ),
        ),
    ];
    wait_until("the master", || Path::new(control).exists());
    theirs.push(bed.open(&bed.mine, &["-S", control], &sleeps(5)));
    theirs.push(bed.open(&bed.mine, &["-S", control], &sleeps(6)));
    let mut neighbours = vec![
        bed.open(&bed.own, &[], &sleeps(7)),
        bed.open(&bed.own, &["-tt"], ""),
        bed.open(&bed.stays, &["-N"], ""),
    ];
    bed.wait_told(&[(&bed.mine, 7), (&bed.own, 2), (&bed.stays, 1)]);
    for n in 1..8 {
        wait_until("the command", || runs(&bed.user, &sleeps(n)));
    }
    let kinds = bed.host.wait_status("their kinds", |status| {
        let kinds = status.sessions.iter().filter_map(|s| s.kind.as_deref());
        let mut kinds: Vec<_> = kinds.collect();
        kinds.sort_unstable();
        let wanted = "exec exec exec exec exec forward forward pty pty sftp";
        kinds.join(" ") == wanted
    });
    for session in &kinds.sessions {
        assert_eq!(session.user, bed.user.name);
        assert!(session.from.starts_with("127.0.0.1:") && !session.unproved);
    }
    assert_eq!(kinds.conditions, []);
    let text = bed.host.run(&["status"]).done().out;
    assert!(
        text.contains(&format!(" of {} from 127.0.0.1:", bed.user.name)),
        "{text}"
    );

    bed.take_out_mine();
    bed.wait_told(&[(&bed.own, 2), (&bed.stays, 1)]);
    for (n, client) in theirs.iter_mut().enumerate() {
        // sftp(1) itself goes on waiting for what it is to do.
        if n != 3 {
            wait_until(&format!("client {n} to end"), || !client.is_up());
        }
    }
    let shown = theirs[1].output();
    assert!(shown.contains("sshkeyd: this session ends"), "{shown}");
    for n in 1..7 {
        wait_until(&format!("{n} to end"), || !runs(&bed.user, &sleeps(n)));
    }
    pause(Duration::from_millis(300));
    for client in &mut neighbours {
        assert!(client.is_up(), "{}", client.output());
    }
    assert!(runs(&bed.user, &sleeps(7)));
    assert!(!neighbours[1].output().contains("sshkeyd"));
    assert_eq!(bed.host.status().conditions, []);
    // A session that ends by itself is told of no more.
    neighbours[2].end();
    bed.wait_told(&[(&bed.own, 2)]);
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn every_kind_of_session_ends_with_its_key_and_its_neighbours_live() {
    every_kind_ends(LoggedSshd::start("UsePAM no"));
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn every_kind_of_session_ends_under_pam_too() {
    every_kind_ends(LoggedSshd::start("UsePAM yes"));
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn lines_that_a_user_forges_bind_nothing_and_hide_nothing() {
    forged_lines_do_nothing(LoggedSshd::start(""));
}

/// Lines with true numbers change nothing about any session.
pub(crate) fn forged_lines_do_nothing(sshd: LoggedSshd) {
    let mut bed = Bed::of(sshd, ALWAYS);
    // Nobody hears this login: what is forged about it must not make up for that.
    let mut unheard = bed.open(&bed.own, &[], "echo in; sleep 1000");
    wait_until("the login", || unheard.output().contains("in"));
    let unheard_from = unheard_peer(&bed);
    let _socket = bed.syslog_socket();
    bed.up();
    bed.forge(
        unheard_from.0,
        &accepted(&bed.user, &unheard_from.1, &bed.mine),
    );

    let mut mine = bed.open(&bed.mine, &[], "sleep 1001");
    let mut own = bed.open(&bed.own, &[], "sleep 1002");
    let told = bed.wait_told(&[(&bed.mine, 1), (&bed.own, 1)]);
    // With true numbers: each is said to be of the other key, and to have ended.
    for session in &told {
        for key in [&bed.mine, &bed.own, &bed.stays] {
            bed.forge(session.pid, &accepted(&bed.user, &session.from, key));
        }
        bed.forge(
            session.pid,
            "pam_unix(sshd:session): session closed for user",
        );
    }
    // A later login is heard after all of them.
    let _last = bed.open(&bed.stays, &["-N"], "");
    let again = bed.wait_told(&[(&bed.mine, 1), (&bed.own, 1), (&bed.stays, 1)]);
    for session in &told {
        assert!(
            again
                .iter()
                .any(|s| (&s.id, &s.fingerprint) == (&session.id, &session.fingerprint))
        );
    }
    assert!(again.iter().all(|session| !session.unproved));
    bed.take_out_mine();
    wait_until("the session to end", || !mine.is_up());
    bed.wait_told(&[(&bed.own, 1), (&bed.stays, 1)]);
    assert!(own.is_up() && unheard.is_up());
}

/// The number and the other end of the only session there is, from ss(8)'s own place.
fn unheard_peer(bed: &Bed) -> (u32, String) {
    let all = processes::all();
    let listener = all.iter().find(|stat| {
        let title = processes::title(stat.process.pid).unwrap_or_default();
        title.contains(bed.sshd.config.to_str().unwrap())
    });
    let listener = listener.unwrap().process.pid;
    let monitor = all
        .iter()
        .find(|stat| stat.parent == listener)
        .unwrap()
        .process
        .pid;
    let tcp = fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!(":{:04X} ", bed.sshd.address.port());
    let line = tcp.lines().find(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        format!("{} ", words[1]).ends_with(&local) && words[3] == "01"
    });
    let peer = line.unwrap().split_whitespace().nth(2).unwrap().to_owned();
    let port = u16::from_str_radix(peer.split_once(':').unwrap().1, 16).unwrap();
    (monitor, format!("127.0.0.1:{port}"))
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn sessions_from_before_the_agent_and_over_its_restarts_are_known() {
    restarts_forget_nobody(LoggedSshd::start(""));
}

/// Whoever was there before, or came while nobody looked, is known.
pub(crate) fn restarts_forget_nobody(sshd: LoggedSshd) {
    let mut bed = Bed::of(sshd, ALWAYS);
    let mut socket = bed.syslog_socket();
    let before = bed.open(&bed.own, &[], "echo in; sleep 1000");
    wait_until("the login", || before.output().contains("in"));
    bed.up();
    let first = bed.wait_told(&[(&bed.own, 1)]);
    let mut mine = bed.open(&bed.mine, &[], "sleep 1001");
    bed.wait_told(&[(&bed.own, 1), (&bed.mine, 1)]);
    bed.host.kill();
    let says_in = ["-N", "-oPermitLocalCommand=yes", "-oLocalCommand=echo in"];
    let between = bed.open(&bed.mine, &says_in, "");
    // What sshd says while there is no socket nobody hears.
    wait_until("the connection", || between.output().contains("in"));
    let mut stays = bed.open(&bed.stays, &[], "echo in; sleep 1002");
    wait_until("the login", || stays.output().contains("in"));
    // The socket's place is its own after it was killed, too.
    socket.kill();
    let _socket = bed.syslog_socket();
    wait_until("the agent to be up", || {
        bed.host.up();
        true
    });
    let all = bed.wait_told(&[(&bed.own, 1), (&bed.mine, 2), (&bed.stays, 1)]);
    assert!(all.iter().any(|session| session.id == first[0].id));
    bed.take_out_mine();
    bed.wait_told(&[(&bed.own, 1), (&bed.stays, 1)]);
    assert!(!mine.is_up() && stays.is_up());
}

/// A syslog that writes what it is told to a file, as rsyslog does.
pub(crate) struct Syslog {
    file: Arc<Mutex<PathBuf>>,
}

impl Syslog {
    pub(crate) fn start(bed: &Bed) -> Self {
        let path = bed.sshd.dir().join("auth.log");
        let file = Arc::new(Mutex::new(path));
        let to = Arc::clone(&file);
        let socket = Datagrams::bind(&bed.sshd.dev_log(), None).unwrap();
        std::thread::spawn(move || {
            let mut room = vec![0; 8192];
            // It ends with the test's process.
            while let Ok((datagram, _)) = socket.receive(&mut room) {
                let text = String::from_utf8_lossy(datagram);
                let text = text.trim_end_matches(['\0', '\n']);
                let (_, text) = text.split_once('>').unwrap();
                let (time, rest) = text.split_at(16);
                let path = to.lock().unwrap();
                let mut file = OpenOptions::new()
                    .append(true)
                    .create(true)
                    .open(&*path)
                    .unwrap();
                writeln!(file, "{time}host {rest}").unwrap();
            }
        });
        Self { file }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.file.lock().unwrap().clone()
    }

    /// As logrotate does it.
    #[expect(clippy::disallowed_methods, reason = "as logrotate does it")]
    fn rotate(&self) {
        let path = self.file.lock().unwrap();
        fs::rename(&*path, path.with_extension("log.1")).unwrap();
        fs::File::create(&*path).unwrap();
    }
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_log_file_tells_over_rotation_and_what_is_doubtful_does_not_end() {
    let mut bed = Bed::new("", "");
    let syslog = Syslog::start(&bed);
    let log = syslog.path();
    let before = bed.open(&bed.own, &[], "echo in; sleep 1000");
    wait_until("the login", || before.output().contains("in"));
    let lines = format!(
        "auth-log = \"{}\"\nend-on-revoke = \"always\"",
        log.display()
    );
    bed.host = std::mem::replace(&mut bed.host, Host::new()).with_sessions(&lines);
    bed.up();
    let all = bed.wait_told(&[(&bed.own, 1)]);
    assert!(all[0].unproved);
    syslog.rotate();
    let mut sure = bed.open(&bed.mine, &[], "sleep 1001");
    bed.wait_told(&[(&bed.own, 1), (&bed.mine, 1)]);
    // It is rotated, and somebody logs in, while the agent is away.
    bed.host.kill();
    syslog.rotate();
    let mut doubtful = bed.open(&bed.mine, &[], "echo in; sleep 1002");
    wait_until("the login", || doubtful.output().contains("in"));
    bed.host.up();
    bed.wait_told(&[(&bed.own, 1), (&bed.mine, 2)]);
    let of = bed.sessions_of(&bed.mine);
    let newest = of.iter().max_by_key(|session| session.since).unwrap();
    // The log cannot tell who wrote this.
    bed.forge(newest.pid, &accepted(&bed.user, &newest.from, &bed.own));
    bed.host.wait_status("the doubt", |status| {
        status
            .sessions
            .iter()
            .any(|s| s.id == newest.id && s.fingerprint.is_none())
    });
    bed.take_out_mine();
    wait_until("the session to end", || !sure.is_up());
    bed.host
        .wait_status("what is left", |status| status.sessions.len() == 2);
    pause(Duration::from_millis(300));
    assert!(doubtful.is_up());
    assert_eq!(bed.told().get(""), Some(&1));
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn where_nothing_can_be_read_it_is_said_and_nobodys_place_is_taken() {
    let mut bed = Bed::new("", ALWAYS);
    bed.up();
    let told = bed.host.wait_condition("sessions-not-mapped");
    assert!(told.text.contains("syslog-socket"), "{}", told.text);
    let place = Datagrams::bind(&bed.sshd.dev_log(), None).unwrap();
    let mut command = bed.sshd.syslog_socket(&bed.host.config);
    let refused = crate::support::process::Ran::of(&mut command);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("somebody else's"), "{refused:?}");
    drop(place);
    let _socket = bed.syslog_socket();
    let _client = bed.open(&bed.own, &["-N"], "");
    bed.wait_told(&[(&bed.own, 1)]);
    bed.host.wait_cleared("sessions-not-mapped");
}

/// The same machine, with keys of an account's.
fn of_account(service: &Service, sessions: &str) -> Bed {
    account_keeps(Bed::new("", ""), service, sessions)
}

pub(crate) fn account_keeps(mut bed: Bed, service: &Service, sessions: &str) -> Bed {
    bed.host = bed
        .sshd
        .asked_by(Host::new())
        .of_account(service)
        .with_target(&bed.user, "account", "")
        .with_sessions(sessions);
    bed.host.configure();
    bed
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_session_ends_when_its_key_expires() {
    let service = Service::start();
    let mut bed = of_account(&service, ALWAYS);
    let _socket = bed.syslog_socket();
    bed.host.up();
    bed.host.wait_listed();
    service.save(&bed.stays.public, "stays", &["--wait"]);
    let began = clock::monotonic();
    service.save(&bed.mine.public, "short", &["--expires", "8s", "--wait"]);
    let mut mine = bed.open(&bed.mine, &[], "sleep 1000");
    let mut stays = bed.open(&bed.stays, &["-N"], "");
    bed.wait_told(&[(&bed.mine, 1), (&bed.stays, 1)]);
    wait_until("its key's end", || !mine.is_up());
    let lived = clock::monotonic() - began;
    assert!(lived >= Duration::from_secs(7), "{lived:?}");
    bed.wait_told(&[(&bed.stays, 1)]);
    assert!(stays.is_up());
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn an_agent_that_dies_between_the_file_and_the_end_of_sessions_ends_them_when_it_is_back() {
    let mut bed = Bed::new("", ALWAYS);
    let _socket = bed.syslog_socket();
    bed.up();
    let (mut mine, mut stays) = (
        bed.open(&bed.mine, &[], "sleep 1000"),
        bed.open(&bed.stays, &[], "sleep 1001"),
    );
    bed.wait_told(&[(&bed.mine, 1), (&bed.stays, 1)]);
    // Nobody says that the key is refused, so its sessions are not ended yet.
    let sshd = nix::unistd::Pid::from_raw(bed.sshd.pid().try_into().unwrap());
    nix::sys::signal::kill(sshd, nix::sys::signal::SIGSTOP).unwrap();
    bed.take_out_mine();
    let key = bed.mine.public.fingerprint().to_string();
    let orders = bed.host.dir.path().join("state/orders.json");
    wait_until("what is to end to be kept", || {
        fs::read_to_string(&orders)
            .unwrap_or_default()
            .contains(&key)
    });
    assert!(!bed.user.text().contains(&bed.mine.public.to_string()));
    bed.host.kill();
    assert!(mine.is_up(), "it has ended before the agent did");
    nix::sys::signal::kill(sshd, nix::sys::signal::SIGCONT).unwrap();
    bed.host.up();
    wait_until("the session to end", || !mine.is_up());
    bed.wait_told(&[(&bed.stays, 1)]);
    assert!(stays.is_up());
    // It is over: a session that the key opens from now on is nobody's business.
    assert!(!fs::read_to_string(&orders).unwrap().contains(&key));
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn an_order_ends_roots_sessions_too_and_never_where_the_machine_says_never() {
    roots_end_too(LoggedSshd::start(""));
}

/// root's sessions end as anybody's do.
pub(crate) fn roots_end_too(sshd: LoggedSshd) {
    let service = Service::start();
    let sessions = "auth-log = \"syslog-socket\"";
    let mut bed = account_keeps(Bed::of(sshd, ""), &service, sessions);
    let more = format!("{}\n{}\n", bed.mine.public, bed.own.public);
    bed.sshd.authorize_more("root", &more);
    let _socket = bed.syslog_socket();
    bed.host.up();
    bed.host.wait_listed();
    let id = service.save(&bed.mine.public, "mine", &["--wait"]);
    let mut roots = bed.sshd.client("root", &bed.mine, &["-tt"], "sleep 1000");
    let mut users = bed.open(&bed.mine, &[], "sleep 1001");
    let mut other = bed.sshd.client("root", &bed.own, &["-N"], "");
    bed.wait_told(&[(&bed.mine, 2), (&bed.own, 1)]);
    let end = |id: i64| {
        let id = id.to_string();
        service
            .run(&["ssh-keys", "delete", &id, "--end-sessions"])
            .done();
    };
    end(id);
    wait_until("both to end", || !roots.is_up() && !users.is_up());
    wait_until("the result", || {
        let end = service.rollout(id).instances[0].end_sessions;
        end.is_some_and(|end| (end.outcome, end.ended, end.left) == (OrderOutcome::Ended, 2, 0))
    });
    assert!(other.is_up());

    let never = "auth-log = \"syslog-socket\"\nend-on-revoke = \"never\"";
    bed.host = std::mem::replace(&mut bed.host, Host::new()).with_sessions(never);
    bed.host.stop();
    bed.host.up();
    bed.host.wait_listed();
    let id = service.save(&bed.stays.public, "stays", &["--wait"]);
    let mut stays = bed.open(&bed.stays, &[], "sleep 1003");
    bed.wait_told(&[(&bed.stays, 1), (&bed.own, 1)]);
    end(id);
    wait_until("the result", || {
        let end = service.rollout(id).instances[0].end_sessions;
        end.is_some_and(|end| end.outcome == OrderOutcome::RefusedHere)
    });
    assert!(stays.is_up() && other.is_up());
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn an_order_that_cannot_be_kept_waits_and_one_about_sessions_unheard_of_says_so() {
    let service = Service::start();
    let mut bed = of_account(&service, "auth-log = \"syslog-socket\"");
    bed.host.up();
    bed.host.wait_listed();
    let id = service.save(&bed.mine.public, "mine", &["--wait"]);
    let in_the_way = bed.host.dir.path().join("state/orders.json");
    bed.host.stop();
    fs::create_dir(&in_the_way).unwrap();
    let mut socket = bed.syslog_socket();
    bed.host.up();
    let mut mine = bed.open(&bed.mine, &[], "sleep 1000");
    bed.wait_told(&[(&bed.mine, 1)]);
    let end = |id: i64| {
        let id = id.to_string();
        service
            .run(&["ssh-keys", "delete", &id, "--end-sessions"])
            .done();
    };
    end(id);
    let failed = bed.host.wait_condition("state-failed");
    assert!(failed.text.contains("orders"), "{}", failed.text);
    bed.host
        .wait_status("the key to go", |s| s.targets[0].managed.is_empty());
    pause(Duration::from_secs(1));
    assert!(mine.is_up(), "what could happen twice does not happen");
    // The agent that comes after it is told the same again.
    bed.host.stop();
    fs::remove_dir(&in_the_way).unwrap();
    bed.host.up();
    wait_until("the session to end", || !mine.is_up());
    bed.host.wait_cleared("state-failed");

    let id = service.save(&bed.stays.public, "stays", &["--wait"]);
    socket.kill();
    let mut unheard = bed.open(&bed.stays, &[], "echo in; sleep 1001");
    wait_until("the login", || unheard.output().contains("in"));
    end(id);
    wait_until("the result", || {
        let end = service.rollout(id).instances[0].end_sessions;
        end.is_some_and(|end| end.outcome == OrderOutcome::NotMapped)
    });
    assert!(unheard.is_up());
}

/// journald with a /run of its own, in which DIR is what others see of it.
const JOURNALD: &str = r#"
set -e
mount -t tmpfs none /run
mkdir -p /run/systemd /run/log "$0/systemd/journald.conf.d" "$0/systemd/journal" "$0/log/journal"
mount --bind "$0/systemd" /run/systemd
mount --bind "$0/log" /run/log
printf '[Journal]\nStorage=volatile\nAudit=no\nReadKMsg=no\nForwardToWall=no\n' \
    > /run/systemd/journald.conf.d/test.conf
exec /lib/systemd/systemd-journald
"#;

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn the_journal_tells_and_what_a_user_writes_into_it_does_not() {
    let mut bed = Bed::new("", "auth-log = \"journal\"\nend-on-revoke = \"always\"");
    let dir = bed.sshd.dir().join("run");
    fs::create_dir(&dir).unwrap();
    let mut journald = Command::new("unshare");
    journald.args(["-m", "--propagation", "private", "sh", "-c", JOURNALD]);
    let journald = Daemon::start("journald", journald.arg(&dir), bed.sshd.dir());
    let socket = dir.join("systemd/journal/dev-log");
    wait_until("journald", || socket.exists());
    std::os::unix::fs::symlink(&socket, bed.sshd.dev_log()).unwrap();
    let inside = bed.sshd.dir().join("inside");
    let program = env!("CARGO_BIN_EXE_sshkeyd");
    let script = format!(
        "#!/bin/sh\nexec nsenter -t {} -m {program} \"$@\"\n",
        journald.pid()
    );
    put(&inside, &script, 0o755);
    bed.host = std::mem::replace(&mut bed.host, Host::new()).with_program(&inside);

    let mut own = bed.open(&bed.own, &[], "echo in; sleep 1000");
    wait_until("the login", || own.output().contains("in"));
    bed.up();
    let told = bed.wait_told(&[(&bed.own, 1)]);
    assert!(!told[0].unproved);
    bed.forge(told[0].pid, &accepted(&bed.user, &told[0].from, &bed.mine));
    let mut mine = bed.open(&bed.mine, &[], "sleep 1001");
    let told = bed.wait_told(&[(&bed.own, 1), (&bed.mine, 1)]);
    for session in &told {
        bed.forge(session.pid, &accepted(&bed.user, &session.from, &bed.stays));
    }
    bed.host.stop();
    let _between = bed.open(&bed.stays, &["-N"], "");
    bed.host.up();
    bed.wait_told(&[(&bed.own, 1), (&bed.mine, 1), (&bed.stays, 1)]);
    bed.take_out_mine();
    wait_until("the session to end", || !mine.is_up());
    bed.wait_told(&[(&bed.own, 1), (&bed.stays, 1)]);
    assert!(own.is_up());
}

/// A client that asks a person for a password, who thinks about it for as long as it is up.
fn asked_for_a_password(bed: &Bed, method: &str) -> Child {
    let ask = bed.sshd.dir().join(format!("ask-{method}"));
    let asked = bed.sshd.dir().join(format!("ask-{method}.asked"));
    let script = "#!/bin/sh\n: > \"$0.asked\"\nwhile kill -0 $PPID; do sleep 0.2; done\n";
    put(&ask, script, 0o755);
    let client = Command::new("ssh")
        .args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o"])
        .args(["UserKnownHostsFile=/dev/null", "-o", "IdentityAgent=none"])
        .args(["-o", &format!("PreferredAuthentications={method}")])
        .args(["-p", &bed.sshd.address.port().to_string()])
        .arg(format!("{}@127.0.0.1", bed.user.name))
        .env("SSH_ASKPASS", &ask)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let client = client.unwrap();
    wait_until("the question", || asked.exists());
    client
}

/// Who is logged in is seen by what sshd's processes say of themselves, each session once, and who
/// has not logged in yet is not among them.
pub(crate) fn titles_tell_who_is_in(sshd: LoggedSshd) {
    let mut bed = Bed::of(sshd, ALWAYS);
    let _socket = bed.syslog_socket();
    bed.up();
    bed.sshd
        .authorize_more("root", &format!("{}\n", bed.own.public));
    let mut outside = ["keyboard-interactive", "password"].map(|m| asked_for_a_password(&bed, m));
    let _inside = [
        bed.open(&bed.mine, &[], "sleep 1000"),
        bed.open(&bed.mine, &["-tt"], ""),
        bed.open(&bed.mine, &["-N"], ""),
        // It ends with its connection.
        bed.sshd.client("root", &bed.own, &[], "cat"),
        bed.sshd.client("root", &bed.own, &["-N"], ""),
    ];
    let told = bed.wait_told(&[(&bed.mine, 3), (&bed.own, 2)]);
    let told: BTreeSet<u32> = told.iter().map(|session| session.pid).collect();
    wait_until("each of them, once", || {
        let of_ours = processes::descendants(&processes::all(), &[bed.sshd.pid()]);
        let of_ours: BTreeSet<u32> = of_ours.iter().map(|stat| stat.process.pid).collect();
        let seen = unbound([]).into_iter().map(|process| process.pid);
        seen.filter(|pid| of_ours.contains(pid))
            .collect::<BTreeSet<_>>()
            == told
    });
    for client in &mut outside {
        assert!(client.try_wait().unwrap().is_none(), "asked all the while");
        let _ = client.kill();
        let _ = client.wait();
    }
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn sshds_own_words_tell_who_is_in() {
    titles_tell_who_is_in(LoggedSshd::start(
        "UsePAM yes\nKbdInteractiveAuthentication yes\nPasswordAuthentication yes",
    ));
}
