//! `gh:NAME`: the public keys that a user of GitHub shows at `https://github.com/NAME.keys`.
//!
//! Owns which names are asked for. The answer is read as an unsigned source's: a whole list or
//! none. Nothing of ours is sent there, no key and no CA of the service's.

use crate::cli::exit::{Exit, Failed, exit_of_client};
use crate::cli::remote::http;
use crate::client::{ClientError, ListKind, ListQuery, Listed};
use crate::keys::KeyList;

/// What comes before a name.
pub(super) const PREFIX: &str = "gh:";
/// Where the lists are.
pub(super) const GITHUB: &str = "https://github.com";
/// Largest list.
const MAX_LIST: usize = 1024 * 1024;
/// Longest name that GitHub gives.
const MAX_NAME: usize = 39;

/// The keys of a user, as they stand at `base`.
///
/// # Errors
/// 64 for what is no name there, 1 where there is no such user or no key, 69 without an answer.
pub(super) async fn keys(base: &str, name: &str) -> Result<KeyList, Failed> {
    let place = format!("{PREFIX}{name}");
    let named = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(named) {
        let text = format!("{place}: no user's name on GitHub; as in gh:alice");
        return Err(Failed::new(Exit::Usage, text));
    }
    let url = format!("{base}/{name}.keys");
    let query = ListQuery {
        url: &url,
        headers: &[],
        kind: ListKind::Text,
        limit: MAX_LIST,
        known: None,
    };
    let answer = http(None, true)?.list(&query).await;
    let body = match answer {
        Ok(Listed::New { body, .. }) => body,
        // Only who named an earlier answer is told that it still holds.
        Ok(Listed::Unchanged) => Vec::new(),
        Err(ClientError::NotFound(_)) => {
            let text = format!("{place}: GitHub has no user of that name");
            return Err(Failed::new(Exit::NotDone, text));
        }
        Err(error) => {
            let exit = exit_of_client(&error);
            return Err(Failed::new(exit, format!("{place}: {error}; try again")));
        }
    };
    let list = KeyList::from_authorized_keys(&body, &place);
    if list.accepted.is_empty() && list.rejected.is_empty() {
        let text = format!("{place}: that user shows no key on GitHub");
        return Err(Failed::new(Exit::NotDone, text));
    }
    Ok(list)
}
