//! `sshkeyd login|logout|whoami`: a session key for this person and device.
//!
//! Owns what a login sends and what is kept of it. One login is current: another one takes its
//! place, and the session before it is ended at the service that gave it. Refuses to ask for a
//! password that could not be kept a session of.

use super::ask::{PasswordArgs, Person};
use super::cert;
use super::exit::{Exit, Failed};
use super::output::Output;
use super::remote::{Asker, RemoteArgs, Who, api, explained};
use super::saved::{Env, Hidden, Login, Saved, service_url};
use super::{env, runtime};
use crate::client::ClientError;
use crate::sys::{os, users};
use crate::wire::{Account, LoginAnswer, LoginDevice, LoginRequest};
use serde_json::Value;
use std::path::PathBuf;
use zeroize::{Zeroize as _, Zeroizing};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The service's address, as in https://keys.example.com; by default that of the login before
    #[arg(env = "SSHKEYD_URL", value_name = "URL")]
    url: Option<String>,
    /// Whose account; asked for where it is not given
    #[arg(long)]
    email: Option<String>,
    #[command(flatten)]
    password: PasswordArgs,
    /// Trust only the CAs of this PEM file, also from then on
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct WhoamiArgs {
    /// One JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Logs in.
pub(super) fn login(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    let mut person = Person::here()?;
    Ok(runtime()?.block_on(login_in(args, &mut person, &env, out))?)
}

async fn login_in(
    args: Args,
    person: &mut Person,
    env: Env<'_>,
    out: &mut Output,
) -> Result<Exit, Failed> {
    let path = Saved::prepare(env)?;
    let mut saved = Saved::load(env)?;
    let before = saved.login.take();
    let given = args.url.filter(|url| !url.trim().is_empty());
    let url = match (given, &before) {
        (Some(url), _) => service_url(&url)?,
        (None, Some(before)) => before.url.clone(),
        (None, None) => {
            let text = "no service named; give its address, as in \
                        sshkeyd login https://keys.example.com";
            return Err(Failed::new(Exit::Usage, text));
        }
    };
    let here = before.as_ref().filter(|before| before.url == url);
    let ca_file = match args.ca_file {
        Some(file) => Some(std::path::absolute(&file).map_err(|error| {
            let text = format!("{}: {error}; name a PEM file", file.display());
            Failed::new(Exit::Usage, text)
        })?),
        None => here.and_then(|before| before.ca_file.clone()),
    };
    let api = api(&url, None, ca_file.clone())?;
    let email = match args.email {
        Some(email) => email.trim().to_owned(),
        None => email(person, here)?,
    };
    let question = format!("Password of {email} at {url}: ");
    let password = person.password(&args.password, &question, out)?;
    let token = saved.device_token(&url, &email);
    let call = async |code: Option<String>| {
        let mut request = LoginRequest {
            email: email.clone(),
            password: password.to_string(),
            code,
            device: Some(device()),
            device_token: token.clone(),
        };
        let answer = api.login(&request).await;
        request.password.zeroize();
        answer
    };
    let answer = person.with_code(&args.password, call).await?;
    let LoginAnswer {
        session_key,
        expires_at,
        device_token,
    } = answer.map_err(|error| explained(error, Who::Nobody))?;
    let session_key = session_key.ok_or_else(|| {
        let text = format!("{url}: no session key came; check that this is an sshkeyd service");
        Failed::new(Exit::NotDone, text)
    })?;
    let session_key = Hidden(Zeroizing::new(session_key));
    if let Some(token) = device_token {
        saved.set_device_token(&url, &email, token);
    }
    saved.login = Some(Login {
        url: url.clone(),
        email: email.clone(),
        session_key: session_key.clone(),
        expires_at,
        ca_file,
    });
    if let Err(failed) = saved.store(&path) {
        // Nobody would hold its key: it is not to live on for a week.
        if let Ok(api) = api.with_token(session_key.0) {
            let _ = api.logout().await;
        }
        return Err(failed);
    }
    out.line(&format!(
        "logged in at {url} as {email}, until {expires_at:.0}"
    ));
    if let Some(before) = before {
        if before.url != url {
            out.note(&format!("the login at {} was given up for it", before.url));
        }
        if let Err(why) = end(&before).await {
            out.note(&still_alive(&before, &why));
        }
    }
    if env("SSHKEYD_API_KEY").is_some_and(|key| !key.is_empty()) {
        out.note("SSHKEYD_API_KEY is set and goes before this login; unset it to use the login");
    }
    Ok(Exit::Done)
}

/// Asks for the address, or takes the one that was there before.
fn email(person: &mut Person, before: Option<&Login>) -> Result<String, Failed> {
    let question = match before {
        Some(before) => format!("E-mail [{}]: ", before.email),
        None => "E-mail: ".to_owned(),
    };
    let answer = person.line(&question, "nobody to ask for the e-mail; give --email")?;
    match before {
        Some(before) if answer.is_empty() => Ok(before.email.clone()),
        _ if answer.is_empty() => Err(Failed::new(Exit::Usage, "no e-mail given; give --email")),
        _ => Ok(answer),
    }
}

/// This device, in its own words.
fn device() -> LoginDevice {
    LoginDevice {
        name: users::hostname(),
        os: os::pretty_name(),
    }
}

/// Ends a session at its service; one that is dead already is well ended.
async fn end(login: &Login) -> Result<(), Failed> {
    let key = Some(login.session_key.clone());
    let api = api(&login.url, key, login.ca_file.clone())?;
    match api.logout().await {
        Ok(()) | Err(ClientError::Unauthorized(_)) => Ok(()),
        Err(error) => Err(explained(error, Who::Nobody)),
    }
}

fn still_alive(login: &Login, why: &Failed) -> String {
    format!(
        "{why}; the session at {} could not be ended there and lives until {:.0}: end it with \
         `sshkeyd sessions delete` from another login",
        login.url, login.expires_at
    )
}

/// Logs out: the session ends at the service, and its key is gone from here in any case.
pub(super) fn logout(out: &mut Output) -> anyhow::Result<Exit> {
    Ok(runtime()?.block_on(logout_in(&env, out))?)
}

async fn logout_in(env: Env<'_>, out: &mut Output) -> Result<Exit, Failed> {
    let mut saved = Saved::load(env)?;
    let (Some(path), Some(login)) = (Saved::path(env), saved.login.take()) else {
        out.note("nobody is logged in here");
        return Ok(Exit::Done);
    };
    let ended = end(&login).await;
    saved.store(&path)?;
    // Its certificates are dead now, and would only be tried in vain.
    cert::forget_those_of(&Asker::of(login.url.clone(), &login.session_key), env);
    match ended {
        Ok(()) => {
            out.line(&format!("logged out of {}", login.url));
            Ok(Exit::Done)
        }
        Err(why) => {
            out.error(&still_alive(&login, &why));
            out.line(&format!("the key of the login at {} is gone", login.url));
            Ok(why.exit())
        }
    }
}

/// Shows whose account the commands work on, and with what right.
pub(super) fn whoami(args: WhoamiArgs, out: &mut Output) -> anyhow::Result<Exit> {
    let remote = args.remote.open()?;
    let account = runtime()?.block_on(remote.ask(remote.account()))?;
    if args.json {
        out.json(&account)?;
    } else {
        show(&account, &remote.url, out);
    }
    Ok(Exit::Done)
}

fn show(account: &Account, url: &str, out: &mut Output) {
    out.line(&format!(
        "{}, account {} at {url}",
        account.email, account.account
    ));
    let key = &account.key;
    let kind = match key.kind.as_str() {
        "api-key" => "API key".to_owned(),
        kind => format!("{kind} session"),
    };
    let until = match key.expires_at {
        Some(at) => format!("until {at:.0}"),
        None => "without an end".to_owned(),
    };
    out.line(&format!("by {kind} {} \"{}\", {until}", key.id, key.name));
    out.line(&format!("may do: {}", rights(&account.rights)));
    let factor = match account.totp {
        true => "a second factor is asked for at login",
        false => "no second factor; the console and the API can set one",
    };
    out.line(factor);
}

/// A permission tree in a few words: its categories, with a mark where one is narrowed.
pub(super) fn rights(tree: &Value) -> String {
    let Some(api) = tree.get("api").and_then(Value::as_object) else {
        return "nothing".to_owned();
    };
    if api.is_empty() {
        return "everything".to_owned();
    }
    let word = |(name, below): (&String, &Value)| {
        let narrowed = below.as_object().is_none_or(|below| !below.is_empty());
        let name = if name == "*" { "all others" } else { name };
        match narrowed {
            true => format!("{name} (in part)"),
            false => name.to_owned(),
        }
    };
    let words: Vec<String> = api.iter().map(word).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests;
