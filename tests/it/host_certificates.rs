//! Host certificates with a real sshd: people who know a host by its account's CA alone get in, no
//! host shows another's name, and nobody is locked out on the way.

use crate::support::faked::days_later;
use crate::support::host::{Host, read, replace};
use crate::support::logins::LoggedSshd;
use crate::support::managed::Managed;
use crate::support::process::{agent, sshkeyd, wait_until};
use crate::support::service::Service;
use crate::support::sshd::{KeyPair, User, keygen, put};
use serde_json::Value;
use sshkeyd::keys::PublicKey;
use sshkeyd::wire::{HostCertificateStatus, State, Status};
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const ON: &str = "user-ca = false\nhost-certificates = true";

/// A machine of an account, with an sshd of its own that takes drop-ins.
struct Machine {
    service: Service,
    managed: Managed,
    host: Host,
    id: i64,
}

impl Machine {
    fn new() -> Self {
        Self::with(Service::start(), "web", |drop_ins| {
            format!("Include {drop_ins}/*.conf\n")
        })
    }

    /// With what is made of the name of the directory of drop-ins in sshd's configuration.
    fn with(service: Service, label: &str, settings: impl Fn(&str) -> String) -> Self {
        let managed = Managed::with(settings);
        let directory = managed.dir().join("certificates");
        let host = Host::new()
            .with_drop_in(&managed.sshd, &managed.drop_in(), "")
            .with_certificates(&format!("{ON}\ndirectory = \"{}\"", directory.display()));
        let (host, id) = host.of_new_instance(&service, label);
        let host = host.with_target(&managed.user, "account", "");
        Self {
            service,
            managed,
            host,
            id,
        }
    }

    fn up(mut self) -> Self {
        self.host.up();
        self
    }

    fn file(&self) -> PathBuf {
        self.managed
            .dir()
            .join("certificates/host/ssh_host_ed25519_key-cert.pub")
    }

    fn line(&self) -> String {
        format!("HostCertificate {}", self.file().display())
    }

    /// Waits until sshd was seen to show a certificate that is such.
    #[track_caller]
    fn wait_shown(
        &self,
        what: &str,
        is_so: impl Fn(&HostCertificateStatus) -> bool,
    ) -> HostCertificateStatus {
        let shown = |status: &Status| {
            let host = status.certificates.clone().unwrap_or_default().host;
            host.into_iter().find(|shown| is_so(shown))
        };
        let status = self
            .host
            .wait_status(what, |status| shown(status).is_some());
        shown(&status).unwrap()
    }

    fn cas(&self) -> Vec<String> {
        let (status, _, cas) = self.service.http("GET /v1/ca", "");
        assert_eq!(status, 200);
        let lines = cas["host_ca"].as_array().unwrap().iter();
        lines
            .map(|line| line.as_str().unwrap().to_owned())
            .collect()
    }

    /// `ssh`, who knows this CA for names of that pattern and nothing else.
    fn ssh_by(&self, ca: &str, pattern: &str, alias: &str) -> Output {
        let known = self.managed.dir().join("known_hosts");
        put(&known, &format!("@cert-authority {pattern} {ca}\n"), 0o600);
        self.ssh(&known, alias)
    }

    fn ssh(&self, known_hosts: &Path, alias: &str) -> Output {
        let who = (
            self.managed.user.name.as_str(),
            self.managed.own.private.as_path(),
        );
        ssh(self.managed.sshd.address.port(), who, known_hosts, alias)
    }

    /// Whether somebody who trusts the account's CA for `*.sshkeyd` gets in by this name.
    fn lets_in_by_ca(&self, alias: &str) -> bool {
        let cas = self.cas();
        self.ssh_by(&cas[0], "*.sshkeyd", alias).status.success()
    }

    fn alias(&self) -> String {
        format!("instance-{}.sshkeyd", self.id)
    }

