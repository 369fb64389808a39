//! PATTERNS of ssh_config(5), as `match_pattern` and `match_pattern_list` of OpenSSH's match.c have
//! them.

/// Whether `text` fits a pattern with `*` and `?`.
pub(super) fn fits(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<_>, Vec<_>) = (text.chars().collect(), pattern.chars().collect());
    // Where the last star stood, and where in the text it was tried last.
    let (mut at, mut of, mut star) = (0, 0, None);
    while let Some(c) = text.get(at) {
        match pattern.get(of) {
            Some('*') => {
                star = Some((of, at));
                of += 1;
            }
            Some(p) if *p == '?' || p == c => {
                at += 1;
                of += 1;
            }
            _ => match star {
                Some((stood, tried)) => {
                    star = Some((stood, tried + 1));
                    at = tried + 1;
                    of = stood + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(of).all(|p| *p == '*')
}

/// Whether a comma-separated list of patterns takes `text`; one that begins with `!` forbids it.
pub(in crate::sinks) fn list_takes(text: &str, list: &str) -> bool {
    let mut patterns = list.split(',').map(str::trim);
    let mut taken = false;
    for pattern in patterns.by_ref() {
        match pattern.strip_prefix('!') {
            Some(not) if fits(text, not) => return false,
            None if fits(text, pattern) => taken = true,
            _ => {}
        }
    }
    taken
}

/// How a pattern of AllowUsers or DenyUsers fits a user: not, from everywhere, or from the hosts
/// after the `@` only.
pub(super) fn fits_user<'a>(user: &str, pattern: &'a str) -> Option<Option<&'a str>> {
    // As in match_user: the last @ parts them, so that names may have one.
    match pattern.rsplit_once('@') {
        Some((name, host)) => fits(user, name).then_some(Some(host)),
        None => fits(user, pattern).then_some(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        for (text, pattern, is) in [
            ("alice", "alice", true),
            ("alice", "al*", true),
            ("alice", "a?ice", true),
            ("alice", "*e", true),
            ("alice", "*l*c*", true),
            ("alice", "ali", false),
            ("alice", "?", false),
            ("", "*", true),
            ("Alice", "alice", false),
        ] {
            assert_eq!(fits(text, pattern), is, "{text} {pattern}");
        }
    }

    #[test]
    fn a_list_may_forbid_and_a_user_may_have_a_host() {
        assert!(list_takes("ssh-ed25519", "rsa-*,ssh-ed25519"));
        assert!(!list_takes("ssh-ed25519", "*,!ssh-ed*"));
        assert_eq!(fits_user("bob", "b*@10.0.0.0/8"), Some(Some("10.0.0.0/8")));
        assert_eq!(fits_user("bob", "bob"), Some(None));
        assert_eq!(fits_user("bob", "al*@x"), None);
    }
}
