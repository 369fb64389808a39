//! `sshkeyd audit [--follow]`: who did what from where with which key.
//!
//! Owns the order in which it is read, the oldest first, and how it is followed: asked for again and
//! again, so that it passes any proxy. Refuses to show a name or a reason as anything but one line.

use super::exit::{Exit, exit_of_client};
use super::output::Output;
use super::remote::{Remote, RemoteArgs};
use super::runtime;
use crate::client::{ClientError, clean};
use crate::wire::{AuditItem, Page};
use serde_json::Value;
use std::time::Duration;

/// Acts that one call asks for.
const PAGE: usize = 100;
/// Most pages that are read at once; of what is older, `--follow` says that it is left out.
const MOST_PAGES: usize = 50;
/// Between two looks.
const LOOK: Duration = Duration::from_secs(2);
/// Bytes of what an act was about.
const DETAIL: usize = 256;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show what is done from now on too, until it is stopped
    #[arg(long)]
    follow: bool,
    /// At most so many of the latest acts
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// JSON: one document, or with --follow one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Runs it.
pub(super) fn run(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    let remote = args.remote.open()?;
    runtime()?.block_on(async {
        let mut latest = remote.ask(latest(&remote, None, args.limit)).await?;
        latest.reverse();
        if args.follow {
            return follow(&remote, latest, args.json, out).await;
        }
        if args.json {
            out.json(&Page::whole(latest))?;
        } else {
            list(&latest, out);
        }
        Ok(Exit::Done)
    })
}

/// The latest acts, the newest first: at most `limit`, and of those after `known`.
async fn latest(
    remote: &Remote,
    known: Option<i64>,
    limit: usize,
) -> Result<Vec<AuditItem>, ClientError> {
    let known = known.unwrap_or(i64::MIN);
    let mut found: Vec<AuditItem> = Vec::new();
    let mut before: Option<String> = None;
    for _ in 0..MOST_PAGES {
        let wanted = PAGE.min(limit.saturating_sub(found.len()));
        if wanted == 0 {
            break;
        }
        let page = remote.audit(before.as_deref(), wanted).await?;
        let mut reached = page.items.iter().any(|item| item.id <= known);
        found.extend(page.items.into_iter().filter(|item| item.id > known));
        // A page without acts may have others behind it: its own were not for this key to read.
        let next = page.next.as_deref().and_then(|next| next.parse().ok());
        reached |= next.is_some_and(|next: i64| next <= known);
        if reached || page.next.is_none() || page.next == before {
            break;
        }
        before = page.next;
    }
    found.truncate(limit);
    Ok(found)
}

async fn follow(
    remote: &Remote,
    mut new: Vec<AuditItem>,
    json: bool,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    let mut known = None;
    let mut away = false;
    loop {
        for item in &new {
            if json {
                out.json(item)?;
            } else {
                out.line(&in_a_line(item));
            }
        }
        known = new.last().map(|item| item.id).or(known);
        if out.is_lost() {
            return Ok(Exit::Done);
        }
        tokio::time::sleep(LOOK).await;
        let most = PAGE * MOST_PAGES;
        new = match latest(remote, Some(known.unwrap_or(0)), most).await {
            Ok(mut found) => {
                if found.len() == most {
                    out.note("more was done than is shown here");
                }
                found.reverse();
                away = false;
                found
            }
            // It is waited for, and that is said once.
            Err(error) if exit_of_client(&error) == Exit::Unavailable => {
                let pause = error.retry_after().unwrap_or_default();
                if !away {
                    out.note(&format!("{error}; it is asked again"));
                }
                away = true;
                tokio::time::sleep(pause).await;
                Vec::new()
            }
            Err(error) => return Err(remote.explained(error).into()),
        };
    }
}

/// With which key, in words.
fn by(item: &AuditItem) -> String {
    let by = &item.by;
    let mut text = by.kind.clone();
    if let Some(id) = by.id {
        text.push_str(&format!(" {id}"));
    }
    if !by.name.is_empty() {
        text.push_str(&format!(" \"{}\"", by.name));
    }
    clean(&text, DETAIL)
}

