//! Is this the certificate that was asked for? By our own rules, then in ssh-keygen's words.

use crate::keys::{PublicKey, printable};
use crate::sys::command::{CommandError, Limits, run};
use crate::sys::private_file;
use crate::trust::{Certificate, CertificateFault, Role};
use jiff::Timestamp;
use std::path::Path;
use std::time::Duration;
use tokio::task::spawn_blocking;

const SSH_KEYGEN: &str = "/usr/bin/ssh-keygen";
const LIMITS: Limits = Limits {
    output: 64 * 1024,
    time: Duration::from_secs(10),
};

/// Why a certificate is not put where sshd reads it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// It is not good.
    #[error(transparent)]
    Fault(#[from] CertificateFault),
    /// It is over another key than the one that was asked about.
    #[error("it is over another key, {0}")]
    Key(crate::keys::Fingerprint),
    /// ssh-keygen(1) says otherwise than we do.
    #[error("ssh-keygen -L: {0}")]
    Keygen(String),
    /// The copy for ssh-keygen(1) could not be written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Checks a certificate over `key` that is to be good now for the name `principal`. The agent holds
/// no list of host CAs: whether this CA is the account's is for those who connect to judge. Where
/// there is no ssh-keygen, our own reading has to do.
///
/// Gives it as it is to stand in its file: one line, without a comment.
///
/// # Errors
/// [`CheckError`].
pub async fn check(
    text: &str,
    key: &PublicKey,
    principal: &str,
    now: Timestamp,
    state_dir: &Path,
) -> Result<(Certificate, String), CheckError> {
    let certificate = Certificate::parse(text)?;
    if certificate.key() != key {
        return Err(CheckError::Key(certificate.key().fingerprint()));
    }
    let ca = [certificate.ca().clone()];
    certificate.judge(Role::Host, &ca, now, principal)?;
    let mut words = text.split_ascii_whitespace();
    let line = format!(
        "{} {}\n",
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default()
    );
    let (copy, bytes) = (state_dir.join("host-certificate.check"), line.clone());
    let place = copy.clone();
    let written = spawn_blocking(move || private_file::replace(&place, bytes.as_bytes())).await;
    written.map_err(std::io::Error::other).flatten()?;
    let file = copy.display().to_string();
    let said = run(Path::new(SSH_KEYGEN), &["-L", "-f", &file], LIMITS).await;
    // Left behind it would do no harm: it is as public as what is shown to everybody.
    let _ = spawn_blocking(move || std::fs::remove_file(copy)).await;
    match said {
        Err(CommandError::Missing(_)) => {}
        Err(fault) => return Err(CheckError::Keygen(fault.to_string())),
        Ok(said) if !said.status.success() => {
            let text = String::from_utf8_lossy(&said.stderr);
            return Err(CheckError::Keygen(printable(text.trim())));
        }
        Ok(said) => agrees(&certificate, &String::from_utf8_lossy(&said.stdout))?,
    }
    Ok((certificate, line))
}

/// Whether ssh-keygen read what we read.
fn agrees(certificate: &Certificate, said: &str) -> Result<(), CheckError> {
    let wanted = [
        format!("{} host certificate", certificate_type(certificate)),
        format!("Serial: {}", certificate.serial()),
        certificate.key().fingerprint().to_string(),
        certificate.ca().fingerprint().to_string(),
    ];
    match wanted.iter().find(|text| !said.contains(*text)) {
        Some(text) => Err(CheckError::Keygen(format!("does not say \"{text}\""))),
        None => Ok(()),
    }
}

/// PROTOCOL.certkeys: the plain type's name, and an end.
fn certificate_type(certificate: &Certificate) -> String {
    format!("{}-cert-v01@openssh.com", certificate.key().key_type())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::{Limits, NewCertificate, Signer};
    use jiff::SignedDuration;

    fn at() -> Timestamp {
        "2026-11-22T19:00:00Z".parse().unwrap()
    }

    fn signer(seed: u8) -> Signer {
        Signer::from_seed(&[seed; 32])
    }

    fn made(role: Role, name: &str) -> String {
        let new = NewCertificate {
            role,
            key: &signer(9).public(),
            serial: 7,
            key_id: "1/instance/12",
            principals: &[name.to_owned()],
            valid_after: at(),
            valid_before: at() + SignedDuration::from_hours(24),
            limits: &Limits::none(),
        };
        signer(1).certify(&new, &[3; 32]).unwrap()
    }

    #[tokio::test]
    async fn what_was_asked_for_is_taken_and_nothing_else() {
        const NAME: &str = "instance-12.sshkeyd";
        let dir = tempfile::tempdir().unwrap();
        let key = signer(9).public();
        let ask =
            async |text: &str, key: &PublicKey, now| check(text, key, NAME, now, dir.path()).await;
        let good = made(Role::Host, NAME);
        let (certificate, line) = ask(&format!("{good} a comment"), &key, at()).await.unwrap();
        assert_eq!((certificate.serial(), line), (7, format!("{good}\n")));
        let fault = async |text: &str, key: &PublicKey, now| {
            ask(text, key, now).await.unwrap_err().to_string()
        };
        let other = signer(8).public();
        assert!(fault(&good, &other, at()).await.contains("another key"));
        let user = made(Role::User, NAME);
        assert!(fault(&user, &key, at()).await.contains("other end"));
        let another = made(Role::Host, "instance-13.sshkeyd");
        assert!(fault(&another, &key, at()).await.contains("does not name"));
        let early = at() - SignedDuration::from_secs(1);
        assert!(fault(&good, &key, early).await.contains("not good before"));
        let late = at() + SignedDuration::from_hours(24);
        assert!(fault(&good, &key, late).await.contains("was good until"));
        for text in ["", "x", &key.to_string(), &good.replace("AAAA", "AAAB")] {
            assert!(ask(text, &key, at()).await.is_err(), "{text}");
        }
        let left = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 0);
    }

    #[test]
    fn ssh_keygen_must_have_read_the_same() {
        let certificate = Certificate::parse(&made(Role::Host, "a")).unwrap();
        let said = format!(
            "x:\n Type: ssh-ed25519-cert-v01@openssh.com host certificate\n Public key: {}\n \
             Signing CA: ED25519 {} (using ssh-ed25519)\n Serial: 7\n",
            certificate.key().fingerprint(),
            certificate.ca().fingerprint()
        );
        assert!(agrees(&certificate, &said).is_ok());
        for (from, to) in [
            ("host", "user"),
            ("Serial: 7", "Serial: 8"),
            ("CA: ED25519 SHA256:", ""),
        ] {
            assert!(
                agrees(&certificate, &said.replacen(from, to, 1)).is_err(),
                "{from}"
            );
        }
    }
}
