//! Each cause alone, in a machine where all else is well.

use super::*;
use crate::keys::Fingerprint;
use crate::sinks::strict_modes::Refusal;
use crate::sys::users::Shadow;
use crate::wire::{DoctorFinding, Severity, UnknownProof};
use std::path::PathBuf;

const SAID: &str = "usepam no\nmaxauthtries 6\nrequiredrsasize 1024\npermitrootlogin without-password\n\
    pubkeyauthentication yes\nstrictmodes yes\nrevokedkeys none\ntrustedusercakeys none\n\
    authorizedkeyscommand none\nforcecommand none\nauthenticationmethods any\n\
    pubkeyacceptedalgorithms ssh-ed25519,rsa-sha2-512\ncasignaturealgorithms ssh-ed25519\n\
    authorizedkeysfile .ssh/authorized_keys\n";

fn print() -> Fingerprint {
    Fingerprint::of(b"key")
}

fn stat(path: &str, mode: u32) -> Stat {
    let path = path.into();
    let (uid, gid) = (1000, 1000);
    Stat {
        path,
        uid,
        gid,
        mode,
    }
}

fn well() -> Facts {
    let path = || PathBuf::from("/home/ann/.ssh/authorized_keys");
    Facts {
        user: "ann".into(),
        now: "2026-11-22T19:00:00Z".parse().unwrap(),
        account: Some(Account {
            uid: 1000,
            own_group: Some(1000),
            groups: vec![(1000, "ann".into()), (50, "staff".into())],
            home: "/home/ann".into(),
            has_home: true,
            shell: ("/bin/sh".into(), Shell::Usable),
            shadow: Some(Shadow {
                locked: false,
                expires: None,
            }),
        }),
        nologin: None,
        sshd: SshdFacts {
            config: "/etc/ssh/sshd_config".into(),
            lines: String::new(),
            settings: Ok(Settings::parse(SAID)),
            keys_files: vec![path()],
        },
        listener: Listener::Speaks(
            "127.0.0.1:22".parse().unwrap(),
            "SSH-2.0-OpenSSH_9.2".into(),
        ),
        target: Some((
            FileFacts {
                path: path(),
                template: "%h/.ssh/authorized_keys".into(),
                real: Some(path()),
                state: FileState::Read,
                way: vec![
                    stat("/home/ann/.ssh/authorized_keys", 0o600),
                    stat("/home/ann/.ssh", 0o700),
                    stat("/home/ann", 0o755),
                ],
                strict: Vec::new(),
                immutable: Vec::new(),
                label: None,
            },
            Method::Block,
        )),
        keys: vec![KeyFacts {
            line: 3,
            ours: true,
            fingerprint: print(),
            key_type: "ssh-ed25519".into(),
            rsa_bits: None,
            options: None,
            expires: None,
        }],
        unreadable: Vec::new(),
        revoked: None,
        user_ca: None,
        principals: None,
        agent: Some(AgentWord {
            managed: vec![print().to_string()],
            proof: None,
            conditions: Vec::new(),
        }),
        proof: Some(Proof {
            accepted: vec![print().to_string()],
            ..Proof::default()
        }),
    }
}

fn account(facts: &mut Facts) -> &mut Account {
    facts.account.as_mut().unwrap()
}

fn file(facts: &mut Facts) -> &mut FileFacts {
    &mut facts.target.as_mut().unwrap().0
}

fn say(facts: &mut Facts, more: &str) {
    // sshd prints each keyword once, but for lists: the one that is said here is the one that counts.
    facts.sshd.settings = Ok(Settings::parse(&format!("{more}\n{SAID}")));
}

fn unknown(facts: &mut Facts, why: &'static str) {
    let proof = facts.proof.as_mut().unwrap();
    proof.accepted.clear();
    proof.unknown.push(UnknownProof {
        fingerprint: print().to_string(),
        why: why.into(),
    });
}

