//! `[[source]]`: where the agent gets keys, as interface.md section 2 has it.

use super::check::Check;
use super::raw;
use super::remote::{HttpSource, VastSource};
use crate::keys::PublicKey;
use serde_spanned::Spanned;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

/// Longest name of a source.
const MAX_NAME: usize = 64;
/// How often a source is asked where nothing else tells of a change.
const POLL_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// The same for Vast.ai, where nobody can be told of a save.
const VAST_POLL_INTERVAL: Duration = Duration::from_secs(60);
/// Bounds of `poll-interval`.
const POLL_LEAST: Duration = Duration::from_secs(1);
const POLL_MOST: Duration = Duration::from_secs(7 * 86_400);
/// Largest answer of a source, in bytes, where the file names no other.
const MAX_SIZE: u64 = 8 * 1024 * 1024;
/// The most that `max-size` may be: an answer is held in memory.
const MAX_SIZE_MOST: u64 = 64 * 1024 * 1024;

/// Where the agent gets keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name, `[a-z0-9-]{1,64}`, the only one of this name.
    pub name: String,
    /// How often it is asked at the least.
    pub poll_interval: Duration,
    /// An unsigned "no keys" is obeyed.
    pub danger_allow_empty: bool,
    /// Largest answer, in bytes.
    pub max_size: u64,
    /// What it is.
    pub kind: SourceKind,
}

/// What a source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceKind {
    /// The account key service: signed snapshots.
    Account(AccountSource),
    /// Vast.ai's own API, polled.
    Vast(VastSource),
    /// Any address with a list, polled.
    Http(HttpSource),
    /// A file, or a directory of `*.pub`, watched.
    File(FileSource),
}

/// `account.…` of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountSource {
    /// The replicas' addresses, at least one, without slashes at their ends.
    pub urls: Vec<String>,
    /// The file with the enrolment token; an enrolled agent needs none.
    pub enroll_token_file: Option<PathBuf>,
    /// The one CA to trust, PEM; else the system's.
    pub ca_file: Option<PathBuf>,
    /// Who may sign snapshots; when empty, pinned at enrolment.
    pub signers: Vec<PublicKey>,
    /// Whether a proxy named by the environment is used.
    pub proxy: bool,
}

/// `file.…` of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSource {
    /// The file or directory; need not be there yet.
    pub path: PathBuf,
}