    /// Gives sshd another host key, as ssh-keygen does it: private, then public, then a reload.
    fn change_host_key(&self) -> PublicKey {
        let dir = self.managed.sshd.dir();
        let new = keygen(dir, "new_key", "ed25519");
        put(&dir.join("host_key"), &read(&new.private), 0o600);
        put(
            &dir.join("host_key.pub"),
            &format!("{}\n", new.public),
            0o644,
        );
        hang_up(&self.managed);
        new.public
    }
}

/// `ssh` to this machine, by a name of one's own and what one file says of it.
fn ssh(port: u16, (user, key): (&str, &Path), known_hosts: &Path, alias: &str) -> Output {
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "none", "-i"]).arg(key);
    for option in [
        "BatchMode=yes",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "StrictHostKeyChecking=yes",
        "GlobalKnownHostsFile=/dev/null",
        "ConnectTimeout=20",
        &format!("UserKnownHostsFile={}", known_hosts.display()),
        &format!("HostKeyAlias={alias}"),
        &format!("Port={port}"),
    ] {
        ssh.args(["-o", option]);
    }
    ssh.arg(format!("{user}@127.0.0.1")).arg("true");
    ssh.env_remove("SSH_AUTH_SOCK");
    ssh.stdin(Stdio::null()).output().unwrap()
}

fn hang_up(managed: &Managed) {
    let pid = managed.sshd.pid().to_string();
    let sent = Command::new("kill").args(["-HUP", &pid]).status().unwrap();
    assert!(sent.success());
}

/// What `ssh-keygen -L` says of a file.
#[track_caller]
fn judged(file: &Path) -> String {
    let said = Command::new("ssh-keygen")
        .arg("-L")
        .arg("-f")
        .arg(file)
        .output()
        .unwrap();
    assert!(said.status.success(), "{said:?}");
    String::from_utf8(said.stdout).unwrap()
}

fn serial(said: &str) -> u64 {
    let line = said
        .lines()
        .find_map(|line| line.trim().strip_prefix("Serial: "));
    line.unwrap().parse().unwrap()
}

