//! `sshkeyd doctor` against a real sshd: each cause is provoked, a real login is refused, and the
//! cause is named. Without an agent, but for the last tests.

use crate::support::host::{Home, Host};
use crate::support::process::{Ran, sshkeyd};
use crate::support::ssh::RusshServer;
use crate::support::sshd::{KeyPair, Sshd, User, keygen, put};
use sshkeyd::wire::{Doctor, DoctorFinding, Level};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

/// A user with a key of the account in place, an sshd, and a machine without a running agent.
struct Ward {
    user: User,
    sshd: Sshd,
    host: Host,
    key: KeyPair,
}

impl Ward {
    /// `more` are sshd's settings, made of the user's name and a directory for files.
    fn new(more: impl Fn(&str, &Path) -> String) -> Self {
        Self::with_key("ed25519", more)
    }

    fn with_key(kind: &str, more: impl Fn(&str, &Path) -> String) -> Self {
        let user = User::new();
        let host = Host::new();
        let sshd = Sshd::start(&more(&user.name, host.dir.path()));
        let key = keygen(sshd.dir(), "login", kind);
        let host = host
            .with_sshd(&sshd)
            .with_file("all")
            .with_target(&user, "all", "");
        host.write_file("all", &format!("{} k\n", key.public));
        host.once().done();
        Self {
            user,
            sshd,
            host,
            key,
        }
    }

    fn doctor(&self) -> (Option<i32>, Vec<DoctorFinding>) {
        examined(&self.host, &self.user.name)
    }

    fn lets_in(&self) -> bool {
        self.sshd.lets_in(&self.user, &self.key.private)
    }

    /// A real login is refused, and the doctor names this cause, with something to do.
    #[track_caller]
    fn is_refused_for(&self, check: &str, words: &str) {
        assert!(!self.lets_in(), "the cause is none: {}", self.sshd.log());
        let (code, findings) = self.doctor();
        assert_eq!(code, Some(1), "{findings:#?}");
        let named = |f: &&DoctorFinding| {
            f.level == Level::Problem && f.check == check && f.what.contains(words)
        };
        let found = findings.iter().find(named);
        let found = found.unwrap_or_else(|| panic!("{check} {words}: {findings:#?}"));
        assert!(found.fix.as_ref().is_some_and(|fix| !fix.is_empty()));
    }

    /// The same, and all is well again once this is done.
    #[track_caller]
    fn is_refused_until(&self, check: &str, words: &str, mended: impl Fn()) {
        self.is_refused_for(check, words);
        mended();
        self.is_well();
    }

    #[track_caller]
    fn is_well(&self) {
        assert!(self.lets_in(), "{}", self.sshd.log());
        let (code, findings) = self.doctor();
        assert_eq!(code, Some(0), "{findings:#?}");
    }

