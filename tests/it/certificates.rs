//! Certificates and revocation lists of a real service, with ssh-keygen as the judge: each
//! certificate by `-L`, each list by `-Q`.

use crate::support::process::{Ran, WITHIN};
use crate::support::service::Service;
use crate::support::sshd::put;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

const EMAIL: &str = "bob@example.com";
const PASSWORD: &str = "correct horse battery staple";

struct Bed {
    service: Service,
    dir: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        Self {
            service: Service::start().for_person(EMAIL, PASSWORD),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A key pair of this type; its public half, as text.
    fn key(&self, name: &str, kind: &[&str]) -> String {
        let path = self.path(name);
        let mut make = Command::new("ssh-keygen");
        make.args(["-q", "-N", "", "-C", name, "-t"]).args(kind);
        Ran::of(make.arg("-f").arg(&path)).done();
        let line = fs::read_to_string(path.with_extension("pub")).unwrap();
        line.trim().to_owned()
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, _, answer) = self
            .service
            .http(&format!("POST {path}"), &body.to_string());
        (status, answer)
    }

    /// A certificate in its file, and what was answered with it.
    fn certify(&self, name: &str, body: &Value) -> (PathBuf, Value) {
        let (status, made) = self.post("/v1/certificates/user", body);
        assert_eq!(status, 201, "{made}");
        let path = self.path(&format!("{name}-cert.pub"));
        put(&path, made["certificate"].as_str().unwrap(), 0o644);
        (path, made)
    }

    fn bytes(&self, path: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.service.address).unwrap();
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Connection: close\r\n\r\n",
            self.service.address, self.service.api_key,
        )
        .unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert!(all.starts_with(b"HTTP/1.1 200"));
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        all.split_off(end + 4)
    }

    /// Whether ssh-keygen says that the list of now revokes these, each.
    fn revoked(&self, of: &[&Path]) -> Vec<bool> {
        let krl = self.path("krl");
        sshkeyd::sys::private_file::replace(&krl, &self.bytes("/v1/krl")).unwrap();
        let query = |one: &&Path| {
            let mut query = Command::new("ssh-keygen");
            let ran = query.arg("-Qf").arg(&krl).arg(one).output().unwrap();
            let text = String::from_utf8_lossy(&ran.stdout).into_owned();
            match ran.status.code() {
                Some(0) => false,
                Some(1) if text.contains("REVOKED") => true,
                other => panic!("{other:?}: {text}{}", String::from_utf8_lossy(&ran.stderr)),
            }
        };
        of.iter().map(query).collect()
    }
}

/// What `ssh-keygen -L` says of it, line by line.
fn read(certificate: &Path) -> Vec<String> {
    let mut show = Command::new("ssh-keygen");
    // Times as they are, whatever this machine's zone.
    show.env("TZ", "UTC").arg("-Lf").arg(certificate);
    let said = Ran::of(&mut show).done().out;
    said.lines().map(|line| line.trim().to_owned()).collect()
}

fn fingerprint(public_key: &Path) -> String {
    let shown = Ran::of(Command::new("ssh-keygen").arg("-lf").arg(public_key)).done();
    shown.out.split(' ').nth(1).unwrap().to_owned()
}

/// The lines below a heading of [`read`].
fn below<'a>(lines: &'a [String], heading: &str) -> Vec<&'a str> {
    let at = lines.iter().position(|line| line.starts_with(heading));
    let rest = &lines[at.unwrap_or_else(|| panic!("{heading} in {lines:?}")) + 1..];
    let own = rest.iter().take_while(|line| !line.ends_with(':'));
    own.map(String::as_str).collect()
}

