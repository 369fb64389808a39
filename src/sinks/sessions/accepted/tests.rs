//! sshd's words in every version and around them, and what must not pass for them.

use super::*;

const FP: &str = "SHA256:uNiVztksCsDhcc0u9e8BrQwN2sVAZMVwJDMXVI+iNUE";
const CA: &str = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";

fn login(user: &str, from: &str) -> Login {
    Login {
        user: user.into(),
        from: from.parse().unwrap(),
        key: Some(FP.parse().unwrap()),
        certificate: None,
        partial: false,
    }
}

#[test]
fn every_versions_words_are_read() {
    let said = |text: &str| parse_message(&text.replace("FP", FP).replace("CAFP", CA));
    let al = login("al", "192.0.2.7:50022");
    for text in [
        "Accepted publickey for al from 192.0.2.7 port 50022 ssh2: ED25519 FP",
        "Accepted publickey for al from 192.0.2.7 port 50022 ssh2: RSA FP",
        "Accepted publickey for al from 192.0.2.7 port 50022 ssh2: ECDSA FP",
        "Accepted publickey for al from 192.0.2.7 port 50022 ssh2: ED25519-SK FP",
        "Accepted publickey for al from ::ffff:192.0.2.7 port 50022 ssh2: ED25519 FP",
    ] {
        assert_eq!(said(text), Some(al.clone()), "{text}");
    }
    let six = said("Accepted publickey for al from 2001:db8::7 port 22 ssh2: ED25519 FP");
    assert_eq!(six, Some(login("al", "[2001:db8::7]:22")));
    let link = said("Accepted publickey for al from fe80::1%eth0 port 22 ssh2: ED25519 FP");
    assert_eq!(link, Some(login("al", "[fe80::1]:22")));
    let none = |text: &str| {
        let login = said(text).unwrap();
        assert_eq!((login.key, login.certificate), (None, None), "{text}");
    };
    none("Accepted publickey for al from 192.0.2.7 port 22 ssh2: RSA MD5:16:27:ac:a5:76:28");
    none("Accepted password for al from 192.0.2.7 port 22 ssh2");
    none("Accepted keyboard-interactive/pam for al from 192.0.2.7 port 22 ssh2");
    none("Accepted gssapi-with-mic for al from 192.0.2.7 port 22 ssh2: al@EXAMPLE.COM");
    none("Accepted hostbased for al from 192.0.2.7 port 22 ssh2: ED25519 FP, client user \"x\"");
    let part = said("Partial publickey for al from 192.0.2.7 port 50022 ssh2: ED25519 FP");
    assert!(part.is_some_and(|login| login.partial && login.key == al.key));
}

#[test]
fn a_certificate_names_its_key_its_id_and_its_ca() {
    let id = |id: &str| {
        let text = format!(
            "Accepted publickey for al from 192.0.2.7 port 22 ssh2: \
             ED25519-CERT {FP} ID {id} (serial 777) CA ED25519 {CA}"
        );
        let login = parse_message(&text).unwrap();
        assert_eq!(login.key, Some(FP.parse().unwrap()));
        assert_eq!((login.user.as_str(), login.from.port()), ("al", 22));
        let certificate = login.certificate.unwrap();
        assert_eq!((certificate.serial, certificate.ca.as_str()), (777, CA));
        certificate.key_id
    };
    for plain in [
        "alice@idp",
        "",
        "two words",
        "x (serial 1) CA RSA SHA256:y",
        "x from 10.0.0.1 port 5 ssh2: ED25519 SHA256:y",
    ] {
        assert_eq!(id(plain), plain);
    }
    let old = format!(
        "Accepted publickey for al from 192.0.2.7 port 22 ssh2: \
         RSA-CERT ID alice (serial 18446744073709551615) CA RSA {CA}"
    );
    let login = parse_message(&old).unwrap();
    assert_eq!(login.key, None);
    assert_eq!(login.certificate.unwrap().serial, u64::MAX);
}

#[test]
fn a_users_name_passes_for_nothing_else() {
    for name in [
        "a b",
        "from",
        "x from 10.0.0.1 port 5",
        "al for bob",
        "root from 192.0.2.9 port 9 ssh2",
    ] {
        let text = format!("Accepted publickey for {name} from 192.0.2.7 port 22 ssh2: RSA {FP}");
        assert_eq!(parse_message(&text), Some(login(name, "192.0.2.7:22")));
    }
    let encoded = "Accepted password for DOM\\\\b\\303\\266b\\x from 192.0.2.7 port 22 ssh2";
    assert_eq!(parse_message(encoded).unwrap().user, "DOM\\b\u{f6}b\\x");
    let long = format!(
        "Accepted password for {} from 192.0.2.7 port 22 ssh2",
        "é".repeat(900)
    );
    assert_eq!(parse_message(&long).unwrap().user.len(), MAX_WORD);
}

