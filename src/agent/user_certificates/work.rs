//! One turn at the files, on its own: claims the directory, gathers what is to be said, puts it in
//! place, and takes away what nobody names any more.

use super::UserCertificates;
use super::record::Record;
use super::wanted::{Others, Said, wanted};
use crate::config::{AgentConfig, SourceKind};
use crate::sinks::sshd_config::{Look, drop_in_names};
use crate::sinks::sshd_trust::{Left, Standing, TrustFiles, Wanted, WantedKrl, revoked_in};
use crate::sources::SourceState;
use crate::sync::{Code, Finding};
use crate::trust::Krl;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// What a turn needs to know.
pub(super) struct Job {
    config: AgentConfig,
    is_on: bool,
    said: Vec<Said>,
    left: BTreeMap<PathBuf, Left>,
    merged: BTreeMap<PathBuf, Krl>,
    look: Option<Look>,
}

/// What it came to.
#[derive(Default)]
pub(in crate::agent) struct Done {
    pub(super) standing: Standing,
    /// The number of each source's revocation list that stands by now, alone or with others.
    pub(super) krls: BTreeMap<String, u64>,
    /// CAs are to be named in sshd's configuration.
    pub(super) names_ca: bool,
    /// The revocation list is.
    pub(super) names_krl: bool,
    pub(super) findings: Vec<Finding>,
    pub(super) drifted: Vec<PathBuf>,
    pub(super) left: BTreeMap<PathBuf, Left>,
    pub(super) merged: BTreeMap<PathBuf, Krl>,
    pub(super) is_recorded: bool,
    /// Something is to go, and sshd's configuration may still name it.
    pub(super) waits_for_sshd: bool,
    /// Something could not be written, and may be another time.
    pub(super) is_failed: bool,
}

/// What is gathered before anything is written.
struct Plan {
    record: Record,
    wanted: Wanted,
    is_named: bool,
}

impl Job {
    pub(super) fn of(
        of: &UserCertificates,
        states: &[Arc<SourceState>],
        look: Option<&Look>,
    ) -> Self {
        let sources = of.config.sources.iter();
        let accounts = sources.filter(|source| matches!(source.kind, SourceKind::Account(_)));
        let said = accounts.map(|source| {
            let state = states.iter().find(|state| state.name == source.name);
            let trust = state.and_then(|state| state.trust.clone());
            (source.name.clone(), trust)
        });
        Self {
            config: of.config.clone(),
            is_on: of.is_on,
            said: said.collect(),
            left: of.left.clone(),
            merged: of.merged.clone(),
            look: look.filter(|look| look.is_settled).cloned(),
        }
    }

    pub(super) async fn run(self) -> Option<Done> {
        let directory = self.config.certificates.directory.clone();
        let state_dir = self.config.state_dir.clone();
        let drop_in = self.config.sshd.drop_in.clone();
        let (look, is_on, mut left) = (self.look.clone(), self.is_on, self.left.clone());
        let planned = spawn_blocking(move || {
            let mut done = Done::default();
            let plan = self.plan(&mut done);
            (plan, done)
        });
        let (plan, mut done) = planned.await.ok()?;
        let Plan {
            mut record,
            wanted,
            is_named,
        } = plan;
        for at in record.directories.clone() {
            let files = TrustFiles::new(&at);
            let is_current = is_on && at == directory;
            let wanted = match (is_current, is_on) {
                (true, _) => wanted.clone(),
                // Another directory takes over: until then this one is in force as it stands.
                (false, true) => Wanted::default(),
                (false, false) => Wanted::nothing(),
            };
            let before = left.remove(&at).unwrap_or_default();
            let put = files.put(&wanted, is_named && is_current, &before).await;
            done.drifted.extend(put.drifted);
            let is_put = |finding: &Finding| finding.code != Code::KrlNotInForce;
            if is_current && !put.findings.iter().all(is_put) {
                done.krls.clear();
            }
            done.findings.extend(put.findings);
            done.is_failed |= put.is_failed;
            done.left.insert(at.clone(), put.left);
            let has_ca = wanted.user_ca.as_ref().is_none_or(|cas| !cas.is_empty());
            let (no_ca, no_krl) = match is_current {
                true => (!has_ca, wanted.krl == WantedKrl::Nothing),
                false => (true, true),
            };
            let (has_ca, has_krl) = (put.standing.user_ca.is_some(), put.standing.krl.is_some());
            if is_current {
                done.names_ca = !no_ca && has_ca;
                done.names_krl = !no_krl && has_krl;
                done.standing = put.standing;
            }
            // Of all of it the directory too, also where a run was cut off just before.
            let is_to_go = match no_ca && no_krl {
                true => at.exists(),
                false => (no_ca && has_ca) || (no_krl && has_krl),
            };
            if !is_to_go {
                if !is_current {
                    record.directories.remove(&at);
                    done.left.remove(&at);
                }
                continue;
            }
            let Some(look) = &look else {
                done.waits_for_sshd = true;
                continue;
            };
            let still = files.clear((no_ca, no_krl), &look.named).await;
            if !is_current && still.is_empty() {
                record.directories.remove(&at);
                done.left.remove(&at);
            }
            for path in still {
                let (drop_in, text) = (drop_in.clone(), path.display().to_string());
                let by_us = spawn_blocking(move || drop_in_names(&drop_in, &text)).await;
                match by_us.unwrap_or(true) {
                    // It is on its way out.
                    true => done.waits_for_sshd = true,
                    false => done.findings.push(named_still(&path)),
                }
            }
        }
        done.is_recorded = !record.directories.is_empty();
        let saved = spawn_blocking(move || record.save(&state_dir)).await;
        if let Err(fault) = saved.map_err(std::io::Error::other).flatten() {
            tracing::warn!(%fault, "the record of sshd's files of certificates");
        }
        Some(done)
    }