#[test]
#[ignore = "needs ssh-keygen; tests/run includes it"]
fn ssh_keygen_reads_every_certificate_as_it_was_asked_for() {
    let bed = Bed::new();
    let account = bed.service.account;
    let kinds: [(&str, &[&str]); 5] = [
        ("ed25519", &["ed25519"]),
        ("rsa", &["rsa", "-b", "3072"]),
        ("p256", &["ecdsa", "-b", "256"]),
        ("p384", &["ecdsa", "-b", "384"]),
        ("p521", &["ecdsa", "-b", "521"]),
    ];
    let mut serials = Vec::new();
    for (name, kind) in kinds {
        let key = bed.key(name, kind);
        let options = "no-agent-forwarding,command=\"echo hi\",from=\"203.0.113.0/24,::1\"";
        let body = json!({"public_key": key, "options": options});
        let (status, saved) = bed.post("/v1/ssh-keys", &body);
        assert_eq!(status, 201, "{saved}");
        let body = json!({"public_key": key, "ttl": "90m"});
        let (path, made) = bed.certify(name, &body);
        let lines = read(&path);
        let has = |line: &str| assert!(lines.iter().any(|one| one == line), "{line}: {lines:?}");
        let public = fingerprint(&bed.path(name).with_extension("pub"));
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with("Type: ") && line.ends_with("user certificate")),
            "{lines:?}"
        );
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with("Public key: ") && line.ends_with(&public)),
            "{lines:?}"
        );
        has(&format!(
            "Key ID: \"{account}/{}/k{}\"",
            saved["id"], account
        ));
        has(&format!("Serial: {}", made["serial"]));
        let time = |name: &str| {
            made[name]
                .as_str()
                .unwrap()
                .trim_end_matches('Z')
                .to_owned()
        };
        let (from, to) = (time("valid_after"), time("valid_before"));
        has(&format!("Valid: from {from} to {to}"));
        assert_eq!(below(&lines, "Principals:"), [format!("account:{account}")]);
        let critical = below(&lines, "Critical Options:");
        assert_eq!(
            critical,
            ["force-command echo hi", "source-address 203.0.113.0/24,::1"]
        );
        assert_eq!(
            below(&lines, "Extensions:"),
            [
                "permit-X11-forwarding",
                "permit-port-forwarding",
                "permit-pty",
                "permit-user-rc"
            ]
        );
        let (_, _, cas) = bed.service.http("GET /v1/ca", "");
        put(
            &bed.path("ca.pub"),
            cas["user_ca"][0].as_str().unwrap(),
            0o644,
        );
        let ca = fingerprint(&bed.path("ca.pub"));
        let signed = lines
            .iter()
            .any(|line| line.starts_with("Signing CA: ED25519 ") && line.contains(&ca));
        assert!(signed, "{ca}: {lines:?}");
        serials.push(made["serial"].as_u64().unwrap());
    }
    assert!(serials.windows(2).all(|two| two[0] < two[1]), "{serials:?}");
}