#[test]
fn what_is_no_login_is_none() {
    for text in [
        "",
        "Accepted",
        "Failed publickey for al from 192.0.2.7 port 22 ssh2: RSA SHA256:x",
        "Invalid user Accepted publickey for al from 192.0.2.7 port 22",
        " Accepted publickey for al from 192.0.2.7 port 22 ssh2: RSA SHA256:x",
        "Accepted publickey for  from 192.0.2.7 port 22 ssh2: RSA SHA256:x",
        "Accepted public key for al from 192.0.2.7 port 22 ssh2: RSA SHA256:x",
        "Accepted publickey for al from UNKNOWN port 65535 ssh2: RSA SHA256:x",
        "Accepted publickey for al from 192.0.2.7 port +22 ssh2: RSA SHA256:x",
        "Accepted publickey for al from 192.0.2.7 port 99999 ssh2: RSA SHA256:x",
        "Accepted publickey for al from 192.0.2.7 port 22 ssh2",
        "Accepted publickey for al from 192.0.2.7 port 22 ssh2: RSA ID a (serial -1) CA RSA x",
        "Accepted publickey for al from 192.0.2.7 port 22 ssh2: ",
    ] {
        assert_eq!(parse_message(text), None, "{text}");
    }
}

#[test]
fn what_syslog_puts_around_is_taken_off() {
    let iso: Timestamp = "2026-11-22T19:00:00.5Z".parse().unwrap();
    let local = Said::Local("2024-11-02T19:00:00".parse().unwrap());
    for (line, at) in [
        ("Nov  2 19:00:00 host sshd[812]: m o", local),
        ("Nov 02 19:00:00 host sshd-session[812]: m o", local),
        ("<38>Nov  2 19:00:00 sshd[812]: m o\n\0", local),
        ("<86>Nov  2 19:00:00 /usr/sbin/sshd[812]: m o", local),
        ("Nov  2 19:00:00 host auth.info sshd[812]: m o", local),
        ("2026-11-22T19:00:00.5Z host sshd[812]: m o", Said::At(iso)),
        (
            "2026-11-22T20:00:00.500000+01:00 host sshd[812]: m o",
            Said::At(iso),
        ),
    ] {
        let read = parse_line(line).unwrap();
        assert_eq!((read.pid, read.message), (812, "m o"), "{line}");
        assert_eq!(read.at, Some(at), "{line}");
    }
    for other in [
        "",
        "sshd[812]: m",
        "Nov  2 19:00:00 host logger[9]: sshd[812]: m",
        "Nov  2 19:00:00 host sudo: sshd[812]: m",
        "Nov  2 19:00:00 host sshd: m",
        "Nov  2 19:00:00 host sshd[-1]: m",
        "Nov  2 19:00:00 host sshd[99999999999]: m",
        "Nov  2 19:00:00 host my-sshd[812]: m",
        "Nov  2 19:00:00 a b c sshd[812]: m",
        "<x>Nov  2 19:00:00 sshd[812]: m",
    ] {
        assert_eq!(parse_line(other), None, "{other}");
    }
}

#[test]
fn a_time_without_a_year_is_of_the_last_one_that_fits() {
    let now: Timestamp = "2027-01-01T00:30:00Z".parse().unwrap();
    let time = |line: &str| {
        let at = parse_line(&format!("{line} host sshd[1]: m")).unwrap().at;
        at.unwrap().time(&TimeZone::UTC, now).unwrap().to_string()
    };
    assert_eq!(time("Dec 31 23:59:59"), "2026-12-31T23:59:59Z");
    assert_eq!(time("Jan  1 00:29:00"), "2027-01-01T00:29:00Z");
    assert_eq!(time("Jan  2 00:00:00"), "2027-01-02T00:00:00Z");
    assert_eq!(time("Feb 29 12:00:00"), "2024-02-29T12:00:00Z");
    let east = TimeZone::fixed(jiff::tz::offset(2));
    let at = parse_line("Jan  1 02:29:00 host sshd[1]: m").unwrap().at;
    let at = at.unwrap().time(&east, now).unwrap();
    assert_eq!(at.to_string(), "2027-01-01T00:29:00Z");
}
