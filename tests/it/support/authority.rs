//! A CA of users beside an sshd: the files that sshd reads, certificates, and what is revoked of them;
//! all made by hand, with OpenSSH's own ssh-keygen.

use crate::support::process::Ran;
use crate::support::sshd::{KeyPair, WorkDir, keygen, put};
use sshkeyd::trust::{Certificate, Krl};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Whom its certificates name.
pub(crate) const PRINCIPAL: &str = "account:7";

/// A CA, and what an sshd is told of it.
#[derive(Debug)]
pub(crate) struct Authority {
    pub(crate) ca: KeyPair,
    dir: WorkDir,
}

impl Authority {
    /// Trusted by whoever has its [lines](Self::lines); nothing is revoked.
    pub(crate) fn new() -> Self {
        Self::of_type("ed25519")
    }

    pub(crate) fn of_type(key_type: &str) -> Self {
        let dir = WorkDir::new();
        let ca = keygen(dir.path(), "ca", key_type);
        let authority = Self { ca, dir };
        authority.trust(&[&authority]);
        fs::create_dir(authority.path("principals")).unwrap();
        authority.revoke(&Krl::default());
        authority
    }

    /// What sshd's configuration says of it.
    pub(crate) fn lines(&self) -> String {
        let dir = self.dir.path().display();
        format!(
            "TrustedUserCAKeys {dir}/user-ca.pub\nRevokedKeys {dir}/revoked.krl\n\
             AuthorizedPrincipalsFile {dir}/principals/%u"
        )
    }

    /// Whose certificates sshd takes.
    pub(crate) fn trust(&self, all: &[&Self]) {
        let lines: Vec<String> = all.iter().map(|of| format!("{}\n", of.ca.public)).collect();
        put(&self.path("user-ca.pub"), &lines.concat(), 0o644);
    }

    /// Lets them log in as this user.
    pub(crate) fn admit(&self, user: &str) {
        let file = self.path("principals").join(user);
        put(&file, &format!("{PRINCIPAL}\n"), 0o644);
    }

    /// Revokes what this list says, and nothing else.
    pub(crate) fn revoke(&self, krl: &Krl) {
        let file = self.path("revoked.krl");
        sshkeyd::sys::private_file::replace(&file, &krl.encode()).unwrap();
    }

    /// A list that revokes by key ID.
    pub(crate) fn revoke_ids(&self, version: u64, ids: &[&str]) {
        let mut krl = Krl {
            version,
            ..Krl::default()
        };
        let of_ca = krl.of_ca(&self.ca.public);
        of_ca.key_ids = ids.iter().map(|id| id.as_bytes().to_vec()).collect();
        self.revoke(&krl);
    }

    /// Certifies a key: `more` are further arguments of ssh-keygen(1). Where its private half is, ssh
    /// finds the certificate beside it: one that was there is another's no more.
    pub(crate) fn certify(
        &self,
        key: &KeyPair,
        id: &str,
        serial: u64,
        more: &[&str],
    ) -> Certificate {
        let public = key.private.with_extension("pub");
        let mut sign = Command::new("ssh-keygen");
        sign.args(["-q", "-s"]).arg(&self.ca.private);
        sign.args(["-I", id, "-z", &serial.to_string()]);
        if !more.contains(&"-n") {
            sign.args(["-n", PRINCIPAL]);
        }
        Ran::of(sign.args(more).arg(&public)).done();
        let name = key.private.file_name().unwrap().to_str().unwrap();
        let file = key.private.with_file_name(format!("{name}-cert.pub"));
        let text = fs::read_to_string(&file).unwrap();
        Certificate::parse(&text).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}
