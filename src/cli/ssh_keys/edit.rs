//! `ssh-keys edit KEY`: another name, text, options, end or scope under the same id.
//!
//! Owns that only what was named is sent. Another text is, to every instance, one key that goes and
//! one that comes.

use super::{duration, key_id, scope_word, text};
use crate::cli::exit::Exit;
use crate::cli::expires::{Expires, expires};
use crate::cli::output::Output;
use crate::cli::remote::RemoteArgs;
use crate::cli::rollout;
use crate::sys::clock;
use crate::wire::{EditSshKey, KeyScope};
use anyhow::Context as _;
use clap::builder::PossibleValue;
use std::time::Duration;

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub(super) struct Args {
    /// Its id, its fingerprint, or its name
    #[arg(value_name = "KEY")]
    key: String,
    /// Another name
    #[arg(long, group = "change")]
    name: Option<String>,
    /// Another public key under the same id: a .pub file, or - for standard input
    #[arg(long, value_name = "FILE", group = "change")]
    file: Option<String>,
    /// Other options as in authorized_keys, comma-separated; "" for none
    #[arg(long, group = "change")]
    options: Option<String>,
    /// Let it stop to open anything after this time, as in 30d; or never
    #[arg(long, value_name = "TIME", value_parser = expires, group = "change")]
    expires: Option<Expires>,
    /// On all instances, or on some: those that it is attached to
    #[arg(long, group = "change")]
    scope: Option<Scope>,
    /// Also end the sessions that were opened with the key of before, where another takes its place
    #[arg(long, requires = "file")]
    end_sessions: bool,
    /// Wait until every live instance has proved it, a minute by default
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "60s",
        value_parser = duration
    )]
    wait: Option<Duration>,
    /// One JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Where a key is to be.
#[derive(Debug, Clone, Copy)]
struct Scope(KeyScope);

impl clap::ValueEnum for Scope {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self(KeyScope::All), Self(KeyScope::Some)]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(scope_word(self.0)))
    }
}

/// Runs it.
pub(super) async fn run(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    let edit = EditSshKey {
        name: args.name,
        public_key: args.file.as_deref().map(text::public_key).transpose()?,
        options: args.options,
        expires_at: args
            .expires
            .map(|expires| expires.at(clock::now()))
            .transpose()?,
        scope: args.scope.map(|scope| scope.0),
    };
    let remote = args.remote.open()?;
    let id = key_id(&remote, &args.key).await?;
    let key = remote
        .ask(remote.edit_ssh_key(id, &edit, args.end_sessions))
        .await?;
    if args.json {
        out.json(&key)?;
    } else {
        out.line(&format!(
            "changed key {id} \"{}\" {}",
            key.name, key.fingerprint
        ));
    }
    let Some(within) = args.wait else {
        return Ok(Exit::Done);
    };
    let waited = rollout::wait(&remote, id, within, &[], out)
        .await
        .with_context(|| format!("key {id} was changed; its rollout is not known"))?;
    if !args.json {
        rollout::show_end(&waited, &[], out);
    }
    Ok(match waited.settled {
        true => Exit::Done,
        false => Exit::NotDone,
    })
}
