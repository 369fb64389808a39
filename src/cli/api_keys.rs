//! `sshkeyd api-keys list|create|show|edit|reset|reveal|delete`: an account's API keys.
//!
//! Owns that a key itself, where there is one to show, stands alone on stdout, for a script to take
//! it, and what is said of it on stderr. Refuses to write one anywhere else.

mod permissions;

use super::ask::{PasswordArgs, Person};
use super::exit::{Exit, Failed};
use super::expires::{Expires, expires};
use super::login::rights;
use super::named::one;
use super::output::Output;
use super::remote::{Remote, RemoteArgs};
use super::runtime;
use crate::sys::clock;
use crate::wire::{ApiKey, ApiKeySecret, EditApiKey, NewApiKey, PasswordGiven};
use clap::Subcommand;
use permissions::PermissionArgs;
use zeroize::Zeroize as _;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists the account's API keys, without the keys
    List {
        /// One JSON document
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Makes an API key and prints it, alone
    Create(CreateArgs),
    /// Shows what one may do, and when and from where it was last used
    Show(OneArgs),
    /// Changes one: its name, what it may do, from where, until when
    Edit(EditArgs),
    /// Makes another key in its place and prints it, alone; the old one is dead
    Reset(OneArgs),
    /// Prints a key once more, alone; asks for the password
    Reveal(RevealArgs),
    /// Deletes one; whoever holds it is refused from then on
    Delete {
        /// Its id or its name
        #[arg(value_name = "KEY")]
        key: String,
        #[command(flatten)]
        remote: RemoteArgs,
    },
}

#[derive(Debug, clap::Args)]
struct OneArgs {
    /// Its id or its name
    #[arg(value_name = "KEY")]
    key: String,
    /// One JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// What to call it
    name: String,
    #[command(flatten)]
    permissions: PermissionArgs,
    /// An address or network that it may come from; may be given again; by default any
    #[arg(long, value_name = "NETWORK")]
    address: Vec<String>,
    /// Let it end after this time, as in 30d; by default never
    #[arg(long, value_name = "TIME", value_parser = expires)]
    expires: Option<Expires>,
    /// One JSON document, with the key in it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true)
    .args(["name", "permissions", "allow", "address", "expires"]))]
struct EditArgs {
    /// Its id or its name
    #[arg(value_name = "KEY")]
    key: String,
    /// Another name
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    permissions: PermissionArgs,
    /// The addresses and networks that it may come from, all of them; any for every one
    #[arg(long, value_name = "NETWORK")]
    address: Vec<String>,
    /// Let it end after this time, as in 30d; or never
    #[arg(long, value_name = "TIME", value_parser = expires)]
    expires: Option<Expires>,
    /// One JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Debug, clap::Args)]
struct RevealArgs {
    /// Its id or its name
    #[arg(value_name = "KEY")]
    key: String,
    #[command(flatten)]
    password: PasswordArgs,
    /// One JSON document, with the key in it
    #[arg(long)]
    json: bool,
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
            let page = remote.ask(remote.api_keys()).await?;
            if json {
                out.json(&page)?;
            } else {
                list(&page.items, out);
            }
        }
        Action::Create(args) => create(args, out).await?,
        Action::Show(args) => {
            let remote = args.remote.open()?;
            let id = key_id(&remote, &args.key).await?;
            let key = remote.ask(remote.api_key(id)).await?;
            if args.json {
                out.json(&key)?;
            } else {
                show(&key, out)?;
            }
        }
        Action::Edit(args) => edit(args, out).await?,
        Action::Reset(args) => {
            let remote = args.remote.open()?;
            let id = key_id(&remote, &args.key).await?;
            let made = remote.ask(remote.reset_api_key(id)).await?;
            tell(made, "the key before it is dead", args.json, out)?;
        }
        Action::Reveal(args) => reveal(args, &mut Person::here()?, out).await?,
        Action::Delete { key, remote } => {
            let remote = remote.open()?;
            let id = key_id(&remote, &key).await?;
            remote.ask(remote.delete_api_key(id)).await?;
            out.line(&format!("deleted API key {id}"));
        }
    }
    Ok(Exit::Done)
}

/// The id of the key that is meant. A number is an id, and is not looked up.
async fn key_id(remote: &Remote, name: &str) -> Result<i64, Failed> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let keys = remote.ask(remote.api_keys()).await?.items;
    let found = keys.into_iter().filter(|key| key.name == name);
    Ok(one("API key", name, "api-keys list", found, |key| key.id)?.id)
}

