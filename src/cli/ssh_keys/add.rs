//! `ssh-keys add FILE|-|gh:NAME`: saves what a person has, waits until it is proved.
//!
//! Owns what is sent: type, blob and comment, nothing else of a file. With `--only` a key goes to
//! the instances that are named and to no other. A key that was saved is named whatever comes after.

use super::{duration, github, text};
use crate::cli::exit::{Exit, Failed, exit_of};
use crate::cli::expires::{Expires, expires};
use crate::cli::instances;
use crate::cli::output::Output;
use crate::cli::remote::{Remote, RemoteArgs};
use crate::cli::rollout;
use crate::sys::clock;
use crate::wire::{Instance, KeyScope, NewSshKey, Rollout, SshKey};
use anyhow::Context as _;
use serde::Serialize;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A .pub file, - for standard input, or gh:NAME for the keys that a user of GitHub shows
    pub(super) file: String,
    /// What to call it; by default the comment in the file
    #[arg(long)]
    name: Option<String>,
    /// Let it stop to open anything after this time, as in 30d
    #[arg(long, value_name = "TIME", value_parser = expires)]
    expires: Option<Expires>,
    /// Options as in authorized_keys, comma-separated, as in from="203.0.113.0/24"
    #[arg(long)]
    options: Option<String>,
    /// Wait until every live instance has proved it, a minute by default
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "60s",
        value_parser = duration
    )]
    pub(super) wait: Option<Duration>,
    /// For this instance alone, by its id or label; may be given again for another
    #[arg(long, value_name = "INSTANCE")]
    pub(super) only: Vec<String>,
    /// One JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// What `add --json` prints of a key.
#[derive(Serialize)]
struct Added {
    #[serde(flatten)]
    key: SshKey,
    /// Instances that it was attached to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attached: Vec<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollout: Option<Rollout>,
}

/// What it prints of `gh:NAME`.
#[derive(Serialize)]
struct AddedAll<'a> {
    items: &'a [Added],
    rejected: &'a [Rejected],
}

/// A key that is not saved.
#[derive(Debug, Serialize)]
pub(super) struct Rejected {
    pub(super) at: String,
    pub(super) why: String,
}

/// What is to be saved.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) keys: Vec<NewSshKey>,
    pub(super) rejected: Vec<Rejected>,
    /// It is a list: one key that cannot be saved is no reason to leave out the others.
    several: bool,
}

/// Runs it.
pub(super) async fn run(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    let wanted = wanted(&args, github::GITHUB).await?;
    let remote = args.remote.open()?;
    let mut only = Vec::new();
    for name in &args.only {
        only.push(instances::found(&remote, name).await?);
    }
    save(&remote, &wanted, &only, args.wait, args.json, out).await
}

/// Reads the file, or the list at `base`.
pub(super) async fn wanted(args: &Args, base: &str) -> Result<Wanted, Failed> {
    let now = clock::now();
    let new = |name: Option<String>, public_key: String| {
        Ok(NewSshKey {
            name,
            public_key,
            options: args.options.clone(),
            expires_at: match args.expires {
                Some(expires) => expires.at(now)?,
                None => None,
            },
            scope: (!args.only.is_empty()).then_some(KeyScope::Some),
        })
    };
    let Some(user) = args.file.strip_prefix(github::PREFIX) else {
        let key = new(args.name.clone(), text::public_key(&args.file)?)?;
        return Ok(Wanted {
            keys: vec![key],
            rejected: Vec::new(),
            several: false,
        });
    };
    let list = github::keys(base, user).await?;
    let rejected = list.rejected.into_iter();
    let mut rejected: Vec<Rejected> = rejected
        .map(|key| Rejected {
            at: key.at,
            why: key.why,
        })
        .collect();
    let name = args
        .name
        .clone()
        .unwrap_or_else(|| format!("{user}@github"));
    let alone = list.accepted.len() == 1;
    let mut keys = Vec::new();
    for (n, key) in list.accepted.into_iter().enumerate() {
        if !key.options.is_empty() {
            // Saved without them it would open more than was shown.
            let why = "has options; save it by itself, with --options".to_owned();
            rejected.push(Rejected { at: key.id, why });
            continue;
        }
        let name = match alone {
            true => name.clone(),
            false => format!("{name} {}", n + 1),
        };
        keys.push(new(Some(name), key.key.to_string())?);
    }
    Ok(Wanted {
        keys,
        rejected,
        several: true,
    })
}

