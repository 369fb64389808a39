//! Asks programs and files of sshd's own: what is in force, what is revoked, who signs, and which
//! keys sshd itself takes. Programs have limits.

use super::facts::{CaFile, KeyFacts, Principals, Revoked, SshdFacts};
use super::keys::option;
use crate::config::SshdPaths;
use crate::keys::{Fingerprint, Line, PublicKey, RawKey, read_line};
use crate::sinks::proof::{Asked, Question, RefusalBudget, Unknown, prove};
use crate::sinks::{sshd, sshd_config, strict_modes};
use crate::sys::command::{Limits, run};
use crate::sys::memory_file::MemoryFile;
use crate::sys::users::LocalUser;
use crate::wire::{Proof, UnknownProof};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `ssh-keygen -Q` takes some 10 ms.
const LIMITS: Limits = Limits {
    output: 256 * 1024,
    time: Duration::from_secs(5),
};
/// Most keys that are looked for in a KRL, or asked about.
const MOST_KEYS: usize = 64;
/// Largest CA file or text list of revoked keys.
const MAX_FILE: u64 = 8 * 1024 * 1024;
/// How a KRL begins: PROTOCOL.krl of OpenSSH.
const KRL_MAGIC: &[u8] = b"SSHKRL\n\0";

/// What `sshd -T` of the sshd that runs says for a login of this user from this machine.
pub(super) async fn effective(
    (paths, address): (&SshdPaths, Option<SocketAddr>),
    lines: &str,
    user: &str,
    local: Option<&LocalUser>,
) -> SshdFacts {
    let (config, settings) = sshd_config::effective(address, paths, user).await;
    let named = settings.as_ref().ok().zip(local).map(|(settings, user)| {
        let files = settings
            .words("authorizedkeysfile")
            .filter(|file| *file != "none");
        files.map(|file| expand(file, user)).collect()
    });
    SshdFacts {
        config,
        lines: lines.to_owned(),
        settings,
        keys_files: named.unwrap_or_default(),
    }
}

/// `expand_authorized_keys` of OpenSSH's auth.c: tokens, and what is relative is below the home.
pub(super) fn expand(file: &str, user: &LocalUser) -> PathBuf {
    let mut path = String::new();
    let mut chars = file.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '%' { chars.next() } else { None }) {
            ('%', Some('h')) => path.push_str(&user.home.to_string_lossy()),
            ('%', Some('u')) => path.push_str(&user.name),
            ('%', Some('U')) => path.push_str(&user.uid.to_string()),
            ('%', other) => path.extend(other),
            (c, _) => path.push(c),
        }
    }
    user.home.join(path)
}

