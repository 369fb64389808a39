//! What a sync would change, and nothing written: not the file, not the ledger, no directory swept.
//!
//! Speaks of the lists that are in force and asks no source. A source brings each answer to the
//! disk before anybody hears of it (floor and list in one write), and the turn after it applies it:
//! asking would be a sync. The answer says for each source which list that is, and how old.

use super::cycle::planned;
use super::index;
use super::job::Job;
use super::ledger::Ledger;
use super::target::{Place, Target};
use crate::config::Method;
use crate::keys::AuthorizedKeys;
use crate::sinks::KeysFile;
use crate::sources::SourceState;
use crate::sync::{Action, Change, Decision, Dialect, Finding, Plan, decide, diff};
use crate::wire::{self, PlanAction, PlanSource, PlannedKey, TargetPlan};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Targets as they are now, to be planned beside the agent's loop.
pub(super) struct Preview {
    plan: wire::Plan,
    state_dir: PathBuf,
    jobs: Vec<Option<Job>>,
}

impl Preview {
    pub(super) fn new(states: &[Arc<SourceState>], unmanaged: bool, state_dir: &Path) -> Self {
        let source = |state: &Arc<SourceState>| PlanSource {
            name: state.name.clone(),
            state: super::status::source_state(state),
            revision: state.revision,
            last_success: state.last_success,
        };
        let plan = wire::Plan {
            unmanaged,
            sources: states.iter().map(source).collect(),
            targets: Vec::new(),
        };
        Self {
            plan,
            state_dir: state_dir.to_owned(),
            jobs: Vec::new(),
        }
    }

    pub(super) fn add(
        &mut self,
        target: &Target,
        place: Result<Place, Finding>,
        states: &[Arc<SourceState>],
        dialect: &Dialect,
        ledger: &Ledger,
        stuck: Option<Finding>,
    ) {
        let mut plan = TargetPlan {
            user: target.settings.user.clone(),
            path: target.path.display().to_string(),
            method: target.settings.method.as_str().to_owned(),
            changes: false,
            held: None,
            notes: Vec::new(),
            keys: Vec::new(),
        };
        let place = match place {
            Ok(place) => Some(place),
            Err(finding) => {
                plan.held = Some(finding.text);
                None
            }
        };
        let job = place.map(|place| {
            let (path, _, _) = &place;
            plan.path = path.display().to_string();
            let owned = ledger.entry(path).owned;
            Job::of(target, place, states, dialect, owned, &self.state_dir)
        });
        // Looking there would not come back either.
        if let Some(stuck) = stuck {
            plan.held = Some(stuck.text);
        }
        let earlier = self.plan.targets.iter().find(|t| t.path == plan.path);
        if let Some(first) = earlier {
            let user = &first.user;
            plan.held = Some(format!("the target of user {user} keeps this file already"));
        }
        let job = job.filter(|_| plan.held.is_none());
        self.plan.targets.push(plan);
        self.jobs.push(job);
    }

    /// Looks at each file and plans.
    pub(super) async fn plan(mut self) -> wire::Plan {
        for (target, job) in self.plan.targets.iter_mut().zip(self.jobs) {
            let Some(job) = job else { continue };
            let look = tokio::task::spawn_blocking(move || look(&job));
            match look.await {
                Ok(Ok((plan, keys))) => {
                    target.changes = !plan.is_empty();
                    target.keys = keys.into_iter().map(planned_key).collect();
                    let silent = target.keys.iter().all(|key| key.action == PlanAction::Keep);
                    if target.changes && silent {
                        let text =
                            "the order of our lines, or what stands around them, is put right";
                        target.notes.push(text.to_owned());
                    }
                }
                Ok(Err(why)) => target.held = Some(why),
                Err(broken) => target.held = Some(broken.to_string()),
            }
        }
        self.plan
    }
}

fn look(job: &Job) -> Result<(Plan, Vec<Change>), String> {
    let views = job.views();
    let desired = match decide(&views, job.now, &job.dialect) {
        Decision::Apply(desired) => desired,
        Decision::Hold(why) => return Err(why.to_string()),
    };
    let path = job.path.display();
    if job.method == Method::Command {
        let plan = index::planned(job, &desired).map_err(|fault| format!("{path}: {fault}"))?;
        let none = AuthorizedKeys::default();
        let changes = diff(&none, &desired, &job.owned, &plan, &views, job.now);
        return Ok((plan, changes));
    }
    let file = KeysFile::look(&job.path, &job.home, job.owner);
    let read = file.and_then(|mut file| file.read());
    let read = read.map_err(|fault| format!("{path}: {fault}"))?;
    let plan = planned(job, &desired, &read.keys, &job.owned).map_err(|why| why.to_string())?;
    let changes = diff(&read.keys, &desired, &job.owned, &plan, &views, job.now);
    Ok((plan, changes))
}

fn planned_key(change: Change) -> PlannedKey {
    PlannedKey {
        fingerprint: change.key.to_string(),
        action: match change.action {
            Action::Add => PlanAction::Add,
            Action::PutBack => PlanAction::PutBack,
            Action::Adopt => PlanAction::Adopt,
            Action::Rewrite => PlanAction::Rewrite,
            Action::Keep => PlanAction::Keep,
            Action::Remove => PlanAction::Remove,
        },
        why: change.why,
    }
}