    /// Gathers; may block.
    fn plan(&self, done: &mut Done) -> Plan {
        let state_dir = &self.config.state_dir;
        let settings = &self.config.certificates;
        let mut record = Record::load(state_dir);
        let before = match self.is_on {
            true => record.take_in(&settings.directory),
            false => Vec::new(),
        };
        let mut plan = Plan {
            record: record.clone(),
            wanted: Wanted::default(),
            is_named: false,
        };
        if !self.is_on {
            return plan;
        }
        let files = TrustFiles::new(&settings.directory);
        plan.is_named = before.iter().chain([&settings.directory]).any(|at| {
            let krl = TrustFiles::new(at).krl().display().to_string();
            let look = self.look.as_ref();
            look.is_some_and(|look| look.named.contains(&krl))
                || drop_in_names(&self.config.sshd.drop_in, &krl)
        });
        let all_here = self.read_others(done);
        // Only what is not here now has to be taken from what stands.
        let is_partial = self.said.iter().any(|(_, trust)| match trust {
            None => true,
            Some(trust) => trust.named_krl.is_some() && trust.krl.is_none(),
        });
        let others = Others {
            lists: done.merged.values().collect(),
            all_here,
            standing: (is_partial || !all_here)
                .then(|| files.standing_krl())
                .flatten(),
        };
        let (wanted, findings) = wanted(&self.said, &self.config.targets, &others);
        if let WantedKrl::Is { .. } = wanted.krl {
            let here = |(name, trust): &Said| {
                let krl = trust.as_ref()?.krl.as_ref()?;
                Some((name.clone(), krl.version))
            };
            done.krls = self.said.iter().filter_map(here).collect();
        }
        plan.wanted = wanted;
        done.findings.extend(findings);
        if record.directories.contains(&settings.directory) {
            return plan;
        }
        let stands = files.look() != Standing::default();
        if !stands
            && !plan.is_named
            && (plan.wanted == Wanted::nothing() || plan.wanted == Wanted::default())
        {
            return plan;
        }
        let users = plan.wanted.principals.keys().cloned().collect();
        if let Some(path) = files.taken(&users, plan.is_named) {
            let text = "it is there and not the agent's; move it away, or set \
                        certificates.directory to another";
            let about = path.display().to_string();
            for code in [Code::UserCaNotInForce, Code::KrlNotInForce] {
                done.findings.push(Finding::new(code, &about, text));
            }
            return plan;
        }
        record.directories.insert(settings.directory.clone());
        match record.save(state_dir) {
            Ok(()) => plan.record = record,
            Err(fault) => {
                let about = state_dir.display().to_string();
                done.is_failed = true;
                done.findings
                    .push(Finding::new(Code::StateFailed, about, fault.to_string()));
            }
        }
        plan
    }

    /// Lists of others, as they read now, else as they were last read. False where one was never.
    fn read_others(&self, done: &mut Done) -> bool {
        let mut all_here = true;
        for path in &self.config.certificates.merge_revoked {
            match revoked_in(path) {
                Ok(krl) => drop(done.merged.insert(path.clone(), krl)),
                Err(why) => {
                    let about = path.display().to_string();
                    done.findings
                        .push(Finding::new(Code::RevokedNotMerged, about, why));
                    match self.merged.get(path) {
                        Some(before) => drop(done.merged.insert(path.clone(), before.clone())),
                        None => all_here = false,
                    }
                }
            }
        }
        all_here
    }
}

fn named_still(path: &Path) -> Finding {
    let text = "sshd's configuration names it, by somebody else's line: take that out, and it goes";
    Finding::new(Code::LeftBehind, path.display().to_string(), text)
}