fn condition(facts: &mut Facts, severity: Severity) {
    facts.agent.as_mut().unwrap().conditions.push(Condition {
        code: "write-failed".into(),
        severity,
        since: facts.now,
        about: "/home/ann/.ssh/authorized_keys".into(),
        text: "no space".into(),
        todo: "make room".into(),
    });
}

mod causes;
use causes::{NOTICES, PROBLEMS, Spoil};

fn spoiled(spoil: Spoil) -> Vec<DoctorFinding> {
    let mut facts = well();
    spoil(&mut facts);
    report(&facts).findings
}

#[test]
fn where_all_is_well_nothing_is_said_but_that() {
    let report = report(&well());
    assert!(report.healthy, "{report:?}");
    assert!(
        report.findings.iter().all(|f| f.level == Level::Ok),
        "{report:?}"
    );
    assert!(report.findings.iter().any(|f| f.check == "proof"));
}

#[test]
fn each_cause_is_named_with_what_mends_it() {
    for (check, fix, spoil) in PROBLEMS {
        let findings = spoiled(spoil);
        let bad: Vec<_> = findings
            .iter()
            .filter(|f| f.level == Level::Problem)
            .collect();
        let named = |f: &&&DoctorFinding| {
            f.check == check && f.fix.as_ref().is_some_and(|text| text.contains(fix))
        };
        assert!(
            bad.iter().find(named).is_some(),
            "{check} {fix}: {findings:#?}"
        );
        assert_eq!(findings[0].level, Level::Problem);
        // No cause is taken for another: what it names is all that is wrong.
        let others = bad.iter().filter(|f| f.check != check).count();
        assert_eq!(others, 0, "{check}: {bad:#?}");
    }
}

#[test]
fn what_may_be_meant_is_a_notice() {
    for (check, words, spoil) in NOTICES {
        let findings = spoiled(spoil);
        let named = |f: &DoctorFinding| f.check == check && f.what.contains(words);
        let notice = findings.iter().find(|f| named(f));
        assert_eq!(
            notice.map(|f| f.level),
            Some(Level::Notice),
            "{check}: {findings:#?}"
        );
        assert!(
            findings.iter().all(|f| f.level != Level::Problem),
            "{check}: {findings:#?}"
        );
    }
}

#[test]
fn what_is_allowed_is_no_cause() {
    let harmless: [Spoil; 7] = [
        |f| say(f, "allowusers bob\nallowusers a?n"),
        |f| say(f, "denyusers bob"),
        |f| say(f, "allowgroups st*"),
        |f| say(f, "authenticationmethods publickey,password publickey"),
        |f| {
            say(f, "usepam yes");
            account(f).shadow.as_mut().unwrap().locked = true;
        },
        |f| {
            say(f, "strictmodes no");
            file(f).strict.push(Refusal::Mode {
                path: "/home/ann".into(),
                mode: 0o775,
            });
        },
        |f| {
            account(f).uid = 0;
            f.nologin = Some("/etc/nologin".into());
            say(f, "permitrootlogin forced-commands-only");
            f.keys[0].options = Some("command=\"id\"".into());
        },
    ];
    for (at, spoil) in harmless.into_iter().enumerate() {
        let findings = spoiled(spoil);
        assert!(
            findings.iter().all(|f| f.level == Level::Ok),
            "{at}: {findings:#?}"
        );
    }
}

#[test]
fn a_user_hears_of_his_own_target_only() {
    let target = |user: &str| Target {
        user: user.into(),
        sources: vec!["a".into()],
        method: Method::Block,
        path: PathTemplate::parse("%h/.ssh/authorized_keys").unwrap(),
        adopt: crate::config::Adopt::No,
        in_place: false,
    };
    let (ann, bob) = (target("ann"), target("bob"));
    let all = patients(None, &[&ann, &bob], None);
    assert_eq!(all.len(), 2);
    let one = patients(Some("bob"), &[&ann, &bob], None);
    assert!(one.len() == 1 && one[0].user == "bob" && one[0].agent.is_none());
    let none = patients(Some("carl"), &[&ann, &bob], None);
    assert!(none.len() == 1 && none[0].target.is_none());
}

