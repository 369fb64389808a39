//! `sshkeyd known-hosts`: the `@cert-authority` lines of the account's host CAs, and
//! `@revoked` ones of host keys that are no instance's any more (sshd(8), SSH_KNOWN_HOSTS FILE
//! FORMAT).
//!
//! Owns our lines of such a file, between marks that name account and service; every other line
//! stays as it is, hashed ones too. Refuses to guess where marks do not pair up. A CA that left the
//! account's list leaves the file with the next write.

mod block;

use super::cert::{ask, dot_ssh};
use super::exit::{Exit, Failed};
use super::output::Output;
use super::remote::RemoteArgs;
use super::{env, runtime};
use crate::client::ClientError;
use crate::keys::PublicKey;
use crate::sys::own_file::{OwnFileError, update};
use crate::wire::{CaRole, CaState, Cas, RevokedHostKey};
use block::{merged, others};
use serde::Serialize;
use std::path::PathBuf;

/// Which names the host CAs are believed for: HostKeyAlias of ssh-config makes them.
const PATTERN: &str = "*.sshkeyd";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Keep them in the file, between marks, rather than print them
    #[arg(long)]
    write: bool,
    /// Which file; by default ~/.ssh/known_hosts
    #[arg(long, value_name = "FILE", requires = "write")]
    file: Option<PathBuf>,
    /// One JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// What is known, for programs.
#[derive(Serialize)]
struct Told<'a> {
    account: i64,
    url: &'a str,
    lines: &'a [String],
    file: Option<&'a PathBuf>,
    changed: Option<bool>,
}

/// Runs it.
pub(super) fn run(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    let remote = args.remote.open()?;
    let (account, cas, gone) = runtime()?.block_on(async {
        let account = remote.ask(remote.account()).await?.account;
        let cas = ask(&remote, remote.cas()).await?;
        let gone = match remote.revoked_host_keys().await {
            // A service from before there was such a list.
            Err(ClientError::NotFound(_)) => Vec::new(),
            other => remote.ask(async { other }).await?.items,
        };
        Ok::<_, Failed>((account, cas, gone))
    })?;
    let name = format!("account:{account} {}", remote.url);
    let mut lines = lines(&cas, &name);
    lines.extend(gone.iter().filter_map(|key| refused(key, &name)));
    let file = match (args.write, args.file) {
        (false, _) => None,
        (true, Some(file)) => Some(file),
        (true, None) => Some(
            dot_ssh(&env)
                .map(|directory| directory.join("known_hosts"))
                .ok_or_else(|| {
                    let text = "no home to find ~/.ssh in; set HOME, or give --file";
                    Failed::new(Exit::Usage, text)
                })?,
        ),
    };
    let mut changed = None;
    if let Some(file) = &file {
        let fault = |error: String| {
            let text = format!("{}: {error}; nothing was written", file.display());
            Failed::new(Exit::NotDone, text)
        };
        let mut others_there = Vec::new();
        let done = update(file, 0o600, |old| {
            let old = old.unwrap_or_default();
            others_there = others(old, &name);
            let new = merged(old, &name, &lines)?;
            Ok((new != old).then_some(new))
        });
        let done = done.map_err(|error: OwnFileError<block::Damaged>| fault(error.to_string()))?;
        changed = Some(done);
        for other in others_there {
            out.note(&format!(
                "{} also has the host CAs of {other}: each is believed for the instances of both; \
                 keep one of them in a file of its own with --file, and name that in \
                 `sshkeyd ssh-config --known-hosts`",
                file.display()
            ));
        }
    }
    if args.json {
        out.json(&Told {
            account,
            url: &remote.url,
            lines: &lines,
            file: file.as_ref(),
            changed,
        })?;
        return Ok(Exit::Done);
    }
    match (&file, changed) {
        (Some(file), Some(true)) => {
            let (file, count) = (file.display(), cas.host_ca.len());
            let what = if count == 1 { "host CA" } else { "host CAs" };
            out.line(&format!("{file}: {count} {what} of {name}"));
        }
        (Some(file), _) => out.line(&format!("{}: is as it should be", file.display())),
        (None, _) => lines.iter().for_each(|line| out.line(line)),
    }
    if cas.host_ca.is_empty() {
        out.note("the account has no host CA yet; its first instance makes one");
    }
    Ok(Exit::Done)
}

