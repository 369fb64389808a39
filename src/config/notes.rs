//! What is no fault of the file and will all the same keep a source from answering: `sshkeyd check`
//! says it before the agent does.
//!
//! Looks at the credentials that sources name, as whoever runs the check sees them. Never shows one.

use super::agent::AgentConfig;
use super::remote::{Header, HeaderValue, HttpSource, VastSource};
use super::secret::{Secret, SecretError, credential, read_secret_file};
use super::source::{Source, SourceKind};
use super::{Env, check};
use std::path::Path;

/// One line each: `source "NAME": what; what to do`.
#[must_use]
pub fn notes(config: &AgentConfig, env: Env<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    for source in &config.sources {
        let mut of_source = match &source.kind {
            SourceKind::Vast(vast) => of_vast(vast, env),
            SourceKind::Http(http) => of_http(http, env),
            SourceKind::Account(_) | SourceKind::File(_) => Vec::new(),
        };
        of_source.extend(unused(source, config));
        let named = of_source.into_iter();
        notes.extend(named.map(|note| format!("source \"{}\": {note}", source.name)));
    }
    notes
}

fn unused(source: &Source, config: &AgentConfig) -> Option<String> {
    let named = config
        .targets
        .iter()
        .any(|t| t.sources.contains(&source.name));
    let note = "no target takes keys from it; name it in a target's sources, or remove it";
    (!named).then(|| note.to_owned())
}

fn of_vast(vast: &VastSource, env: Env<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    match vast
        .api_key_file
        .clone()
        .or_else(|| credential(env, "vast-api-key"))
    {
        Some(path) => {
            secret(&path, &mut notes);
        }
        None => notes.push(
            "no api-key-file, and no systemd credential vast-api-key here; give the agent one of \
             them"
                .to_owned(),
        ),
    }
    let container = env("CONTAINER_ID").filter(|id| !id.is_empty());
    if vast.instance.is_none() && container.is_none() {
        notes.push(
            "no instance, and no $CONTAINER_ID here; the agent must have it in its own environment"
                .to_owned(),
        );
    }
    notes.extend(without_proxy(vast.proxy, env));
    notes
}

fn of_http(http: &HttpSource, env: Env<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    for Header { name, value } in &http.headers {
        let HeaderValue::File(path) = value else {
            continue;
        };
        let value = secret(path, &mut notes);
        // RFC 9110, section 11.6.2.
        if name == "authorization" && value.is_some_and(|v| !v.expose().contains(' ')) {
            let path = path.display();
            notes.push(format!(
                "{path} holds one word; Authorization begins with a scheme, as in \"Bearer …\""
            ));
        }
    }
    notes.extend(without_proxy(http.proxy, env));
    notes
}

fn secret(path: &Path, notes: &mut Vec<String>) -> Option<Secret> {
    match read_secret_file(path) {
        Ok(file) => {
            if file.readable_by_others {
                let path = path.display();
                notes.push(format!("{path} may be read by others; make it 0600"));
            }
            Some(file.secret)
        }
        Err(SecretError::Io(path, error)) => {
            let why = check::reason(&error);
            notes.push(format!("{} {why}; the agent must read it", path.display()));
            None
        }
        Err(fault) => {
            notes.push(format!("{fault}; put the credential there, mode 0600"));
            None
        }
    }
}

fn without_proxy(proxy: bool, env: Env<'_>) -> Option<String> {
    let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let given = names
        .iter()
        .any(|name| env(name).is_some_and(|v| !v.is_empty()));
    let note = "proxy = true, and no HTTPS_PROXY here; the agent must have it in its environment";
    (proxy && !given).then(|| note.to_owned())
}
