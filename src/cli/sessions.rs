//! `sshkeyd sessions list|delete`: who and what is logged in to the account.
//!
//! Owns which sessions `--others` means: people's, but for the one that asks. Refuses to take an
//! agent's with them: an instance would be cut off from its keys.

use super::exit::{Exit, Failed};
use super::output::Output;
use super::remote::{Remote, RemoteArgs};
use super::runtime;
use crate::client::ClientError;
use crate::wire::AccountSession;
use clap::Subcommand;

/// What an agent's session is called.
const AGENT: &str = "agent";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists them: browsers, command lines, agents
    List {
        /// One JSON document
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Cuts devices off
    Delete {
        /// Sessions by their ids, as `list` shows them
        #[arg(
            value_name = "ID",
            required_unless_present = "others",
            conflicts_with = "others"
        )]
        ids: Vec<i64>,
        /// All browsers and command lines but this one; agents stay
        #[arg(long)]
        others: bool,
        #[command(flatten)]
        remote: RemoteArgs,
    },
}

/// Runs one of them.
pub(super) fn run(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    runtime()?.block_on(run_in(args, out))
}

async fn run_in(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    match args.action {
        Action::List { json, remote } => {
            let remote = remote.open()?;
            let page = remote.ask(remote.sessions()).await?;
            if json {
                out.json(&page)?;
            } else {
                list(&page.items, out);
            }
            Ok(Exit::Done)
        }
        Action::Delete {
            ids,
            others,
            remote,
        } => {
            let remote = remote.open()?;
            let ids = match others {
                true => others_of(&remote).await?,
                false => ids,
            };
            Ok(delete(&remote, &ids, others, out).await?)
        }
    }
}

/// Everybody else.
async fn others_of(remote: &Remote) -> Result<Vec<i64>, Failed> {
    let sessions = remote.ask(remote.sessions()).await?.items;
    if !sessions.iter().any(|session| session.current) {
        let text = "none of the sessions is yours, so all are others'; run `sshkeyd login` and ask \
                    without SSHKEYD_API_KEY, or give their ids";
        return Err(Failed::new(Exit::Usage, text));
    }
    let others = sessions
        .iter()
        .filter(|session| !session.current && session.kind != AGENT);
    Ok(others.map(|session| session.id).collect())
}

async fn delete(
    remote: &Remote,
    ids: &[i64],
    others: bool,
    out: &mut Output,
) -> Result<Exit, Failed> {
    if ids.is_empty() {
        out.note("there are no others");
    }
    let mut exit = Exit::Done;
    for id in ids {
        match remote.delete_session(*id).await {
            Ok(()) => out.line(&format!("deleted session {id}")),
            // It ended by itself since the list was read.
            Err(ClientError::NotFound(_)) if others => {}
            // The others are to be cut off all the same.
            Err(error @ (ClientError::NotFound(_) | ClientError::Forbidden(_))) => {
                let failed = remote.explained(error);
                out.error(&format!("session {id}: {failed}"));
                exit = failed.exit();
            }
            Err(error) => return Err(remote.explained(error)),
        }
    }
    Ok(exit)
}

fn list(sessions: &[AccountSession], out: &mut Output) {
    let row = |session: &AccountSession| {
        let seen = session.last_seen.map(|at| format!("{at:.0}"));
        let expires = session.expires_at.map(|at| format!("{at:.0}"));
        let name = match session.instance {
            Some(instance) => format!("{} (instance {instance})", session.device.name),
            None => session.device.name.clone(),
        };
        [
            session.id.to_string(),
            session.kind.clone(),
            name,
            session.device.os.clone(),
            session.device.address.clone(),
            format!("{:.0}", session.created_at),
            seen.unwrap_or_default(),
            expires.unwrap_or_else(|| "never".to_owned()),
            if session.current { "yes" } else { "" }.to_owned(),
        ]
    };
    let rows: Vec<_> = sessions.iter().map(row).collect();
    let head = [
        "ID",
        "KIND",
        "NAME",
        "SYSTEM",
        "ADDRESS",
        "CREATED",
        "LAST SEEN",
        "EXPIRES",
        "YOURS",
    ];
    out.table(head, &rows);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::canned::{Canned, Reply};

    fn page(current: bool) -> Reply {
        let row = |id: i64, kind: &str, current: bool| {
            format!(
                r#"{{"id":{id},"kind":"{kind}","device":{{"name":"box","os":"Debian",
                "address":"203.0.113.9"}},"created_at":"2026-11-22T19:00:00Z","last_seen":null,
                "expires_at":null,"current":{current}}}"#
            )
        };
        let rows = [
            row(1, "browser", false),
            row(2, "cli", current),
            row(3, "agent", false),
            row(4, "cli", false),
        ];
        Reply::json(&format!(r#"{{"items":[{}],"next":null}}"#, rows.join(",")))
    }

    #[tokio::test]
    async fn others_are_peoples_and_never_an_agents_or_ones_own() {
        let gone = Reply::new("204 No Content", &[], "");
        let ended = Reply::new("404 Not Found", &[], "");
        let server = Canned::plain(vec![page(true), gone, ended]).await;
        let remote = Remote::of_test(&server.url);
        let others = others_of(&remote).await.unwrap();
        assert_eq!(others, [1, 4]);
        let (mut out, seen) = Output::captured();
        let end = delete(&remote, &others, true, &mut out).await.unwrap();
        assert_eq!(
            (end, seen.out().as_str()),
            (Exit::Done, "deleted session 1\n")
        );
        let requests = server.requests().await;
        assert!(
            requests[2].starts_with("DELETE /v1/sessions/4 HTTP"),
            "{requests:?}"
        );

        // To an API key all of them are others.
        let server = Canned::plain(vec![page(false)]).await;
        let error = others_of(&Remote::of_test(&server.url)).await.unwrap_err();
        assert!(error.to_string().contains("sshkeyd login"), "{error}");
    }

    #[tokio::test]
    async fn one_that_is_not_there_is_said_and_the_next_is_deleted() {
        let none = Reply::new("404 Not Found", &[], "");
        let gone = Reply::new("204 No Content", &[], "");
        let server = Canned::plain(vec![none, gone]).await;
        let (mut out, seen) = Output::captured();
        let remote = Remote::of_test(&server.url);
        let end = delete(&remote, &[8, 9], false, &mut out).await.unwrap();
        assert_eq!(end, Exit::NotDone);
        assert!(
            seen.err().contains("session 8: not found"),
            "{}",
            seen.err()
        );
        assert_eq!(seen.out(), "deleted session 9\n");
    }

    #[tokio::test]
    async fn the_list_says_which_one_is_yours() {
        let server = Canned::plain(vec![page(true)]).await;
        let remote = Remote::of_test(&server.url);
        let sessions = remote.sessions().await.unwrap().items;
        let (mut out, seen) = Output::captured();
        list(&sessions, &mut out);
        let yours: Vec<String> = seen
            .out()
            .lines()
            .filter(|line| line.ends_with("yes"))
            .map(|line| line[..1].to_owned())
            .collect();
        assert_eq!(yours, ["2"]);
    }
}
