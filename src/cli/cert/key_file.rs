//! A key pair in files, as ssh(1) knows them: `NAME`, `NAME.pub`, and `NAME-cert.pub` beside it.
//!
//! Owns which of a person's default identity files is meant where none is named. Refuses to touch
//! the private half, and to put a certificate over somebody else's.

use super::mark::Mark;
use crate::cli::exit::{Exit, Failed};
use crate::cli::saved::Env;
use crate::keys::PublicKey;
use crate::sys::{own_file, plain_file, users};
use crate::trust::Certificate;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// ssh(1), `-i`, in its order; DSA left out.
const DEFAULTS: [&str; 5] = [
    "id_rsa",
    "id_ecdsa",
    "id_ecdsa_sk",
    "id_ed25519",
    "id_ed25519_sk",
];

/// Largest file that holds a certificate.
const MAX_CERTIFICATE: u64 = 64 * 1024;

/// The names of one pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct KeyFile {
    /// `NAME`.
    pub(in crate::cli) private: PathBuf,
    /// `NAME.pub`.
    pub(in crate::cli) public: PathBuf,
    /// `NAME-cert.pub`.
    pub(in crate::cli) certificate: PathBuf,
}

/// A certificate in a file, and what it is called there.
#[derive(Debug, Clone)]
pub(super) struct InFile {
    pub(super) certificate: Certificate,
    pub(super) comment: String,
}

impl KeyFile {
    /// By the name of either half.
    pub(in crate::cli) fn of(path: &Path) -> Self {
        let private = match path.extension() {
            Some(extension) if extension == "pub" => path.with_extension(""),
            _ => path.to_owned(),
        };
        let with = |end: &str| {
            let mut name = OsString::from(&private);
            name.push(end);
            PathBuf::from(name)
        };
        let (public, certificate) = (with(".pub"), with("-cert.pub"));
        Self {
            private,
            public,
            certificate,
        }
    }

    /// The first of ssh's default identity files whose public half is there.
    pub(in crate::cli) fn default_of(env: Env<'_>) -> Option<Self> {
        let directory = dot_ssh(env)?;
        let mut all = DEFAULTS
            .iter()
            .map(|name| Self::of(&directory.join(format!("{name}.pub"))));
        all.find(|key| key.public.is_file())
    }

    /// The public half.
    ///
    /// # Errors
    /// 1: it cannot be read, or is no public key.
    pub(super) fn read_public(&self) -> Result<PublicKey, Failed> {
        let text = self.public.to_string_lossy();
        match self.public.to_str() {
            Some("-") | None => {
                let text = format!("{text}: not a name that can be read; rename it");
                Err(Failed::new(Exit::NotDone, text))
            }
            Some(path) => crate::cli::ssh_keys::read_key(path).map(|(key, _)| key),
        }
    }

    /// The certificate beside it; none where there is none that can be read.
    pub(super) fn beside(&self) -> Option<InFile> {
        let bytes = plain_file::read(&self.certificate, MAX_CERTIFICATE).ok()?;
        InFile::parse(&bytes)
    }

    /// Puts one there, 0644. One that is neither by one of these CAs nor called ours is somebody
    /// else's.
    ///
    /// # Errors
    /// 1: it was not put there.
    pub(super) fn put(&self, line: &str, cas: &[PublicKey]) -> Result<(), Failed> {
        let place = self.certificate.display();
        let fault = |what: &str| Failed::new(Exit::NotDone, format!("{place}: {what}"));
        match plain_file::read(&self.certificate, MAX_CERTIFICATE) {
            Ok(bytes) if bytes.trim_ascii().is_empty() => {}
            Ok(bytes) => {
                let there = InFile::parse(&bytes);
                let ours = |there: &InFile| {
                    cas.contains(there.certificate.ca()) || Mark::parse(&there.comment).is_some()
                };
                if !there.as_ref().is_some_and(ours) {
                    let what = "holds something else than a certificate of this account; move it \
                                away, or use the ssh-agent with --agent";
                    return Err(fault(what));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fault(&error.to_string())),
        }
        own_file::replace(&self.certificate, 0o644, format!("{line}\n").as_bytes())
            .map_err(|error| fault(&error.to_string()))
    }
}

impl InFile {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(bytes).ok()?.trim();
        let mut words = line.splitn(3, ' ');
        let (kind, blob) = (words.next()?, words.next()?);
        Some(Self {
            certificate: Certificate::parse(&format!("{kind} {blob}")).ok()?,
            comment: words.next().unwrap_or_default().to_owned(),
        })
    }
}

