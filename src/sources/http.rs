//! Any address with a list, as a source: authorized_keys text, or JSON with a pointer to each key.
//!
//! Owns where a header's value comes from: files are read anew before each request, so that a
//! changed credential is taken by itself. Unsigned, so an accident is held (`unsigned.rs`).

use super::fault::Fault;
use super::poll::Polled;
use super::{USER_AGENT, json};
use crate::client::{Http, HttpOptions, Known, ListKind, ListQuery, Listed};
use crate::config::{
    Header, HeaderValue, HttpFormat, HttpSource, Secret, SecretError, read_secret_file,
};
use crate::keys::KeyList;
use crate::sync::Code;
use std::path::Path;

pub(super) struct HttpList {
    settings: HttpSource,
    limit: usize,
    /// The answer that is in force.
    known: Option<Known>,
}

impl HttpList {
    pub(super) fn new(settings: &HttpSource, max_size: u64) -> Self {
        Self {
            settings: settings.clone(),
            limit: usize::try_from(max_size).unwrap_or(usize::MAX),
            known: None,
        }
    }

    /// The next answer is to be a whole one.
    pub(super) fn forget(&mut self) {
        self.known = None;
    }

    pub(super) async fn fetch(&mut self) -> Result<Polled, Fault> {
        let headers = headers(&self.settings.headers).await?;
        let http = client(self.settings.proxy).await?;
        let query = ListQuery {
            url: &self.settings.url,
            headers: &headers,
            kind: match self.settings.format {
                HttpFormat::AuthorizedKeys => ListKind::Text,
                HttpFormat::Json(_) => ListKind::Json,
            },
            limit: self.limit,
            known: self.known.as_ref(),
        };
        let (body, known) = match http.list(&query).await? {
            Listed::Unchanged => return Ok(Polled::Unchanged),
            Listed::New { body, known } => (body, known),
        };
        let (format, place) = (self.settings.format.clone(), place(&self.settings.url));
        let read = move || match format {
            HttpFormat::AuthorizedKeys => Ok(KeyList::from_authorized_keys(&body, &place)),
            HttpFormat::Json(pointer) => json::keys(&body, &pointer),
        };
        let list = on_a_thread(read).await??;
        self.known = known;
        Ok(Polled::List(list))
    }
}

/// A client for one attempt: between two, no root certificates and no connections are held.
pub(super) async fn client(proxy: bool) -> Result<Http, Fault> {
    let options = HttpOptions {
        ca_file: None,
        proxy,
        user_agent: USER_AGENT.to_owned(),
        one_shot: true,
    };
    Ok(on_a_thread(move || Http::try_new(&options)).await??)
}

/// Work that takes a while, beside the loop that waits for everything else.
pub(super) async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Fault> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|fault| Fault::here(Code::SourceMalformed, format!("reading broke off: {fault}")))
}

async fn headers(wanted: &[Header]) -> Result<Vec<(String, Secret)>, Fault> {
    let mut headers = Vec::new();
    for Header { name, value } in wanted {
        let value = match value {
            HeaderValue::Text(text) => Secret::new(text.clone()),
            HeaderValue::File(path) => secret(path, &format!("header {name}")).await?,
        };
        headers.push((name.clone(), value));
    }
    Ok(headers)
}

/// A credential as its file has it now.
pub(super) async fn secret(path: &Path, what: &str) -> Result<Secret, Fault> {
    let path = path.to_owned();
    let file = on_a_thread(move || read_secret_file(&path)).await?;
    let unread = |why: String| Fault::here(Code::NoCredential, format!("{what}: {why}"));
    let secret = match file {
        Ok(file) => file.secret,
        Err(SecretError::Io(path, fault)) => {
            return Err(unread(format!("{}: {fault}", path.display())));
        }
        Err(fault) => return Err(unread(fault.to_string())),
    };
    if !secret
        .expose()
        .bytes()
        .all(|b| b == b' ' || b.is_ascii_graphic())
    {
        return Err(unread("it has characters that no header has".to_owned()));
    }
    Ok(secret)
}

/// How keys of this address are named: without scheme and query.
fn place(url: &str) -> String {
    let place = url.split_once("://").map_or(url, |(_, place)| place);
    place.split('?').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn a_place_is_the_address_without_what_is_no_place() {
        assert_eq!(
            place("https://github.com/alice.keys"),
            "github.com/alice.keys"
        );
        assert_eq!(place("https://x:8/a?page=1"), "x:8/a");
    }
}
