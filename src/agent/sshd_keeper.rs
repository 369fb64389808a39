//! Keeps in sshd's configuration what the targets' methods need, beside everything else: at the
//! start, after a sync that somebody asked for, when sshd is another one, and once a day.
//!
//! Says what is wanted and when; `sinks/sshd_config` takes the steps. Remembers in
//! `state-dir/key-places.json` whose keys stand where: a target that was taken out leaves its
//! keys in force, and one that has moved keeps the old place until the new one is written.

mod places;

use super::host_certificates;
use super::target::Target;
use super::user_certificates;
use crate::config::{self, AgentConfig, Method};
use crate::sinks::keys_command;
use crate::sinks::sshd_config::{
    Directive, Kept, Look, Sight, Wish, is_remembered, keep, let_go, lines, look,
};
use crate::sync::{Code, Finding};
use crate::sys::users::{self, LocalUser};
use places::Places;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout};

/// Everything is looked at again this often.
const DAILY: Duration = Duration::from_secs(24 * 3600);
/// The same, while something that others may mend keeps a wish from its place.
const AFTER_TROUBLE: Duration = Duration::from_secs(600);
/// The record of places, and all users.
const LOOKUPS_WITHIN: Duration = Duration::from_secs(5);

/// What stands for method `command` among the places of keys; paths begin with `/` or `%h`.
const COMMAND: &str = "command";

/// The lines that sshd's configuration needs for these targets; none where it needs none. What
/// keeps a method from its lines is a condition of the running agent.
#[must_use]
pub fn sshd_lines(config: &AgentConfig) -> String {
    let mut all = wishes(&config.targets, &BTreeSet::new(), &config.state_dir).0;
    all.extend(user_certificates::standing_wishes(config));
    all.extend(host_certificates::standing_wish(config));
    lines(&all)
}

/// What the targets want of sshd, and what keeps them from wanting it. `more` are places of keys
/// that no target names any more.
fn wishes(
    targets: &[config::Target],
    more: &BTreeSet<String>,
    state_dir: &Path,
) -> (Vec<Wish>, Vec<Finding>) {
    let mut words: Vec<String> = Vec::new();
    for word in targets
        .iter()
        .filter_map(place_of)
        .chain(more.iter().cloned())
    {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    let has_command = words.iter().any(|word| word == COMMAND);
    words.retain(|word| word != COMMAND);
    let own_file = (!words.is_empty()).then(|| Wish {
        purpose: "method own-file",
        directives: vec![Directive::authorized_keys_file(words)],
    });
    let command = has_command.then(|| {
        let directives = keys_command::directives(&this_program(), &state_dir.join("keys"))?;
        Ok(Wish {
            purpose: "method command",
            directives: directives
                .map(|(keyword, value)| Directive::is(keyword, value))
                .into(),
        })
    });
    let (command, fault) = match command.transpose() {
        Ok(command) => (command, None),
        Err::<_, Box<Finding>>(fault) => (None, Some(*fault)),
    };
    let all = own_file.into_iter().chain(command);
    (all.collect(), fault.into_iter().collect())
}

/// Where sshd is to look for a target's keys; none where it looks by itself.
fn place_of(target: &config::Target) -> Option<String> {
    match target.method {
        Method::Block => None,
        Method::OwnFile => Some(target.path.to_string()),
        Method::Command => Some(COMMAND.to_owned()),
    }
}

/// Our own executable, by the name that an upgrade gives to the new one.
fn this_program() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let text = program.to_string_lossy().into_owned();
    text.strip_suffix(" (deleted)")
        .map_or(program, PathBuf::from)
}

/// Who keeps it.
pub(super) struct Keeper {
    sight: Sight,
    targets: Vec<config::Target>,
    /// What others of the agent want beside the targets, by who wants it.
    more: BTreeMap<&'static str, Vec<Wish>>,
    /// What was seen of sshd's configuration, while nothing has been begun since.
    look: Option<Look>,
    keeping: Option<JoinHandle<Kept>>,
    /// Something is to be looked at as soon as it can be.
    is_due: bool,
    again_at: Option<Instant>,
    pub(super) findings: Vec<Finding>,
}

