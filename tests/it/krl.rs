//! Key revocation lists, with OpenSSH's own ssh-keygen as the judge, 9.2's and 10's: what we write it
//! reads, what it writes we read, and what it says of each certificate and key is what we say.

use crate::support::openssh10;
use crate::support::process::Ran;
use crate::support::sshd::put;
use sshkeyd::keys::{Fingerprint, PublicKey};
use sshkeyd::trust::{CertificateRef, Krl, Serials};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// ssh-keygen of this machine, and that of the tree by the tree's own loader.
fn keygens() -> Vec<Vec<PathBuf>> {
    let tree = openssh10::tree();
    let libraries = ["x86_64", "aarch64"]
        .map(|arch| tree.join(format!("usr/lib/{arch}-linux-gnu")))
        .into_iter()
        .find(|dir| dir.exists())
        .unwrap();
    let loader = ["ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"]
        .map(|name| libraries.join(name))
        .into_iter()
        .find(|path| path.exists())
        .unwrap();
    vec![
        vec!["ssh-keygen".into()],
        vec![
            loader,
            "--library-path".into(),
            libraries,
            tree.join("usr/bin/ssh-keygen"),
        ],
    ]
}

fn command(words: &[PathBuf]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

struct Bed {
    dir: tempfile::TempDir,
    ca: PublicKey,
    keygens: Vec<Vec<PathBuf>>,
}

impl Bed {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keygens = keygens();
        let bed = Self {
            ca: make(dir.path(), "ca"),
            dir,
            keygens,
        };
        // OpenSSH 10 it is.
        let version = Command::new("chroot")
            .arg(openssh10::tree())
            .args(["ssh", "-V"])
            .output()
            .unwrap();
        let version = String::from_utf8_lossy(&version.stderr).into_owned();
        assert!(version.starts_with("OpenSSH_10"), "{version}");
        bed
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A certificate over a new key.
    fn certificate(&self, name: &str, serial: u64, key_id: &str) -> (PathBuf, PublicKey) {
        let key = make(self.dir.path(), name);
        let serial = serial.to_string();
        let mut sign = Command::new("ssh-keygen");
        sign.args(["-q", "-s"]).arg(self.path("ca"));
        sign.args(["-I", key_id, "-n", "alice", "-z", &serial]);
        Ran::of(sign.arg(self.path(&format!("{name}.pub")))).done();
        (self.path(&format!("{name}-cert.pub")), key)
    }

    /// Whether each ssh-keygen says that this list revokes this key or certificate.
    fn revoked(&self, krl: &Path, of: &Path) -> bool {
        let said = self.keygens.iter().map(|keygen| {
            let mut query = command(keygen);
            let ran = query.arg("-Qf").arg(krl).arg(of).output().unwrap();
            let text = String::from_utf8_lossy(&ran.stdout).into_owned();
            match ran.status.code() {
                Some(0) => false,
                // 1 is also what a list that cannot be read gives: its words tell them apart.
                Some(1) if text.contains("REVOKED") => true,
                other => panic!("{other:?}: {text}{}", String::from_utf8_lossy(&ran.stderr)),
            }
        });
        let said: Vec<bool> = said.collect();
        assert!(said.iter().all(|one| *one == said[0]), "{said:?}");
        said[0]
    }

    fn written(&self, krl: &Krl) -> PathBuf {
        let path = self.path("krl");
        sshkeyd::sys::private_file::replace(&path, &krl.encode()).unwrap();
        path
    }
}

/// A key pair in files; its public half.
fn make(dir: &Path, name: &str) -> PublicKey {
    let path = dir.join(name);
    let mut make = Command::new("ssh-keygen");
    make.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]);
    Ran::of(make.arg(&path)).done();
    let line = fs::read_to_string(path.with_extension("pub")).unwrap();
    PublicKey::parse_text(&line).unwrap().0
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn what_is_revoked_by_each_kind_is_revoked_for_ssh_keygen_too() {
    let bed = Bed::new();
    let serials = [1, 7, 8, 9, 1_000, u64::MAX];
    let others = [2, 6, 10, 999, 1_001, u64::MAX - 1];
    let named = bed.certificate("named", 0, "7/3/12");
    let near = bed.certificate("near", 0, "7/3/1");
    let (key, _) = (make(bed.dir.path(), "key"), ());
    let mut krl = Krl {
        version: 42,
        generated_at: 1_790_000_000,
        comment: "account 7".to_owned(),
        ..Krl::default()
    };
    let of_ca = krl.of_ca(&bed.ca);
    of_ca.serials = Serials::from_iter(serials);
    // So dense that it is a bitmap.
    (0..300).for_each(|n| of_ca.serials.insert(50_000 + 2 * n));
    of_ca.key_ids.insert(b"7/3/12".to_vec());
    krl.sha256.insert(key.fingerprint());
    let path = bed.written(&krl);
    for serial in serials.into_iter().chain(others).chain([50_010, 50_011]) {
        let (certificate, of) = bed.certificate(&format!("s{serial}"), serial, "other");
        let asked = CertificateRef {
            ca: bed.ca.blob(),
            serial,
            key_id: b"other",
            key: of.blob(),
        };
        let ours = krl.revokes_certificate(asked);
        let wanted = serials.contains(&serial) || serial == 50_010;
        assert_eq!(
            (ours, bed.revoked(&path, &certificate)),
            (wanted, wanted),
            "{serial}"
        );
    }
    assert!(bed.revoked(&path, &named.0) && !bed.revoked(&path, &near.0));
    assert!(bed.revoked(&path, &bed.path("key.pub")));
    assert!(!bed.revoked(&path, &bed.path("ca.pub")));
    // By its blob, and with it what it signed.
    krl.keys.insert(bed.ca.blob().to_vec());
    let path = bed.written(&krl);
    assert!(bed.revoked(&path, &bed.path("ca.pub")) && bed.revoked(&path, &near.0));
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn what_ssh_keygen_writes_is_read_as_it_was_meant() {
    let bed = Bed::new();
    let (explicit, sha1, sha256) = (
        make(bed.dir.path(), "explicit"),
        make(bed.dir.path(), "one"),
        make(bed.dir.path(), "two"),
    );
    let mut spec = String::from("serial: 5\nserial: 100-20000\nid: 7/3/12\n");
    (0..400).for_each(|n| spec.push_str(&format!("serial: {}\n", 70_000 + 2 * n)));
    (1..20_u64).for_each(|n| spec.push_str(&format!("serial: {}\n", n << 40)));
    for (word, name) in [("key", "explicit"), ("sha1", "one"), ("sha256", "two")] {
        let line = fs::read_to_string(bed.path(&format!("{name}.pub"))).unwrap();
        spec.push_str(&format!("{word}: {line}"));
    }
    let by_hash = format!("hash: {}\n", Fingerprint::of(b"a blob"));
    spec.push_str(&by_hash);
    put(&bed.path("spec"), &spec, 0o600);
    let mut wanted = Serials::from_iter([5]);
    wanted.insert_range(100..=20_000);
    (0..400).for_each(|n| wanted.insert(70_000 + 2 * n));
    (1..20_u64).for_each(|n| wanted.insert(n << 40));
    for keygen in &bed.keygens {
        let out = bed.path("theirs");
        let mut make = command(keygen);
        make.args(["-q", "-k", "-z", "9", "-f"]).arg(&out).arg("-s");
        Ran::of(make.arg(bed.path("ca.pub")).arg(bed.path("spec"))).done();
        let krl = Krl::parse(&fs::read(&out).unwrap()).unwrap();
        assert_eq!(krl.version, 9);
        let of_ca = &krl.certificates[bed.ca.blob()];
        assert_eq!(of_ca.serials, wanted);
        assert!(of_ca.key_ids.contains(b"7/3/12".as_slice()));
        assert!(krl.keys.contains(explicit.blob()));
        assert!(krl.revokes_key(sha1.blob()) && krl.sha1.len() == 1);
        assert!(krl.sha256.contains(&sha256.fingerprint()));
        assert!(krl.revokes_key(b"a blob"));
        // Written again by us, it means the same.
        let again = bed.written(&krl);
        for name in ["explicit", "one", "two"] {
            assert!(bed.revoked(&again, &bed.path(&format!("{name}.pub"))));
        }
        assert!(!bed.revoked(&again, &bed.path("ca.pub")));
    }
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn a_hundred_thousand_alternate_serials_are_still_read() {
    let bed = Bed::new();
    let mut krl = Krl::default();
    krl.of_ca(&bed.ca).serials = (1..=100_000).map(|n| 2 * n).collect();
    let path = bed.written(&krl);
    let (even, _) = bed.certificate("even", 31_416, "a");
    let (odd, _) = bed.certificate("odd", 31_417, "b");
    assert!(bed.revoked(&path, &even) && !bed.revoked(&path, &odd));
    let mut none = Krl::default();
    none.of_ca(&bed.ca);
    assert!(!bed.revoked(&bed.written(&none), &even));
    assert!(!bed.revoked(&bed.written(&Krl::default()), &even));
}
