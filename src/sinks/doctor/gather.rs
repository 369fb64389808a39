//! Looks at everything that can be seen from this machine, and concludes nothing.
//!
//! Files of a user are read by handle, as the agent reads them: what could be somebody else's is
//! not read, only named.

use super::asking::{ask, ca_file, effective, expand, look_into};
use super::facts::{Account, Facts, FileFacts, FileState, KeyFacts, Listener, Shell, Stat};
use super::keys::option;
use super::{AgentWord, Patient};
use crate::config::{Method, PathTemplate, SshdPaths};
use crate::keys::{AuthorizedKeys, Block, EXPIRY_TIME, Line, RawKey, read_line};
use crate::sinks::proof::read_banner;
use crate::sinks::{IndexFile, KeysFile, SinkError, strict_modes};
use crate::sys::dir::Owner;
use crate::sys::inode::{is_immutable, label, selinux_enforces};
use crate::sys::users::{self, LocalUser};
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// `_PATH_NOLOGIN`, and what systemd's tmpfiles and pam_nologin(8) go by.
const NOLOGIN: [&str; 2] = ["/etc/nologin", "/run/nologin"];

/// What the file system says, gathered on a thread that may wait.
#[derive(Default)]
struct Seen {
    user: Option<LocalUser>,
    account: Option<Account>,
    target: Option<(FileFacts, Method)>,
    keys: Vec<(KeyFacts, RawKey)>,
    unreadable: Vec<(usize, String)>,
}

pub(super) async fn gather(
    paths: &SshdPaths,
    verify: Option<SocketAddr>,
    lines: &str,
    patient: &Patient,
    now: Timestamp,
) -> Facts {
    let (name, target) = (patient.user.clone(), patient.target.clone());
    let is_stuck = patient.agent.as_ref().is_some_and(AgentWord::is_stuck);
    let looked = tokio::task::spawn_blocking(move || match is_stuck {
        true => Seen::default(),
        false => look(&name, target.as_ref()),
    });
    let seen = looked.await.unwrap_or_default();
    let sshd = effective((paths, verify), lines, &patient.user, seen.user.as_ref()).await;
    let file_of = |keyword: &str| {
        let settings = sshd.settings.as_ref().ok()?;
        Some(PathBuf::from(settings.named(keyword)?))
    };
    let revoked = match file_of("revokedkeys") {
        Some(path) => Some((path.clone(), look_into(&path, &seen.keys).await)),
        None => None,
    };
    let principals = file_of("authorizedprincipalsfile").zip(seen.user.as_ref());
    let principals = principals.map(|(path, user)| {
        let path = expand(&path.to_string_lossy(), user);
        let found = super::asking::principals(&path, user);
        (path, found)
    });
    let listener = match verify {
        None => Listener::Off,
        Some(address) => match read_banner(address).await {
            Some(banner) => Listener::Speaks(address, banner),
            None => Listener::Silent(address),
        },
    };
    let proof = match (&patient.agent, verify) {
        (Some(agent), _) => agent.proof.clone(),
        (None, Some(address)) if matches!(listener, Listener::Speaks(..)) => {
            Some(ask(paths, address, &patient.user, &seen.keys, now).await)
        }
        (None, _) => None,
    };
    let nologin = NOLOGIN.iter().map(PathBuf::from).find(|path| path.exists());
    Facts {
        user: patient.user.clone(),
        now,
        account: seen.account,
        nologin,
        user_ca: file_of("trustedusercakeys").map(|path| ca_file(&path)),
        principals,
        sshd,
        listener,
        target: seen.target,
        keys: seen.keys.into_iter().map(|(facts, _)| facts).collect(),
        unreadable: seen.unreadable,
        revoked,
        agent: patient.agent.clone(),
        proof,
    }
}

fn look(name: &str, target: Option<&(PathTemplate, Method)>) -> Seen {
    let user = users::lookup(name).ok().flatten();
    let mut seen = Seen {
        account: user.as_ref().map(account),
        user: user.clone(),
        target: None,
        keys: Vec::new(),
        unreadable: Vec::new(),
    };
    let Some((user, (template, method))) = user.zip(target) else {
        return seen;
    };
    let owner = Owner {
        uid: user.uid,
        gid: user.gid,
    };
    let path = template.expand(&user.home, &user.name, user.uid);
    let held = match method {
        Method::Command => index(&path, user.uid),
        Method::Block | Method::OwnFile => KeysFile::look(&path, &user.home, owner)
            .and_then(|mut file| file.read())
            .map(|read| read.keys),
    };
    let state = match held {
        Ok(held) => {
            (seen.keys, seen.unreadable) = lines(&held, *method);
            match path.exists() {
                true => FileState::Read,
                false => FileState::Missing,
            }
        }
        Err(fault) => FileState::Refused(fault.to_string()),
    };
    // Links of the user's may lead where he may not look: nothing is told of what is there.
    let real = fs::canonicalize(&path).ok();
    let is_his = |real: &PathBuf| {
        let home = fs::canonicalize(&user.home);
        state == FileState::Read || home.is_ok_and(|home| real.starts_with(home))
    };
    let real = real.filter(is_his);
    let places = real.iter().flat_map(|real| real.ancestors());
    let near = places.clone().take(2).filter(|place| is_immutable(place));
    let strict = real
        .as_ref()
        .map(|real| strict_modes::look(real, &user.home, user.uid));
    let file = FileFacts {
        immutable: near.map(Path::to_owned).collect(),
        strict: strict.and_then(Result::ok).unwrap_or_default(),
        label: real
            .as_ref()
            .filter(|_| selinux_enforces())
            .and_then(|real| label(real)),
        way: places.filter_map(stat).collect(),
        template: template.to_string(),
        path,
        real: real.clone(),
        state,
    };
    seen.target = Some((file, *method));
    seen
}

