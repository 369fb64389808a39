//! `sshkeyd instances list|show|create|rename|attach|detach|remove`: an account's instances, from a
//! person's shell.
//!
//! Owns how they are named (an id, or a label that one instance alone has) and shown. Refuses to
//! keep an enrolment token: it is printed once and forgotten.

mod host_keys;
mod remove;
mod show;

use super::exit::{Exit, Failed};
use super::named::one;
use super::output::Output;
use super::remote::{Remote, RemoteArgs};
use super::rollout::state_word;
use super::runtime;
use super::ssh_keys::key_id;
use crate::client::ClientError;
use crate::wire::{EditInstance, Instance, NewInstance, State};
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
    /// Gives an instance another label
    Rename {
        /// Its id or its label
        #[arg(value_name = "INSTANCE")]
        instance: String,
        /// What to call it
        label: String,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Puts a key on an instance, whatever its scope
    Attach(Pair),
    /// Takes a key from an instance, whatever its scope, until it is attached again
    Detach(Pair),
    /// Lets a new host key have certificates: compare it on the machine first
    ApproveHostKey(host_keys::Args),
    /// Refuses a host key certificates, and revokes those that it had
    RefuseHostKey(host_keys::Args),
    /// Removes an instance: its agent is told, and reaches the service no more
    Remove(remove::Args),
    /// Makes an instance and prints its enrolment token: one use, one day
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

/// An instance and a key.
#[derive(Debug, clap::Args)]
struct Pair {
    /// The instance's id or its label
    #[arg(value_name = "INSTANCE")]
    instance: String,
    /// The key's id, its fingerprint, or its name
    #[arg(value_name = "KEY")]
    key: String,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Runs one of them.
pub(super) fn run(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    runtime()?.block_on(run_in(args, out))
}

async fn run_in(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    match args.action {
        Action::List { json, remote } => {
            let remote = remote.open()?;
            let page = remote.ask(remote.instances()).await?;
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
            let remote = remote.open()?;
            // A listing says nothing of host keys.
            let id = found(&remote, &instance).await?.id;
            let instance = remote.ask(remote.instance(id)).await?;
            if json {
                out.json(&instance)?;
            } else {
                let keys = remote.ask(remote.ssh_keys()).await?;
                show::show(&instance, &keys.items, out);
            }
        }
        Action::Create {
            label,
            json,
            remote,
        } => create(NewInstance { label }, json, &remote.open()?, out).await?,
        Action::Rename {
            instance,
            label,
            remote,
        } => {
            let remote = remote.open()?;
            let id = found(&remote, &instance).await?.id;
            let edit = EditInstance { label: Some(label) };
            let instance = remote.ask(remote.edit_instance(id, &edit)).await?;
            out.line(&format!("instance {id} is now \"{}\"", instance.label));
        }
        Action::Attach(pair) => {
            let remote = pair.remote.open()?;
            let instance = found(&remote, &pair.instance).await?;
            let key = key_id(&remote, &pair.key).await?;
            remote.ask(remote.attach_ssh_key(instance.id, key)).await?;
            let (id, label) = (instance.id, instance.label);
            out.line(&format!("key {key} is for instance {id} \"{label}\""));
        }
        Action::Detach(pair) => {
            let remote = pair.remote.open()?;
            let instance = found(&remote, &pair.instance).await?;
            let key = key_id(&remote, &pair.key).await?;
            let nowhere = remote.ask(remote.detach_ssh_key(instance.id, key)).await?;
            let (id, label) = (instance.id, instance.label);
            out.line(&format!(
                "key {key} is not for instance {id} \"{label}\", until it is attached again"
            ));
            if nowhere {
                out.note(&format!("key {key} is saved, and on no instance now"));
            }
        }
        Action::ApproveHostKey(args) => return Ok(host_keys::run(args, true, out).await?),
        Action::RefuseHostKey(args) => return Ok(host_keys::run(args, false, out).await?),
        Action::Remove(args) => return Ok(remove::run(args, out).await?),
    }
    Ok(Exit::Done)
}

async fn create(
    new: NewInstance,
    json: bool,
    remote: &Remote,
    out: &mut Output,
) -> anyhow::Result<()> {
    let made = remote.ask(remote.create_instance(&new)).await?;
    if json {
        out.json(&made)?;
        return Ok(());
    }
    out.line(&format!("instance {} \"{}\"", made.id, made.label));
    out.line(&format!(
        "enrolment token, for one use within a day: {}",
        made.enroll_token
    ));
    out.line(&format!("on the instance: {}", made.install));
    Ok(())
}

/// The instance of that id, else the one of that label.
///
/// # Errors
/// 1: no instance, or several, of that label.
pub(super) async fn found(remote: &Remote, name: &str) -> Result<Instance, Failed> {
    if let Ok(id) = name.parse() {
        match remote.instance(id).await {
            Err(ClientError::NotFound(_)) => {}
            answer => return answer.map_err(|error| remote.explained(error)),
        }
    }
    let all = remote.ask(remote.instances()).await?.items;
    let named = all.into_iter().filter(|i| i.label == name);
    one("instance", name, "instances list", named, |i| i.id)
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
            clone: None,
            attached: Vec::new(),
            detached: Vec::new(),
            host_keys: Vec::new(),
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
