//! What an unknown key was meant to be: a near spelling, or a key that belongs to another table.
//!
//! The tables below are for hints only: which keys exist is said by `raw.rs`.

/// Tables that stand once in a file or a source.
pub(super) const TABLES: &[&str] = &[
    "agent",
    "verify",
    "sshd",
    "certificates",
    "sessions",
    "heartbeat",
    "server",
    "tls",
    "account",
    "vast",
    "http",
    "file",
];

/// Tables that are lists of tables.
pub(super) const LISTS: &[&str] = &["source", "target"];

/// Where keys belong: the place in words, `@` for the key; the key that they stand below, if it is
/// not a header; the keys.
struct Home {
    place: &'static str,
    below: Option<&'static str>,
    keys: &'static [&'static str],
}

const fn home(place: &'static str, keys: &'static [&'static str]) -> Home {
    Home {
        place,
        below: None,
        keys,
    }
}

/// Earlier rows go first, but one that stands below a key of the same table before all.
const HOMES: &[Home] = &[
    home(
        "under [agent]",
        &["state-dir", "control-socket", "log", "unprivileged"],
    ),
    home(
        "under [[source]]",
        &["name", "poll-interval", "danger-allow-empty", "max-size"],
    ),
    home(
        "under [[target]]",
        &["user", "sources", "method", "path", "adopt"],
    ),
    home("under [heartbeat]", &["interval"]),
    home("under [sshd]", &["manage"]),
    home(
        "under [certificates]",
        &[
            "user-ca",
            "host-certificates",
            "directory",
            "drop-in",
            "sshd-config",
            "host-keys",
            "reload",
        ],
    ),
    home("under [sessions]", &["report", "end-on-revoke", "auth-log"]),
    home(
        "under [server]",
        &[
            "listen",
            "public-url",
            "database",
            "database-password-file",
            "database-ca-file",
            "database-connections",
            "secrets-dir",
            "trusted-proxies",
            "danger-plaintext",
            "sign-up",
            "session-lifetime",
            "max-held",
        ],
    ),
    Home {
        place: "under [[source]], as account.@",
        below: Some("account"),
        keys: &["urls", "enroll-token-file", "ca-file", "signers", "proxy"],
    },
    Home {
        place: "under [[source]], as file.@",
        below: Some("file"),
        keys: &["path"],
    },
    Home {
        place: "under [server], as tls.@",
        below: Some("tls"),
        keys: &["certificate", "key"],
    },
    home(
        "under [[source]], as @.KEY",
        &["account", "file", "vast", "http"],
    ),
    home("under [server], as @.KEY", &["tls"]),
    home("in the service's file", &["server"]),
    home(
        "in the agent's file",
        &[
            "agent",
            "source",
            "target",
            "verify",
            "sshd",
            "certificates",
            "heartbeat",
        ],
    ),
];

/// What to do about the unknown `key`, given the keys that its table has; and the known key of the
/// same table that it was meant to be, if so.
pub(super) fn instead_of<'k>(key: &str, known: &[&'k str]) -> (String, Option<&'k str>) {
    if let Some(near) = nearest(key, known) {
        let todo = if LISTS.contains(&near) {
            format!("did you mean [[{near}]]")
        } else {
            format!("did you mean \"{near}\"")
        };
        return (todo, Some(near));
    }
    let spelled = spelled(key);
    if let Some((home, key)) = home_of(&spelled, known) {
        let todo = format!("\"{key}\" belongs {}", home.place.replace('@', key));
        let below = known.iter().copied().find(|k| Some(*k) == home.below);
        return (todo, below);
    }
    let list: Vec<String> = known.iter().map(|k| format!("\"{k}\"")).collect();
    let todo = match list.as_slice() {
        [] => "remove it".to_owned(),
        [one] => format!("remove it: the one key here is {one}"),
        more => format!("remove it: the keys here are {}", more.join(", ")),
    };
    (todo, None)
}

/// The home of a key, and the key as the home has it.
fn home_of(key: &str, known: &[&str]) -> Option<(&'static Home, &'static str)> {
    let homes = || {
        HOMES.iter().filter_map(|home| {
            let key = home.keys.iter().find(|k| **k == key)?;
            Some((home, *key))
        })
    };
    let here = homes().find(|(home, _)| home.below.is_some_and(|below| known.contains(&below)));
    here.or_else(|| homes().next())
}

/// The known word nearest in spelling, at an edit distance of two at most and less than half of
/// the word; or the one that goes on where `word` ends (`enroll-token` for `enroll-token-file`).
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let word = spelled(word);
    let near = known
        .iter()
        .map(|k| (distance(&word, k), *k))
        .filter(|(d, k)| *d <= 2 && d * 2 < k.chars().count())
        .min_by_key(|(d, _)| *d);
    let longer = || {
        known
            .iter()
            .copied()
            .find(|k| word.len() > 2 && k.starts_with(&word))
    };
    near.map(|(_, k)| k).or_else(longer)
}

/// As our keys are spelled: lower case, words joined with `-`.
fn spelled(word: &str) -> String {
    word.to_lowercase().replace('_', "-")
}

/// Levenshtein's distance, in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (n, ca) in a.chars().enumerate() {
        let mut next = vec![n + 1];
        for ((cb, above_left), above) in b.iter().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or(n);
            next.push(
                (above_left + usize::from(ca != *cb))
                    .min(above + 1)
                    .min(left + 1),
            );
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_is_counted_in_edits() {
        assert_eq!(distance("intervall", "interval"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn a_short_key_is_not_taken_for_any_other() {
        assert_eq!(nearest("x", &["log"]), None);
        assert_eq!(nearest("nam", &["name"]), Some("name"));
    }
}
