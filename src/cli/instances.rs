//! `sshkeyd instances list|create`: an account's instances, from a person's shell.
//!
//! Owns how they are shown. Refuses to keep an enrolment token: it is printed once and forgotten.

use super::exit::Exit;
use super::output::Output;
use super::remote::{RemoteArgs, explained};
use super::rollout::state_word;
use super::runtime;
use crate::wire::{Instance, NewInstance, State};
use clap::Subcommand;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists the account's instances, and what they last said
    List {
        /// One JSON document
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Makes an instance and prints the token by which its agent enrols: one use, one day
    Create {
        /// What to call it
        #[arg(long)]
        label: String,
        /// One JSON document
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: RemoteArgs,
    },
}

/// Runs one of them.
pub(super) fn run(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    let runtime = runtime()?;
    match args.action {
        Action::List { json, remote } => {
            let page = runtime
                .block_on(remote.api()?.instances())
                .map_err(explained)?;
            if json {
                out.json(&page)?;
            } else {
                list(&page.items, out);
            }
        }
        Action::Create {
            label,
            json,
            remote,
        } => {
            let new = NewInstance { label };
            let call = remote.api()?;
            let made = runtime
                .block_on(call.create_instance(&new))
                .map_err(explained)?;
            if json {
                out.json(&made)?;
            } else {
                out.line(&format!("instance {} \"{}\"", made.id, made.label));
                out.line(&format!(
                    "enrolment token, for one use within a day: {}",
                    made.enroll_token
                ));
                out.line(&format!("on the instance: {}", made.install));
            }
        }
    }
    Ok(Exit::Done)
}

fn list(instances: &[Instance], out: &mut Output) {
    let row = |instance: &Instance| {
        let status = instance.status.as_ref();
        let health = status.map(|s| match s.state {
            State::Ok => "ok".to_owned(),
            _ => {
                let codes: Vec<&str> = s.conditions.iter().map(|c| c.code.as_str()).collect();
                codes.join(" ")
            }
        });
        [
            instance.id.to_string(),
            instance.label.clone(),
            state_word(instance.state).to_owned(),
            instance
                .last_seen
                .map(|at| format!("{at:.0}"))
                .unwrap_or_default(),
            instance.hostname.clone(),
            instance.revision.map(|r| r.to_string()).unwrap_or_default(),
            health.unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = instances.iter().map(row).collect();
    let head = [
        "ID",
        "LABEL",
        "STATE",
        "LAST SEEN",
        "HOSTNAME",
        "REVISION",
        "HEALTH",
    ];
    out.table(head, &rows);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_that_never_spoke_has_blanks_and_not_lies() {
        let instance = Instance {
            id: 12,
            label: "web\x1b[31m1".to_owned(),
            state: crate::wire::InstanceState::Never,
            created_at: "2026-11-22T19:00:00Z".parse().unwrap(),
            last_seen: None,
            hostname: String::new(),
            revision: None,
            status: None,
        };
        let (mut out, seen) = Output::captured();
        list(&[instance], &mut out);
        let table = seen.out();
        let row = table.lines().nth(1).unwrap();
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words, ["12", "web[31m1", "never", "-", "-", "-", "-"]);
    }
}
