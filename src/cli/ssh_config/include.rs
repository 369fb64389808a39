//! One Include line at the top of a person's ssh_config(5).
//!
//! Pure. Refuses to change any line that is there. Below a Host or a Match an Include counts for
//! those hosts only, so one there is none.

use std::path::Path;

/// Whether the file is included for every host, by that name or by its path.
pub(super) fn is_included(config: &[u8], named: &str, file: &Path) -> bool {
    for line in String::from_utf8_lossy(config).lines() {
        let line = line.trim_start();
        let (keyword, rest) = line.split_once([' ', '\t', '=']).unwrap_or((line, ""));
        match keyword.to_ascii_lowercase().as_str() {
            "host" | "match" => return false,
            "include" => {
                let words = rest
                    .split([' ', '\t', '='])
                    .map(|word| word.trim_matches('"'));
                let is_it = |word: &str| {
                    let below = word.strip_prefix("~/.ssh/").unwrap_or(word);
                    below == named || Path::new(word) == file
                };
                if words.filter(|word| !word.is_empty()).any(is_it) {
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}

/// The configuration with the line before all else.
pub(super) fn with_include(config: &[u8], named: &str) -> Vec<u8> {
    let line = format!("Include {named}\n");
    [line.as_bytes(), config].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_line_that_counts_for_every_host_is_one() {
        let file = Path::new("/home/a/.ssh/sshkeyd_config");
        let is = |config: &str| is_included(config.as_bytes(), "sshkeyd_config", file);
        for yes in [
            "Include sshkeyd_config\n",
            "User x\n  include other \"~/.ssh/sshkeyd_config\"\nHost *\n",
            "INCLUDE=/home/a/.ssh/sshkeyd_config",
        ] {
            assert!(is(yes), "{yes}");
        }
        for no in [
            "",
            "# Include sshkeyd_config\n",
            "Host web\n  Include sshkeyd_config\n",
            "Match all\nInclude sshkeyd_config\n",
            "Include sshkeyd_config2 /home/b/.ssh/sshkeyd_config\n",
        ] {
            assert!(!is(no), "{no}");
        }
        let config = b"\xffHost *\n";
        assert_eq!(with_include(config, "x"), b"Include x\n\xffHost *\n");
    }
}
