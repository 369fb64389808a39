//! A look at sshd with new connections: who got in before a change must get in after it.
//!
//! Keys that stand in files which the change does not concern are the witnesses: an administrator's
//! own, a cloud's. Where sshd takes none of them, that it answers with its host key is all that can
//! be asked for.

use super::daemon::{Daemon, off_loop};
use crate::config::{PathTemplate, SshdPaths};
use crate::keys::{AuthorizedKeys, Fingerprint, Line, LineKind, PublicKey, read_line};
use crate::sinks::proof::{
    Asked, Greeting, Limits, Outcome, Question, RefusalBudget, greet, prove_within,
};
use crate::sinks::sshd;
use crate::sinks::sshd::Settings;
use crate::sinks::sshd_trust::revoked_in;
use crate::sys::atomic_file::Current;
use crate::sys::clock;
use crate::sys::dir::{Dir, Owner};
use crate::sys::users::LocalUser;
use crate::trust::Signer;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Users, and keys of each, that are asked about: sshd counts each refusal.
const MAX_USERS: usize = 3;
const MAX_KEYS: usize = 2;
/// How long sshd may take until it is as it was.
pub(super) const BACK_WITHIN: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(200);
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(2),
    handshake: Duration::from_secs(6),
    key: Duration::from_secs(4),
    all: Duration::from_secs(12),
};

/// Keys of one user that may stand witness.
#[derive(Debug, Clone)]
struct Witness {
    user: String,
    keys: Vec<PublicKey>,
}

/// Where witnesses are found.
#[derive(Debug, Clone)]
pub(super) struct Witnesses {
    /// Each user with the files of his keys, sshd's tokens in their paths.
    files: Vec<(LocalUser, Vec<String>)>,
}

/// sshd as it was before a change, with a connection that is kept open until it is over.
#[derive(Debug)]
pub(super) struct Before {
    control: Option<Greeting>,
    /// It showed a host key that is known.
    is_known: bool,
    accepted: Vec<Witness>,
    witnesses: Witnesses,
}

impl Witnesses {
    /// The users' files but for those that are `ours`, paths with sshd's tokens.
    pub(super) fn of(users: &[LocalUser], values: &[(String, Settings)], ours: &[String]) -> Self {
        let files_of = |user: &LocalUser| {
            let values = values.iter().find(|(name, _)| *name == user.name);
            let line = values.map_or("", |(_, values)| values.one("authorizedkeysfile"));
            let files = line.split_ascii_whitespace().map(str::to_owned);
            files.filter(|file| !ours.contains(file)).collect()
        };
        Self {
            files: users
                .iter()
                .map(|user| (user.clone(), files_of(user)))
                .collect(),
        }
    }

    async fn find(&self) -> Vec<Witness> {
        let asked = self.files.clone();
        let found = off_loop(move || {
            let witness = |(user, files): (LocalUser, Vec<String>)| {
                let mut keys: Vec<_> = files.iter().flat_map(|file| keys_in(file, &user)).collect();
                keys.truncate(MAX_KEYS);
                let user = user.name;
                (!keys.is_empty()).then_some(Witness { user, keys })
            };
            Some(
                asked
                    .into_iter()
                    .filter_map(witness)
                    .take(MAX_USERS)
                    .collect(),
            )
        });
        found.await.unwrap_or_default()
    }

    /// Whether the key still stands in a file of the user: somebody may have taken it out.
    async fn still_have(&self, user: &str, key: &PublicKey) -> bool {
        let found = self.find().await;
        found
            .iter()
            .any(|witness| witness.user == user && witness.keys.contains(key))
    }
}

impl Before {
    pub(super) async fn see(daemon: &Daemon, paths: &SshdPaths, witnesses: Witnesses) -> Self {
        let mut before = Self {
            control: None,
            is_known: false,
            accepted: Vec::new(),
            witnesses,
        };
        let Some(address) = daemon.address else {
            return before;
        };
        before.control = greet(address).await;
        if before.control.is_none() {
            return before;
        }
        for Witness { user, keys } in before.witnesses.find().await {
            let outcome = ask(paths, address, &user, &keys).await;
            before.is_known |= outcome.banner.is_some();
            let accepted = |key: &PublicKey| outcome.accepted.contains(&key.fingerprint());
            let keys: Vec<_> = keys.into_iter().filter(accepted).collect();
            if !keys.is_empty() {
                before.accepted.push(Witness { user, keys });
            }
        }
        if before.accepted.is_empty() {
            let outcome = ask(paths, address, "root", &[]).await;
            before.is_known |= outcome.banner.is_some();
        }
        before
    }

