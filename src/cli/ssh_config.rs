//! `sshkeyd ssh-config`: Host entries for the account's instances (ssh_config(5)).
//!
//! Owns the file that they are kept in, and that `~/.ssh/config` is not touched unless that was
//! asked for, and then by one Include line at its top. Refuses to replace a file that it did not
//! write.

mod include;
mod render;

use super::cert::{KeyFile, Place, dot_ssh};
use super::exit::{Exit, Failed};
use super::output::Output;
use super::remote::{Remote, RemoteArgs};
use super::{env, runtime};
use crate::client::ClientError;
use crate::config::is_loopback;
use crate::sys::own_file::{OwnFileError, update};
use crate::wire::{AccountSession, Instance};
use include::{is_included, with_include};
use render::{Identity, Known, Page};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The file, in ~/.ssh.
const FILE: &str = "sshkeyd_config";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A key of yours, by either half, whose certificate stands beside it; by default what
    /// `sshkeyd cert` would take
    #[arg(long, value_name = "KEY")]
    key: Option<PathBuf>,
    /// Where `sshkeyd known-hosts` keeps the host CAs, if not in ssh's own file
    #[arg(long, value_name = "FILE")]
    known_hosts: Option<PathBuf>,
    /// Keep them in a file rather than print them
    #[arg(long)]
    write: bool,
    /// Which file; by default ~/.ssh/sshkeyd_config
    #[arg(long, value_name = "FILE", requires = "write")]
    file: Option<PathBuf>,
    /// Also have ~/.ssh/config include that file, by a line at its top
    #[arg(long, requires = "write")]
    include: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Runs it.
pub(super) fn run(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    let identity = identity(args.key.as_deref())?;
    let known_hosts = match &args.known_hosts {
        Some(file) => Some(plain(file)?),
        None => None,
    };
    let remote = args.remote.open()?;
    let (account, instances, sessions) = runtime()?.block_on(asked(&remote))?;
    let addresses = match &sessions {
        Some(sessions) => addresses(sessions, is_local(&remote.url)),
        None => {
            out.note("no addresses: sessions of the account are not shown to this API key");
            BTreeMap::new()
        }
    };
    let known: Vec<Known<'_>> = instances
        .iter()
        .map(|instance| Known {
            instance,
            address: addresses.get(&instance.id).copied(),
        })
        .collect();
    let page = Page {
        name: format!("account:{account} {}", remote.url),
        identity,
        known_hosts,
    };
    let text = page.render(&known);
    if !args.write {
        out.line(text.trim_end());
        return Ok(Exit::Done);
    }
    let directory = dot_ssh(&env).ok_or_else(|| {
        let text = "no home to find ~/.ssh in; set HOME";
        Failed::new(Exit::Usage, text)
    });
    let file = match args.file {
        Some(file) => plain(&file).map(PathBuf::from)?,
        None => directory.as_ref().map_err(again)?.join(FILE),
    };
    write(&file, &text, &page.name)?;
    let count = instances.len();
    let what = if count == 1 { "instance" } else { "instances" };
    out.line(&format!("{}: {count} {what}", file.display()));
    let directory = directory?;
    let config = directory.join("config");
    let named = match file.strip_prefix(&directory) {
        Ok(name) => name.display().to_string(),
        Err(_) => plain(&file)?,
    };
    if args.include {
        include(&config, &named, &file, out)?;
    } else if !std::fs::read(&config).is_ok_and(|text| is_included(&text, &named, &file)) {
        out.note(&format!(
            "for ssh to read it, put this line at the top of {}, or give --include:\n\
             Include {named}",
            config.display()
        ));
    }
    Ok(Exit::Done)
}

fn again(failed: &Failed) -> Failed {
    Failed::new(failed.exit(), failed)
}

/// The account, its instances, and its sessions where they are shown.
async fn asked(
    remote: &Remote,
) -> Result<(i64, Vec<Instance>, Option<Vec<AccountSession>>), Failed> {
    let account = remote.ask(remote.account()).await?.account;
    let instances = remote.ask(remote.instances()).await?.items;
    let sessions = match remote.sessions().await {
        Ok(page) => Some(page.items),
        Err(ClientError::Forbidden(_)) => None,
        Err(error) => return Err(remote.explained(error)),
    };
    Ok((account, instances, sessions))
}

/// The key that stands in each entry: where its certificate is beside it, and only there.
fn identity(key: Option<&Path>) -> Result<Option<Identity>, Failed> {
    let key = match (key, Place::meant(key, false, false, &env)) {
        (_, Ok(Place::Beside(key))) => key,
        (Some(_), Err(failed)) => return Err(failed),
        // In the agent, where ssh looks by itself; or nowhere yet.
        (_, Ok(Place::Agent(_)) | Err(_)) => return Ok(None),
    };
    let KeyFile {
        private,
        certificate,
        ..
    } = key;
    Ok(Some(Identity {
        private: plain(&private)?,
        certificate: plain(&certificate)?,
    }))
}

