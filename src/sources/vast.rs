//! Vast.ai's own REST API as a source: the account's keys and those attached to this instance.
//!
//! Two calls, and both must answer well: half an answer would be a shorter list. The key goes as
//! Bearer only, never in an address. Which instance this is comes from the configuration or from
//! `$CONTAINER_ID`; without it the keys attached here are not known, so nothing is.

mod answer;

use super::fault::Fault;
use super::http::{client, on_a_thread, secret};
use super::poll::Polled;
use crate::client::{ClientError, Http, ListKind, ListQuery, Listed, clean};
use crate::config::{Secret, VastSource, credential};
use crate::keys::KeyList;
use crate::sync::Code;
use std::ffi::OsString;
use std::path::PathBuf;

/// What the service answers instead of an empty list.
const NONE_FOUND: &str = "no ssh keys found";
/// The name of systemd's credential.
const CREDENTIAL: &str = "vast-api-key";

pub(super) struct Vast {
    settings: VastSource,
    limit: usize,
}

impl Vast {
    pub(super) fn new(settings: &VastSource, max_size: u64) -> Self {
        Self {
            settings: settings.clone(),
            limit: usize::try_from(max_size).unwrap_or(usize::MAX),
        }
    }

    pub(super) async fn fetch(&self) -> Result<Polled, Fault> {
        let env = |name: &str| std::env::var_os(name);
        let instance = instance(self.settings.instance, &env)?;
        let path = api_key_file(self.settings.api_key_file.as_ref(), &env)?;
        let key = secret(&path, "the API key").await?;
        let bearer = Secret::new(format!("Bearer {}", key.expose()));
        let headers = [("authorization".to_owned(), bearer)];
        let http = client(self.settings.proxy).await?;
        let account = match self.ask(&http, &headers, "/api/v0/ssh/").await {
            Ok(body) => self.read(body, String::new()).await?,
            // This one 404 is a list, and only here: of the account there always is one.
            Err(Fault::Client(ClientError::NotFound(problem)))
                if is_none_found(&problem.detail) =>
            {
                KeyList::default()
            }
            Err(fault) => return Err(fault),
        };
        let path = format!("/api/v0/instances/{instance}/ssh/");
        let body = self.ask(&http, &headers, &path).await?;
        let attached = self.read(body, format!(" of instance {instance}")).await?;
        let mut list = account;
        list.append(attached);
        Ok(Polled::List(list.without_repeats()))
    }

    async fn ask(
        &self,
        http: &Http,
        headers: &[(String, Secret)],
        path: &str,
    ) -> Result<Vec<u8>, Fault> {
        let query = ListQuery {
            url: &format!("{}{path}", self.settings.url),
            headers,
            kind: ListKind::Json,
            limit: self.limit,
            known: None,
        };
        match http.list(&query).await? {
            Listed::New { body, .. } => Ok(body),
            // The client takes no 304 to a query that refers to nothing.
            Listed::Unchanged => Err(Fault::here(
                Code::SourceMalformed,
                "304 to a first question",
            )),
        }
    }

    async fn read(&self, body: Vec<u8>, whose: String) -> Result<KeyList, Fault> {
        let read = move || answer::keys(&body, &whose);
        on_a_thread(read).await?.map_err(|why| {
            let why = clean(&why, crate::client::MAX_REMOTE_TEXT);
            Fault::here(Code::SourceMalformed, why)
        })
    }
}

fn is_none_found(words: &str) -> bool {
    words
        .trim()
        .trim_end_matches('.')
        .eq_ignore_ascii_case(NONE_FOUND)
}

fn instance(configured: Option<u64>, env: &dyn Fn(&str) -> Option<OsString>) -> Result<u64, Fault> {
    if let Some(instance) = configured {
        return Ok(instance);
    }
    let unknown = |why: &str| Err(Fault::here(Code::InstanceUnknown, why));
    let Some(text) = env("CONTAINER_ID").filter(|text| !text.is_empty()) else {
        return unknown("no vast.instance is configured, and the agent has no $CONTAINER_ID");
    };
    match text.to_str().map(|text| text.trim().parse::<u64>()) {
        Some(Ok(instance)) if instance > 0 => Ok(instance),
        _ => unknown("$CONTAINER_ID is no instance's number"),
    }
}

fn api_key_file(
    configured: Option<&PathBuf>,
    env: &dyn Fn(&str) -> Option<OsString>,
) -> Result<PathBuf, Fault> {
    let named = configured.cloned().or_else(|| credential(env, CREDENTIAL));
    named.ok_or_else(|| {
        let text =
            "no vast.api-key-file is configured, and systemd gave no credential vast-api-key";
        Fault::here(Code::NoCredential, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_env(value: &str) -> Result<u64, Fault> {
        instance(None, &|name: &str| {
            (name == "CONTAINER_ID").then(|| OsString::from(value))
        })
    }

    #[test]
    fn the_instance_is_configured_or_the_containers() {
        assert_eq!(instance(Some(7), &|_| None).unwrap(), 7);
        assert_eq!(from_env("12345\n").unwrap(), 12345);
        for bad in ["", "0", "C.12", "-1", "../7", "18446744073709551616"] {
            let fault = from_env(bad).unwrap_err();
            assert_eq!(fault.code(), Code::InstanceUnknown, "{bad}");
        }
    }

    #[test]
    fn one_sentence_stands_for_no_keys() {
        assert!(is_none_found("No SSH keys found"));
        assert!(is_none_found(" no ssh keys found. "));
        assert!(!is_none_found("Instance not found."));
        assert!(!is_none_found(""));
    }
}
