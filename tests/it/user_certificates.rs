//! Certificates of users and revocation, by a real service, a real sshd and real logins: who gets in
//! by a certificate, who does not once it is revoked, and that nobody is locked out on the way.

mod ends;
mod faults;

use crate::support::host::{Host, read, replace};
use crate::support::managed::Managed;
use crate::support::process::{Ran, wait_until};
use crate::support::service::Service;
use crate::support::sshd::{KeyPair, User, keygen, put};
use serde_json::json;
use sshkeyd::trust::Krl;
use sshkeyd::wire::{CertificatesStatus, Condition, Doctor, Level, State};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A service, and a machine of its account with an sshd whose drop-ins are its own.
struct Bed {
    service: Service,
    managed: Managed,
    host: Host,
    instance: i64,
}

impl Bed {
    fn new() -> Self {
        Self::of(Managed::new(""), "")
    }

    /// `more` are further lines of `[certificates]`, and other tables.
    fn of(managed: Managed, more: &str) -> Self {
        Self::with(Service::start(), managed, more)
    }

    fn with(service: Service, managed: Managed, more: &str) -> Self {
        let host = Host::new().with_drop_in(&managed.sshd, &managed.drop_in(), more);
        let (host, instance) = host.of_new_instance(&service, "web");
        let host = host.with_target(&managed.user, "account", "");
        let directory = managed.dir().join("trust");
        let mut bed = Self {
            service,
            managed,
            host: host.with_certificates(&on(&directory)),
            instance,
        };
        bed.host.up();
        bed.host.wait_listed();
        bed
    }

    fn file(&self, name: &str) -> PathBuf {
        self.managed.dir().join("trust").join(name)
    }

    /// A certificate over a new key of nobody's, beside it as ssh(1) looks for it; and its serial.
    fn certify(&self, name: &str) -> (KeyPair, u64, String) {
        let key = keygen(self.managed.sshd.dir(), name, "ed25519");
        let body = json!({ "public_key": key.public.to_string(), "ttl": "1h" }).to_string();
        let (status, _, made) = self.service.http("POST /v1/certificates/user", &body);
        assert_eq!(status, 201, "{made}");
        let mut file = key.private.clone().into_os_string();
        file.push("-cert.pub");
        let certificate = made["certificate"].as_str().unwrap();
        put(Path::new(&file), &format!("{certificate}\n"), 0o644);
        let key_id = made["key_id"].as_str().unwrap().to_owned();
        (key, made["serial"].as_u64().unwrap(), key_id)
    }

    fn revoke(&self, body: &serde_json::Value) {
        let (status, _, said) = self
            .service
            .http("POST /v1/certificates/revoke", &body.to_string());
        assert_eq!(status, 204, "{said}");
    }

    fn lets_in(&self, key: &KeyPair) -> bool {
        self.managed.lets_in(key)
    }

    /// Whoever has a key of his own gets in, whatever becomes of certificates.
    #[track_caller]
    fn assert_own_key(&self) {
        assert!(
            self.lets_in(&self.managed.own),
            "{}",
            self.managed.sshd.log()
        );
    }

    fn certificates(&self) -> CertificatesStatus {
        self.host.status().certificates.unwrap_or_default()
    }

    /// A certificate that logs in.
    #[track_caller]
    fn wait_certified(&self, name: &str) -> (KeyPair, u64, String) {
        let made = self.certify(name);
        self.host.wait_status("the CA in force", |status| {
            let certificates = status.certificates.as_ref();
            certificates.is_some_and(|c| !c.user_ca.is_empty() && c.krl_version.is_some())
        });
        assert!(self.lets_in(&made.0), "{}", self.managed.sshd.log());
        made
    }

    /// How often sshd was told to read its configuration again.
    fn reloads(&self) -> usize {
        self.managed.sshd.log().matches("SIGHUP").count()
    }

    fn drop_in(&self) -> String {
        read(&self.managed.drop_in())
    }