impl Keeper {
    pub(super) fn new(config: &AgentConfig) -> Self {
        let may_write = config.sshd.manage && !config.unprivileged && users::current_uid() == 0;
        Self {
            sight: Sight {
                address: config.verify,
                paths: config.sshd.clone(),
                state_dir: config.state_dir.clone(),
                users: Vec::new(),
                may_write,
                only_add: false,
            },
            targets: config.targets.clone(),
            more: host_certificates::first_wants(config),
            look: None,
            keeping: None,
            is_due: true,
            again_at: None,
            findings: Vec::new(),
        }
    }

    /// What `who` wants of sshd from here on, beside everything else. Files that a wish names stand
    /// already, and stay until [`Self::seen`] names them no more.
    pub(super) fn want(&mut self, who: &'static str, wishes: Vec<Wish>) {
        let before = self.more.insert(who, wishes.clone()).unwrap_or_default();
        if before != wishes {
            self.is_due = true;
            self.look = None;
        }
    }

    /// What was seen of sshd's configuration, while nothing has been begun since or is due.
    pub(super) fn seen(&self) -> Option<&Look> {
        self.look.as_ref().filter(|_| self.is_idle())
    }

    /// Whether nothing is under way, nor due at once.
    pub(super) fn is_idle(&self) -> bool {
        self.keeping.is_none() && !self.is_due
    }

    /// Has everything looked at again.
    pub(super) fn again(&mut self) {
        self.is_due = true;
    }

    /// When it is due by the clock.
    pub(super) fn due(&self) -> Option<Instant> {
        self.again_at
    }

    /// Marks what the clock says.
    pub(super) fn due_now(&mut self, now: Instant) {
        if self.again_at.is_some_and(|at| at <= now) {
            self.again_at = None;
            self.is_due = true;
        }
    }