/// A path that may stand in ssh_config(5) and in a shell's command as it is.
fn plain(path: &Path) -> Result<String, Failed> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"/._@+,=-".contains(&b);
    match path.to_str().filter(|path| path.bytes().all(is_plain)) {
        Some(path) => Ok(path.to_owned()),
        None => {
            let text = format!(
                "{}: only letters, digits and /._@+,=- may stand in ssh's configuration; use \
                 another name",
                path.display()
            );
            Err(Failed::new(Exit::Usage, text))
        }
    }
}

/// Whether the service is on this machine: then addresses of this machine mean it.
fn is_local(url: &str) -> bool {
    let host = url.split("://").nth(1).unwrap_or_default();
    let host = host.split('/').next().unwrap_or_default();
    let host = match host.rfind(']') {
        Some(end) => host.get(..=end).unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    is_loopback(host)
}

/// From where each instance's agent was last seen.
fn addresses(sessions: &[AccountSession], local: bool) -> BTreeMap<i64, IpAddr> {
    let mut latest: Vec<&AccountSession> = sessions
        .iter()
        .filter(|session| session.kind == "agent")
        .collect();
    latest.sort_by_key(|session| session.last_seen);
    let usable = |address: &IpAddr| {
        !address.is_unspecified() && !address.is_multicast() && (local || !address.is_loopback())
    };
    let pair = |session: &AccountSession| {
        let address: IpAddr = session.device.address.parse().ok()?;
        let address = Some(address.to_canonical()).filter(usable)?;
        Some((session.instance?, address))
    };
    latest.into_iter().filter_map(pair).collect()
}

/// Puts the page in the place of one that was written before.
fn write(file: &Path, text: &str, name: &str) -> Result<(), Failed> {
    let first = text.lines().next().unwrap_or_default();
    let put = update(file, 0o600, |old| {
        let old = old.unwrap_or_default();
        let there = old.split(|byte| *byte == b'\n').next().unwrap_or_default();
        match old.trim_ascii().is_empty() || there == first.as_bytes() {
            true => Ok((old != text.as_bytes()).then(|| text.as_bytes().to_vec())),
            false => Err(format!(
                "not written by `sshkeyd ssh-config` for {name}; name another with --file"
            )),
        }
    });
    put.map(drop).map_err(|error: OwnFileError<String>| {
        let text = format!("{}: {error}; nothing was written", file.display());
        Failed::new(Exit::NotDone, text)
    })
}

fn include(config: &Path, named: &str, file: &Path, out: &mut Output) -> Result<(), Failed> {
    let put = update(config, 0o600, |old| {
        let old = old.unwrap_or_default();
        let there = is_included(old, named, file);
        Ok::<_, std::convert::Infallible>((!there).then(|| with_include(old, named)))
    });
    let place = config.display();
    match put {
        Ok(true) => out.line(&format!("{place}: includes it")),
        Ok(false) => out.line(&format!("{place}: included it before")),
        Err(error) => {
            let text = format!("{place}: {error}; nothing was written there");
            return Err(Failed::new(Exit::NotDone, text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn session(instance: i64, address: &str, seen: &str) -> AccountSession {
        serde_json::from_value(json!({
            "id": 1, "kind": "agent", "instance": instance, "created_at": seen,
            "device": {"name": "", "os": "", "address": address},
            "last_seen": seen, "expires_at": null, "current": false
        }))
        .unwrap()
    }

    #[test]
    fn an_instance_is_where_its_agent_was_last_seen() {
        let sessions = [
            session(7, "203.0.113.9", "2026-11-22T19:00:00Z"),
            session(7, "203.0.113.8", "2026-11-22T18:00:00Z"),
            session(8, "::ffff:203.0.113.7", "2026-11-22T18:00:00Z"),
            session(9, "127.0.0.1", "2026-11-22T18:00:00Z"),
            session(10, "evil\nProxyCommand x", "2026-11-22T18:00:00Z"),
            session(11, "0.0.0.0", "2026-11-22T18:00:00Z"),
        ];
        let far = addresses(&sessions, false);
        let text: Vec<String> = far.iter().map(|(id, at)| format!("{id} {at}")).collect();
        assert_eq!(text, ["7 203.0.113.9", "8 203.0.113.7"]);
        assert!(addresses(&sessions, true).contains_key(&9));
        for (url, local) in [
            ("http://127.0.0.1:8022", true),
            ("http://[::1]:8022/x", true),
            ("https://localhost", true),
            ("https://keys.example.com", false),
            ("https://localhost.example.com", false),
        ] {
            assert_eq!(is_local(url), local, "{url}");
        }
    }

    #[test]
    fn a_path_that_a_shell_or_ssh_would_read_otherwise_is_refused() {
        assert_eq!(
            plain(Path::new("/home/a/.ssh/id_ed25519")).unwrap(),
            "/home/a/.ssh/id_ed25519"
        );
        for path in [
            "/a b",
            "/a\"",
            "/a%h",
            "/$HOME/x",
            "/a;b",
            "/a\nHost *",
            "/ä",
        ] {
            assert!(plain(Path::new(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn a_file_of_somebody_else_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c");
        write(&file, "# a\nHost x\n", "a").unwrap();
        write(&file, "# a\nHost y\n", "a").unwrap();
        let error = write(&file, "# b\nHost z\n", "b").unwrap_err().to_string();
        assert!(error.contains("--file"), "{error}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "# a\nHost y\n");
    }
}
