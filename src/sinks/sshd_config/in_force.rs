//! Whether a directive is in force, by what `sshd -T` prints for one user.

use super::{Directive, Wanted};
use crate::sinks::sshd::Settings;

impl Directive {
    /// Whether it is in force, whoever set it.
    pub(super) fn is_in(&self, settings: &Settings) -> bool {
        let value = settings.one(self.keyword);
        match &self.wanted {
            Wanted::Is(wanted) => {
                // An administrator may have put his own command behind ours.
                let behind = value.strip_prefix(wanted.as_str());
                behind.is_some_and(|rest| rest.is_empty() || rest.starts_with(" --chain "))
            }
            Wanted::Names { words, .. } => {
                // sshd prints words with blanks in them without quotes.
                let line = format!(" {value} ");
                words.iter().all(|word| line.contains(&format!(" {word} ")))
            }
            Wanted::Lines(wanted) => {
                let values = settings.all(self.keyword);
                wanted.iter().all(|line| values.contains(line))
            }
        }
    }

    /// Whether nobody has set the keyword, as far as its value shows.
    pub(super) fn is_default_in(&self, settings: &Settings) -> bool {
        match &self.wanted {
            Wanted::Is(_) => settings.named(self.keyword).is_none(),
            Wanted::Names { default, .. } => settings.one(self.keyword) == *default,
            Wanted::Lines(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_force_is_known_by_its_value() {
        let values = Settings::parse(
            "port 22\nauthorizedkeysfile .ssh/authorized_keys /etc/ssh/a b/%u\n\
             authorizedkeyscommand none\nhostcertificate /a\nhostcertificate /b\n",
        );
        let names = |word: &str| Directive::authorized_keys_file(vec![word.to_owned()]);
        assert!(names("/etc/ssh/a b/%u").is_in(&values));
        assert!(!names("/etc/ssh/a").is_in(&values) || names("b/%u").is_in(&values));
        assert!(!names("/etc/ssh/c/%u").is_in(&values));
        assert!(!names("/etc/ssh/c/%u").is_default_in(&values));
        let command = Directive::is("AuthorizedKeysCommand", "/x");
        for (value, is_ours) in [("/x", true), ("/x --chain /y %u", true), ("/x y", false)] {
            let values = Settings::parse(&format!("authorizedkeyscommand {value}\n"));
            assert_eq!(command.is_in(&values), is_ours, "{value}");
        }
        assert!(!command.is_in(&values) && command.is_default_in(&values));
        assert!(Directive::lines("HostCertificate", vec!["/b".into()]).is_in(&values));
        assert!(!Directive::lines("HostCertificate", vec!["/c".into()]).is_in(&values));
    }
}
