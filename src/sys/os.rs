//! What this system calls itself: os-release(5).
//!
//! Its words are whoever made the image's: callers keep control characters out of what they show.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// In this order, as os-release(5) has it.
const FILES: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];
/// Longest file that is read.
const MAX_FILE: u64 = 64 * 1024;

/// The system's name for people, as `Debian GNU/Linux 12 (bookworm)`; empty where it has none.
#[must_use]
pub fn pretty_name() -> String {
    let text = FILES.iter().find_map(|path| text(Path::new(path)));
    pretty_name_in(&text.unwrap_or_default()).to_owned()
}

/// The value of `PRETTY_NAME`, without the quotes of a shell.
fn pretty_name_in(release: &str) -> &str {
    let value = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    value.unwrap_or_default().trim().trim_matches(['"', '\''])
}

fn text(path: &Path) -> Option<String> {
    let mut text = Vec::new();
    let file = File::open(path).ok()?;
    file.take(MAX_FILE).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_read_without_its_quotes() {
        let release = "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
        assert_eq!(pretty_name_in(release), "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(pretty_name_in("NAME=x"), "");
    }
}
