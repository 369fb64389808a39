//! Entity tags of single items, and the condition that a change is made under (RFC 9110, sections
//! 8.8.3 and 13.1.1): whoever edits what another has edited meanwhile is told so.
//!
//! The tag is of what can be edited; a use of the item does not change it.

use super::ApiError;
use axum::http::header::IF_MATCH;
use axum::http::{HeaderMap, StatusCode};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// The tag of this content, with its quotes.
pub(super) fn of(content: &impl Serialize) -> String {
    let json = serde_json::to_vec(content).unwrap_or_default();
    let digest = Sha256::digest(json);
    let hex: String = digest.iter().take(16).map(|b| format!("{b:02x}")).collect();
    format!("\"{hex}\"")
}

/// Whether the item that has this tag may be changed: without `If-Match` it may. The comparison is
/// the strong one, so a weak tag matches nothing.
///
/// # Errors
/// 412 `changed`.
pub(super) fn check(headers: &HeaderMap, etag: &str) -> Result<(), ApiError> {
    if !headers.contains_key(IF_MATCH) {
        return Ok(());
    }
    let named = headers
        .get_all(IF_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| matches!(tag.trim(), tag if tag == "*" || tag == etag));
    if named {
        return Ok(());
    }
    Err(changed())
}

/// 412: it has not the tag that `If-Match` names.
pub(super) fn changed() -> ApiError {
    ApiError::new(
        StatusCode::PRECONDITION_FAILED,
        "changed",
        "it is not as If-Match says, somebody has changed it; read it again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IF_MATCH, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_tag_is_of_the_content_alone() {
        assert_eq!(of(&("a", 1)), of(&("a", 1)));
        assert_ne!(of(&("a", 1)), of(&("a", 2)));
        assert!(of(&()).starts_with('"') && of(&()).ends_with('"'));
    }

    #[test]
    fn a_change_wants_the_tag_that_is_there() {
        let etag = of(&1);
        let among = format!("\"x\", {etag}");
        let good: [&[&str]; 5] = [&[], &["*"], &[&etag], &["\"x\"", &etag], &[&among]];
        for values in good {
            assert!(check(&headers(values), &etag).is_ok(), "{values:?}");
        }
        let weak = format!("W/{etag}");
        for value in ["", "\"x\"", &weak, etag.trim_matches('"')] {
            let error = check(&headers(&[value]), &etag).unwrap_err();
            assert_eq!(error.code(), "changed", "{value:?}");
        }
    }
}
