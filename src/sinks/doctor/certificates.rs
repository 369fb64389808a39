//! Certificates: what is revoked, and whether one by a CA that is trusted would log the user in.
//!
//! The order is sshd's (auth2-pubkey.c, `user_cert_trusted_ca`): is certificates' kind of key taken,
//! is the CA trusted and its signature taken, and does the user's principals file name anybody.

use super::facts::{Facts, Principals, Revoked};
use super::judge::{Sheet, set};
use super::keys;
use crate::sinks::sshd::Settings;

/// What an account's certificates are over most of the time.
const USUAL: &str = "ssh-ed25519-cert-v01@openssh.com";

/// What RevokedKeys refuses.
pub(super) fn revoked(facts: &Facts, sheet: &mut Sheet) {
    let Some((path, revoked)) = &facts.revoked else {
        return;
    };
    let path = path.display();
    match revoked {
        Revoked::Unusable(why) => {
            let what = format!("RevokedKeys {path}: {why}; sshd refuses every key of everybody");
            let fix = format!("ssh-keygen -k -f {path} (an empty list), or take RevokedKeys out");
            sheet.problem("revoked-keys", what, fix);
        }
        Revoked::Holds(keys) if keys.is_empty() => {
            sheet.ok(
                "revoked-keys",
                format!("{path} reads, and has none of these keys"),
            );
        }
        Revoked::Holds(keys) => {
            for key in keys {
                let what = format!("{path} has {key}: sshd refuses it");
                sheet.problem(
                    "revoked-keys",
                    what,
                    "save a new key; what is revoked stays so",
                );
            }
        }
        Revoked::NotAsked(why) => {
            let what = format!("RevokedKeys {path} could not be looked into: {why}");
            sheet.notice(
                "revoked-keys",
                what,
                format!("as root: ssh-keygen -Q -f {path} KEY.pub"),
            );
        }
    }
}

/// Whether a certificate would log the user in, where sshd trusts a CA at all.
pub(super) fn taken(facts: &Facts, settings: &Settings, sheet: &mut Sheet) {
    let Some(ca) = &facts.user_ca else { return };
    let path = ca.path.display();
    let before = sheet.0.len();
    match &ca.types {
        Err(why) => {
            let what = format!("TrustedUserCAKeys {path}: {why}; sshd takes no certificate");
            sheet.notice(
                "user-ca",
                what,
                "put the file back, or take TrustedUserCAKeys out",
            );
        }
        Ok(types) if types.is_empty() => {
            let what = format!("TrustedUserCAKeys {path} has no CA: sshd takes no certificate");
            sheet.notice("user-ca", what, "nothing, where no certificate is wanted");
        }
        Ok(types) => {
            let list = settings.one("casignaturealgorithms");
            for key_type in types.iter().filter(|t| !keys::is_taken(t, list)) {
                let what =
                    format!("CASignatureAlgorithms takes no {key_type}, which a CA in {path} has");
                sheet.notice(
                    "user-ca",
                    what,
                    set(facts, &format!("CASignatureAlgorithms +{key_type}")),
                );
            }
        }
    }
    if !keys::is_taken(USUAL, settings.one("pubkeyacceptedalgorithms")) {
        let what =
            format!("PubkeyAcceptedAlgorithms takes no {USUAL}: such a certificate is refused");
        let fix = set(facts, &format!("PubkeyAcceptedAlgorithms +{USUAL}"));
        sheet.notice("certificate-type", what, fix);
    }
    let names = principals(facts, sheet);
    if sheet.0.len() == before {
        let what = format!("a certificate for {names} by a CA in {path} logs in");
        sheet.ok("user-ca", what);
    }
}

/// Who is let in by name; in words.
fn principals(facts: &Facts, sheet: &mut Sheet) -> String {
    let user = &facts.user;
    let Some((path, principals)) = &facts.principals else {
        return user.clone();
    };
    let path = path.display();
    let fix = "nothing, where none is to; else make this user a target of an account source";
    match principals {
        Principals::Named(names) if !names.is_empty() => return names.join(", "),
        Principals::Named(_) | Principals::Missing => {
            let what = format!(
                "AuthorizedPrincipalsFile {path} names nobody: no certificate logs in as {user}"
            );
            sheet.notice("principals", what, fix);
        }
        Principals::Refused(why) => {
            let what =
                format!("AuthorizedPrincipalsFile {path}: {why}; no certificate logs in as {user}");
            sheet.notice("principals", what, "put the file right, or sshd ignores it");
        }
    }
    String::new()
}
