//! What `sshd -T` prints for one user: a keyword in lower case, a blank, its value, a line each.

use super::{Directive, Wanted};
use std::collections::BTreeMap;

/// What sshd prints for a keyword that nobody has set.
const NONE: &str = "none";

/// Every keyword with its values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Values(BTreeMap<String, Vec<String>>);

impl Values {
    pub(super) fn parse(text: &str) -> Self {
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in text.lines() {
            if let Some((keyword, value)) = line.trim().split_once(' ') {
                let of_keyword = values.entry(keyword.to_ascii_lowercase()).or_default();
                of_keyword.push(value.trim().to_owned());
            }
        }
        Self(values)
    }

    /// Every value of a keyword, whatever its case here.
    pub(super) fn all(&self, keyword: &str) -> &[String] {
        let values = self.0.get(&keyword.to_ascii_lowercase());
        values.map_or(&[], Vec::as_slice)
    }

    /// The value of a keyword that has one.
    pub(super) fn one(&self, keyword: &str) -> &str {
        self.all(keyword).first().map_or(NONE, String::as_str)
    }

    /// Whether the directive is in force, whoever set it.
    pub(super) fn has(&self, directive: &Directive) -> bool {
        let values = self.all(directive.keyword);
        match &directive.wanted {
            Wanted::Is(wanted) => {
                let value = self.one(directive.keyword);
                // An administrator may have put his own command behind ours.
                let behind = value.strip_prefix(wanted.as_str());
                behind.is_some_and(|rest| rest.is_empty() || rest.starts_with(" --chain "))
            }
            Wanted::Names { words, .. } => {
                // sshd prints words with blanks in them without quotes.
                let line = format!(" {} ", self.one(directive.keyword));
                words.iter().all(|word| line.contains(&format!(" {word} ")))
            }
            Wanted::Lines(wanted) => wanted.iter().all(|line| values.contains(line)),
        }
    }

    /// Whether nobody has set the keyword, as far as its value shows.
    pub(super) fn is_default(&self, directive: &Directive) -> bool {
        let value = self.one(directive.keyword);
        match &directive.wanted {
            Wanted::Is(_) => value == NONE,
            Wanted::Names { default, .. } => value == *default,
            Wanted::Lines(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_force_is_known_by_its_value() {
        let values = Values::parse(
            "port 22\nauthorizedkeysfile .ssh/authorized_keys /etc/ssh/a b/%u\n\
             authorizedkeyscommand none\nhostcertificate /a\nhostcertificate /b\n",
        );
        let names = |word: &str| Directive::authorized_keys_file(vec![word.to_owned()]);
        assert!(values.has(&names("/etc/ssh/a b/%u")));
        assert!(!values.has(&names("/etc/ssh/a")) || values.has(&names("b/%u")));
        assert!(!values.has(&names("/etc/ssh/c/%u")));
        assert!(!values.is_default(&names("/etc/ssh/c/%u")));
        let command = Directive::is("AuthorizedKeysCommand", "/x");
        for (value, is_ours) in [("/x", true), ("/x --chain /y %u", true), ("/x y", false)] {
            let values = Values::parse(&format!("authorizedkeyscommand {value}\n"));
            assert_eq!(values.has(&command), is_ours, "{value}");
        }
        assert!(!values.has(&command) && values.is_default(&command));
        assert!(values.has(&Directive::lines("HostCertificate", vec!["/b".into()])));
        assert!(!values.has(&Directive::lines("HostCertificate", vec!["/c".into()])));
    }
}
