//! How a person's command reaches the service: address, API key or saved login, CA.
//!
//! Owns `--url`, `--api-key`, `--ca-file` and their variables (interface.md section 1), which of
//! them goes before the saved login, and what to do about a call that gave no answer. Refuses to
//! send a session key to any service but the one that gave it.

use super::exit::{Exit, Failed, exit_of_client};
use super::saved::{Env, Hidden, Login, Saved, service_url};
use crate::client::{Api, ClientError, Http, HttpOptions};
use sha2::{Digest as _, Sha256};
use std::convert::Infallible;
use std::ops::Deref;
use std::path::PathBuf;
use zeroize::Zeroizing;

const NO_URL: &str = "no service named; run `sshkeyd login URL`, give --url, or set SSHKEYD_URL, \
                      as in https://keys.example.com";

/// Where the service is, and by what right it is asked.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Service")]
pub(super) struct RemoteArgs {
    /// The service's address, as in https://keys.example.com; by default that of the saved login
    #[arg(long, env = "SSHKEYD_URL", value_name = "URL")]
    url: Option<String>,
    /// An API key of the account (skd_api_…), in the place of the saved login; better given by the
    /// variable than on a command line
    #[arg(
        long,
        env = "SSHKEYD_API_KEY",
        hide_env_values = true,
        value_name = "KEY",
        value_parser = api_key
    )]
    api_key: Option<Hidden>,
    /// Trust only the CAs of this PEM file
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// For clap: any text may be given, an empty variable too; [`RemoteArgs::open`] judges it.
fn api_key(text: &str) -> Result<Hidden, Infallible> {
    Ok(Hidden(Zeroizing::new(text.trim().to_owned())))
}

/// What is asked with what.
struct Means {
    url: String,
    token: Hidden,
    ca_file: Option<PathBuf>,
    by_login: bool,
}

impl RemoteArgs {
    /// The service, ready to be called.
    ///
    /// # Errors
    /// 64 without an address or with one that may not be called, 77 without an API key or a login,
    /// 78 for a saved login that is not to be trusted.
    pub(super) fn open(self) -> Result<Remote, Failed> {
        self.open_in(&super::env)
    }

    /// The same in another environment.
    pub(super) fn open_in(self, env: Env<'_>) -> Result<Remote, Failed> {
        let means = self.means(env)?;
        let api = api(&means.url, Some(means.token), means.ca_file)?;
        Ok(Remote {
            api,
            url: means.url,
            by_login: means.by_login,
        })
    }

    /// Who would ask whom; nothing is asked for that.
    ///
    /// # Errors
    /// As [`RemoteArgs::open`].
    pub(super) fn asker(&self, env: Env<'_>) -> Result<Asker, Failed> {
        let means = self.clone().means(env)?;
        Ok(Asker::of(means.url, &means.token))
    }

    fn means(self, env: Env<'_>) -> Result<Means, Failed> {
        let url = self.url.filter(|url| !url.trim().is_empty());
        let url = url.map(|url| service_url(&url)).transpose()?;
        let token = self.api_key.filter(|key| !key.0.is_empty());
        let given = match (url, token) {
            // A broken login must not stand in the way of who needs none.
            (Some(url), Some(token)) => {
                return Ok(Means {
                    url,
                    token,
                    ca_file: self.ca_file,
                    by_login: false,
                });
            }
            given => given,
        };
        let login = Saved::load(env)?.login;
        let trusted = |login: &Login| self.ca_file.clone().or_else(|| login.ca_file.clone());
        match (given, login) {
            ((url, None), Some(login)) if url.as_ref().is_none_or(|url| *url == login.url) => {
                Ok(Means {
                    ca_file: trusted(&login),
                    url: login.url,
                    token: login.session_key,
                    by_login: true,
                })
            }
            ((Some(url), None), login) => {
                let elsewhere = login.map(|login| format!(", but at {}", login.url));
                let text = format!(
                    "not logged in at {url}{}; run `sshkeyd login {url}`, or set SSHKEYD_API_KEY",
                    elsewhere.unwrap_or_default()
                );
                Err(Failed::new(Exit::NotPermitted, text))
            }
            ((None, Some(token)), Some(login)) => Ok(Means {
                ca_file: trusted(&login),
                url: login.url,
                token,
                by_login: false,
            }),
            _ => Err(Failed::new(Exit::Usage, NO_URL)),
        }
    }
}

