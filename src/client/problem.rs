//! What a refusal says in its body: problem+json (RFC 9457), or the habits of others.
//!
//! Owns which types are read for words at all, and that the status line is what counts. Refuses
//! pages for people: their text says nothing about the call.

use super::text::{MAX_REMOTE_TEXT, clean};
use crate::wire::Problem;
use reqwest::StatusCode;
use serde::Deserialize;

/// Our own service's.
const PROBLEM: &str = "application/problem+json";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain";

/// The words of services that know no problem+json, by the names that they use.
#[derive(Deserialize)]
struct Words {
    #[serde(default)]
    msg: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    detail: Option<String>,
    #[serde(default)]
    error: Option<String>,
}

/// Whether a refusal of this type has words that can be shown.
pub(super) fn is_problem(media_type: &str) -> bool {
    matches!(media_type, PROBLEM | JSON | TEXT)
}

/// What the body says, or the status line alone where it says nothing that can be trusted to be
/// about this call. Only problem+json can give a code: others' words must not be taken for ours.
pub(super) fn problem(status: StatusCode, said: Option<(&str, &[u8])>) -> Problem {
    let plain = Problem {
        kind: "about:blank".to_owned(),
        title: format!(
            "{} {}",
            status.as_u16(),
            status.canonical_reason().unwrap_or("(unknown status)")
        ),
        status: status.as_u16(),
        code: String::new(),
        detail: String::new(),
        id: None,
        request_id: None,
    };
    let Some((media_type, body)) = said else {
        return plain;
    };
    let detail = match media_type {
        PROBLEM => match serde_json::from_slice::<Problem>(body) {
            Ok(said) => {
                return Problem {
                    kind: clean(&said.kind, 128),
                    title: clean(&said.title, 128),
                    // A body must not turn a 401 into a 404.
                    status: plain.status,
                    code: clean(&said.code, 64),
                    detail: clean(&said.detail, MAX_REMOTE_TEXT),
                    id: said.id,
                    request_id: said.request_id.map(|id| clean(&id, 64)),
                };
            }
            Err(_) => None,
        },
        JSON => serde_json::from_slice::<Words>(body)
            .ok()
            .and_then(|words| words.msg.or(words.message).or(words.detail).or(words.error)),
        _ => std::str::from_utf8(body).ok().map(str::to_owned),
    };
    let detail = detail.map(|text| clean(text.trim(), MAX_REMOTE_TEXT));
    Problem {
        detail: detail.unwrap_or_default(),
        ..plain
    }
}