impl Check<'_> {
    /// Every source; none where one is at fault.
    pub(super) fn sources(&mut self, raw: &[Spanned<raw::Source>]) -> Option<Vec<Source>> {
        let mut names = BTreeSet::new();
        let mut sources = Some(Vec::new());
        for raw in raw {
            if let Some(name) = &raw.get_ref().name
                && !names.insert(name.get_ref())
            {
                let what = format!("a second source named \"{}\"", name.get_ref());
                self.fault(&name.span(), what, "give each source a name of its own");
            }
            let source = self.source(raw.get_ref(), &raw.span());
            sources = sources.zip(source).map(|(mut all, one)| {
                all.push(one);
                all
            });
        }
        sources
    }

    fn source(&mut self, raw: &raw::Source, at: &Range<usize>) -> Option<Source> {
        let name = self.source_name(raw, at);
        let default = match raw.vast {
            Some(_) => VAST_POLL_INTERVAL,
            None => POLL_INTERVAL,
        };
        let poll_interval = self.duration(
            &raw.poll_interval,
            "poll-interval",
            default,
            POLL_LEAST..=POLL_MOST,
        );
        let max_size = self.max_size(raw);
        let kind = self.source_kind(raw, at);
        Some(Source {
            name: name?,
            poll_interval: poll_interval?,
            danger_allow_empty: is(&raw.danger_allow_empty),
            max_size: max_size?,
            kind: kind?,
        })
    }

    fn source_name(&mut self, raw: &raw::Source, at: &Range<usize>) -> Option<String> {
        let Some(value) = &raw.name else {
            self.missing(
                at,
                "name",
                "a source without a name",
                "give it one: name = \"…\"",
            );
            return None;
        };
        let name = value.get_ref();
        let of_a_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(of_a_name) {
            return Some(name.clone());
        }
        let what = format!("\"{name}\" is not the name of a source");
        let todo = format!("use a-z, 0-9 and \"-\", 1 to {MAX_NAME} characters");
        self.fault(&value.span(), what, todo);
        None
    }

    fn max_size(&mut self, raw: &raw::Source) -> Option<u64> {
        match &raw.max_size {
            None => Some(MAX_SIZE),
            Some(value) if (1..=MAX_SIZE_MOST).contains(value.get_ref()) => Some(*value.get_ref()),
            Some(value) => {
                let what = format!("\"max-size\" cannot be {}", value.get_ref());
                self.fault(
                    &value.span(),
                    what,
                    format!("give 1 to {MAX_SIZE_MOST} bytes"),
                );
                None
            }
        }
    }

    fn source_kind(&mut self, raw: &raw::Source, at: &Range<usize>) -> Option<SourceKind> {
        const KINDS: [&str; 4] = ["account", "vast", "http", "file"];
        let given = [
            raw.account.is_some(),
            raw.vast.is_some(),
            raw.http.is_some(),
            raw.file.is_some(),
        ];
        let given: Vec<&str> = KINDS
            .into_iter()
            .zip(given)
            .filter_map(|(kind, given)| given.then_some(kind))
            .collect();
        let place = raw.name.as_ref().map_or_else(|| at.clone(), Spanned::span);
        if given.len() > 1 {
            let what = format!("a source that is {} at once", given.join(" and "));
            self.fault(
                &place,
                what,
                "keep exactly one of account, vast, http, file",
            );
        }
        if given.is_empty() && !KINDS.iter().any(|kind| self.cut.had(at, kind)) {
            let todo = "give exactly one of account, vast, http, file";
            self.fault(&place, "a source of no kind", todo);
        }
        // All are looked at even when only one may stand, for the faults inside.
        let account = raw.account.as_ref().map(|raw| self.account(raw));
        let vast = raw.vast.as_ref().map(|raw| self.vast(raw));
        let http = raw.http.as_ref().map(|raw| self.http(raw));
        let file = raw.file.as_ref().map(|raw| self.file(raw));
        match (account, vast, http, file) {
            (Some(account), None, None, None) => account.map(SourceKind::Account),
            (None, Some(vast), None, None) => vast.map(SourceKind::Vast),
            (None, None, Some(http), None) => http.map(SourceKind::Http),
            (None, None, None, Some(file)) => file.map(SourceKind::File),
            _ => None,
        }
    }

    fn account(&mut self, raw: &Spanned<raw::Account>) -> Option<AccountSource> {
        let (at, raw) = (raw.span(), raw.get_ref());
        let urls = self.urls(raw, &at);
        let enroll_token_file = self.path(&raw.enroll_token_file);
        let ca_file = match &raw.ca_file {
            Some(value) => self.existing(value).map(Some),
            None => Some(None),
        };
        let signers = self.signers(raw);
        Some(AccountSource {
            urls: urls?,
            enroll_token_file: enroll_token_file.ok()?,
            ca_file: ca_file?,
            signers: signers?,
            proxy: is(&raw.proxy),
        })
    }

    fn urls(&mut self, raw: &raw::Account, at: &Range<usize>) -> Option<Vec<String>> {
        let todo = "name the service: account.urls = [\"https://…\"]";
        let Some(values) = &raw.urls else {
            self.missing(at, "urls", "an account without urls", todo);
            return None;
        };
        if values.get_ref().is_empty() {
            self.missing(at, "urls", "an account without urls", todo);
            return None;
        }
        let mut urls: Vec<Option<String>> = Vec::new();
        for value in values.get_ref() {
            let url = self.url(value);
            if url.is_some() && urls.contains(&url) {
                let what = format!("\"{}\" is named twice", value.get_ref());
                self.fault(&value.span(), what, "name it once");
            }
            urls.push(url);
        }
        urls.into_iter().collect()
    }

    fn signers(&mut self, raw: &raw::Account) -> Option<Vec<PublicKey>> {
        let values = raw
            .signers
            .as_ref()
            .map_or(&[][..], |v| v.get_ref().as_slice());
        let mut signers = Some(Vec::new());
        for value in values {
            match PublicKey::parse_text(value.get_ref()) {
                Ok((key, _)) => {
                    if let Some(signers) = signers.as_mut() {
                        signers.push(key);
                    }
                }
                Err(error) => {
                    let error = error.to_string();
                    let todo = "give the text of the signer's .pub file";
                    let (what, todo) = error.split_once("; ").unwrap_or((&error, todo));
                    self.fault(&value.span(), format!("no signer's key: {what}"), todo);
                    signers = None;
                }
            }
        }
        signers
    }

    fn file(&mut self, raw: &Spanned<raw::File>) -> Option<FileSource> {
        let Some(value) = &raw.get_ref().path else {
            let todo = "name it: file.path = \"/…\"";
            self.missing(&raw.span(), "path", "a file source without a path", todo);
            return None;
        };
        let path = self.in_a_directory(value)?;
        Some(FileSource { path })
    }
}

/// Whether a switch is on; off is what every switch is by itself.
pub(super) fn is(value: &raw::Value<bool>) -> bool {
    value.as_ref().is_some_and(|value| *value.get_ref())
}
