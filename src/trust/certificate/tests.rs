//! What is made is good; what is not quite that is not.

use super::*;
use crate::keys::{Options, PublicKey};
use crate::trust::Signer;
use jiff::{SignedDuration, Timestamp};

fn at() -> Timestamp {
    "2026-11-22T19:00:00Z".parse().unwrap()
}

fn ca(seed: u8) -> Signer {
    Signer::from_seed(&[seed; 32])
}

fn made(role: Role, change: impl FnOnce(&mut NewCertificate<'_>)) -> Result<String, IssueError> {
    let (key, limits) = (ca(9).public(), Limits::none());
    let principals = ["account:7".to_owned()];
    let mut new = NewCertificate {
        role,
        key: &key,
        serial: 5,
        key_id: "7/3/12",
        principals: &principals,
        valid_after: at(),
        valid_before: at() + SignedDuration::from_hours(8),
        limits: &limits,
    };
    change(&mut new);
    ca(1).certify(&new, &[3; 32])
}

fn read(role: Role) -> Certificate {
    Certificate::parse(&made(role, |_| {}).unwrap()).unwrap()
}

fn judge(certificate: &Certificate, at: Timestamp) -> Result<(), CertificateFault> {
    certificate.judge(Role::User, &[ca(1).public()], at, "account:7")
}

#[test]
fn a_certificate_is_good_for_its_name_in_its_time_by_its_ca() {
    let certificate = read(Role::User);
    assert_eq!((certificate.serial(), certificate.key_id()), (5, "7/3/12"));
    assert_eq!(certificate.key(), &ca(9).public());
    let end = at() + SignedDuration::from_hours(8);
    let second = SignedDuration::from_secs(1);
    assert_eq!(judge(&certificate, at()), Ok(()));
    assert_eq!(judge(&certificate, end - second), Ok(()));
    assert_eq!(
        judge(&certificate, at() - second),
        Err(CertificateFault::NotYet(at()))
    );
    assert_eq!(judge(&certificate, end), Err(CertificateFault::Over(end)));
    let cas: &[PublicKey] = &[ca(1).public()];
    let other = certificate.judge(Role::User, &[ca(2).public()], at(), "account:7");
    let fingerprint = ca(1).public().fingerprint();
    assert_eq!(other, Err(CertificateFault::Ca(fingerprint)));
    let other = certificate.judge(Role::User, cas, at(), "account:70");
    assert_eq!(
        other,
        Err(CertificateFault::Principal("account:70".to_owned()))
    );
    let host = certificate.judge(Role::Host, cas, at(), "account:7");
    assert_eq!(host, Err(CertificateFault::Role));
    assert_eq!(
        read(Role::Host).judge(Role::Host, cas, at(), "account:7"),
        Ok(())
    );
}

#[test]
fn nobody_everybody_and_never_are_not_made() {
    let named = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let new = NewCertificate {
            role: Role::User,
            key: &ca(9).public(),
            serial: 1,
            key_id: "",
            principals: &names,
            valid_after: at(),
            valid_before: Timestamp::MAX,
            limits: &Limits::none(),
        };
        ca(1).certify(&new, &[3; 32])
    };
    assert!(named(&["a", "b"]).is_ok());
    assert_eq!(named(&[]), Err(IssueError::Principals));
    for name in ["", "a,b", "a b", "*", "a\n", "é", "!a"] {
        assert_eq!(named(&["a", name]), Err(IssueError::Principals), "{name:?}");
    }
    assert_eq!(
        made(Role::User, |new| new.serial = 0),
        Err(IssueError::Validity)
    );
    let over = made(Role::User, |new| new.valid_before = new.valid_after);
    assert_eq!(over, Err(IssueError::Validity));
}

#[test]
fn what_was_changed_or_is_not_known_is_not_good() {
    use ssh_key::certificate::{Builder, CertType};
    let (key, signer) = (ca(9), ca(1));
    let subject = ssh_key::PublicKey::from_bytes(key.public().blob()).unwrap();
    let seconds = at().as_second() as u64;
    let with = |name: Option<&str>, option: Option<&str>| {
        let mut builder = Builder::new([3; 32], &subject, seconds, seconds + 60).unwrap();
        builder.cert_type(CertType::User).unwrap();
        builder.serial(5).unwrap().key_id("k").unwrap();
        match name {
            Some(name) => builder.valid_principal(name).unwrap(),
            None => builder.all_principals_valid().unwrap(),
        };
        if let Some(option) = option {
            builder.critical_option(option, "x").unwrap();
        }
        let signed = builder.sign(signer.private()).unwrap();
        Certificate::parse(&signed.to_openssh().unwrap()).unwrap()
    };
    assert_eq!(
        judge(&with(None, None), at()),
        Err(CertificateFault::NoPrincipals)
    );
    let foreign = with(Some("account:7"), Some("foo@example.com"));
    let unknown = CertificateFault::CriticalOption("foo@example.com".to_owned());
    assert_eq!(judge(&foreign, at()), Err(unknown));
    assert_eq!(
        judge(&with(Some("account:7"), Some("force-command")), at()),
        Ok(())
    );
    assert!(matches!(
        Certificate::parse("ssh-ed25519 AAAA"),
        Err(CertificateFault::Malformed)
    ));
}

#[test]
fn a_certificate_opens_no_more_than_its_key() {
    let of = |text: &str| Limits::of(&Options::parse(text).unwrap());
    assert_eq!(of(""), Ok(Limits::none()));
    let limits = of("restrict,pty,command=\"uptime\",from=\"10.1.2.3/8,::1\"").unwrap();
    assert_eq!(limits.extensions, ["permit-pty"]);
    let wanted = [
        ("force-command", "uptime".to_owned()),
        ("source-address", "10.0.0.0/8,::1".to_owned()),
    ];
    assert_eq!(limits.critical, wanted);
    let limits = of("no-pty,no-touch-required,verify-required").unwrap();
    assert!(!limits.extensions.contains(&"permit-pty"));
    assert!(limits.extensions.contains(&"no-touch-required"));
    assert_eq!(limits.critical, [("verify-required", String::new())]);
    for lost in [
        "permitopen=\"a:1\"",
        "environment=\"A=b\"",
        "from=\"*.example.com\"",
        "tunnel=\"1\"",
    ] {
        assert!(of(lost).is_err(), "{lost}");
    }
}