async fn create(args: CreateArgs, out: &mut Output) -> anyhow::Result<()> {
    let new = NewApiKey {
        name: args.name,
        permissions: args.permissions.tree()?,
        addresses: networks(args.address)?,
        expires_at: match args.expires {
            Some(expires) => expires.at(clock::now())?,
            None => None,
        },
    };
    let remote = args.remote.open()?;
    let made = remote.ask(remote.create_api_key(&new)).await?;
    tell(made, "keep it: whoever has it may do that", args.json, out)
}

async fn edit(args: EditArgs, out: &mut Output) -> anyhow::Result<()> {
    let edit = EditApiKey {
        name: args.name,
        permissions: args.permissions.tree()?,
        addresses: networks(args.address)?,
        expires_at: args
            .expires
            .map(|expires| expires.at(clock::now()))
            .transpose()?,
    };
    let remote = args.remote.open()?;
    let id = key_id(&remote, &args.key).await?;
    let key = remote.ask(remote.edit_api_key(id, &edit)).await?;
    if args.json {
        out.json(&key)?;
    } else {
        out.line(&format!("changed {}", in_a_line(&key)));
    }
    Ok(())
}

async fn reveal(args: RevealArgs, person: &mut Person, out: &mut Output) -> anyhow::Result<()> {
    let remote = args.remote.open()?;
    let id = key_id(&remote, &args.key).await?;
    let question = format!("Password of the account at {}: ", remote.url);
    let password = person.password(&args.password, &question, out)?;
    let call = async |code: Option<String>| {
        let mut given = PasswordGiven {
            password: password.to_string(),
            code,
        };
        let answer = remote.reveal_api_key(id, &given).await;
        given.password.zeroize();
        answer
    };
    let answer = person.with_code(&args.password, call).await?;
    let shown = answer.map_err(|error| remote.explained(error))?;
    tell(
        shown,
        "that it was shown is in the audit log",
        args.json,
        out,
    )
}

/// The networks that were named; none for none, and an empty list for `any`.
fn networks(given: Vec<String>) -> Result<Option<Vec<String>>, Failed> {
    match given.iter().any(|network| network == "any") {
        true if given.len() > 1 => {
            let text = "--address: any is all of them; give it alone";
            Err(Failed::new(Exit::Usage, text))
        }
        true => Ok(Some(Vec::new())),
        false => Ok((!given.is_empty()).then_some(given)),
    }
}

/// The key alone on stdout; what it is, and one thing to know, for the person.
fn tell(mut made: ApiKeySecret, to_know: &str, json: bool, out: &mut Output) -> anyhow::Result<()> {
    if json {
        out.json(&made)?;
    } else {
        out.note(&format!("{}; {to_know}", in_a_line(&made.about)));
        if made.about.current {
            out.note("it is the key that asked: put the new one into SSHKEYD_API_KEY");
        }
        out.line(&made.key);
    }
    made.key.zeroize();
    Ok(())
}

fn in_a_line(key: &ApiKey) -> String {
    let until = key.expires_at.map(|at| format!(", until {at:.0}"));
    format!(
        "API key {} \"{}\", for {}{}",
        key.id,
        key.name,
        rights(&key.permissions),
        until.unwrap_or_default()
    )
}

/// Where it may come from.
fn from(key: &ApiKey) -> String {
    match key.addresses.is_empty() {
        true => "any".to_owned(),
        false => key.addresses.join(" "),
    }
}

fn list(keys: &[ApiKey], out: &mut Output) {
    let row = |key: &ApiKey| {
        let used = key.last_used_at.map(|at| format!("{at:.0}"));
        let expires = key.expires_at.map(|at| format!("{at:.0}"));
        [
            key.id.to_string(),
            key.name.clone(),
            format!("…{}", key.tail),
            rights(&key.permissions),
            from(key),
            format!("{:.0}", key.created_at),
            used.unwrap_or_default(),
            expires.unwrap_or_else(|| "never".to_owned()),
        ]
    };
    let rows: Vec<_> = keys.iter().map(row).collect();
    let head = [
        "ID",
        "NAME",
        "KEY",
        "MAY DO",
        "FROM",
        "MADE",
        "LAST USED",
        "EXPIRES",
    ];
    out.table(head, &rows);
}

fn show(key: &ApiKey, out: &mut Output) -> serde_json::Result<()> {
    out.line(&in_a_line(key));
    out.line(&format!("ends with …{}", key.tail));
    out.line(&format!("made {:.0}", key.created_at));
    out.line(&match key.last_used_at {
        Some(at) if key.last_used_from.is_empty() => format!("last used {at:.0}"),
        Some(at) => format!("last used {at:.0} from {}", key.last_used_from),
        None => "never used".to_owned(),
    });
    out.line(&format!("may come from {}", from(key)));
    if key.current {
        out.line("it is the key that asks");
    }
    out.line("permissions:");
    out.line(&serde_json::to_string_pretty(&key.permissions)?);
    Ok(())
}

#[cfg(test)]
mod tests;
