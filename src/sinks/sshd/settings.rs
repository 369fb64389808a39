//! Everything that `sshd -T` says: a keyword in lower case, a blank, its value; some more than once.

use std::collections::BTreeMap;

/// The settings in force for one connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings(BTreeMap<String, Vec<String>>);

impl Settings {
    /// Reads what sshd(8) `-T` printed.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut settings: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in text.lines() {
            let (keyword, value) = line
                .trim()
                .split_once(' ')
                .unwrap_or_else(|| (line.trim(), ""));
            let values = settings.entry(keyword.to_ascii_lowercase()).or_default();
            values.push(value.trim().to_owned());
        }
        Self(settings)
    }

    /// Every value of a keyword, whatever its case here.
    #[must_use]
    pub fn all(&self, keyword: &str) -> &[String] {
        let values = self.0.get(&keyword.to_ascii_lowercase());
        values.map_or(&[], Vec::as_slice)
    }

    /// The first value of a keyword; empty where sshd does not know it.
    #[must_use]
    pub fn one(&self, keyword: &str) -> &str {
        self.all(keyword).first().map_or("", String::as_str)
    }

    /// The first value, where it is none of sshd's words for nothing.
    #[must_use]
    pub fn named(&self, keyword: &str) -> Option<&str> {
        Some(self.one(keyword)).filter(|value| !matches!(*value, "" | "none"))
    }

    /// Words of every value of a keyword.
    pub fn words(&self, keyword: &str) -> impl Iterator<Item = &str> {
        let values = self.all(keyword).iter();
        values.flat_map(|value| value.split_ascii_whitespace())
    }

    /// A number.
    #[must_use]
    pub fn number(&self, keyword: &str) -> Option<usize> {
        self.one(keyword).parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyword_may_stand_more_than_once() {
        let text = "usepam no\nallowusers a\nallowusers b@10.0.0.0/8\nrevokedkeys none\n";
        let settings = Settings::parse(text);
        assert_eq!(
            settings.words("allowusers").collect::<Vec<_>>(),
            ["a", "b@10.0.0.0/8"]
        );
        assert_eq!(settings.one("UsePAM"), "no");
        assert_eq!(settings.named("revokedkeys"), None);
        assert_eq!(settings.one("nosuch"), "");
    }
}
