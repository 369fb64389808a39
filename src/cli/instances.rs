//! `sshkeyd instances list|show|create`: an account's instances, from a person's shell.
//!
//! Owns how they are shown. Refuses to keep an enrolment token: it is printed once and forgotten.

mod show;

use super::exit::{Exit, Failed};
use super::output::Output;
use super::remote::{RemoteArgs, explained};
use super::rollout::state_word;
use super::runtime;
use crate::client::{Api, ClientError};
use crate::wire::{Instance, NewInstance, Page, SshKey, State};
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
    /// Shows one instance: its device, targets, conditions, and live sessions by key
    Show {
        /// Its id or its label
        #[arg(value_name = "INSTANCE")]
        instance: String,
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
        Action::Show {
            instance,
            json,
            remote,
        } => {
            let api = remote.api()?;
            let (instance, keys) = runtime.block_on(found(&api, &instance))?;
            if json {
                out.json(&instance)?;
            } else {
                show::show(&instance, &keys.items, out);
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

/// The instance of that id, else the one of that label; and the account's keys.
async fn found(api: &Api, name: &str) -> Result<(Instance, Page<SshKey>), Failed> {
    let keys = api.ssh_keys().await.map_err(explained)?;
    if let Ok(id) = name.parse() {
        match api.instance(id).await {
            Ok(instance) => return Ok((instance, keys)),
            Err(ClientError::NotFound(_)) => {}
            Err(error) => return Err(explained(error)),
        }
    }
    let all = api.instances().await.map_err(explained)?.items;
    let mut named = all.into_iter().filter(|i| i.label == name);
    let fault = |text: String| Err(Failed::new(Exit::NotDone, text));
    match (named.next(), named.next()) {
        (Some(instance), None) => Ok((instance, keys)),
        (Some(one), Some(other)) => fault(format!(
            "several instances are called \"{name}\", {} and {} among them; give an id",
            one.id, other.id
        )),
        (None, _) => fault(format!(
            "no instance \"{name}\"; see `sshkeyd instances list`"
        )),
    }
}

/// How an instance is, in a word, or by its conditions' names.
fn health(instance: &Instance) -> Option<String> {
    instance.status.as_ref().map(|status| match status.state {
        State::Ok => "ok".to_owned(),
        _ => {
            let codes: Vec<&str> = status.conditions.iter().map(|c| c.code.as_str()).collect();
            codes.join(" ")
        }
    })
}

fn list(instances: &[Instance], out: &mut Output) {
    let row = |instance: &Instance| {
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
            health(instance).unwrap_or_default(),
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
            device: None,
            attached: Vec::new(),
            detached: Vec::new(),
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
