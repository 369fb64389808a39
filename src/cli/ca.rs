//! `sshkeyd ca show|rotate`: the account's certificate authorities.
//!
//! Owns the wait for a new CA to sign. Refuses to rotate by an API key: that is for a person, who
//! gives the password.

use super::ask::{PasswordArgs, Person};
use super::cert::ask;
use super::exit::{Exit, Failed};
use super::output::Output;
use super::remote::{Remote, RemoteArgs};
use super::{duration, runtime};
use crate::client::ClientError;
use crate::wire::{Ca, CaRole, CaState, Cas, PasswordGiven, RotateCa};
use clap::{Subcommand, ValueEnum};
use std::time::Duration;
use zeroize::Zeroize as _;

/// Between two looks at whether it signs.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Shows them, each with where it stands
    Show {
        /// Those that sign for users, or for hosts; by default both
        role: Option<Of>,
        /// One JSON document
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Makes a new one, which signs once every live instance trusts it
    Rotate(RotateArgs),
}

#[derive(Debug, clap::Args)]
struct RotateArgs {
    /// Which
    role: Of,
    /// Somebody else may have the one that signs: it and all certificates by it are good for
    /// nothing at once, and the new one waits for nobody
    #[arg(long)]
    compromised: bool,
    #[command(flatten)]
    password: PasswordArgs,
    /// Wait until it signs, ten minutes by default
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "10m",
        value_parser = duration
    )]
    wait: Option<Duration>,
    /// One JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Whose certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Of {
    /// Those of people
    User,
    /// Those of instances
    Host,
}

impl Of {
    fn role(self) -> CaRole {
        match self {
            Self::User => CaRole::User,
            Self::Host => CaRole::Host,
        }
    }
}

/// Runs one of them.
pub(super) fn run(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    match args.action {
        Action::Show { role, json, remote } => {
            let remote = remote.open()?;
            let mut cas = runtime()?.block_on(ask(&remote, remote.cas()))?;
            if let Some(of) = role {
                cas.items.retain(|ca| ca.role == of.role());
                match of {
                    Of::User => cas.host_ca.clear(),
                    Of::Host => cas.user_ca.clear(),
                }
            }
            if json {
                out.json(&cas)?;
            } else {
                show(&cas, out);
            }
            Ok(Exit::Done)
        }
        Action::Rotate(args) => {
            let mut person = Person::here()?;
            runtime()?.block_on(rotate(args, &mut person, out))
        }
    }
}

async fn rotate(args: RotateArgs, person: &mut Person, out: &mut Output) -> anyhow::Result<Exit> {
    let remote = args.remote.open()?;
    let role = args.role.role();
    let question = format!("Password of the account at {}: ", remote.url);
    let password = person.password(&args.password, &question, out)?;
    let call = async |code: Option<String>| {
        let mut body = RotateCa {
            role,
            compromised: args.compromised,
            person: PasswordGiven {
                password: password.to_string(),
                code,
            },
        };
        let answer = remote.rotate_ca(&body).await;
        body.person.password.zeroize();
        answer
    };
    let answer = person.with_code(&args.password, call).await?;
    let mut cas = ask(&remote, async { answer }).await?;
    let new = newest(&cas, role).cloned().ok_or_else(|| {
        let text = format!("{}: names no new CA; see `sshkeyd ca show`", remote.url);
        Failed::new(Exit::NotDone, text)
    })?;
    if !args.json {
        out.line(&format!(
            "new CA for {} {}, {}",
            words_of(role),
            new.fingerprint,
            standing(&new)
        ));
        if role == CaRole::Host {
            let when = match args.compromised {
                true => "now: it signs already",
                false => "before it signs",
            };
            out.note(&format!(
                "let everybody run `sshkeyd known-hosts --write` {when}"
            ));
        }
    }
    let mut signs = new.state == CaState::Signing;
    if let Some(within) = args.wait.filter(|_| !signs) {
        (cas, signs) = wait(&remote, &new, within, cas, out).await?;
    }
    if args.json {
        out.json(&cas)?;
    }
    if args.wait.is_none() || signs {
        return Ok(Exit::Done);
    }
    let now = same(&cas, &new).unwrap_or(&new);
    out.error(&format!("it does not sign yet: {}", standing(now)));
    Ok(Exit::NotDone)
}