/// At most three lines of what a program complained of.
fn first_words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .take(3)
        .collect();
    lines.join("; ")
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let refused = |fault: std::io::Error| fault.to_string();
    if !fs::metadata(path).map_err(refused)?.is_file() {
        return Err("is not a plain file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(refused)?;
    file.take(MAX_FILE)
        .read_to_end(&mut bytes)
        .map_err(refused)?;
    Ok(bytes)
}

/// The types of a CA file's keys.
pub(super) fn ca_file(path: &Path) -> CaFile {
    let types = read(path).map(|bytes| {
        let entries = bytes
            .split(|b| *b == b'\n')
            .filter_map(|line| match read_line(line) {
                Line::Entry(entry) => Some(entry.key.key_type().to_owned()),
                _ => None,
            });
        let types: BTreeSet<_> = entries.collect();
        types.into_iter().collect()
    });
    CaFile {
        path: path.to_owned(),
        types,
    }
}

/// Who may log in by certificate: names, without the options that may stand before them
/// (`process_principals` of OpenSSH's auth2-pubkey.c).
pub(super) fn principals(path: &Path, user: &LocalUser) -> Principals {
    let bytes = match read(path) {
        Ok(bytes) => bytes,
        Err(_) if !path.exists() => return Principals::Missing,
        Err(why) => return Principals::Refused(why),
    };
    match strict_modes::look(path, &user.home, user.uid) {
        Ok(refused) if refused.is_empty() => {}
        Ok(refused) => {
            let words: Vec<_> = refused.iter().map(ToString::to_string).collect();
            return Principals::Refused(words.join("; "));
        }
        Err(fault) => return Principals::Refused(fault.to_string()),
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let names = lines.filter_map(|line| line.split_ascii_whitespace().next_back());
    Principals::Named(names.map(crate::keys::printable).take(MOST_KEYS).collect())
}

/// Which of these keys a revocation file has: `sshkey_check_revoked` of OpenSSH's authfile.c, a KRL
/// or a text of keys.
pub(super) async fn look_into(path: &Path, keys: &[(KeyFacts, RawKey)]) -> Revoked {
    let bytes = match read(path) {
        Ok(bytes) => bytes,
        Err(why) => return Revoked::Unusable(why),
    };
    if !bytes.starts_with(KRL_MAGIC) {
        let mut listed = BTreeSet::new();
        for (at, line) in bytes.split(|b| *b == b'\n').enumerate() {
            match read_line(line) {
                Line::Entry(entry) => drop(listed.insert(entry.key.fingerprint())),
                Line::Unreadable(_) => {
                    let text = format!("line {} is no key, and the file is no KRL", at + 1);
                    return Revoked::Unusable(text);
                }
                Line::Blank | Line::Comment(_) => {}
            }
        }
        let keys = keys.iter().map(|(key, _)| key.fingerprint);
        return Revoked::Holds(keys.filter(|key| listed.contains(key)).collect());
    }
    // A key that fits no list is only to have the file read as a KRL.
    let none = crate::trust::Signer::from_seed(&[0; 32]).public();
    let mut asked: Vec<(Option<Fingerprint>, String)> = vec![(None, none.to_string())];
    for (facts, key) in keys.iter().take(MOST_KEYS) {
        asked.push((Some(facts.fingerprint), key.to_text()));
    }
    let mut files = Vec::new();
    for (_, text) in &asked {
        match MemoryFile::try_new(text.as_bytes()) {
            Ok(file) => files.push(file),
            Err(fault) => return Revoked::NotAsked(fault.to_string()),
        }
    }
    let mut args: Vec<PathBuf> = ["-Q", "-f"].map(PathBuf::from).to_vec();
    args.push(path.to_owned());
    args.extend(files.iter().map(MemoryFile::path));
    let said = match run(Path::new("ssh-keygen"), &args, LIMITS).await {
        Ok(said) => said,
        Err(fault) => return Revoked::NotAsked(format!("ssh-keygen: {fault}")),
    };
    if said.stdout.is_empty() {
        return Revoked::Unusable(first_words(&said.stderr));
    }
    let text = String::from_utf8_lossy(&said.stdout);
    let lines = text.lines().zip(&asked);
    let revoked = lines.filter(|(line, _)| line.ends_with(": REVOKED"));
    Revoked::Holds(revoked.filter_map(|(_, (key, _))| *key).collect())
}

/// Asks sshd about the keys that are there.
pub(super) async fn ask(
    paths: &SshdPaths,
    address: SocketAddr,
    user: &str,
    keys: &[(KeyFacts, RawKey)],
    now: Timestamp,
) -> Proof {
    let asked = |(facts, key): &(KeyFacts, RawKey)| {
        let options = facts.options.as_deref().unwrap_or_default();
        Some(Asked {
            key: PublicKey::try_from(key.clone()).ok()?,
            certificate: None,
            has_from: option(options, "from").is_some(),
            expired: facts.expires.is_some_and(|end| end <= now),
        })
    };
    let ours = keys.iter().filter(|(facts, _)| facts.ours);
    let ours: Vec<_> = ours.take(MOST_KEYS).filter_map(asked).collect();
    let others = keys
        .iter()
        .filter(|(facts, _)| !facts.ours)
        .filter_map(asked);
    let witnesses: Vec<_> = others.map(|asked| asked.key).take(2).collect();
    let sshd = sshd::in_force(address, paths, user).await;
    let question = Question {
        user,
        expect_accepted: &ours,
        expect_refused: &[],
        witnesses: &witnesses,
        can_log_in: false,
    };
    let outcome = prove(&sshd, &question, &mut RefusalBudget::new(), now).await;
    let word = |(key, why): (&Fingerprint, &str)| UnknownProof {
        fingerprint: key.to_string(),
        why: why.to_owned().into(),
    };
    let unknown = outcome
        .unknown
        .iter()
        .map(|(key, why)| (key, Unknown::code(*why)));
    let refused = outcome.not_accepted.iter().map(|key| (key, "not-accepted"));
    Proof {
        accepted: outcome
            .accepted
            .iter()
            .map(Fingerprint::to_string)
            .collect(),
        unknown: unknown.chain(refused).map(word).collect(),
        at: Some(now),
        ..Proof::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Method;
    use crate::keys::AuthorizedKeys;
    use crate::sinks::doctor::gather::lines;

    #[test]
    fn tokens_and_relative_paths_are_those_of_sshd() {
        let user = LocalUser {
            name: "ann".into(),
            uid: 7,
            gid: 7,
            home: "/home/a".into(),
            shell: "/bin/sh".into(),
        };
        for (file, is) in [
            (".ssh/authorized_keys", "/home/a/.ssh/authorized_keys"),
            ("/etc/keys/%u.%U", "/etc/keys/ann.7"),
            ("%h/x%%y", "/home/a/x%y"),
        ] {
            assert_eq!(expand(file, &user), Path::new(is));
        }
    }

    #[tokio::test]
    async fn a_text_of_keys_is_a_list_of_revoked_ones_and_a_word_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("revoked");
        let key = crate::trust::Signer::from_seed(&[1; 32]).public();
        let file = AuthorizedKeys::parse(format!("{key} a\n").into_bytes());
        let (keys, _) = lines(&file, Method::Block);
        let put = |text: String| crate::sys::private_file::replace(&path, text.as_bytes()).unwrap();
        put(format!("# gone\n{key} b\n"));
        let held = look_into(&path, &keys).await;
        assert_eq!(held, Revoked::Holds(vec![key.fingerprint()]));
        put(String::new());
        assert_eq!(look_into(&path, &keys).await, Revoked::Holds(Vec::new()));
        put("rubbish\n".into());
        assert!(matches!(
            look_into(&path, &keys).await,
            Revoked::Unusable(_)
        ));
        let none = dir.path().join("none");
        assert!(matches!(
            look_into(&none, &keys).await,
            Revoked::Unusable(_)
        ));
    }
}
