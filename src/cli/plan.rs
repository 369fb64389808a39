//! `sshkeyd plan`: what a sync would change, by fingerprint, with reasons. Nothing is written.

use super::exit::{Exit, Failed};
use super::output::Output;
use super::status::WhichAgent;
use crate::agent::{Answer, Request};
use crate::wire::{Plan, PlanAction, SourceState, TargetPlan};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    agent: WhichAgent,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Exit 1 when something would change
    #[arg(long)]
    exit_code: bool,
}

/// Exit 0 whatever would change; with `--exit-code` 1 when something would.
pub(super) fn run(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    let plan = match args.agent.ask_for(Request::Plan)? {
        Answer::Plan(plan) => *plan,
        _ => return Err(Failed::new(Exit::Unavailable, "the agent gave another answer").into()),
    };
    if args.json {
        out.json(&plan)?;
    } else {
        show(&plan, out);
    }
    Ok(match plan.changes() && args.exit_code {
        true => Exit::NotDone,
        false => Exit::Done,
    })
}

fn show(plan: &Plan, out: &mut Output) {
    if plan.unmanaged {
        out.line("unmanaged: nothing is written until a reload, which would bring this:");
    }
    for source in &plan.sources {
        let revision = source
            .revision
            .map_or_else(String::new, |revision| format!(" revision {revision},"));
        let heard = match (source.state, source.last_success) {
            (SourceState::Unknown, _) | (_, None) => "never heard".to_owned(),
            (SourceState::Live, Some(at)) => format!("heard {at:.0}"),
            (SourceState::Held, Some(at)) => format!("held, last heard {at:.0}"),
        };
        out.line(&format!("by source {}:{revision} {heard}", source.name));
    }
    for target in &plan.targets {
        show_target(target, out);
    }
}

fn show_target(target: &TargetPlan, out: &mut Output) {
    let (user, path) = (&target.user, &target.path);
    let words = match (&target.held, target.changes) {
        (Some(why), _) => format!("held: {why}"),
        (None, true) => "would change".to_owned(),
        (None, false) => "no change".to_owned(),
    };
    out.line(&format!("target {user}: {path}: {words}"));
    for key in &target.keys {
        let mark = match key.action {
            PlanAction::Add => "+ add     ",
            PlanAction::PutBack => "+ put back",
            PlanAction::Adopt => "+ adopt   ",
            PlanAction::Rewrite => "~ rewrite ",
            PlanAction::Keep => "  keep    ",
            PlanAction::Remove => "- remove  ",
        };
        out.line(&format!("  {mark} {}  {}", key.fingerprint, key.why));
    }
    for note in &target.notes {
        out.line(&format!("  {note}"));
    }
}