/// Looks until it signs, `within` at the longest. A look that gives no answer is not the last one.
async fn wait(
    remote: &Remote,
    new: &Ca,
    within: Duration,
    mut last: Cas,
    out: &mut Output,
) -> Result<(Cas, bool), Failed> {
    let mut progress = out.progress();
    let watch = async {
        loop {
            tokio::time::sleep(PAUSE).await;
            match remote.cas().await {
                Ok(cas) => {
                    last = cas;
                    let Some(now) = same(&last, new) else {
                        let text = "it left the account's list; see `sshkeyd ca show`";
                        return Err(Failed::new(Exit::NotDone, text));
                    };
                    let signs = now.state == CaState::Signing;
                    progress.show(out, u64::from(signs), 1, &standing(now));
                    if signs {
                        return Ok(());
                    }
                }
                Err(ClientError::Offline { .. } | ClientError::Timeout) => {}
                Err(ClientError::Busy { retry_after, .. }) => {
                    tokio::time::sleep(retry_after.unwrap_or(PAUSE)).await;
                }
                Err(error) => return Err(remote.explained(error)),
            }
        }
    };
    let ended = tokio::time::timeout(within, watch).await;
    progress.end(out);
    match ended {
        Ok(ended) => ended.map(|()| (last, true)),
        Err(_) => Ok((last, false)),
    }
}

/// The one that was made last.
fn newest(cas: &Cas, role: CaRole) -> Option<&Ca> {
    let of_role = cas.items.iter().filter(|ca| ca.role == role);
    of_role.max_by_key(|ca| (ca.created_at, ca.state == CaState::Next))
}

fn same<'a>(cas: &'a Cas, other: &Ca) -> Option<&'a Ca> {
    cas.items
        .iter()
        .find(|ca| ca.role == other.role && ca.fingerprint == other.fingerprint)
}

fn words_of(role: CaRole) -> &'static str {
    match role {
        CaRole::User => "users",
        CaRole::Host => "hosts",
    }
}

/// Where it stands, in words.
fn standing(ca: &Ca) -> String {
    let text = match ca.state {
        CaState::Next => "handed out, does not sign yet",
        CaState::Signing => "signs",
        CaState::Leaving => "signs no more; goes with its last certificate",
    };
    if ca.waits_for.is_empty() {
        return text.to_owned();
    }
    let ids: Vec<String> = ca.waits_for.iter().take(10).map(i64::to_string).collect();
    let more = match ca.waits_for.len().saturating_sub(ids.len()) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let what = match ca.waits_for.len() {
        1 => "instance",
        _ => "instances",
    };
    format!("{text}: waits for {what} {}{more}", ids.join(", "))
}

fn show(cas: &Cas, out: &mut Output) {
    let row = |ca: &Ca| {
        [
            words_of(ca.role).to_owned(),
            ca.fingerprint.clone(),
            format!("{:.0}", ca.created_at),
            standing(ca),
        ]
    };
    let rows: Vec<_> = cas.items.iter().map(row).collect();
    out.table(["FOR", "FINGERPRINT", "MADE", "STATE"], &rows);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::canned::{Canned, Reply};

    fn ca(name: &str, state: CaState, waits_for: &[i64], day: u8) -> Ca {
        Ca {
            role: CaRole::User,
            public_key: String::new(),
            fingerprint: name.to_owned(),
            state,
            created_at: format!("2026-11-{day:02}T19:00:00Z").parse().unwrap(),
            waits_for: waits_for.to_vec(),
        }
    }

    fn cas(items: &[Ca]) -> Cas {
        Cas {
            items: items.to_vec(),
            ..Cas::default()
        }
    }

    #[test]
    fn the_new_one_is_the_one_that_was_made_last() {
        let all = cas(&[
            ca("new", CaState::Next, &[3], 22),
            ca("old", CaState::Signing, &[], 21),
        ]);
        assert_eq!(newest(&all, CaRole::User).unwrap().fingerprint, "new");
        assert_eq!(newest(&all, CaRole::Host), None);
        let many: Vec<i64> = (1..=12).collect();
        let text = standing(&ca("x", CaState::Next, &many, 1));
        assert!(
            text.ends_with("instances 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_wait_ends_when_it_signs_and_says_for_whom_it_waits() {
        let reply = |ca: Ca| Reply::json(&serde_json::to_string(&cas(&[ca])).unwrap());
        let next = ca("new", CaState::Next, &[3], 22);
        let server = Canned::plain(vec![
            reply(next.clone()),
            reply(ca("new", CaState::Signing, &[], 22)),
        ])
        .await;
        let remote = Remote::of_test(&server.url);
        let (mut out, seen) = Output::captured();
        let within = Duration::from_secs(600);
        let ended = wait(&remote, &next, within, cas(&[]), &mut out).await;
        assert!(ended.unwrap().1);
        assert!(
            seen.err().contains("waits for instance 3"),
            "{}",
            seen.err()
        );
        server.requests().await;
    }
}