    /// Has sshd read its configuration again.
    fn hang_up(&self) {
        let before = self.reloads();
        let pid = self.managed.sshd.pid().to_string();
        Ran::of(Command::new("kill").args(["-HUP", &pid])).done();
        wait_until("sshd to begin anew", || self.reloads() > before);
        wait_until("sshd to listen", || {
            std::net::TcpStream::connect(self.managed.sshd.address).is_ok()
        });
    }

    /// Everything of a CA and of a revocation list is gone, and sshd knows nothing of them.
    #[track_caller]
    fn assert_gone(&self) {
        assert!(!self.file("").exists(), "{:?}", fs::read_dir(self.file("")));
        assert_eq!(self.managed.all_drop_ins(), []);
        self.assert_own_key();
    }
}

fn on(directory: &Path) -> String {
    format!(
        "user-ca = true\nhost-certificates = false\ndirectory = \"{}\"",
        directory.display()
    )
}

fn reads(krl: &Path, key: &KeyPair) -> Ran {
    let public = key.private.with_extension("pub");
    Ran::of(
        Command::new("ssh-keygen")
            .arg("-Q")
            .arg("-f")
            .arg(krl)
            .arg(public),
    )
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_certificate_logs_in_once_its_ca_is_here_and_not_once_it_is_revoked() {
    let bed = Bed::new();
    assert_eq!(bed.certificates(), CertificatesStatus::default());
    assert!(
        !bed.file("").exists(),
        "nothing is made before it is needed"
    );
    let (first, serial, _) = bed.wait_certified("first");
    assert_eq!(bed.reloads(), 1);

    let doctor = bed.host.run(&["doctor", &bed.managed.user.name, "--json"]);
    let doctor: Doctor = doctor.json();
    let mut said = doctor.reports[0].findings.iter();
    let said = said.find(|f| f.check == "user-ca");
    assert!(said.is_some_and(|f| f.level == Level::Ok), "{doctor:?}");

    // Root's, readable by all, in directories of root's; as the real tools see them.
    for (name, mode) in [
        ("", 0o755),
        ("principals", 0o755),
        ("user-ca.pub", 0o644),
        ("revoked.krl", 0o644),
        (&format!("principals/{}", bed.managed.user.name), 0o644),
    ] {
        let about = fs::metadata(bed.file(name)).unwrap();
        assert_eq!(
            (about.uid(), about.permissions().mode() & 0o7777),
            (0, mode),
            "{name}"
        );
    }
    let said = Ran::of(
        Command::new("ssh-keygen")
            .arg("-lf")
            .arg(bed.file("user-ca.pub")),
    );
    let ca = &bed.certificates().user_ca[0];
    assert!(said.done().out.contains(ca.as_str()), "{ca}");
    let principals = read(&bed.file("principals").join(&bed.managed.user.name));
    assert!(principals.ends_with(&format!("\naccount:{}\n", bed.service.account)));

    // Somebody of this machine who is no target has nothing of it.
    let other = User::new();
    assert!(!bed.managed.sshd.lets_in(&other, &first.private));

    // By serial, by key id, by key: each at the next login, and sshd is told nothing.
    let (second, _, key_id) = bed.certify("second");
    let (third, _, _) = bed.certify("third");
    let (stays, _, _) = bed.certify("stays");
    assert!(bed.lets_in(&second) && bed.lets_in(&third));
    bed.revoke(&json!({ "serial": serial }));
    wait_until("the first to be refused", || !bed.lets_in(&first));
    assert!(bed.lets_in(&third), "{}", bed.managed.sshd.log());
    bed.revoke(&json!({ "public_key": third.public.to_string() }));
    wait_until("the third to be refused", || !bed.lets_in(&third));
    assert!(bed.lets_in(&stays));
    bed.revoke(&json!({ "key_id": key_id }));
    wait_until("the second to be refused", || !bed.lets_in(&second));
    assert_eq!(bed.reloads(), 1);
    let log = bed.managed.sshd.log();
    assert!(log.contains("revoked"), "{log}");

    // What stands in the file is what the account's list says.
    let (_, _, listed) = bed.service.http("GET /v1/ca", "");
    assert!(listed["user_ca"][0].as_str().is_some());
    let krl = Krl::parse(&fs::read(bed.file("revoked.krl")).unwrap()).unwrap();
    assert_eq!(bed.certificates().krl_version, Some(krl.version));
    assert!(krl.sha256.contains(&third.public.fingerprint()));
    assert!(
        reads(&bed.file("revoked.krl"), &third)
            .out
            .contains("REVOKED")
    );
    bed.assert_own_key();
    assert_eq!(
        bed.host.status().state,
        State::Ok,
        "{:?}",
        bed.host.status()
    );
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_revoked_key_is_refused_wherever_its_line_stands() {
    let elsewhere = crate::support::sshd::WorkDir::new();
    let more = format!(
        "AuthorizedKeysFile .ssh/authorized_keys {}/%u\n",
        elsewhere.path().display()
    );
    let bed = Bed::of(Managed::new(&more), "");
    let lost = &bed.managed.listed;
    put(
        &elsewhere.path().join(&bed.managed.user.name),
        &format!("{}\n", lost.public),
        0o644,
    );
    assert!(bed.lets_in(lost), "{}", bed.managed.sshd.log());
    let id = bed.service.save(&lost.public, "lost", &[]);
    bed.service
        .run(&["ssh-keys", "revoke", &id.to_string()])
        .done();
    wait_until("the key to be refused", || !bed.lets_in(lost));
    // The line still stands where nobody but its owner writes.
    assert!(
        read(&elsewhere.path().join(&bed.managed.user.name)).contains(&lost.public.to_string())
    );
    bed.assert_own_key();
    bed.host.wait_status("it to be told", |status| {
        let certificates = status.certificates.as_ref();
        certificates.is_some_and(|c| c.krl_version.is_some())
    });
    // Without RevokedKeys it would log in: that is what keeps it out.
    fs::remove_file(bed.managed.drop_in()).unwrap();
    bed.hang_up();
    wait_until("the key to log in", || bed.lets_in(lost));
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn what_somebody_does_to_the_files_is_put_back_at_once() {
    let bed = Bed::new();
    let (first, _, _) = bed.wait_certified("first");
    let user = &bed.managed.user.name;
    let principals = format!("principals/{user}");
    let krl = fs::read(bed.file("revoked.krl")).unwrap();
    for name in ["revoked.krl", "user-ca.pub", &principals] {
        let path = bed.file(name);
        let right = fs::read(&path).unwrap();
        let is_right = || {
            let about = fs::symlink_metadata(&path);
            let is_plain = about.is_ok_and(|about| {
                about.is_file() && about.uid() == 0 && about.mode() & 0o7777 == 0o644
            });
            is_plain && fs::read(&path).is_ok_and(|bytes| bytes == right)
        };
        let spoil: [&dyn Fn(); 5] = [
            &|| fs::remove_file(&path).unwrap(),
            &|| put(&path, "rubbish\n", 0o644),
            &|| put(&path, "", 0o644),
            &|| put(&path, "rubbish\n", 0o666),
            &|| {
                fs::remove_file(&path).unwrap();
                symlink("/etc/shadow", &path).unwrap();
            },
        ];
        for spoil in spoil {
            spoil();
            wait_until(&format!("{name} to be put back"), is_right);
        }
        bed.host.wait_condition("drift");
    }
    fs::remove_dir_all(bed.file("")).unwrap();
    wait_until("the directory to be put back", || {
        fs::read(bed.file("revoked.krl")).is_ok_and(|bytes| bytes == krl)
    });
    wait_until("the certificate to log in", || bed.lets_in(&first));
    bed.assert_own_key();
    // A file of principals that nobody asked for lets nobody in.
    put(
        &bed.file("principals/root"),
        "# Kept by sshkeyd\naccount:1\n",
        0o644,
    );
    bed.host.sync();
    wait_until("it to go", || !bed.file("principals/root").exists());
    assert_eq!(bed.reloads(), 1);
}

/// What an administrator has set stays; what of ours is not in force by it is said.
#[track_caller]
fn assert_taken(bed: &Bed, keyword: &str, value: &Path) {
    let taken = bed.host.wait_condition("sshd-setting-taken");
    let said = format!("sets {keyword} {}", value.display());
    assert!(taken.text.contains(&said), "{taken:?}");
    assert!(taken.text.contains("sshd_config:"), "{taken:?}");
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn an_administrators_own_ca_stays_and_ours_is_said_not_to_be_in_force() {
    for keyword in ["TrustedUserCAKeys", "AuthorizedPrincipalsFile"] {
        let place = crate::support::sshd::WorkDir::new();
        let his = place.path().join("his");
        let his_ca = keygen(place.path(), "ca", "ed25519");
        let text = match keyword {
            "TrustedUserCAKeys" => format!("{}\n", his_ca.public),
            _ => "somebody\n".to_owned(),
        };
        put(&his, &text, 0o644);
        let line = format!("{keyword} {}\n", his.display());
        let bed = Bed::of(Managed::with(|d| format!("Include {d}/*.conf\n{line}")), "");
        let (first, ..) = bed.certify("first");
        assert_taken(&bed, keyword, &his);
        let said = bed.host.wait_condition("user-ca-not-in-force");
        assert!(said.text.contains(his.to_str().unwrap()), "{said:?}");
        assert!(!bed.lets_in(&first));
        // What is revoked is in force by itself.
        bed.host.wait_status("the revocation list", |status| {
            let certificates = status.certificates.as_ref();
            certificates.is_some_and(|c| c.krl_version.is_some() && c.user_ca.is_empty())
        });
        assert!(!bed.drop_in().contains(keyword), "{}", bed.drop_in());
        assert!(read(&bed.managed.sshd.config).contains(&line));
        bed.assert_own_key();
    }
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn an_administrators_own_list_is_merged_where_that_is_configured() {
    let place = crate::support::sshd::WorkDir::new();
    let his = place.path().join("revoked");
    for (is_above, is_merged) in [(false, false), (false, true), (true, true)] {
        put(&his, "# nobody yet\n", 0o644);
        let line = format!("RevokedKeys {}\n", his.display());
        let managed = Managed::with(|d| match is_above {
            true => format!("{line}Include {d}/*.conf\n"),
            false => format!("Include {d}/*.conf\n{line}"),
        });
        let merge = match is_merged {
            true => format!("merge-revoked = [\"{}\"]\n", his.display()),
            false => String::new(),
        };
        let bed = Bed::of(managed, &merge);
        let (first, serial, _) = bed.certify("first");
        wait_until("the certificate to log in", || bed.lets_in(&first));
        bed.revoke(&json!({ "serial": serial }));
        if is_above || !is_merged {
            assert_taken(&bed, "RevokedKeys", &his);
            let said = bed.host.wait_condition("krl-not-in-force");
            assert!(said.text.contains(his.to_str().unwrap()), "{said:?}");
            assert_eq!(
                said.text.contains("take that line out"),
                is_above,
                "{said:?}"
            );
            assert_eq!(bed.certificates().krl_version, None);
            assert!(bed.lets_in(&first), "his list says nothing of it");
            assert!(!bed.drop_in().contains("RevokedKeys"), "{}", bed.drop_in());
            bed.assert_own_key();
            continue;
        }
        wait_until("the certificate to be refused", || !bed.lets_in(&first));
        // What he adds counts at the next login, in either form, and a slip of his revokes no less.
        let spare = &bed.managed.spare;
        bed.managed
            .user
            .authorize(&format!("{}\n{}\n", bed.managed.own.public, spare.public));
        assert!(bed.lets_in(spare));
        replace(&his, &format!("{}\n", spare.public));
        wait_until("his key to be refused", || !bed.lets_in(spare));
        replace(&his, "rubbish\n");
        bed.host.wait_condition("revoked-not-merged");
        assert!(!bed.lets_in(spare) && !bed.lets_in(&first));
        bed.assert_own_key();
        let mut krl = Krl::default();
        krl.sha256.insert(bed.managed.listed.public.fingerprint());
        write(&his, &krl.encode());
        bed.host.wait_cleared("revoked-not-merged");
        wait_until("what he let go to be let go", || bed.lets_in(spare));
        // All is taken out: his own list is in force again.
        replace(&his, &format!("{}\n", spare.public));
        bed.host.run(&["unmanage"]).done();
        assert!(!bed.file("").exists() && !bed.managed.drop_in().exists());
        assert!(!bed.lets_in(spare));
        bed.assert_own_key();
    }
}

#[expect(clippy::disallowed_methods, reason = "as an administrator does it")]
fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_drop_in_that_is_not_read_leaves_everything_and_says_so() {
    type Settings = fn(&str) -> String;
    let cases: [(Settings, &str); 2] = [
        (|_| String::new(), "no Include names it"),
        (
            |d| format!("Match User nobody\nInclude {d}/*.conf\nMatch all\n"),
            "below the Match",
        ),
    ];
    for (settings, why) in cases {
        let bed = Bed::of(Managed::with(settings), "");
        let (first, ..) = bed.certify("first");
        let unread = bed.host.wait_condition("drop-in-not-read");
        assert!(unread.text.contains(why), "{unread:?}");
        for code in ["krl-not-in-force", "user-ca-not-in-force"] {
            let said = bed.host.wait_condition(code);
            assert!(said.text.contains(why), "{said:?}");
        }
        assert_eq!(bed.managed.all_drop_ins(), []);
        assert_eq!((bed.reloads(), bed.lets_in(&first)), (0, false));
        assert_eq!(bed.certificates(), CertificatesStatus::default());
        bed.assert_own_key();
    }
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn lines_that_are_put_in_by_hand_count_as_in_force() {
    let bed = Bed::of(Managed::new(""), "[sshd]\nmanage = false\n");
    let (first, serial, _) = bed.certify("first");
    let offered = |bed: &Bed| -> Option<Condition> {
        let condition = bed.host.condition("sshd-not-managed")?;
        let all = [
            "TrustedUserCAKeys",
            "AuthorizedPrincipalsFile",
            "RevokedKeys",
        ];
        all.iter()
            .all(|line| condition.text.contains(line))
            .then_some(condition)
    };
    wait_until("the lines to be offered", || offered(&bed).is_some());
    let text = offered(&bed).unwrap().text;
    let (_, lines) = text.split_once("to be added by hand: ").unwrap();
    assert_eq!(bed.managed.all_drop_ins(), []);
    bed.host.wait_condition("krl-not-in-force");
    replace(
        &bed.managed.drop_ins().join("10-by-hand.conf"),
        &lines.replace("; ", "\n"),
    );
    bed.hang_up();
    bed.host.sync();
    bed.host.wait_status("all in force", |status| {
        let certificates = status.certificates.as_ref();
        certificates.is_some_and(|c| !c.user_ca.is_empty() && c.krl_version.is_some())
    });
    for code in [
        "sshd-not-managed",
        "krl-not-in-force",
        "user-ca-not-in-force",
    ] {
        bed.host.wait_cleared(code);
    }
    wait_until("the certificate to log in", || bed.lets_in(&first));
    bed.revoke(&json!({ "serial": serial }));
    wait_until("the certificate to be refused", || !bed.lets_in(&first));

    // His line names the list: it is not taken away from under him.
    bed.host.run(&["unmanage"]);
    assert!(bed.file("revoked.krl").exists());
    bed.host.wait_condition("left-behind");
    bed.assert_own_key();
    let sealed = bed.host.run(&["seal-image"]);
    assert!(
        sealed.code != Some(0) && sealed.err.contains("revoked.krl"),
        "{sealed:?}"
    );
    fs::remove_file(bed.managed.drop_ins().join("10-by-hand.conf")).unwrap();
    bed.hang_up();
    bed.host.run(&["seal-image"]).done();
    assert!(!bed.file("").exists());
    bed.assert_own_key();
}