#[test]
fn options_are_read_as_sshd_reads_them() {
    let options =
        r#"no-pty,command="echo \"a,b\" from=1",from="10.0.0.1,!x",Expiry-Time="20260101""#;
    let of = |name| keys::option(options, name);
    assert_eq!(of("command").as_deref(), Some("echo \"a,b\" from=1"));
    assert_eq!(of("from").as_deref(), Some("10.0.0.1,!x"));
    assert_eq!(of("expiry-time").as_deref(), Some("20260101"));
    assert_eq!(of("no-pty").as_deref(), Some(""));
    assert_eq!(of("pty"), None);
}

#[test]
fn what_keeps_a_certificate_from_logging_in_is_named() {
    let trusted = |facts: &mut Facts| {
        facts.user_ca = Some(CaFile {
            path: "/etc/ssh/sshkeyd/user-ca.pub".into(),
            types: Ok(vec!["ssh-ed25519".into()]),
        });
        let names = Principals::Named(vec!["account:1".into()]);
        facts.principals = Some(("/etc/ssh/sshkeyd/principals/ann".into(), names));
        let said = SAID.replace(
            "ssh-ed25519,rsa",
            "ssh-ed25519,ssh-ed25519-cert-v01@openssh.com,rsa",
        );
        facts.sshd.settings = Ok(Settings::parse(&said));
    };
    let said = |change: &dyn Fn(&mut Facts)| {
        let mut facts = well();
        trusted(&mut facts);
        change(&mut facts);
        let findings = judge(&facts).into_iter();
        let about = ["user-ca", "principals", "certificate-type"];
        let of_it: Vec<DoctorFinding> = findings.filter(|f| about.contains(&&*f.check)).collect();
        assert_eq!(of_it.len(), 1, "{of_it:?}");
        of_it.into_iter().next().unwrap()
    };
    let fine = said(&|_| {});
    assert_eq!(fine.level, Level::Ok);
    assert!(
        fine.what.contains("for account:1 by a CA in /etc/ssh"),
        "{fine:?}"
    );
    type Change<'a> = (&'a dyn Fn(&mut Facts), &'a str, &'a str);
    let cases: [Change<'_>; 6] = [
        (
            &|facts| facts.user_ca.as_mut().unwrap().types = Err("no such file".into()),
            "user-ca",
            "takes no certificate",
        ),
        (
            &|facts| facts.user_ca.as_mut().unwrap().types = Ok(Vec::new()),
            "user-ca",
            "has no CA",
        ),
        (
            &|facts| facts.user_ca.as_mut().unwrap().types = Ok(vec!["ssh-rsa".into()]),
            "user-ca",
            "CASignatureAlgorithms takes no ssh-rsa",
        ),
        (
            &|facts| facts.sshd.settings = Ok(Settings::parse(SAID)),
            "certificate-type",
            "PubkeyAcceptedAlgorithms takes no ssh-ed25519-cert-v01@openssh.com",
        ),
        (
            &|facts| facts.principals.as_mut().unwrap().1 = Principals::Missing,
            "principals",
            "no certificate logs in as ann",
        ),
        (
            &|facts| {
                facts.principals.as_mut().unwrap().1 = Principals::Refused("is a fifo".into());
            },
            "principals",
            "is a fifo",
        ),
    ];
    for (change, check, what) in cases {
        let finding = said(change);
        assert_eq!((&*finding.check, finding.level), (check, Level::Notice));
        assert!(finding.what.contains(what), "{finding:?}");
        assert!(finding.fix.is_some());
    }
    // No CA, and certificates are nobody's business.
    let mut none = well();
    none.principals = Some(("/x".into(), Principals::Missing));
    assert!(judge(&none).iter().all(|f| f.check != "principals"));
}