fn principals(said: &str) -> Vec<&str> {
    let lines = said.lines().map(str::trim);
    let lines = lines.skip_while(|line| *line != "Principals:").skip(1);
    lines
        .take_while(|line| {
            !line.ends_with(':') && !line.contains("(none)") && !line.starts_with("Critical")
        })
        .collect()
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn who_knows_only_the_accounts_ca_gets_in_and_by_another_is_refused() {
    let machine = Machine::new().up();
    let shown = machine.wait_shown("a certificate", |_| true);
    let said = judged(&machine.file());
    assert_eq!(serial(&said), shown.serial);
    assert_eq!(
        shown.key,
        machine.managed.sshd.host_key.fingerprint().to_string()
    );
    assert!(
        said.contains("ssh-ed25519-cert-v01@openssh.com host certificate"),
        "{said}"
    );
    assert_eq!(principals(&said), [machine.alias(), "web".to_owned()]);
    let key_id = format!(
        "Key ID: \"{}/instance/{}\"",
        machine.service.account, machine.id
    );
    assert!(said.contains(&key_id), "{said}");
    let about = fs::metadata(machine.file()).unwrap();
    assert_eq!((about.uid(), about.mode() & 0o7777), (0, 0o644));
    assert!(read(&machine.managed.drop_in()).contains(&machine.line()));

    assert!(machine.lets_in_by_ca(&machine.alias()));
    let ca = &machine.cas()[0];
    assert!(machine.ssh_by(ca, "web", "web").status.success());
    // Another instance's name, a name of nobody, another CA.
    let other = format!("instance-{}.sshkeyd", machine.id + 1);
    for alias in [&other, "sshkeyd", "x.sshkeyd"] {
        let out = machine.ssh_by(ca, "*", alias);
        assert!(!out.status.success(), "{alias}");
    }
    let wrong = keygen(machine.managed.dir(), "wrong", "ed25519")
        .public
        .to_string();
    let out = machine.ssh_by(&wrong, "*.sshkeyd", &machine.alias());
    let words = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        !out.status.success() && words.contains("erification failed"),
        "{words}"
    );
    // Who has the key itself gets in as ever, and the status says what is shown.
    assert!(machine.managed.lets_in(&machine.managed.own));
    let status = machine.host.status();
    assert_eq!(status.state, State::Ok, "{:?}", status.conditions);
    let all: Value = machine
        .service
        .run(&["instances", "show", &machine.id.to_string(), "--json"])
        .done()
        .json();
    assert_eq!(all["host_keys"][0]["state"], "approved");
    assert_eq!(all["host_keys"][0]["serial"], shown.serial);
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn another_label_is_another_name_with_one_reload_and_a_restart_changes_nothing() {
    let mut machine = Machine::new().up();
    let first = machine.wait_shown("a certificate", |_| true);
    let reloads = |machine: &Machine| {
        machine
            .managed
            .sshd
            .log()
            .matches("Received SIGHUP")
            .count()
    };
    let before = reloads(&machine);
    assert_eq!(before, 1, "{}", machine.managed.sshd.log());
    // The same agent again: the same certificate, and sshd hears nothing.
    machine.host.stop();
    machine.host.up();
    machine.wait_shown("the same", |shown| shown.serial == first.serial);
    assert_eq!(reloads(&machine), before);

    let id = machine.id.to_string();
    machine
        .service
        .run(&["instances", "rename", &id, "db.example.com"])
        .done();
    machine.host.stop();
    machine.host.up();
    let second = machine.wait_shown("another", |shown| shown.serial != first.serial);
    assert!(second.serial > first.serial);
    assert_eq!(
        principals(&judged(&machine.file())),
        [machine.alias(), "db.example.com".into()]
    );
    // Some versions of sshd read the file for each connection, and need none.
    assert!(
        reloads(&machine) <= before + 1,
        "{}",
        machine.managed.sshd.log()
    );
    assert!(machine.lets_in_by_ca(&machine.alias()));
    let ca = &machine.cas()[0];
    assert!(
        machine
            .ssh_by(ca, "db.example.com", "db.example.com")
            .status
            .success()
    );
    assert!(!machine.ssh_by(ca, "web", "web").status.success());
    // Nothing lies about.
    let names: Vec<_> = fs::read_dir(machine.file().parent().unwrap())
        .unwrap()
        .collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_changed_host_key_waits_for_the_owners_word() {
    let machine = Machine::new().up();
    let first = machine.wait_shown("a certificate", |_| true);
    // In its first hour it would be taken as it comes: the enrolment was longer ago.
    let long_ago = "UPDATE instances SET enrolled_at = enrolled_at - 2 * 3600 * 1000";
    let db = rusqlite::Connection::open(machine.service.dir().join("sshkeyd.db")).unwrap();
    assert_eq!(db.execute(long_ago, []).unwrap(), 1);
    drop(db);
    let new = machine.change_host_key();
    let waits = machine.host.wait_condition("host-key-waiting");
    let print = new.fingerprint().to_string();
    assert_eq!(waits.about, print);
    let id = machine.id.to_string();
    assert!(
        waits
            .text
            .contains(&format!("approve-host-key {id} {print}")),
        "{waits:?}"
    );
    // A certificate over the key that is gone is shown no more, and nobody is let in by it.
    wait_until("the old line to go", || {
        !read(&machine.managed.drop_in()).contains(&machine.line())
    });
    wait_until("the old file to go", || !machine.file().exists());
    assert!(!machine.lets_in_by_ca(&machine.alias()));

    let shown = machine.service.run(&["instances", "show", &id]).done().out;
    assert!(
        shown.contains(&format!("approve-host-key {id} {print}")),
        "{shown}"
    );
    machine
        .service
        .run(&["instances", "approve-host-key", &id, &print])
        .done();
    machine.host.sync();
    let second = machine.wait_shown("the new key's", |shown| shown.key == print);
    assert!(second.serial > first.serial);
    machine.host.wait_cleared("host-key-waiting");
    assert!(machine.lets_in_by_ca(&machine.alias()));
    let (_, _, revoked) = machine.service.http("GET /v1/host-keys/revoked", "");
    assert_eq!(
        revoked["items"][0]["public_key"],
        machine.managed.sshd.host_key.to_string()
    );

    // No longer: what it had goes.
    machine
        .service
        .run(&["instances", "refuse-host-key", &id, &print])
        .done();
    let mut machine = machine;
    machine.host.stop();
    machine.host.up();
    wait_until("the refused key's file to go", || !machine.file().exists());
    assert!(!machine.lets_in_by_ca(&machine.alias()));
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_copy_with_the_same_host_key_gets_no_certificate_by_itself() {
    let machine = Machine::new().up();
    machine.wait_shown("a certificate", |_| true);
    let copy = Managed::new("");
    for name in ["host_key", "host_key.pub"] {
        let text = read(&machine.managed.sshd.dir().join(name));
        put(&copy.sshd.dir().join(name), &text, 0o600);
    }
    hang_up(&copy);
    let service = &machine.service;
    let directory = copy.dir().join("certificates");
    let (other, id) = Host::new()
        .with_drop_in(&copy.sshd, &copy.drop_in(), "")
        .with_certificates(&format!("{ON}\ndirectory = \"{}\"", directory.display()))
        .of_new_instance(service, "copy");
    let mut other = other.with_target(&copy.user, "account", "");
    other.up();
    other.wait_condition("host-key-waiting");
    let shown: Value = service
        .run(&["instances", "show", &id.to_string(), "--json"])
        .done()
        .json();
    assert_eq!(shown["host_keys"][0]["also_on"], machine.id);
    assert!(!directory.join("host").exists());
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn an_administrators_own_certificate_is_left_and_named() {
    let service = Service::start();
    let machine = Machine::with(service, "web", |drop_ins| {
        format!("Include {drop_ins}/*.conf\n")
    });
    let dir = machine.managed.sshd.dir().to_owned();
    let ca = keygen(&dir, "own_ca", "ed25519");
    sign(&ca, &["-h", "-n", "mine"], &dir.join("host_key.pub"));
    let own = dir.join("host_key-cert.pub");
    let config = read(&machine.managed.sshd.config);
    replace(
        &machine.managed.sshd.config,
        &format!("{config}HostCertificate {}\n", own.display()),
    );
    hang_up(&machine.managed);
    let machine = machine.up();
    let taken = machine.host.wait_condition("sshd-setting-taken");
    assert_eq!(taken.about, "HostCertificate");
    assert!(taken.text.contains(own.to_str().unwrap()), "{taken:?}");
    assert_eq!(machine.managed.all_drop_ins(), []);
    assert!(!machine.file().exists());
    let by_own = machine.ssh_by(&ca.public.to_string(), "mine", "mine");
    assert!(by_own.status.success(), "{by_own:?}");

    // He takes it out: ours takes its place.
    replace(&machine.managed.sshd.config, &config);
    hang_up(&machine.managed);
    machine.host.sync();
    machine.wait_shown("ours", |_| true);
    machine.host.wait_cleared("sshd-setting-taken");
    assert!(machine.lets_in_by_ca(&machine.alias()));
}

fn sign(ca: &KeyPair, more: &[&str], key: &Path) {
    let mut command = Command::new("ssh-keygen");
    command
        .args(["-q", "-I", "own", "-V", "-1m:+1d", "-s"])
        .arg(&ca.private);
    assert!(command.args(more).arg(key).status().unwrap().success());
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn what_sshd_does_not_show_is_taken_out_and_named() {
    let machine = Machine::new();
    // The public half is another key's than the private one that sshd serves.
    let dir = machine.managed.sshd.dir();
    let stale = keygen(dir, "stale", "ed25519").public;
    put(&dir.join("host_key.pub"), &format!("{stale}\n"), 0o644);
    let machine = machine.up();
    let refused = machine.host.wait_condition("host-certificate-refused");
    assert!(refused.text.contains("is taken out"), "{refused:?}");
    wait_until("the line to go", || {
        !read(&machine.managed.drop_in()).contains("HostCertificate")
    });
    wait_until("the file to go", || !machine.file().exists());
    assert!(machine.managed.lets_in(&machine.managed.own));
    let before = machine
        .managed
        .sshd
        .log()
        .matches("Received SIGHUP")
        .count();

    // Put right, it is seen by itself.
    let right = &machine.managed.sshd.host_key;
    put(
        &machine.managed.sshd.dir().join("host_key.pub"),
        &format!("{right}\n"),
        0o644,
    );
    machine.wait_shown("the right key's", |shown| {
        shown.key == right.fingerprint().to_string()
    });
    machine.host.wait_cleared("host-certificate-refused");
    assert!(machine.lets_in_by_ca(&machine.alias()));
    let after = machine
        .managed
        .sshd
        .log()
        .matches("Received SIGHUP")
        .count();
    assert!(after <= before + 2, "{}", machine.managed.sshd.log());
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn it_goes_in_the_right_order_and_whole() {
    // Switched off, taken back, and sealed.
    for way in ["off", "unmanage", "seal-image"] {
        let mut machine = Machine::new().up();
        machine.wait_shown("a certificate", |_| true);
        let directory = machine.managed.dir().join("certificates");
        if way == "off" {
            machine.host = machine.host.with_certificates(&format!(
                "user-ca = false\nhost-certificates = false\ndirectory = \"{}\"",
                directory.display()
            ));
            machine.host.configure();
        } else {
            machine.host.run(&[way]).done();
        }
        wait_until("the files to go", || !machine.file().exists());
        wait_until("the drop-in to go", || {
            machine.managed.all_drop_ins().is_empty()
        });
        if way != "off" {
            assert!(!directory.exists(), "{way}");
        }
        assert!(!machine.lets_in_by_ca(&machine.alias()), "{way}");
        assert!(machine.managed.lets_in(&machine.managed.own), "{way}");
        // sshd was never told of a file that was gone.
        let log = machine.managed.sshd.log();
        assert!(
            !log.contains("Could not load host certificate"),
            "{way}: {log}"
        );
    }
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn killed_at_any_step_it_is_finished_by_the_next_run_and_nobody_is_locked_out() {
    for at in [40, 150, 300, 500, 800, 1200] {
        let mut machine = Machine::new();
        machine.host.start();
        // A place in the agent's work, not a wait for something.
        std::thread::park_timeout(std::time::Duration::from_millis(at));
        machine.host.kill();
        assert!(machine.managed.lets_in(&machine.managed.own), "{at}");
        let missing = missing_named(&machine);
        assert_eq!(missing, [""; 0], "{at}");
        machine.host.up();
        machine.wait_shown("a certificate", |_| true);
        assert!(machine.lets_in_by_ca(&machine.alias()), "{at}");
        let log = machine.managed.sshd.log();
        assert!(
            !log.contains("Could not load host certificate"),
            "{at}: {log}"
        );
    }
}

/// Files that the drop-in names and that are not there.
fn missing_named(machine: &Machine) -> Vec<String> {
    let text = read(&machine.managed.drop_in());
    let named = text
        .lines()
        .filter_map(|line| line.strip_prefix("HostCertificate "));
    named
        .filter(|file| !Path::new(file).exists())
        .map(str::to_owned)
        .collect()
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_certificate_is_renewed_at_two_thirds_and_an_unreachable_service_is_said_in_time() {
    let mut machine = Machine::new().up();
    let first = machine.wait_shown("a certificate", |_| true);
    machine.host.stop();
    // The days pass for the service and the machine alike.
    let later = |machine: &mut Machine, days: u32| {
        let agent = days_later(agent(&[]), days);
        machine.host.up_as(agent);
    };
    let file = judged(&machine.file());
    // Nobody answers: what is there stays in force, and its end is said a week before.
    machine.service.stop();
    later(&mut machine, 22);
    machine.wait_shown("the same", |shown| shown.serial == first.serial);
    assert_eq!(machine.host.condition("host-certificate-ends"), None);
    machine.host.stop();
    later(&mut machine, 24);
    let ends = machine.host.wait_condition("host-certificate-ends");
    assert_eq!(ends.about, machine.file().display().to_string());
    machine.wait_shown("the same", |shown| shown.serial == first.serial);
    assert_eq!(judged(&machine.file()), file);
    machine.host.stop();
    machine.service.up_as(days_later(sshkeyd(), 21));
    later(&mut machine, 21);
    let second = machine.wait_shown("a renewed one", |shown| shown.serial > first.serial);
    assert!(second.valid_to > first.valid_to);
    assert_eq!(machine.host.condition("host-certificate-ends"), None);
    let _ = serial(&judged(&machine.file()));
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn once_has_it_all_in_one_pass() {
    let machine = Machine::new();
    machine.host.once().done();
    assert_eq!(
        principals(&judged(&machine.file())),
        [machine.alias(), "web".into()]
    );
    assert!(machine.lets_in_by_ca(&machine.alias()));
    let about = fs::metadata(machine.file().parent().unwrap()).unwrap();
    assert_eq!((about.uid(), about.mode() & 0o7777), (0, 0o755));
}

#[test]
#[ignore = "needs OpenSSH 10; tests/run makes a tree of it"]
fn openssh_10_shows_a_renewed_certificate_once_it_is_told() {
    let service = Service::start();
    let host = Host::new();
    // Where its drop-in goes.
    let drop_ins = host.dir.path().join("none");
    DirBuilder::new().mode(0o755).create(&drop_ins).unwrap();
    let sshd = LoggedSshd::start_openssh_10(&format!("Include {}/*.conf", drop_ins.display()));
    let user = User::new();
    sshd.admit(&user);
    let own = sshd.pair("own");
    user.authorize(&format!("{} own\n", own.public));
    let directory = sshd.dir().join("certificates");
    let (host, id) = sshd
        .asked_by(host)
        .with_certificates(&format!("{ON}\ndirectory = \"{}\"", directory.display()))
        .of_new_instance(&service, "web");
    let mut host = host.with_target(&user, "account", "");
    host.up();
    let shown = |status: &Status| {
        let certificates = status.certificates.clone().unwrap_or_default();
        certificates.host.first().map_or(0, |shown| shown.serial)
    };
    let first = shown(&host.wait_status("a certificate", |status| shown(status) > 0));
    let (_, _, cas) = service.http("GET /v1/ca", "");
    let known = sshd.dir().join("known_by_ca");
    let lets_in = |alias: &str| {
        let ca = cas["host_ca"][0].as_str().unwrap();
        put(&known, &format!("@cert-authority * {ca}\n"), 0o600);
        let who = (user.name.as_str(), own.private.as_path());
        ssh(sshd.address.port(), who, &known, alias)
            .status
            .success()
    };
    assert!(lets_in(&format!("instance-{id}.sshkeyd")) && lets_in("web") && !lets_in("db"));
    service
        .run(&["instances", "rename", &id.to_string(), "db"])
        .done();
    host.stop();
    host.up();
    host.wait_status("another certificate", |status| shown(status) > first);
    assert!(lets_in(&format!("instance-{id}.sshkeyd")) && lets_in("db") && !lets_in("web"));
}