    fn mode(&self, path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
}

fn examined(host: &Host, user: &str) -> (Option<i32>, Vec<DoctorFinding>) {
    let ran = host.run(&["doctor", user, "--json"]);
    let said: Doctor = ran.json();
    assert_eq!(said.reports.len(), 1, "{ran:?}");
    assert_eq!(said.reports[0].user, user);
    (ran.code, said.reports[0].findings.clone())
}

fn tool(program: &str, args: &[&str]) {
    let ran = Ran::of(Command::new(program).args(args));
    assert_eq!(ran.code, Some(0), "{program} {args:?}: {ran:?}");
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn where_a_login_works_it_says_so_by_sshds_own_word() {
    let ward = Ward::new(|_, _| String::new());
    ward.is_well();
    let (_, findings) = ward.doctor();
    let print = ward.key.public.fingerprint().to_string();
    let proof = findings.iter().find(|f| f.check == "proof").unwrap();
    assert!(
        proof.level == Level::Ok && proof.what.contains(&print),
        "{findings:#?}"
    );
    let plain = ward.host.run(&["doctor"]).done().out;
    assert!(
        plain.contains(&ward.user.name) && plain.contains("no problem"),
        "{plain}"
    );
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn who_is_not_let_in_at_all() {
    for (check, words, settings) in [
        ("pubkey-authentication", "", "PubkeyAuthentication no"),
        ("allow-users", "AllowUsers", "AllowUsers nobody-else"),
        ("deny-users", "DenyUsers", "DenyUsers USER"),
        ("allow-groups", "AllowGroups", "AllowGroups nobody-else"),
        ("deny-groups", "DenyGroups", "DenyGroups USER"),
        (
            "authentication-methods",
            "",
            "AuthenticationMethods publickey,publickey",
        ),
        ("max-auth-tries", "MaxAuthTries is 0", "MaxAuthTries 0"),
    ] {
        let ward = Ward::new(|user, _| settings.replace("USER", user));
        ward.is_refused_for(check, words);
    }
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn where_sshd_looks_elsewhere_for_keys() {
    for settings in ["AuthorizedKeysFile none", "AuthorizedKeysFile DIR/keys/%u"] {
        let ward = Ward::new(|_, dir| settings.replace("DIR", dir.to_str().unwrap()));
        ward.is_refused_for("keys-file-named", "does not name");
    }
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_user_who_is_locked_expired_or_without_a_shell() {
    let ward = Ward::new(|_, _| String::new());
    let name = ward.user.name.as_str();
    tool("usermod", &["-L", name]);
    ward.is_refused_until("locked", "UsePAM no", || {
        tool("usermod", &["-p", "*", name]);
    });
    tool("chage", &["-E", "2020-01-01", name]);
    ward.is_refused_until("account-expired", "expired", || {
        tool("chage", &["-E", "-1", name]);
    });
    tool("usermod", &["-s", "/nonexistent/sh", name]);
    ward.is_refused_until("shell", "not there", || {
        tool("usermod", &["-s", "/bin/sh", name]);
    });
    let shell = ward.host.dir.path().join("sh");
    put(&shell, "#!/bin/sh\n", 0o644);
    tool("usermod", &["-s", shell.to_str().unwrap(), name]);
    ward.is_refused_until("shell", "cannot be run", || {
        tool("usermod", &["-s", "/bin/sh", name]);
    });
    tool("usermod", &["-s", "/usr/sbin/nologin", name]);
    ward.is_refused_until("shell", "ends the session", || {
        tool("usermod", &["-s", "/bin/sh", name]);
    });
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_file_that_sshd_does_not_trust_or_cannot_read() {
    let ward = Ward::new(|_, _| String::new());
    let (home, file) = (ward.user.home.clone(), ward.user.authorized_keys());
    let ssh = home.join(".ssh");
    for path in [&home, &ssh, &file] {
        let was = fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let words = path.display().to_string();
        ward.mode(path, was | 0o002);
        ward.is_refused_until("strict-modes", &words, || ward.mode(path, was));
        // A group that others are in, too.
        chown(path, None, Some(1)).unwrap();
        ward.mode(path, was | 0o020);
        ward.is_refused_until("strict-modes", &words, || {
            ward.mode(path, was);
            chown(path, None, Some(ward.user.gid)).unwrap();
        });
        // His own alone: Debian's sshd lets that pass, others do not, and it is as sshd says.
        ward.mode(path, was | 0o020);
        let (code, findings) = ward.doctor();
        assert_eq!(code == Some(0), ward.lets_in(), "{findings:#?}");
        ward.mode(path, was);
    }
    chown(&ssh, Some(1), None).unwrap();
    let back = || chown(&ssh, Some(ward.user.uid), None).unwrap();
    ward.is_refused_until("strict-modes", "belongs to user 1", back);
    chown(&file, Some(0), Some(0)).unwrap();
    let back = || chown(&file, Some(ward.user.uid), Some(ward.user.gid)).unwrap();
    ward.is_refused_until("readable", "cannot be read", back);
    ward.mode(&file, 0o000);
    ward.is_refused_until("readable", "cannot be read", || ward.mode(&file, 0o600));
    let away = home.with_extension("away");
    let moved =
        |from: &Path, to: &Path| tool("mv", &[from.to_str().unwrap(), to.to_str().unwrap()]);
    moved(&home, &away);
    ward.is_refused_until("home", "not there", || moved(&away, &home));
    moved(&file, &away);
    ward.is_refused_until("keys-file", "not there", || moved(&away, &file));
    moved(&file, &away);
    std::os::unix::fs::symlink(&away, &file).unwrap();
    fs::set_permissions(&away, Permissions::from_mode(0o666)).unwrap();
    ward.is_refused_for("keys-file", "cannot be read");
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn lines_that_are_good_for_nothing_here() {
    let ward = Ward::new(|_, _| String::new());
    let whole = fs::read_to_string(ward.user.authorized_keys()).unwrap();
    let back = || ward.user.authorize(&whole);
    let with = |options: &str| {
        let key = ward.key.public.to_string();
        ward.user
            .authorize(&whole.replace(&key, &format!("{options} {key}")));
    };
    with("expiry-time=\"20200101\"");
    ward.is_refused_until("expired", "2020-01-01", back);
    let blob = ward.key.public.to_string();
    ward.user
        .authorize(&whole.replace(&blob, &blob.replace("AAAAC3", "AAAA!3")));
    ward.is_refused_for("keys", "no key of the account");
    let (_, findings) = ward.doctor();
    let line = findings.iter().find(|f| f.check == "line").unwrap();
    assert!(line.what.contains("authorized_keys:"), "{line:?}");
    back();
    ward.is_well();
    with("from=\"192.0.2.9\"");
    assert!(!ward.lets_in());
    let (_, findings) = ward.doctor();
    let from = findings.iter().find(|f| f.check == "from").unwrap();
    assert!(
        from.level == Level::Notice && from.what.contains("192.0.2.9"),
        "{from:?}"
    );
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn keys_of_a_type_or_size_that_sshd_does_not_take() {
    let ward = Ward::new(|_, _| "PubkeyAcceptedAlgorithms ssh-ed25519-cert-v01@openssh.com".into());
    ward.is_refused_for("key-type", "ssh-ed25519");
    let ward = Ward::with_key("rsa", |_, _| "RequiredRSASize 3072".into());
    ward.is_refused_for("rsa-size", "2048 bits");
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_list_of_revoked_keys_that_is_missing_rubbish_or_holds_the_key() {
    let ward = Ward::new(|_, dir| format!("RevokedKeys {}/krl", dir.display()));
    let krl = ward.host.dir.path().join("krl");
    let (path, key) = (
        krl.to_str().unwrap(),
        ward.key.private.with_extension("pub"),
    );
    ward.is_refused_for("revoked-keys", "every key of everybody");
    put(&krl, "rubbish\n", 0o644);
    ward.is_refused_for("revoked-keys", "every key of everybody");
    // It begins as a KRL does.
    put(&krl, "SSHKRL\n\0\0\0\0\u{1}", 0o644);
    ward.is_refused_for("revoked-keys", "every key of everybody");
    tool(
        "ssh-keygen",
        &["-q", "-k", "-f", path, key.to_str().unwrap()],
    );
    let print = ward.key.public.fingerprint().to_string();
    ward.is_refused_for("revoked-keys", &print);
    // As text: sshd_config(5) allows that too.
    put(&krl, &format!("{}\n", ward.key.public), 0o644);
    ward.is_refused_for("revoked-keys", &print);
    fs::remove_file(&krl).unwrap();
    tool("ssh-keygen", &["-q", "-k", "-f", path]);
    ward.is_well();
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn root_where_root_may_not_log_in() {
    for (settings, words) in [
        ("PermitRootLogin no", "is no"),
        (
            "PermitRootLogin forced-commands-only",
            "forced-commands-only",
        ),
    ] {
        let home = Home::new();
        assert_eq!(home.user, "root", "these tests run as root");
        let file = home.authorized_keys();
        let sshd = Sshd::start(&format!(
            "AuthorizedKeysFile {}\n{settings}",
            file.display()
        ));
        let key = keygen(sshd.dir(), "login", "ed25519");
        let host = Host::new()
            .with_sshd(&sshd)
            .with_file("all")
            .with_home(&home, "all", "");
        host.write_file("all", &format!("{} k\n", key.public));
        host.once().done();
        assert!(!sshd.login_as("root", &key.private).status.success());
        let (code, findings) = examined(&host, "root");
        let named = |f: &&DoctorFinding| f.check == "root-login" && f.what.contains(words);
        assert!(
            code == Some(1) && findings.iter().any(|f| named(&f)),
            "{findings:#?}"
        );
        // The way that is open.
        let text = home.text();
        let public = key.public.to_string();
        home.write(&text.replace(&public, &format!("command=\"true\" {public}")));
        if settings.contains("forced") {
            assert!(
                sshd.login_as("root", &key.private).status.success(),
                "{}",
                sshd.log()
            );
            assert_eq!(examined(&host, "root").0, Some(0));
        }
    }
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn an_sshd_that_is_down_broken_or_somebody_else() {
    let ward = Ward::new(|_, _| String::new());
    let config = fs::read_to_string(&ward.sshd.config).unwrap();
    put(
        &ward.sshd.config,
        &format!("{config}NoSuchWord yes\n"),
        0o600,
    );
    let (code, findings) = ward.doctor();
    let line = config.lines().count() + 1;
    let named =
        |f: &&DoctorFinding| f.check == "sshd-config" && f.what.contains(&format!("line {line}"));
    assert!(
        code == Some(1) && findings.iter().any(|f| named(&f)),
        "{findings:#?}"
    );
    put(&ward.sshd.config, &config, 0o600);
    ward.is_well();

    // Another program where sshd should be: it has another host key.
    let other = RusshServer::start(ward.user.authorized_keys());
    let address = other.server.address.to_string();
    let config = ward.host.toml();
    let config = config.replace(&ward.sshd.address.to_string(), &address);
    let toml = ward.host.dir.path().join("other.toml");
    put(&toml, &config, 0o600);
    let mut command = sshkeyd();
    command.args(["doctor", "--json", "--config"]).arg(&toml);
    let ran = Ran::of(&mut command);
    let said: Doctor = ran.json();
    let findings = &said.reports[0].findings;
    assert!(
        findings.iter().any(|f| f.check == "wrong-host"),
        "{findings:#?}"
    );

    let Ward {
        user,
        sshd,
        host,
        key,
    } = ward;
    let address = sshd.address;
    drop(sshd);
    drop(key);
    let (code, findings) = examined(&host, &user.name);
    let named = |f: &&DoctorFinding| {
        f.check == "listening" && f.level == Level::Problem && f.what.contains(&address.to_string())
    };
    assert!(
        code == Some(1) && findings.iter().any(|f| named(&f)),
        "{findings:#?}"
    );
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn the_sshd_that_runs_is_asked_and_not_the_file_that_the_configuration_names() {
    let ward = Ward::new(|_, _| "AuthorizedKeysFile none".to_owned());
    let config = ward.host.dir.path().join("other_sshd_config");
    put(&config, "", 0o600);
    let running = ward.sshd.config.display().to_string();
    let toml = ward.host.toml();
    assert!(toml.contains(&running), "{toml}");
    let other = ward.host.dir.path().join("other.toml");
    put(
        &other,
        &toml.replace(&running, config.to_str().unwrap()),
        0o600,
    );
    let mut command = sshkeyd();
    command.args(["doctor", "--json", "--config"]).arg(&other);
    let said: Doctor = Ran::of(&mut command).json();
    let mut findings = said.reports[0].findings.iter();
    let found = findings.find(|f| f.check == "keys-file-named");
    let fix = found.and_then(|found| found.fix.as_deref()).unwrap();
    // For every user, and in the file that counts.
    let line = "`AuthorizedKeysFile %h/.ssh/authorized_keys`";
    assert!(fix.contains(line) && fix.contains(&running), "{fix}");
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn without_its_directory_sshd_drops_everybody() {
    let ward = Ward::new(|_, _| String::new());
    // In a mount namespace of its own: /run is empty there, for sshd and for the doctor.
    let binary = env!("CARGO_BIN_EXE_sshkeyd");
    let script = "mount -t tmpfs none /run && exec \"$@\"";
    let mut doctor = Command::new("unshare");
    doctor.args([
        "-m", "sh", "-c", script, "sh", binary, "doctor", "--json", "--config",
    ]);
    let ran = Ran::of(doctor.arg(&ward.host.config));
    let said: Doctor = ran.json();
    let mut findings = said.reports[0].findings.iter();
    let found = findings
        .find(|f| f.check == "privilege-separation")
        .unwrap();
    assert_eq!(found.fix.as_deref(), Some("mkdir -m 0755 /run/sshd"));
    let mut sshd = Command::new("unshare");
    sshd.args(["-m", "sh", "-c", script, "sh", "/usr/sbin/sshd", "-D", "-f"]);
    let ran = Ran::of(sshd.arg(&ward.sshd.config));
    assert!(
        ran.code != Some(0) && ran.err.contains("/run/sshd"),
        "{ran:?}"
    );
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn nobody_and_one_who_is_no_target() {
    let ward = Ward::new(|_, _| String::new());
    let (code, findings) = examined(&ward.host, "no-such-user");
    assert!(
        code == Some(1) && findings.iter().any(|f| f.check == "user"),
        "{findings:#?}"
    );
    let other = User::new();
    let (code, findings) = examined(&ward.host, &other.name);
    assert!(
        code == Some(1) && findings.iter().any(|f| f.check == "target"),
        "{findings:#?}"
    );
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_running_agent_answers_from_its_own_last_proof_and_names_its_conditions() {
    let mut ward = Ward::new(|_, _| String::new());
    ward.host.up();
    let print = ward.key.public.fingerprint().to_string();
    ward.host.wait_status("a proof", |s| {
        let proof = s.targets[0].proof.as_ref();
        proof.is_some_and(|proof| proof.accepted.contains(&print))
    });
    let (code, findings) = ward.doctor();
    assert_eq!(code, Some(0), "{findings:#?}");
    let no_agent = |f: &DoctorFinding| f.check == "agent";
    assert!(!findings.iter().any(no_agent), "{findings:#?}");
    // A file that nobody can write any more: the agent's own condition is one of the findings.
    fs::remove_file(ward.user.authorized_keys()).unwrap();
    fs::create_dir(ward.user.authorized_keys()).unwrap();
    ward.host.wait_condition("not-a-plain-file");
    ward.is_refused_for("not-a-plain-file", "authorized_keys");
    assert!(ward.host.stop().success());
    let (_, findings) = ward.doctor();
    assert!(findings.iter().any(no_agent), "{findings:#?}");
}