/// Who asks whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asker {
    /// The service's address.
    pub(super) url: String,
    /// Eight hexadecimal digits that are others for another login or API key: what was got by a
    /// login that has ended is dead, and is told from what is not by this.
    pub(super) tag: String,
}

impl Asker {
    /// Whoever has this token there.
    pub(super) fn of(url: String, token: &Hidden) -> Self {
        let digest = Sha256::digest(token.0.as_bytes());
        let tag = digest.iter().take(4).map(|byte| format!("{byte:02x}"));
        let tag = tag.collect();
        Self { url, tag }
    }
}

/// The service at an address, with a token or none.
///
/// # Errors
/// As [`Api::try_new`], with what to do.
pub(super) fn api(
    url: &str,
    token: Option<Hidden>,
    ca_file: Option<PathBuf>,
) -> Result<Api, Failed> {
    let http = http(ca_file, false)?;
    Api::try_new(http, url, token.map(|token| token.0)).map_err(|e| explained(e, Who::Nobody))
}

/// The client of a person's command.
///
/// # Errors
/// As [`Http::try_new`], with what to do.
pub(super) fn http(ca_file: Option<PathBuf>, one_shot: bool) -> Result<Http, Failed> {
    Http::try_new(&HttpOptions {
        ca_file,
        proxy: true,
        user_agent: concat!("sshkeyd/", env!("CARGO_PKG_VERSION")).to_owned(),
        one_shot,
    })
    .map_err(|error| explained(error, Who::Nobody))
}

/// The service as this command asks it.
pub(super) struct Remote {
    api: Api,
    /// Its address.
    pub(super) url: String,
    /// It is asked with the saved login, not with an API key.
    pub(super) by_login: bool,
}

impl Deref for Remote {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl Remote {
    /// Waits for a call's answer.
    ///
    /// # Errors
    /// What the call met, and what to do about it.
    pub(super) async fn ask<T>(
        &self,
        call: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, Failed> {
        call.await.map_err(|error| self.explained(error))
    }

    /// What is wrong, and what the person at the keyboard can do about it.
    pub(super) fn explained(&self, error: ClientError) -> Failed {
        let who = match self.by_login {
            true => Who::Login,
            false => Who::ApiKey,
        };
        explained(error, who)
    }

    /// A service of a test, asked with an API key.
    #[cfg(test)]
    pub(super) fn of_test(url: &str) -> Self {
        let token = Hidden(Zeroizing::new("skd_api_x".to_owned()));
        Self {
            api: api(url, Some(token), None).unwrap(),
            url: url.to_owned(),
            by_login: false,
        }
    }
}

/// By what right something was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// Without any yet.
    Nobody,
    /// By the saved login.
    Login,
    /// By an API key.
    ApiKey,
}

/// What is wrong with a call of theirs, and what to do about it.
pub(super) fn explained(error: ClientError, who: Who) -> Failed {
    let person_only = error.problem().is_some_and(|p| p.code == "person-only");
    let todo = match &error {
        ClientError::Offline { .. } => {
            "; check the service's address, and that the service is running".to_owned()
        }
        ClientError::Timeout => "; check the service's address, or try again".to_owned(),
        ClientError::Unauthorized(_) => match who {
            Who::Login => "; run `sshkeyd login`".to_owned(),
            Who::ApiKey => {
                "; check the API key in SSHKEYD_API_KEY, or run `sshkeyd login` and unset it"
                    .to_owned()
            }
            Who::Nobody => String::new(),
        },
        ClientError::Forbidden(_) if person_only => {
            "; run `sshkeyd login`, and ask without SSHKEYD_API_KEY".to_owned()
        }
        ClientError::Forbidden(_) if who == Who::ApiKey => {
            "; use an API key that may do this, or `sshkeyd login`".to_owned()
        }
        ClientError::Busy {
            retry_after: Some(wait),
            ..
        } => format!("; try again in {} s", wait.as_secs()),
        ClientError::Busy { .. } | ClientError::Fault(_) => "; try again".to_owned(),
        ClientError::TooLarge { .. } | ClientError::Malformed { .. } => {
            "; check that the address is that of an sshkeyd service".to_owned()
        }
        // The others are about what was asked for: the service's words say what to do.
        _ => String::new(),
    };
    Failed::new(exit_of_client(&error), format!("{error}{todo}"))
}

#[cfg(test)]
mod tests;
