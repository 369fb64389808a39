//! What the keys in the file are good for, and what sshd itself said of them.

use super::facts::{Facts, FileFacts, FileState, KeyFacts};
use super::judge::Sheet;
use super::patterns::list_takes;
use crate::config::Method;
use crate::sinks::sshd::Settings;
use crate::sinks::strict_modes::Refusal;

/// Key types for which sshd has several signature algorithms.
const RSA: [&str; 3] = ["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"];
/// Most keys that one finding names.
const MOST: usize = 8;

/// Whether a list of algorithms takes keys of this type. A list that is not known takes all.
pub(super) fn is_taken(key_type: &str, list: &str) -> bool {
    let of_type: &[&str] = match key_type {
        "ssh-rsa" => &RSA,
        other => &[other],
    };
    list.is_empty() || of_type.iter().any(|algorithm| list_takes(algorithm, list))
}

/// The value of an option that stands before a key; empty for one without a value.
pub(super) fn option(options: &str, name: &str) -> Option<String> {
    let mut rest = options;
    while !rest.is_empty() {
        let end = rest.find([',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let mut value = String::new();
        let mut after = after.strip_prefix('=').unwrap_or(after);
        if let Some(quoted) = after.strip_prefix('"') {
            let mut chars = quoted.char_indices();
            let mut end = quoted.len();
            while let Some((at, c)) = chars.next() {
                match c {
                    '\\' if quoted.get(at + 1..).is_some_and(|r| r.starts_with('"')) => {
                        chars.next();
                        value.push('"');
                    }
                    '"' => {
                        end = at + 1;
                        break;
                    }
                    c => value.push(c),
                }
            }
            after = quoted.get(end..).unwrap_or_default();
        }
        if word.trim().eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = after
            .trim_start_matches(|c| c != ',')
            .trim_start_matches(',');
    }
    None
}

/// What puts a file or directory right that StrictModes refuses.
pub(super) fn mend(refusal: &Refusal, user: &str) -> String {
    match refusal {
        Refusal::Owner { path, .. } => format!("chown {user}: {}", path.display()),
        Refusal::Mode { path, .. } => format!("chmod go-w {}", path.display()),
        Refusal::NotRegular { path } => format!("move {} away", path.display()),
    }
}

/// What is wrong with the lines of the file.
pub(super) fn keys(facts: &Facts, file: &FileFacts, method: Method, sheet: &mut Sheet) {
    let path = file.path.display();
    let ours: Vec<_> = facts.keys.iter().filter(|key| key.ours).collect();
    let is_read = file.state == FileState::Read || method == Method::Command;
    if is_read && ours.is_empty() {
        let what = format!("{path} holds no key of the account");
        let fix = "save a key (sshkeyd ssh-keys add FILE), or see why none comes: sshkeyd status";
        sheet.problem("keys", what, fix);
    }
    if let Some(agent) = &facts.agent
        && is_read
    {
        let there = |print: &&String| {
            ours.iter()
                .any(|key| key.fingerprint.to_string() == **print)
        };
        for print in agent
            .managed
            .iter()
            .filter(|print| !there(print))
            .take(MOST)
        {
            let what = format!("{path} lacks {print}, which the agent keeps there");
            sheet.problem("keys", what, "sshkeyd sync");
        }
    }
    for (line, why) in facts.unreadable.iter().take(MOST) {
        let what = format!("{path}:{line}: sshd passes over this line: {why}");
        sheet.notice("line", what, "put the line right, or take it out");
    }
    for key in &facts.keys {
        of_key(facts, key, &path.to_string(), sheet);
    }
    if !ours.is_empty() {
        let more = ours.len().saturating_sub(MOST);
        let prints: Vec<_> = ours
            .iter()
            .take(MOST)
            .map(|k| k.fingerprint.to_string())
            .collect();
        let more = if more > 0 {
            format!(", and {more} more")
        } else {
            String::new()
        };
        sheet.ok("keys", format!("{path} holds {}{more}", prints.join(", ")));
    }
}

fn of_key(facts: &Facts, key: &KeyFacts, path: &str, sheet: &mut Sheet) {
    let at = format!("{path}:{}: {}", key.line, key.fingerprint);
    // Another's key is another's business: he is told, and it is no problem of the account's.
    let mut say = |check: &str, what: String, fix: String| match key.ours {
        true => sheet.problem(check, what, fix),
        false => sheet.notice(check, what, fix),
    };
    let config = facts.sshd.config.display();
    if let Ok(settings) = &facts.sshd.settings {
        let list = settings.one("pubkeyacceptedalgorithms");
        // Before 8.5 it had another name.
        let list = if list.is_empty() {
            settings.one("pubkeyacceptedkeytypes")
        } else {
            list
        };
        if !is_taken(&key.key_type, list) {
            let what = format!("{at}: PubkeyAcceptedAlgorithms takes no {}", key.key_type);
            let fix = format!(
                "write `PubkeyAcceptedAlgorithms +{}` into {config}, or save a key of another type",
                key.key_type
            );
            say("key-type", what, fix);
        }
        if let Some(bits) = key.rsa_bits.filter(|bits| is_too_short(*bits, settings)) {
            let what = format!(
                "{at}: RSA of {bits} bits is below RequiredRSASize {}",
                settings.one("requiredrsasize")
            );
            say(
                "rsa-size",
                what,
                "save an Ed25519 key: ssh-keygen -t ed25519".to_owned(),
            );
        }
    }
    let options = key.options.as_deref().unwrap_or_default();
    if let Some(end) = key.expires.filter(|end| *end <= facts.now) {
        let what = format!("{at}: its expiry-time was {end}");
        say(
            "expired",
            what,
            "save the key again with a later --expires".to_owned(),
        );
    }
    if key.ours
        && let Some(from) = option(options, "from")
    {
        let what = format!("{at}: logs in from {from} only");
        sheet.notice(
            "from",
            what,
            "log in from there, or save the key with other options",
        );
    }
}

fn is_too_short(bits: usize, settings: &Settings) -> bool {
    settings
        .number("requiredrsasize")
        .is_some_and(|least| bits < least)
}

/// What sshd itself said.
pub(super) fn proof(facts: &Facts, sheet: &mut Sheet) {
    let Some(proof) = &facts.proof else { return };
    if !proof.accepted.is_empty() {
        let more = proof.accepted.len().saturating_sub(MOST);
        let keys: Vec<_> = proof.accepted.iter().take(MOST).cloned().collect();
        let more = if more > 0 {
            format!(", and {more} more")
        } else {
            String::new()
        };
        let at = proof
            .at
            .map_or_else(String::new, |at| format!(" (asked at {at:.0})"));
        sheet.ok("proof", format!("sshd takes {}{more}{at}", keys.join(", ")));
    }
    for key in proof.still_accepted.iter().take(MOST) {
        let what = format!("sshd still takes {key}, which was taken out");
        sheet.notice(
            "proof",
            what,
            "take the line out by hand: sshkeyd status names it",
        );
    }
    for unknown in proof.unknown.iter().take(MOST) {
        let (key, why) = (&unknown.fingerprint, &*unknown.why);
        match why {
            "not-accepted" => {
                let what = format!("sshd refuses {key}, which is in place");
                sheet.problem(
                    "proof",
                    what,
                    "see the problems above, and sshd's log: journalctl -u ssh",
                );
            }
            "user-cannot-log-in" => {
                let what = format!(
                    "sshd refuses {key}, and takes no key of {} at all",
                    facts.user
                );
                sheet.problem(
                    "proof",
                    what,
                    "see the problems above, and sshd's log: journalctl -u ssh",
                );
            }
            "publickey-not-offered" => {
                let what = format!("sshd offers {} no login with a key", facts.user);
                sheet.problem("proof", what, "PubkeyAuthentication yes, for this user too");
            }
            "wrong-host" => {
                let what = "whoever answers at [verify] sshd does not have sshd's host key";
                let fix = "stop the program that listens there, or put [verify] sshd right";
                sheet.problem("wrong-host", what, fix);
            }
            _ => {
                let what = format!("what sshd says of {key} could not be had: {why}");
                sheet.notice(
                    "proof",
                    what,
                    "nothing, where that is to be expected of this key",
                );
            }
        }
    }
}
