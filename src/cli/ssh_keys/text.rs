//! A public key from a file or from standard input.
//!
//! Refuses a private key, and anything else that is no public key, before a byte leaves this
//! machine.

use crate::cli::exit::{Exit, Failed};
use crate::keys::{KeyError, PublicKey};
use std::io::Read as _;

/// Largest file that may hold a public key.
pub(super) const MAX_FILE: usize = 64 * 1024;

/// Type, blob and comment, and nothing else of the file.
///
/// # Errors
/// 1: the file cannot be read, or holds no public key.
pub(super) fn public_key(file: &str) -> Result<String, Failed> {
    let (key, comment) = read_key(file)?;
    Ok(format!("{key} {comment}").trim_end().to_owned())
}

/// The key and its comment; `-` is standard input.
///
/// # Errors
/// As [`public_key`].
pub(in crate::cli) fn read_key(file: &str) -> Result<(PublicKey, String), Failed> {
    let fault = |what: String| Failed::new(Exit::NotDone, format!("{file}: {what}"));
    let mut bytes = Vec::new();
    let limit = MAX_FILE as u64 + 1;
    match file {
        "-" => std::io::stdin().lock().take(limit).read_to_end(&mut bytes),
        path => std::fs::File::open(path).and_then(|f| f.take(limit).read_to_end(&mut bytes)),
    }
    .map_err(|error| fault(format!("{error}; name a .pub file")))?;
    if bytes.len() > MAX_FILE {
        return Err(fault(
            "over 64 KiB, which no public key is; name a .pub file".to_owned(),
        ));
    }
    // A PuTTY key or a binary may be in any encoding; what is no text is no public key.
    let text = zeroize::Zeroizing::new(bytes);
    let text = std::str::from_utf8(&text).map_err(|_| fault(KeyError::NotAKey.to_string()))?;
    PublicKey::parse_text(text).map_err(|error| match error {
        KeyError::Private => fault(format!("{error}; nothing was sent")),
        _ => fault(error.to_string()),
    })
}
