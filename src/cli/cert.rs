//! `sshkeyd cert`: a user certificate into the ssh-agent or beside a key, and `cert revoke`.
//!
//! Owns when another one is asked for, so that ssh_config(5) may call it at every start (`Match …
//! exec`): nothing is asked while there is one with more than a third of its life left, one start
//! asks where many come at once, and a service that is away costs nothing while there is one that
//! is good. Refuses to use a certificate that it has not checked.

mod check;
mod key_file;
mod mark;
mod missed;
mod place;
mod revoke;
mod ssh_agent;
#[cfg(test)]
mod tests;

pub(super) use key_file::{KeyFile, dot_ssh};
pub(super) use place::Place;

use super::exit::{Exit, Failed};
use super::output::Output;
use super::remote::{Asker, Remote, RemoteArgs};
use super::saved::{Env, Saved};
use super::{env, runtime};
use crate::client::ClientError;
use crate::config::parse_duration;
use crate::sys::clock;
use crate::sys::turn::Turn;
use crate::wire::NewUserCertificate;
use check::checked;
use clap::Subcommand;
use jiff::Timestamp;
use mark::{Mark, Present};
use missed::Missed;
use serde::Serialize;
use ssh_agent::SshAgent;
use std::path::PathBuf;
use std::time::Duration;

/// How long one start waits for another that asks already.
const TURN_WITHIN: Duration = Duration::from_secs(25);
/// How long the service may take for a certificate.
const ASK_WITHIN: Duration = Duration::from_secs(20);

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    want: Want,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Revokes certificates before they end
    Revoke(revoke::Args),
}

#[derive(Debug, clap::Args)]
struct Want {
    /// A key of yours, by either half; its certificate goes beside it. Without one: a fresh key in
    /// the ssh-agent where that is, else your own key in ~/.ssh
    #[arg(value_name = "KEY")]
    key: Option<PathBuf>,
    /// How long it is to be good, as in 8h; a day at the most, and no longer than the login
    #[arg(long, value_name = "TIME", value_parser = ttl)]
    ttl: Option<String>,
    /// Into the ssh-agent or nowhere
    #[arg(long, conflicts_with_all = ["key", "beside"])]
    agent: bool,
    /// Beside a key, also where there is an ssh-agent
    #[arg(long)]
    beside: bool,
    /// Ask for nothing while there is one with more than a third of its life left
    #[arg(long)]
    if_needed: bool,
    /// Say nothing, unless there is none in the end
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
    /// One JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// For clap: a time, as it is sent.
fn ttl(text: &str) -> Result<String, String> {
    match parse_duration(text) {
        Ok(time) if time.is_zero() => Err("a certificate is good for some time".to_owned()),
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error}; as in 30m or 8h")),
    }
}

/// Runs it.
pub(super) fn run(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    match args.action {
        Some(Action::Revoke(args)) => revoke::run(args, out),
        None => get(&args.want, &env, out),
    }
}

fn get(want: &Want, env: Env<'_>, out: &mut Output) -> anyhow::Result<Exit> {
    let asker = want.remote.asker(env)?;
    let place = Place::meant(want.key.as_deref(), want.agent, want.beside, env)?;
    if !want.if_needed {
        let got = renew(want, &place, &asker, env)?;
        return tell(want, &place, &got, true, out);
    }
    let began = clock::now();
    let present = place.present(&asker)?;
    if let Some(present) = present.as_ref().filter(|present| !present.is_due(began)) {
        return tell(want, &place, present, false, out);
    }
    let good = present.filter(|present| present.is_good(began));
    let mut turn = match (turn(good.is_some(), env), &good) {
        // Somebody asks already, and there is time.
        (Taken::Elsewhere, Some(good)) => return tell(want, &place, good, false, out),
        (Taken::Elsewhere | Taken::Unknown, _) => None,
        (Taken::Ours(turn), _) => Some(turn),
    };
    let about = format!("{} {} {}", asker.url, asker.tag, place.words());
    if let Some(turn) = &mut turn {
        let now = clock::now();
        let there = place.present(&asker)?;
        if let Some(there) = there.filter(|there| !there.is_due(now)) {
            return tell(want, &place, &there, false, out);
        }
        let missed = Missed::read(&turn.word().unwrap_or_default(), &about);
        match (missed, &good) {
            (Some(missed), Some(good)) if missed.is_recent(now) => {
                return tell(want, &place, good, false, out);
            }
            // It was tried while this one waited, and has failed.
            (Some(missed), None) if missed.at >= began => return Err(missed.into_failed().into()),
            _ => {}
        }
    }
    match renew(want, &place, &asker, env) {
        Ok(got) => {
            if let Some(turn) = &mut turn {
                // What is left there has no weight once there is a certificate.
                let _ = turn.leave("");
            }
            tell(want, &place, &got, true, out)
        }
        Err(failed) => {
            if let Some(turn) = &mut turn {
                // Whoever cannot read it tries for himself.
                let _ = turn.leave(&Missed::of(&failed, about, clock::now()).to_word());
            }
            let Some(good) = good else {
                return Err(failed.into());
            };
            if !want.quiet {
                out.note(&format!("{failed}; the certificate that is there stays"));
            }
            tell(want, &place, &good, false, out)
        }
    }
}