#[test]
#[ignore = "needs ssh-keygen; tests/run includes it"]
fn ssh_keygen_says_of_each_that_is_revoked_that_it_is_and_of_no_other() {
    let mut bed = Bed::new();
    let keys: Vec<String> = (0..6)
        .map(|n| bed.key(&format!("key{n}"), &["ed25519"]))
        .collect();
    let own = |n: usize| bed.path(&format!("key{n}.pub"));
    assert_eq!(
        bed.revoked(&[&own(0)]),
        [false],
        "there is a list from the first day"
    );

    let body = |n: usize| json!({"public_key": keys[n]});
    let (status, saved) = bed.post("/v1/ssh-keys", &body(0));
    assert_eq!(status, 201);
    let (by_id, _) = bed.certify("c0", &body(0));
    let (by_serial, made) = bed.certify("c1", &body(1));
    let (kept, _) = bed.certify("c2", &body(2));
    let all: [&Path; 3] = [&by_id, &by_serial, &kept];
    assert_eq!(bed.revoked(&all), [false; 3]);
    let revoke = |body: Value| bed.post("/v1/certificates/revoke", &body).0;
    assert_eq!(revoke(json!({"serial": made["serial"]})), 204);
    assert_eq!(bed.revoked(&all), [false, true, false]);
    // The key goes, and what it got with it; a plain key that is only deleted is not refused.
    bed.service.delete(saved["id"].as_i64().unwrap());
    assert_eq!(bed.revoked(&all), [true, true, false]);
    assert_eq!(bed.revoked(&[&own(0)]), [false]);
    assert_eq!(revoke(json!({"public_key": keys[2]})), 204);
    assert_eq!(bed.revoked(&all), [true; 3]);
    assert_eq!(bed.revoked(&[&own(2), &own(1)]), [true, false]);

    // By another API key, which is then deleted; by a person who then changes the password.
    let (_, other) = bed.post("/v1/api-keys", &json!({"name": "other"}));
    let mine = std::mem::replace(
        &mut bed.service.api_key,
        other["key"].as_str().unwrap().to_owned(),
    );
    let (by_other, _) = bed.certify("c3", &json!({"public_key": keys[3]}));
    let login = json!({"email": EMAIL, "password": PASSWORD});
    let session = |bed: &mut Bed| {
        let (status, made) = bed.post("/v1/login", &login);
        assert_eq!(status, 200, "{made}");
        bed.service.api_key = made["session_key"].as_str().unwrap().to_owned();
    };
    session(&mut bed);
    let (by_session, _) = bed.certify("c4", &json!({"public_key": keys[4]}));
    session(&mut bed);
    let (by_last, made) = bed.certify("c5", &json!({"public_key": keys[5]}));
    let change = json!({"password": PASSWORD, "new_password": "another horse altogether"});
    assert_eq!(bed.post("/v1/account/password", &change).0, 204);
    let last: [&Path; 3] = [&by_other, &by_session, &by_last];
    assert_eq!(bed.revoked(&last), [false, true, false]);
    let delete = format!("DELETE /v1/api-keys/{}", other["id"]);
    assert_eq!(bed.service.http(&delete, "").0, 204);
    assert_eq!(bed.revoked(&last), [true, true, false]);
    assert_eq!(revoke_by(&bed, "key_id", &made["key_id"]), 204);
    assert_eq!(bed.revoked(&last), [true; 3]);
    bed.service.api_key = mine;

    // What is in the list outlives the process.
    bed.service.stop();
    bed.service.up();
    assert_eq!(bed.revoked(&all), [true; 3]);
    assert_eq!(bed.revoked(&last), [true; 3]);
}

fn revoke_by(bed: &Bed, name: &str, value: &Value) -> u16 {
    bed.post("/v1/certificates/revoke", &json!({ name: value }))
        .0
}

#[test]
#[ignore = "needs ssh-keygen; tests/run includes it"]
fn where_no_instance_is_waited_for_another_ca_signs_at_once() {
    let mut bed = Bed::new();
    let key = bed.key("key", &["ed25519"]);
    let (old, _) = bed.certify("old", &json!({"public_key": key}));
    let rotate = json!({"role": "user", "password": PASSWORD});
    let (status, refused) = bed.post("/v1/ca/rotate", &rotate);
    assert_eq!((status, &refused["code"]), (403, &json!("person-only")));
    let (_, made) = bed.post("/v1/login", &json!({"email": EMAIL, "password": PASSWORD}));
    bed.service.api_key = made["session_key"].as_str().unwrap().to_owned();
    let (status, cas) = bed.post("/v1/ca/rotate", &rotate);
    assert_eq!(status, 202, "{cas}");
    let states: Vec<_> = cas["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ca| &ca["state"])
        .collect();
    assert_eq!(states, ["signing", "leaving"]);
    let (new, _) = bed.certify("new", &json!({"public_key": key}));
    let signed_by = |path: &Path| {
        let line = read(path)
            .into_iter()
            .find(|line| line.starts_with("Signing CA"));
        line.unwrap()
    };
    assert_ne!(signed_by(&old), signed_by(&new));
    // Each has its part of the list.
    let body = json!({"public_key": key});
    assert_eq!(bed.revoked(&[&old, &new]), [false; 2]);
    assert_eq!(bed.post("/v1/certificates/revoke", &body).0, 204);
    assert_eq!(bed.revoked(&[&old, &new]), [true; 2]);
    assert!(!bed.service.log().contains("PRIVATE KEY"));
}