/// Saves them all, one after the other.
pub(super) async fn save(
    remote: &Remote,
    wanted: &Wanted,
    only: &[Instance],
    wait: Option<Duration>,
    json: bool,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    let until = wait.map(|within| clock::monotonic() + within);
    let (mut added, mut exit, mut broken) = (Vec::new(), Exit::Done, None);
    for rejected in &wanted.rejected {
        out.error(&format!("{}: {}", rejected.at, rejected.why));
        exit = Exit::NotDone;
    }
    for new in &wanted.keys {
        match save_one(remote, new, only, until, json, &mut added, out).await {
            Ok(Exit::Done) => {}
            Ok(other) => exit = other,
            Err(error) if wanted.several && exit_of(&error) == Exit::NotDone => {
                let name = new.name.as_deref().unwrap_or_default();
                out.error(&format!("\"{name}\": {error:#}"));
                exit = Exit::NotDone;
            }
            Err(error) => {
                broken = Some(error);
                break;
            }
        }
    }
    // What is saved is saved: whoever reads only stdout has to learn its id.
    if json && wanted.several {
        out.json(&AddedAll {
            items: &added,
            rejected: &wanted.rejected,
        })?;
    } else if json {
        for added in &added {
            out.json(added)?;
        }
    }
    broken.map_or(Ok(exit), Err)
}

async fn save_one(
    remote: &Remote,
    new: &NewSshKey,
    only: &[Instance],
    until: Option<Duration>,
    json: bool,
    added: &mut Vec<Added>,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    let (key, created) = remote.ask(remote.add_ssh_key(new)).await?;
    let saved = match created {
        true => "saved",
        false => "was saved before:",
    };
    let (id, everywhere) = (key.id, key.scope == KeyScope::All);
    let text = format!("{saved} key {id} \"{}\" {}", key.name, key.fingerprint);
    if !json {
        out.line(&text);
    }
    let at = added.len();
    added.push(Added {
        key,
        attached: Vec::new(),
        rollout: None,
    });
    for instance in only {
        let attached = remote.ask(remote.attach_ssh_key(instance.id, id)).await;
        attached.with_context(|| {
            let (place, label) = (instance.id, &instance.label);
            format!("key {id} is saved, and not on instance {place} \"{label}\"")
        })?;
        if let Some(added) = added.get_mut(at) {
            added.attached.push(instance.id);
        }
        if !json {
            let (place, label) = (instance.id, &instance.label);
            out.line(&format!("key {id} is for instance {place} \"{label}\""));
        }
    }
    if everywhere && !only.is_empty() {
        out.note(&format!(
            "key {id} was saved for every instance, and still is; \
             `sshkeyd ssh-keys edit {id} --scope some` leaves it where it is attached"
        ));
    }
    let Some(until) = until else {
        return Ok(Exit::Done);
    };
    let within = until.saturating_sub(clock::monotonic());
    let places: Vec<i64> = only.iter().map(|instance| instance.id).collect();
    let waited = rollout::wait(remote, id, within, &places, out)
        .await
        .with_context(|| format!("key {id} was saved; its rollout is not known"))?;
    let settled = waited.settled;
    if !json {
        rollout::show_end(&waited, &places, out);
    } else if let Some(added) = added.get_mut(at) {
        added.rollout = Some(waited.rollout);
    }
    Ok(match settled {
        true => Exit::Done,
        false => Exit::NotDone,
    })
}