/// Whose turn it is to ask.
enum Taken {
    Ours(Turn),
    Elsewhere,
    /// There is no place for a lock: everybody asks for himself.
    Unknown,
}

/// Takes the turn; waits for it where there is nothing to use meanwhile.
fn turn(in_no_hurry: bool, env: Env<'_>) -> Taken {
    let Ok(path) = Saved::prepare(env) else {
        return Taken::Unknown;
    };
    let path = path.with_file_name("cert.lock");
    let taken = match in_no_hurry {
        true => Turn::try_take(&path),
        false => Turn::wait(&path, TURN_WITHIN),
    };
    match taken {
        Ok(Some(turn)) => Taken::Ours(turn),
        Ok(None) => Taken::Elsewhere,
        Err(_) => Taken::Unknown,
    }
}

/// Asks for one, checks it, and puts it where it is to be.
fn renew(want: &Want, place: &Place, asker: &Asker, env: Env<'_>) -> Result<Present, Failed> {
    let remote = want.remote.clone().open_in(env)?;
    let subject = place.subject()?;
    let new = NewUserCertificate {
        public_key: subject.public().to_string(),
        ttl: want.ttl.clone(),
    };
    let ask = async {
        let answer = ask(&remote, remote.certify_user(&new)).await?;
        let cas = ask(&remote, remote.cas()).await?;
        Ok((answer, cas))
    };
    let within = async { tokio::time::timeout(ASK_WITHIN, ask).await };
    let runtime = runtime().map_err(|error| Failed::new(Exit::NotDone, error))?;
    let answered = runtime.block_on(within);
    // A name that does not resolve is not waited for.
    runtime.shutdown_background();
    let (answer, cas) = answered.unwrap_or_else(|_| Err(remote.explained(ClientError::Timeout)))?;
    let now = clock::now();
    let certificate = checked(&answer, subject.public(), &cas, now).map_err(|fault| {
        let text = format!(
            "the certificate that came from {} is not used: {fault}; check the clock of this \
             machine and the service",
            remote.url
        );
        Failed::new(Exit::NotDone, text)
    })?;
    let principal = certificate.principals().first().cloned();
    let mark = Mark {
        principal: principal.unwrap_or_default(),
        asker: asker.clone(),
    };
    place.put(&subject, (&answer, &certificate), &mark, &cas, now)?;
    Ok(Present { certificate, mark })
}

/// Waits for an answer about certificates; a service that knows no such call says so.
///
/// # Errors
/// What the call met, and what to do about it.
pub(super) async fn ask<T>(
    remote: &Remote,
    call: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, Failed> {
    call.await.map_err(|error| match error {
        ClientError::NotFound(_) => {
            let text = format!(
                "{} has no certificates; it is older than this program, or no sshkeyd service",
                remote.url
            );
            Failed::new(Exit::NotDone, text)
        }
        error => remote.explained(error),
    })
}

/// What came of it, for programs.
#[derive(Serialize)]
struct Told<'a> {
    renewed: bool,
    place: &'static str,
    path: Option<&'a PathBuf>,
    url: &'a str,
    serial: u64,
    key_id: &'a str,
    principals: &'a [String],
    fingerprint: String,
    valid_after: Timestamp,
    valid_before: Timestamp,
}

fn tell(
    want: &Want,
    place: &Place,
    present: &Present,
    renewed: bool,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    let certificate = &present.certificate;
    if want.json {
        let (word, path) = match place {
            Place::Agent(_) => ("agent", None),
            Place::Beside(key) => ("file", Some(&key.certificate)),
        };
        out.json(&Told {
            renewed,
            place: word,
            path,
            url: &present.mark.asker.url,
            serial: certificate.serial(),
            key_id: certificate.key_id(),
            principals: certificate.principals(),
            fingerprint: certificate.key().fingerprint().to_string(),
            valid_after: certificate.valid_after(),
            valid_before: certificate.valid_before(),
        })?;
    } else if !want.quiet {
        let also = match renewed {
            true => "",
            false => "; no other one was asked for",
        };
        out.line(&format!(
            "certificate {} for {}, good until {:.0}, {}{also}",
            certificate.serial(),
            present.mark.principal,
            certificate.valid_before(),
            place.words()
        ));
    }
    Ok(Exit::Done)
}

/// Has the ssh-agent, where there is one, forget what this login got.
pub(super) fn forget_those_of(asker: &Asker, env: Env<'_>) {
    let socket = env("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
    if let Some(agent) = socket.and_then(|path| SshAgent::at(path.into())) {
        place::forget(&agent, |mark, _| mark.asker == *asker);
    }
}