/// Where a person's SSH files are; none where he has no home.
pub(in crate::cli) fn dot_ssh(env: Env<'_>) -> Option<PathBuf> {
    let home = env("HOME").filter(|home| !home.is_empty());
    let home = home.map(PathBuf::from).or_else(|| {
        let user = users::lookup_uid(users::current_uid()).ok()??;
        Some(user.home)
    });
    home.filter(|home| home.is_absolute())
        .map(|home| home.join(".ssh"))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test sets files up by path")]
mod tests {
    use super::super::tests::{asker, ca, certificate_text};
    use super::*;
    use std::fs;

    #[test]
    fn either_half_names_the_pair() {
        for name in ["/k/id_ed25519", "/k/id_ed25519.pub"] {
            let key = KeyFile::of(Path::new(name));
            assert_eq!(key.private, Path::new("/k/id_ed25519"));
            assert_eq!(key.public, Path::new("/k/id_ed25519.pub"));
            assert_eq!(key.certificate, Path::new("/k/id_ed25519-cert.pub"));
        }
        let dotted = KeyFile::of(Path::new("work.key"));
        assert_eq!(dotted.public, Path::new("work.key.pub"));
    }

    #[test]
    fn the_first_default_whose_public_half_is_there_is_meant() {
        let home = tempfile::tempdir().unwrap();
        let env = |name: &str| (name == "HOME").then(|| home.path().as_os_str().to_owned());
        assert_eq!(KeyFile::default_of(&env), None);
        let ssh = home.path().join(".ssh");
        fs::create_dir(&ssh).unwrap();
        fs::write(ssh.join("id_rsa"), "no public half").unwrap();
        fs::write(ssh.join("id_ed25519.pub"), "k").unwrap();
        let found = KeyFile::default_of(&env).unwrap();
        assert_eq!(found.private, ssh.join("id_ed25519"));
        fs::write(ssh.join("id_ecdsa.pub"), "k").unwrap();
        let found = KeyFile::default_of(&env).unwrap();
        assert_eq!(found.private, ssh.join("id_ecdsa"));
    }

    #[test]
    fn somebody_elses_certificate_is_left_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyFile::of(&dir.path().join("id_ed25519"));
        let ours = certificate_text("account:7", 0, 900);
        key.put(&format!("{ours} sshkeyd"), &[]).unwrap();
        let there = key.beside().unwrap();
        assert_eq!(there.comment, "sshkeyd");
        // Neither its CA nor its name is known.
        let error = key.put(&ours, &[]).unwrap_err().to_string();
        assert!(error.contains("id_ed25519-cert.pub: holds"), "{error}");
        key.put(&ours, &[ca().public()]).unwrap();
        assert_eq!(key.beside().unwrap().comment, "");
        let mark = Mark {
            principal: "account:7".to_owned(),
            asker: asker(),
        };
        fs::write(&key.certificate, format!("{ours} {mark}\n")).unwrap();
        key.put(&ours, &[]).unwrap();
        for other in ["ssh-ed25519 AAAA", "\u{0}\u{1}"] {
            fs::write(&key.certificate, other).unwrap();
            assert!(key.put(&ours, &[ca().public()]).is_err());
            assert_eq!(fs::read_to_string(&key.certificate).unwrap(), other);
            assert!(key.beside().is_none());
        }
    }
}
