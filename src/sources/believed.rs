//! The way of a snapshot's bytes through the judge, without a service: what a fuzzer calls.
//!
//! Owns nothing but the order: JSON, then [`super::judge`]. No source goes this way; the client
//! reads the JSON for it.

use super::judge::{Pins, judge};
use crate::keys::{KeyList, PublicKey};
use crate::trust::Floor;

/// A snapshot that would be obeyed.
#[derive(Debug)]
pub struct Believed {
    /// Whose keys it has.
    pub account: i64,
    /// Its number.
    pub revision: u64,
    /// The keys, and what was left out of them.
    pub list: KeyList,
    /// Who may sign the next one.
    pub signers: Vec<PublicKey>,
}

/// Judges the body of an answer for this instance of this account.
///
/// # Errors
/// Why it is not believed, in words.
pub fn believed(
    body: &[u8],
    (account, instance): (i64, i64),
    signers: &[PublicKey],
    floor: &Floor,
) -> Result<Believed, String> {
    let snapshot = serde_json::from_slice(body).map_err(|fault| fault.to_string())?;
    let pins = Pins {
        account,
        instance,
        signers,
        floor,
    };
    let judged = judge(snapshot, &pins).map_err(|refusal| refusal.to_string())?;
    Ok(Believed {
        account,
        revision: judged.revision,
        list: judged.list,
        signers: judged.signers,
    })
}