/// Names, fingerprints and reasons, as `name=value`.
fn detail(item: &AuditItem) -> String {
    let words = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let text = match &item.detail {
        Value::Object(fields) => {
            let fields = fields.iter();
            let fields: Vec<String> = fields.map(|(k, v)| format!("{k}={}", words(v))).collect();
            fields.join(" ")
        }
        other => words(other),
    };
    clean(&text, DETAIL)
}

fn about(item: &AuditItem) -> String {
    item.about.map(|id| id.to_string()).unwrap_or_default()
}

fn in_a_line(item: &AuditItem) -> String {
    let mut text = format!("{:.0} {} {}", item.at, item.action, item.outcome);
    if item.about.is_some() {
        text.push_str(&format!(" {}", about(item)));
    }
    text.push_str(&format!(" by {}", by(item)));
    if !item.address.is_empty() {
        text.push_str(&format!(" from {}", item.address));
    }
    let detail = detail(item);
    if !detail.is_empty() {
        text.push_str(&format!(": {detail}"));
    }
    clean(&text, 4 * DETAIL)
}

fn list(items: &[AuditItem], out: &mut Output) {
    let row = |item: &AuditItem| {
        [
            format!("{:.0}", item.at),
            item.action.clone(),
            item.outcome.clone(),
            about(item),
            by(item),
            item.address.clone(),
            detail(item),
        ]
    };
    let rows: Vec<_> = items.iter().map(row).collect();
    let head = ["AT", "ACTION", "OUTCOME", "ABOUT", "BY", "FROM", "DETAIL"];
    out.table(head, &rows);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::canned::{Canned, Reply};

    fn page(ids: &[i64], next: &str) -> Reply {
        let row = |id: &i64| {
            format!(
                r#"{{"id":{id},"at":"2026-11-22T19:00:0{id}Z","action":"ssh-key.add",
                "outcome":"done","by":{{"kind":"session","id":3,"name":"lap\u001btop"}},
                "address":"203.0.113.9","about":7,"detail":{{"name":"a\nb","n":2}}}}"#
            )
        };
        let rows: Vec<String> = ids.iter().map(row).collect();
        Reply::json(&format!(
            r#"{{"items":[{}],"next":{next}}}"#,
            rows.join(",")
        ))
    }

    #[tokio::test]
    async fn the_latest_are_read_page_after_page_up_to_what_is_known_or_wanted() {
        let ids = async |replies, known, limit| {
            let server = Canned::plain(replies).await;
            let remote = Remote::of_test(&server.url);
            let found = latest(&remote, known, limit).await.unwrap();
            let ids: Vec<i64> = found.iter().map(|item| item.id).collect();
            (ids, server.requests().await)
        };
        let pages = || vec![page(&[9, 8], "\"8\""), page(&[7, 6], "\"6\"")];
        let unread = vec![page(&[], "\"8\""), page(&[4], "null")];
        assert_eq!(ids(unread, None, 100).await.0, [4]);
        let (found, requests) = ids(pages(), None, 3).await;
        assert_eq!(found, [9, 8, 7]);
        assert!(
            requests[0].starts_with("GET /v1/audit?limit=3 "),
            "{requests:?}"
        );
        assert!(
            requests[1].starts_with("GET /v1/audit?limit=1&before=8 "),
            "{requests:?}"
        );
        assert_eq!(ids(pages(), Some(7), 100).await.0, [9, 8]);
        assert_eq!(ids(vec![page(&[2, 1], "null")], None, 100).await.0, [2, 1]);
        assert!(ids(vec![page(&[], "null")], None, 100).await.0.is_empty());
    }

    #[tokio::test]
    async fn an_act_is_one_line_whatever_its_names_are() {
        let server = Canned::plain(vec![page(&[5], "null")]).await;
        let remote = Remote::of_test(&server.url);
        let items = latest(&remote, None, 9).await.unwrap();
        let line = "2026-11-22T19:00:05Z ssh-key.add done 7 by session 3 \"laptop\" \
                    from 203.0.113.9: n=2 name=a b";
        assert_eq!(in_a_line(&items[0]), line);
        let (mut out, seen) = Output::captured();
        list(&items, &mut out);
        assert_eq!(seen.out().lines().count(), 2);
    }
}
