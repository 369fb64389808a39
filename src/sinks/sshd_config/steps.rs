//! The steps by which the drop-in comes into force, and goes: one at a time, each put back when
//! the next refuses.
//!
//! Before the real name: a copy of the configuration with our lines in front (`sshd -t`, `-T`), so
//! that an sshd which begins anew at any moment finds nothing it refuses. Then the real file,
//! `sshd -t`, `sshd -T`, the reload and a look at sshd. A run that was cut off is known by
//! [`State::unsettled`] and goes through all of it again.

mod hands;

use super::daemon::Daemon;
use super::drop_in::Standing;
use super::judge::{Scene, Verdict, judge, missing, why_unread};
use super::look::{BACK_WITHIN, Before, Witnesses};
use super::looked::Look;
use super::places::Survey;
use super::reload::{Reloaded, reload, revive};
use super::state::State;
use super::{Wanted, Wish, lines};
use crate::config::SshdPaths;
use crate::sinks::sshd::Settings;
use crate::sync::{Code, Finding};
use crate::sys::private_file;
use crate::sys::users::LocalUser;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::sync::Mutex;

/// Whose settings are asked about where no target has a user.
const ANYBODY: &str = "root";

/// One run at a time in a process.
pub(super) static TURN: Mutex<()> = Mutex::const_new(());

/// What the steps need to know.
#[derive(Debug, Clone)]
pub struct Sight {
    /// The sshd that is looked at, where one may be.
    pub address: Option<SocketAddr>,
    /// Its program, its configuration, the drop-in.
    pub paths: SshdPaths,
    /// Where it is remembered what was seen.
    pub state_dir: PathBuf,
    /// The targets' users.
    pub users: Vec<LocalUser>,
    /// Whether the drop-in may be written at all.
    pub may_write: bool,
    /// Nothing that stands in the drop-in goes: somebody's keys may be in force by it alone.
    pub only_add: bool,
}

impl Sight {
    /// What each user has in force by a configuration.
    pub(super) async fn values(
        &self,
        daemon: &Daemon,
        config: &Path,
    ) -> Result<Vec<(String, Settings)>, String> {
        let mut names: Vec<_> = self.users.iter().map(|user| user.name.clone()).collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            names.push(ANYBODY.to_owned());
        }
        let mut all = Vec::with_capacity(names.len());
        for name in names {
            let values = daemon.values(config, &name).await?;
            all.push((name, values));
        }
        Ok(all)
    }
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// What an administrator should hear.
    pub findings: Vec<Finding>,
    /// sshd was reloaded: what it says of keys may be other than before.
    pub reloaded: bool,
    /// Nothing of ours is left in sshd's configuration.
    pub is_gone: bool,
    /// What was in force at the end; `None` where nobody looked, or sshd does not say.
    pub look: Option<Look>,
}

/// Brings the wishes into force, as far as nobody else's setting stands against one. Nothing is
/// written where nothing changes.
///
/// Takes up to a minute where sshd does not come back; only one runs at a time in a process.
pub async fn keep(sight: &Sight, wishes: &[Wish]) -> Kept {
    let _turn = TURN.lock().await;
    let mut run = Run {
        sight,
        state: State::default(),
        kept: Kept::default(),
    };
    if let Err(finding) = run.all(wishes).await {
        run.kept.findings.push(finding);
    }
    run.kept
}

/// Takes the drop-in out of force, and away.
pub async fn let_go(sight: &Sight) -> Kept {
    let sight = Sight {
        only_add: false,
        ..sight.clone()
    };
    keep(&sight, &[]).await
}

struct Run<'a> {
    sight: &'a Sight,
    state: State,
    kept: Kept,
}

