//! How a person's command reaches the service: address, API key, CA.
//!
//! Owns `--url`, `--api-key`, `--ca-file` and their variables (interface.md section 1), and what to
//! do about a call that gave no answer. Refuses to start without them; keeps nothing on disk.

use super::exit::{Exit, Failed, exit_of_client};
use crate::client::{Api, ClientError, Http, HttpOptions};
use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use zeroize::Zeroizing;

const NO_URL: &str = "no service named; give --url or set SSHKEYD_URL, \
                      as in https://keys.example.com";
const NO_API_KEY: &str = "no API key; set SSHKEYD_API_KEY to the key that \
                          `sshkeyd account add` printed";

/// Where the service is, and by what right it is asked.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Service")]
pub(super) struct RemoteArgs {
    /// The service's address, as in https://keys.example.com
    #[arg(long, env = "SSHKEYD_URL", value_name = "URL")]
    url: Option<String>,
    /// An API key of the account (skd_api_…); better given by the variable than on a command line
    #[arg(
        long,
        env = "SSHKEYD_API_KEY",
        hide_env_values = true,
        value_name = "KEY",
        value_parser = api_key
    )]
    api_key: Option<ApiKey>,
    /// Trust only the CAs of this PEM file
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// An API key as it was given. No part of `Debug`.
#[derive(Clone)]
struct ApiKey(Zeroizing<String>);

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey")
    }
}

/// For clap: any text may be given, an empty variable too; [`RemoteArgs::api`] judges it.
fn api_key(text: &str) -> Result<ApiKey, Infallible> {
    Ok(ApiKey(Zeroizing::new(text.trim().to_owned())))
}

impl RemoteArgs {
    /// The service, ready to be called.
    ///
    /// # Errors
    /// 64 without an address or with one that may not be called, 77 without an API key.
    pub(super) fn api(self) -> anyhow::Result<Api> {
        let url = self
            .url
            .as_deref()
            .map(str::trim)
            .filter(|url| !url.is_empty());
        let url = url.ok_or_else(|| Failed::new(Exit::Usage, NO_URL))?;
        let api_key = self.api_key.filter(|key| !key.0.is_empty());
        let api_key = api_key.ok_or_else(|| Failed::new(Exit::NotPermitted, NO_API_KEY))?;
        let http = Http::try_new(&HttpOptions {
            ca_file: self.ca_file,
            proxy: true,
            user_agent: concat!("sshkeyd/", env!("CARGO_PKG_VERSION")).to_owned(),
            one_shot: false,
        })
        .map_err(explained)?;
        Ok(Api::try_new(http, url, Some(api_key.0)).map_err(explained)?)
    }
}

/// What is wrong, and what the person at the keyboard can do about it.
pub(super) fn explained(error: ClientError) -> Failed {
    let todo = match &error {
        ClientError::Offline { .. } => "; check --url, and that the service is running".to_owned(),
        ClientError::Timeout => "; check --url, or try again".to_owned(),
        ClientError::Unauthorized(_) => "; check the API key in SSHKEYD_API_KEY".to_owned(),
        ClientError::Forbidden(_) => "; use an API key that may do this".to_owned(),
        ClientError::Busy {
            retry_after: Some(wait),
            ..
        } => format!("; try again in {} s", wait.as_secs()),
        ClientError::Busy { .. } | ClientError::Fault(_) => "; try again".to_owned(),
        ClientError::TooLarge { .. } | ClientError::Malformed { .. } => {
            "; check that --url is the address of an sshkeyd service".to_owned()
        }
        // The others are about what was asked for: the service's words say what to do.
        _ => String::new(),
    };
    Failed::new(exit_of_client(&error), format!("{error}{todo}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::exit_of;

    fn args(url: Option<&str>, key: Option<&str>) -> RemoteArgs {
        RemoteArgs {
            url: url.map(str::to_owned),
            api_key: key.map(|key| api_key(key).unwrap()),
            ca_file: None,
        }
    }

    #[test]
    fn what_is_missing_is_named_with_its_variable() {
        let ends = |args: RemoteArgs| {
            let error = args.api().unwrap_err();
            (exit_of(&error), error.to_string())
        };
        let (exit, text) = ends(args(None, Some("skd_api_x")));
        assert!(
            exit == Exit::Usage && text.contains("SSHKEYD_URL"),
            "{text}"
        );
        let (exit, text) = ends(args(Some("https://a.example"), Some("  ")));
        assert!(
            exit == Exit::NotPermitted && text.contains("SSHKEYD_API_KEY"),
            "{text}"
        );
        let (exit, text) = ends(args(Some("http://a.example"), Some("skd_api_x")));
        assert!(exit == Exit::Usage && text.contains("https"), "{text}");
        let (exit, text) = ends(args(Some("https://a.example"), Some("skd api")));
        assert!(exit == Exit::Usage && !text.contains("skd api"), "{text}");
        assert!(
            args(Some(" http://127.0.0.1:1\n"), Some("skd_api_x\n"))
                .api()
                .is_ok()
        );
    }

    #[test]
    fn the_key_is_no_part_of_debug() {
        let args = args(None, Some("skd_api_secret"));
        assert!(!format!("{args:?}").contains("secret"));
    }
}