    /// Whether anything answered.
    pub(super) fn answered(&self) -> bool {
        self.control.is_some()
    }

    /// Looks until sshd is as it was.
    ///
    /// # Errors
    /// What is no longer so, in words.
    pub(super) async fn is_as_it_was(
        &self,
        daemon: &Daemon,
        paths: &SshdPaths,
        within: Duration,
    ) -> Result<(), String> {
        let (Some(address), Some(control)) = (daemon.address, &self.control) else {
            return Ok(());
        };
        let until = Instant::now() + within;
        loop {
            match self.look(daemon, paths, address).await {
                Err(_) if Instant::now() < until => sleep(AGAIN).await,
                seen => {
                    if seen.is_ok() && !control.is_open() {
                        tracing::warn!("connections to sshd ended with its reload");
                    }
                    return seen;
                }
            }
        }
    }

    async fn look(
        &self,
        daemon: &Daemon,
        paths: &SshdPaths,
        address: SocketAddr,
    ) -> Result<(), String> {
        if greet(address).await.is_none() {
            return Err(format!("nothing answers at {address} after the reload"));
        }
        for Witness { user, keys } in &self.accepted {
            let outcome = ask(paths, address, user, keys).await;
            for key in keys {
                let key_id: Fingerprint = key.fingerprint();
                let is_taken = outcome.accepted.contains(&key_id);
                if !is_taken
                    && self.witnesses.still_have(user, key).await
                    && !is_revoked(daemon, user, key).await
                {
                    return Err(format!(
                        "key {key_id} of user {user} was accepted before the reload and is not after it"
                    ));
                }
            }
        }
        if self.accepted.is_empty() && self.is_known {
            let outcome = ask(paths, address, "root", &[]).await;
            if outcome.banner.is_none() {
                return Err(format!(
                    "whoever answers at {address} does not show sshd's host key after the reload"
                ));
            }
        }
        Ok(())
    }
}

/// Whether sshd refuses the key because the list that it goes by now says so: what was asked for. A
/// list that cannot be read says nothing, and refuses everybody.
async fn is_revoked(daemon: &Daemon, user: &str, key: &PublicKey) -> bool {
    let values = daemon.values(&daemon.config, user).await;
    let named = values.ok().and_then(|values| {
        let named = values.named("revokedkeys");
        named.map(PathBuf::from)
    });
    let Some(path) = named else { return false };
    let blob = key.blob().to_vec();
    let revoked = off_loop(move || Some(revoked_in(&path).ok()?.revokes_key(&blob)));
    revoked.await.unwrap_or_default()
}

/// Asks about keys; without any, about one that nobody has, to see a handshake.
async fn ask(paths: &SshdPaths, address: SocketAddr, user: &str, keys: &[PublicKey]) -> Outcome {
    let sshd = sshd::in_force(address, paths, user).await;
    let asked: Vec<_> = keys.iter().cloned().map(Asked::plain).collect();
    let stranger = match keys {
        [] => vec![Asked::plain(Signer::from_seed(&rand::random()).public())],
        _ => Vec::new(),
    };
    let question = Question {
        user,
        expect_accepted: &asked,
        expect_refused: &stranger,
        ..Question::default()
    };
    let mut budget = RefusalBudget::new();
    prove_within(&sshd, &question, &mut budget, clock::now(), &LIMITS).await
}

/// Keys without options in one file of AuthorizedKeysFile.
fn keys_in(file: &str, user: &LocalUser) -> Vec<PublicKey> {
    let from_home = match Path::new(file).is_absolute() || file.starts_with('%') {
        true => file.to_owned(),
        false => format!("%h/{file}"),
    };
    let Ok(path) = PathTemplate::parse(&from_home) else {
        return Vec::new();
    };
    let path = path.expand(&user.home, &user.name, user.uid);
    let owner = Owner {
        uid: user.uid,
        gid: user.gid,
    };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Vec::new();
    };
    let Ok(dir) = Dir::open(parent, owner) else {
        return Vec::new();
    };
    let Ok(Some(current)) = Current::read(&dir, name, owner) else {
        return Vec::new();
    };
    let keys = AuthorizedKeys::parse(current.bytes().to_vec());
    let plain = keys
        .lines()
        .iter()
        .filter(|line| matches!(line.kind, LineKind::Entry { plain: true, .. }));
    let key = |line| match read_line(keys.text(line).trim_ascii_end()) {
        Line::Entry(entry) => PublicKey::try_from(entry.key).ok(),
        _ => None,
    };
    plain.filter_map(key).take(MAX_KEYS).collect()
}
