//! `sshkeyd authorized-keys`: what sshd runs as AuthorizedKeysCommand.
//!
//! Reads the index, prints lines, ends: no network, no agent, no log. sshd throws away what a
//! command with another status than 0 has printed, logs the status, and goes on with
//! AuthorizedKeysFile (`user_key_command_allowed2`, `auth2-pubkey.c`). So the status is 0 when what
//! was printed is true, "no such key" included; in doubt nothing is printed, and the status has the
//! doubt seen in sshd's log. A chained command is held to the same rule, and its end, whatever it
//! is, never takes our lines along.

use super::exit::{Exit, Failed, exit_of};
use super::output::Output;
use crate::keys::{Fingerprint, RawKey};
use crate::sinks::keys_command::{INDEX, Looked, look_up};
use crate::sys::command::{Limits, run_blocking};
use crate::sys::safe_path::safe_program;
use crate::sys::{clock, users};
use anyhow::Context as _;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a chained command may print, and how long it may take.
const CHAIN: Limits = Limits {
    output: 8 * 1024 * 1024,
    time: Duration::from_secs(2),
};
/// Longest name of a local user: `LOGIN_NAME_MAX` of Linux.
const MAX_USER: usize = 256;
/// Longest key that is looked at, as text: a certificate with much in it.
const MAX_KEY: usize = 64 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The local user who logs in
    user: String,
    /// The key that is offered, as type and blob or as fingerprint; all keys where none is given
    #[arg(num_args = 0..=2, value_names = ["KEYTYPE", "BLOB|FINGERPRINT"])]
    key: Vec<String>,
    /// The agent's indexes
    #[arg(long, value_name = "DIR", default_value = INDEX)]
    index: PathBuf,
    /// A command to run after, with all words that follow; it has two seconds
    #[arg(long, value_name = "CMD", num_args = 1.., allow_hyphen_values = true)]
    chain: Vec<OsString>,
}

/// Prints what the index says, then what the chained command does.
pub(super) fn run(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    if users::current_uid() == 0 {
        let text = "not as root; run it as sshkeyd-keys (AuthorizedKeysCommandUser)";
        return Err(Failed::new(Exit::NotPermitted, text).into());
    }
    check_name(&args.user)?;
    let ours = own_lines(&args).map(|looked| {
        out.raw(&looked.text);
        if let Some(doubt) = looked.doubt {
            out.note(&format!(
                "index of {}: {doubt}; the one before is used",
                args.user
            ));
        }
    });
    let Some((program, rest)) = args.chain.split_first() else {
        return ours.map(|()| Exit::Done);
    };
    let theirs = chained(Path::new(program), rest).map(|lines| out.raw(&lines));
    match (ours, theirs) {
        (Ok(()), Ok(())) => {}
        (Err(error), Ok(())) | (Ok(()), Err(error)) => out.error(&super::in_words(error.as_ref())),
        (Err(ours), Err(theirs)) => {
            out.error(&super::in_words(theirs.as_ref()));
            out.error(&super::in_words(ours.as_ref()));
            return Ok(exit_of(&ours));
        }
    }
    Ok(Exit::Done)
}

/// A name that no local user has is nobody's to look up, nor to hand on.
fn check_name(user: &str) -> Result<(), Failed> {
    let odd = |c: char| c.is_control() || matches!(c, '/' | ':');
    if (1..=MAX_USER).contains(&user.len()) && !user.contains(odd) && !matches!(user, "." | "..") {
        return Ok(());
    }
    let text = format!(
        "\"{}\" is not the name of a local user",
        user.escape_debug()
    );
    Err(Failed::new(Exit::Usage, text))
}

fn own_lines(args: &Args) -> anyhow::Result<Looked> {
    let wanted = offered(&args.key)?;
    let user = users::lookup(&args.user)
        .with_context(|| format!("user {} could not be looked up", args.user))?
        .ok_or_else(|| {
            let text = format!("there is no local user {}", args.user);
            Failed::new(Exit::NotDone, text)
        })?;
    look_up(&args.index, user.uid, wanted, clock::now())
        .with_context(|| format!("{}/{}", args.index.display(), user.uid))
}

/// Which key is asked about.
fn offered(words: &[String]) -> Result<Option<Fingerprint>, Failed> {
    if words.iter().any(|word| word.len() > MAX_KEY) {
        return Err(Failed::new(Exit::Usage, "longer than any key"));
    }
    match words {
        [] => Ok(None),
        [fingerprint] => fingerprint.parse().map(Some).map_err(|fault| {
            let text = format!("{fault}; with FingerprintHash md5, give sshd's %t %k");
            Failed::new(Exit::Usage, text)
        }),
        [key_type, blob, ..] => RawKey::from_words(key_type.as_bytes(), blob.as_bytes())
            .map(|key| Some(key.fingerprint()))
            .map_err(|fault| Failed::new(Exit::Usage, fault)),
    }
}

/// What another command prints. sshd no longer sees it, so it is judged here as sshd would.
fn chained(program: &Path, args: &[OsString]) -> anyhow::Result<Vec<u8>> {
    let about = || format!("--chain {}", program.display());
    if !program.is_absolute() {
        let text = format!("{}: not an absolute path", about());
        return Err(Failed::new(Exit::NotDone, text).into());
    }
    let found = safe_program(program).with_context(about)?;
    let (status, lines) = run_blocking(&found, args, CHAIN).with_context(about)?;
    if !status.success() {
        let text = format!("{}: {status}; what it printed is left out", about());
        return Err(Failed::new(Exit::NotDone, text).into());
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_nobody_has_are_refused() {
        for name in ["", ".", "..", "../1", "a/b", "a\nb", "a\x1b[2J", "a:b"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        assert!(check_name(&"a".repeat(MAX_USER + 1)).is_err());
        for name in ["root", "EXAMPLE\\al b", "al@example.com", "müller"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_key_is_known_by_type_and_blob_or_by_fingerprint() {
        let key = crate::trust::Signer::from_seed(&[1; 32]).public();
        let text = key.to_string();
        let words: Vec<_> = text.split(' ').map(str::to_owned).collect();
        let fingerprint = key.fingerprint();
        assert_eq!(offered(&words).unwrap(), Some(fingerprint));
        let word = [fingerprint.to_string()];
        assert_eq!(offered(&word).unwrap(), Some(fingerprint));
        assert_eq!(offered(&[]).unwrap(), None);
        let mismatch = ["ssh-rsa".to_owned(), words[1].clone()];
        for wrong in [&["MD5:00:11".to_owned()][..], &mismatch, &words[..1]] {
            let error = anyhow::Error::from(offered(wrong).unwrap_err());
            assert_eq!(exit_of(&error), Exit::Usage, "{wrong:?}");
        }
    }
}