impl Run<'_> {
    async fn all(&mut self, wishes: &[Wish]) -> Result<(), Finding> {
        let state_dir = self.sight.state_dir.clone();
        self.state = self.blocking(move || State::load(&state_dir)).await?;
        if wishes.is_empty() && self.state.is_empty() {
            self.kept.is_gone = true;
            return self.stray().await;
        }
        let paths = &self.sight.paths;
        let unknown = |why: String| self.finding(Code::SshdUnknown, why);
        let seen = async {
            let daemon = Daemon::find(self.sight.address, paths).await?;
            let values = self.values(&daemon, &daemon.config).await?;
            Ok((daemon, values))
        };
        let seen = seen.await;
        if !self.sight.may_write {
            self.kept.is_gone = true;
            return self.say_what_is_missing(wishes, seen.map(|(_, values)| values));
        }
        let (daemon, values) = seen.map_err(unknown)?;
        let standing = self.standing().await;
        let (config, drop_in) = (daemon.config.clone(), paths.drop_in.clone());
        let survey = self.blocking(move || Survey::of(&config, &drop_in)).await?;
        let ours = match &standing {
            Ok(Standing::Ours(text)) => Some(text.as_str()),
            Ok(Standing::Nothing | Standing::Another) | Err(_) => None,
        };
        let scene = Scene {
            values: &values,
            survey: &survey,
            options: daemon.set_by_option().collect(),
            ours,
        };
        let verdict = judge(wishes, &scene, self.sight.only_add);
        self.kept.findings.extend(verdict.findings.iter().cloned());
        match standing {
            Ok(Standing::Another) if verdict.text.is_some() => {
                let text = "a file of that name is not the agent's, and stays";
                return Err(self.finding(Code::DropInTaken, text.to_owned()));
            }
            Ok(Standing::Another) => return self.settle(None).await,
            Err(fault) if verdict.text.is_some() => return Err(self.unwritable(&fault)),
            Err(_) => return self.settle(None).await,
            Ok(Standing::Nothing | Standing::Ours(_)) => {}
        }
        let is_so = ours == verdict.text.as_deref();
        if is_so && self.state.verified == verdict.text && !self.state.unsettled {
            self.kept.is_gone = verdict.text.is_none();
            return match missing(&verdict.expected, &values) {
                None => Ok(()),
                Some(shown) => Err(self.unread(&survey, &shown)),
            };
        }
        let back = match (&self.state.verified, ours) {
            // The record was lost: what stands there is all there is to go back to.
            (None, Some(ours)) if !self.state.unsettled && !is_so => Some(ours.to_owned()),
            (verified, _) => verified.clone(),
        };
        self.change(&daemon, &survey, &values, verdict, back, wishes)
            .await
    }

    /// From one drop-in to another, or to none.
    async fn change(
        &mut self,
        daemon: &Daemon,
        survey: &Survey,
        values: &[(String, Settings)],
        verdict: Verdict,
        back: Option<String>,
        wishes: &[Wish],
    ) -> Result<(), Finding> {
        let paths = &self.sight.paths;
        if let Some(text) = &verdict.text {
            self.rehearse(daemon, text, &verdict).await?;
        }
        let ours = ours_in(wishes, [&verdict.text, &back]);
        let witnesses = Witnesses::of(&self.sight.users, values, &ours);
        let before = Before::see(daemon, paths, witnesses).await;
        let may_be_in_force = self.state.unsettled;
        self.remember(back.clone(), true).await?;
        if let Err(fault) = self.put(verdict.text.clone()).await {
            // What stood there stands.
            self.remember(back, may_be_in_force).await?;
            return Err(self.unwritable(&fault));
        }
        let mut refused = daemon.test(&daemon.config).await.err();
        let mut code = Code::SshdRefused;
        if refused.is_none() {
            match self.values(daemon, &daemon.config).await {
                Ok(values) => {
                    if let Some(shown) = missing(&verdict.expected, &values) {
                        refused = Some(why_unread(survey, &paths.drop_in, &shown));
                        code = Code::DropInNotRead;
                    }
                }
                Err(why) => refused = Some(why),
            }
        }
        if let Some(why) = refused {
            self.put_back(back.clone()).await?;
            if may_be_in_force {
                self.reload_back(daemon, back).await?;
            } else {
                self.remember(back, false).await?;
            }
            return Err(self.finding(code, why));
        }
        if daemon.listener.is_none() && !before.answered() {
            // Nobody to be told and nobody to be locked out: whoever starts it will be looked at.
            self.kept.is_gone = verdict.text.is_none();
            return Ok(());
        }
        let seen = match reload(daemon, paths).await {
            Reloaded::Failed(why) => Err(why),
            Reloaded::Seen => before
                .is_as_it_was(daemon, paths, BACK_WITHIN)
                .await
                .map(|()| None),
            Reloaded::Unseen(why) => before
                .is_as_it_was(daemon, paths, BACK_WITHIN)
                .await
                .map(|()| Some(why)),
        };
        self.kept.reloaded = true;
        match seen {
            Ok(None) => {
                let (drop_in, is_there) = (paths.drop_in.display(), verdict.text.is_some());
                tracing::info!(%drop_in, is_there, "sshd was reloaded with the drop-in as it is now");
                self.settle(verdict.text).await
            }
            Ok(Some(why)) => {
                self.kept.is_gone = verdict.text.is_none();
                Err(self.finding(Code::SshdNotReloaded, why))
            }
            Err(why) => {
                self.put_back(back.clone()).await?;
                self.reload_back(daemon, back.clone()).await?;
                if let Err(still) = before.is_as_it_was(daemon, paths, BACK_WITHIN / 2).await {
                    tracing::error!(why = still, "sshd is not as it was with the old drop-in");
                    revive(daemon).await;
                }
                Err(self.finding(Code::SshdRefused, why))
            }
        }
    }

    /// Tries the new text in a copy that nobody else reads. It stands in front there, as the real
    /// one may not: what sshd refuses here it would refuse there.
    async fn rehearse(
        &self,
        daemon: &Daemon,
        text: &str,
        verdict: &Verdict,
    ) -> Result<(), Finding> {
        let copy = self.sight.state_dir.join("sshd-rehearsal.conf");
        let body = format!("{text}Include \"{}\"\n", daemon.config.display());
        let place = copy.clone();
        let written = self.blocking(move || private_file::replace(&place, body.as_bytes()));
        let about = self.sight.state_dir.display().to_string();
        written
            .await?
            .map_err(|fault| Finding::new(Code::StateFailed, about, fault.to_string()))?;
        let tried = match daemon.test(&copy).await {
            Ok(()) => self.values(daemon, &copy).await,
            Err(why) => Err(why),
        };
        // Left behind it would do no harm.
        let _ = self.blocking(move || std::fs::remove_file(copy)).await?;
        let values = tried.map_err(|why| self.finding(Code::SshdRefused, why))?;
        match missing(&verdict.expected, &values) {
            None => Ok(()),
            // In front of everything, and yet not in force: a Match says otherwise.
            Some(shown) => Err(self.finding(
                Code::SshdSettingTaken,
                format!("a Match goes before it: {shown}"),
            )),
        }
    }

    async fn values(
        &self,
        daemon: &Daemon,
        config: &Path,
    ) -> Result<Vec<(String, Settings)>, String> {
        self.sight.values(daemon, config).await
    }

    /// Where the agent may not write: the lines, as long as they are not seen to be in force.
    fn say_what_is_missing(
        &self,
        wishes: &[Wish],
        values: Result<Vec<(String, Settings)>, String>,
    ) -> Result<(), Finding> {
        let (values, unseen) = match values {
            Ok(values) => (values, String::new()),
            // An unprivileged agent cannot ask: sshd -T wants to read the host keys.
            Err(why) => (Vec::new(), format!(" ({why})")),
        };
        let is_missing =
            |wish: &&Wish| values.is_empty() || missing(&wish.directives, &values).is_some();
        let missing: Vec<Wish> = wishes.iter().filter(is_missing).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let add = lines(&missing).trim_end().replace('\n', "; ");
        let text = format!("not seen to be in force{unseen}, to be added by hand: {add}");
        Err(self.finding(Code::SshdNotManaged, text))
    }
}

/// Paths of ours in AuthorizedKeysFile, now and before: keys in them are no witnesses.
fn ours_in(wishes: &[Wish], texts: [&Option<String>; 2]) -> Vec<String> {
    let of_wish = wishes.iter().flat_map(|wish| &wish.directives);
    let mut ours: Vec<String> = of_wish
        .filter_map(|directive| match &directive.wanted {
            Wanted::Names { words, .. } => Some(words.clone()),
            Wanted::Is(_) | Wanted::Lines(_) => None,
        })
        .flatten()
        .collect();
    let default = [".ssh/authorized_keys", ".ssh/authorized_keys2"];
    let lines = texts.into_iter().flatten().flat_map(|text| text.lines());
    let named = lines.filter_map(|line| line.strip_prefix("AuthorizedKeysFile "));
    let words = named.flat_map(str::split_ascii_whitespace);
    ours.extend(
        words
            .filter(|word| !default.contains(word))
            .map(str::to_owned),
    );
    ours
}