    /// Begins where something is due, and says whether it is under way. While a target does not
    /// read as it ought to, nothing goes: its keys may stand only where they stood before.
    pub(super) fn begin(&mut self, targets: &[Target]) -> bool {
        if self.keeping.is_some() {
            return true;
        }
        let is_open = |target: &&Target| target.settled.is_none() || target.stopped;
        let open: BTreeSet<String> = targets
            .iter()
            .filter(is_open)
            .map(|target| target.settings.user.clone())
            .collect();
        // What could not go before may go now.
        let is_settled = self.sight.only_add && open.is_empty();
        if !self.is_due && !is_settled {
            return false;
        }
        self.is_due = false;
        self.again_at = None;
        self.look = None;
        self.sight.only_add = !open.is_empty();
        let (mut sight, targets) = (self.sight.clone(), self.targets.clone());
        let beside: Vec<Wish> = self.more.values().flatten().cloned().collect();
        let has_beside = !self.more.is_empty();
        self.keeping = Some(tokio::spawn(async move {
            let state_dir = sight.state_dir.clone();
            let known = spawn_blocking(move || {
                let more = Places::load(&state_dir)?.also_of(&targets, &open, &state_dir)?;
                let (mut wishes, faults) = wishes(&targets, &more, &state_dir);
                wishes.extend(beside);
                // A lookup may go over the network: not for what nobody wants.
                let is_needed = !wishes.is_empty() || is_remembered(&state_dir);
                let users = if is_needed {
                    users_of(&targets)
                } else {
                    Vec::new()
                };
                Ok::<_, io::Error>((users, wishes, faults))
            });
            // A stop waits for what is begun here, and the proof too.
            let known = timeout(LOOKUPS_WITHIN, known).await;
            let known = known.unwrap_or_else(|_| {
                let text =
                    "the directory of users does not answer; sshd's configuration is as it was";
                Ok(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
            });
            match known.map_err(io::Error::other).flatten() {
                Ok((users, wishes, faults)) => {
                    sight.users = users;
                    // What cannot be wanted anew stays as it stands.
                    sight.only_add |= !faults.is_empty();
                    let mut kept = keep(&sight, &wishes).await;
                    if has_beside {
                        kept.look = look(&sight, &wishes).await;
                    }
                    kept.findings.extend(faults);
                    kept
                }
                Err(fault) => {
                    let about = sight.state_dir.display().to_string();
                    Kept {
                        findings: vec![Finding::new(Code::StateFailed, about, fault.to_string())],
                        ..Kept::default()
                    }
                }
            }
        }));
        true
    }

    /// Waits for what is under way; for ever where nothing is. Safe to cancel.
    pub(super) async fn done(&mut self) -> Option<Kept> {
        match &mut self.keeping {
            Some(keeping) => keeping.await.ok(),
            None => std::future::pending().await,
        }
    }

    /// Takes what came of it, and says whether sshd was told to read anew.
    pub(super) fn take(&mut self, kept: Option<Kept>) -> bool {
        self.keeping = None;
        // What broke off is in the log, and begins again with the next day.
        let kept = kept.unwrap_or_default();
        // sshd is not pushed again and again towards what it refuses.
        let may_be_mended = |finding: &Finding| finding.code != Code::SshdRefused;
        let soon = kept.findings.iter().any(may_be_mended);
        let wait = if soon { AFTER_TROUBLE } else { DAILY };
        self.again_at = Some(Instant::now() + wait);
        self.findings = kept.findings;
        self.look = kept.look;
        kept.reloaded
    }

    /// Waits for the end of what is under way.
    pub(super) async fn finish(&mut self) {
        if self.keeping.is_some() {
            let kept = self.done().await;
            self.take(kept);
        }
    }

    /// Takes everything of ours out of sshd's configuration; false where something is left.
    pub(super) async fn let_go(&mut self) -> bool {
        self.finish().await;
        let targets = self.targets.clone();
        let users = spawn_blocking(move || users_of(&targets));
        let users = timeout(LOOKUPS_WITHIN, users).await.map(Result::ok);
        self.sight.users = users.ok().flatten().unwrap_or_default();
        self.is_due = false;
        let mut kept = let_go(&self.sight).await;
        kept.look = look(&self.sight, &[]).await;
        let is_gone = kept.is_gone;
        self.take(Some(kept));
        self.again_at = None;
        if is_gone {
            let state_dir = self.sight.state_dir.clone();
            let forgotten = spawn_blocking(move || Places::default().save(&state_dir)).await;
            if let Err(fault) = forgotten.map_err(io::Error::other).flatten() {
                tracing::warn!(%fault, "the keys' places are still remembered");
            }
        }
        is_gone
    }
}

/// The targets' users, as far as they are there.
pub(super) fn users_of(targets: &[config::Target]) -> Vec<LocalUser> {
    let names: BTreeSet<_> = targets.iter().map(|target| &target.user).collect();
    let found = names
        .into_iter()
        .filter_map(|name| users::lookup(name).ok()?);
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Adopt, PathTemplate};

    pub(super) fn target(user: &str, method: Method, path: &str) -> config::Target {
        config::Target {
            user: user.into(),
            sources: vec!["a".into()],
            method,
            path: PathTemplate::parse(path).unwrap(),
            adopt: Adopt::No,
            in_place: false,
        }
    }

    pub(super) fn own(user: &str, path: &str) -> config::Target {
        target(user, Method::OwnFile, path)
    }

    #[test]
    fn paths_of_several_targets_stand_in_one_directive() {
        let targets = [
            own("al", "/keys/%u"),
            own("bo", "/keys/%u"),
            own("cy", "%h/.ssh/keys"),
            target("di", Method::Block, "%h/.ssh/authorized_keys"),
        ];
        let text = lines(&wishes(&targets, &BTreeSet::new(), Path::new("/s")).0);
        let default = ".ssh/authorized_keys .ssh/authorized_keys2";
        assert_eq!(
            text,
            format!("AuthorizedKeysFile {default} /keys/%u %h/.ssh/keys\n")
        );
        let none = wishes(&targets[3..], &BTreeSet::new(), Path::new("/s"));
        assert!(none.0.is_empty() && none.1.is_empty());
    }
}