/// The lines that `sshkeyd authorized-keys` would print, as a file that holds them.
fn index(path: &Path, uid: u32) -> Result<AuthorizedKeys, SinkError> {
    let mut bytes = Vec::new();
    if let Some(file) = IndexFile::look(path, uid)? {
        for line in file.read()?.known {
            bytes.extend_from_slice(&line.line);
            bytes.push(b'\n');
        }
    }
    Ok(AuthorizedKeys::parse(bytes))
}

fn stat(path: &Path) -> Option<Stat> {
    let about = fs::metadata(path).ok()?;
    Some(Stat {
        path: path.to_owned(),
        uid: about.uid(),
        gid: about.gid(),
        mode: about.mode() & 0o7777,
    })
}

fn account(user: &LocalUser) -> Account {
    let shell = match user.shell.as_os_str().is_empty() {
        true => PathBuf::from("/bin/sh"),
        false => user.shell.clone(),
    };
    let turns_away = ["nologin", "false"];
    let name = shell
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let kind = match fs::metadata(&shell) {
        Err(_) => Shell::Missing,
        Ok(about) if !about.is_file() || about.mode() & 0o111 == 0 => Shell::NotExecutable,
        Ok(_) if turns_away.contains(&name) => Shell::TurnsAway,
        Ok(_) => Shell::Usable,
    };
    Account {
        uid: user.uid,
        groups: users::groups(user).unwrap_or_default(),
        own_group: Some(user.gid).filter(|gid| users::is_private_group(*gid, user.uid)),
        has_home: user.home.is_dir(),
        home: user.home.clone(),
        shell: (shell, kind),
        shadow: users::shadow(&user.name).ok().flatten(),
    }
}

pub(super) type Lines = (Vec<(KeyFacts, RawKey)>, Vec<(usize, String)>);

pub(super) fn lines(file: &AuthorizedKeys, method: Method) -> Lines {
    let block = match (file.block(), method) {
        (Block::Whole(range), _) => range,
        // A file or index of our own holds nobody else's lines.
        (_, Method::OwnFile | Method::Command) => 0..file.lines().len(),
        _ => 0..0,
    };
    let (mut keys, mut unreadable) = (Vec::new(), Vec::new());
    for (at, line) in file.lines().iter().enumerate() {
        let text = file.text(line);
        match read_line(text.strip_suffix(b"\n").unwrap_or(text)) {
            Line::Entry(entry) => {
                let options = entry
                    .options
                    .map(|o| String::from_utf8_lossy(o).into_owned());
                let end = options.as_deref().and_then(|o| option(o, EXPIRY_TIME));
                let facts = KeyFacts {
                    line: at + 1,
                    ours: block.contains(&at),
                    fingerprint: entry.key.fingerprint(),
                    key_type: entry.key.key_type().to_owned(),
                    rsa_bits: entry.key.rsa_bits(),
                    expires: end.and_then(|end| expiry(&end)),
                    options,
                };
                keys.push((facts, entry.key));
            }
            Line::Unreadable(fault) => unreadable.push((at + 1, fault.to_string())),
            Line::Blank | Line::Comment(_) => {}
        }
    }
    (keys, unreadable)
}

/// `YYYYMMDD[HHMM[SS]][Z]`: sshd(8), `expiry-time`; without `Z` in the time zone of the machine.
fn expiry(text: &str) -> Option<Timestamp> {
    let (digits, zone) = match text.strip_suffix(['Z', 'z']) {
        Some(digits) => (digits, TimeZone::UTC),
        None => (text, TimeZone::system()),
    };
    let filled = format!("{digits:0<14}");
    if ![8, 12, 14].contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let time = civil::DateTime::strptime("%Y%m%d%H%M%S", filled).ok()?;
    Some(time.to_zoned(zone).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_read_as_sshd_reads_it() {
        let at = |text: &str| expiry(text).map(|t| t.to_string());
        assert_eq!(
            at("20261122190000Z").as_deref(),
            Some("2026-11-22T19:00:00Z")
        );
        assert_eq!(at("202611221900Z").as_deref(), Some("2026-11-22T19:00:00Z"));
        assert_eq!(at("20261122Z").as_deref(), Some("2026-11-22T00:00:00Z"));
        for bad in ["2026", "20261122190", "2026112219000x", "20261322Z", ""] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }
}