/// The lines: of every CA that hosts' certificates may be by, the one that comes next too.
fn lines(cas: &Cas, name: &str) -> Vec<String> {
    let read = |line: &String| PublicKey::parse_text(line).ok().map(|(key, _)| key);
    let line = |key: PublicKey| {
        let fingerprint = key.fingerprint().to_string();
        let about = cas.items.iter().find(|ca| ca.fingerprint == fingerprint);
        let state = match about
            .filter(|ca| ca.role == CaRole::Host)
            .map(|ca| ca.state)
        {
            Some(CaState::Next) => ", the next one",
            Some(CaState::Leaving) => ", which leaves",
            Some(CaState::Signing) | None => "",
        };
        format!("@cert-authority {PATTERN} {key} host CA of {name}{state}")
    };
    cas.host_ca.iter().filter_map(read).map(line).collect()
}

/// The line that refuses a host key which an instance had: replaced, refused, or of one that was
/// removed. Certificates over it are good until their end; this is sooner.
fn refused(gone: &RevokedHostKey, name: &str) -> Option<String> {
    let (key, _) = PublicKey::parse_text(&gone.public_key).ok()?;
    // sshd(8): `*`, `?`, `!` and `[` mean something in a pattern.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let plain = |name: &&String| !name.is_empty() && name.chars().all(is_plain);
    let names: Vec<_> = gone
        .names
        .iter()
        .filter(plain)
        .map(String::as_str)
        .collect();
    let names = (!names.is_empty()).then(|| names.join(","))?;
    let instance = gone.instance;
    Some(format!(
        "@revoked {names} {key} of instance {instance} of {name}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revoked_host_key_is_refused_by_plain_names_only() {
        let key = Signer::from_seed(&[7; 32]).public();
        let gone = |names: &[&str], public_key: String| RevokedHostKey {
            instance: 12,
            public_key,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            until: "2026-11-22T19:00:00Z".parse().unwrap(),
        };
        let names = ["instance-12.sshkeyd", "*", "a b", "!web", "web"];
        assert_eq!(
            refused(&gone(&names, format!("{key} x")), "account:7 u"),
            Some(format!(
                "@revoked instance-12.sshkeyd,web {key} of instance 12 of account:7 u"
            ))
        );
        let two = gone(&names, format!("{key} x\n* y"));
        assert_eq!(refused(&two, "n"), None);
        assert_eq!(refused(&gone(&["*"], key.to_string()), "n"), None);
        assert_eq!(refused(&gone(&names, "no key".into()), "n"), None);
    }
    use crate::trust::Signer;
    use crate::wire::Ca;

    #[test]
    fn a_line_is_made_of_the_key_alone_whatever_the_service_says() {
        let key = Signer::from_seed(&[7; 32]).public();
        let next = Signer::from_seed(&[8; 32]).public();
        let cas = Cas {
            host_ca: vec![
                format!("{key} x\u{1b}[31m"),
                "* ssh-ed25519 AAAA\n@cert-authority * ssh-ed25519 AAAA".to_owned(),
                next.to_string(),
            ],
            items: vec![Ca {
                role: CaRole::Host,
                public_key: next.to_string(),
                fingerprint: next.fingerprint().to_string(),
                state: CaState::Next,
                created_at: "2026-11-22T19:00:00Z".parse().unwrap(),
                waits_for: Vec::new(),
            }],
            ..Cas::default()
        };
        let name = "account:7 https://keys.example.com";
        assert_eq!(
            lines(&cas, name),
            [
                format!("@cert-authority *.sshkeyd {key} host CA of {name}"),
                format!("@cert-authority *.sshkeyd {next} host CA of {name}, the next one"),
            ]
        );
    }
}
