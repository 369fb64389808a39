//! `[[target]]`: which local user's file gets the keys of which sources.

use super::check::Check;
use super::path_template::{PathTemplate, PathTemplateError};
use super::{raw, suggest};
use serde_spanned::Spanned;
use std::collections::BTreeSet;
use std::ops::Range;

/// Where sshd looks by itself: AuthorizedKeysFile in sshd_config(5).
const PATH: &str = "%h/.ssh/authorized_keys";
/// Longest name of a local user: `LOGIN_NAME_MAX` of Linux.
const MAX_USER: usize = 256;

/// Where the agent puts keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The local user.
    pub user: String,
    /// Names of sources, at least one, each once, all of them configured.
    pub sources: Vec<String>,
    /// The file.
    pub path: PathTemplate,
    /// What becomes of a foreign line with a key of the list.
    pub adopt: Adopt,
}

/// What becomes of a foreign line without options whose key is in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adopt {
    /// It stays foreign.
    No,
    /// It moves into the block when that key is first written.
    SameKey,
}

impl Check<'_> {
    /// Every target; none where one is at fault. `sources` are the names of all sources, or none
    /// where they cannot be known.
    pub(super) fn targets(
        &mut self,
        raw: &[Spanned<raw::Target>],
        sources: Option<&[&str]>,
    ) -> Option<Vec<Target>> {
        let mut targets: Option<Vec<Target>> = Some(Vec::new());
        let mut seen = BTreeSet::new();
        for raw in raw {
            let (at, raw) = (raw.span(), raw.get_ref());
            let target = self.target(raw, &at, sources);
            if let Some(target) = &target {
                // One file that is nobody's own can take one target only, whoever the user.
                let user = Some(&target.user).filter(|_| !target.path.is_fixed());
                if !seen.insert((user.cloned(), target.path.to_string())) {
                    let what = format!("a second target for {}", target.path);
                    let place = raw.user.as_ref().map_or(at, Spanned::span);
                    let todo = match target.path.is_fixed() {
                        true => "put %h, %u or %U into the path, or keep one target",
                        false => "name all its sources in one target",
                    };
                    self.fault(&place, what, todo);
                }
            }
            targets = targets.zip(target).map(|(mut all, one)| {
                all.push(one);
                all
            });
        }
        targets
    }

    fn target(
        &mut self,
        raw: &raw::Target,
        at: &Range<usize>,
        sources: Option<&[&str]>,
    ) -> Option<Target> {
        self.not_yet_target(raw);
        let user = self.user(raw, at);
        let sources = self.source_names(raw, at, sources);
        // The other methods have said so above.
        let other = ["own-file", "command"];
        let method = raw.method.as_ref().map(Spanned::get_ref);
        if !method.is_some_and(|word| other.contains(&word.as_str())) {
            self.choice(&raw.method, "method", &[("block", ())])?;
        }
        let path = self.path_template(raw);
        let choices = [("no", Adopt::No), ("same-key", Adopt::SameKey)];
        let adopt = self.choice(&raw.adopt, "adopt", &choices);
        Some(Target {
            user: user?,
            sources: sources?,
            path: path?,
            adopt: adopt?,
        })
    }

    fn user(&mut self, raw: &raw::Target, at: &Range<usize>) -> Option<String> {
        let Some(value) = &raw.user else {
            let todo = "name the local user: user = \"…\"";
            self.missing(at, "user", "a target without a user", todo);
            return None;
        };
        let user = value.get_ref();
        // Directories of users know names with dots, `@` and `\`; these here are in no passwd(5).
        let odd = |c: char| c.is_control() || c.is_whitespace() || ":/,".contains(c);
        if (1..=MAX_USER).contains(&user.len())
            && !user.starts_with('-')
            && !matches!(user.as_str(), "." | "..")
            && !user.contains(odd)
        {
            return Some(user.clone());
        }
        let what = format!(
            "\"{}\" is not the name of a local user",
            user.escape_debug()
        );
        self.fault(
            &value.span(),
            what,
            "name one user, as `getent passwd` does",
        );
        None
    }

    fn source_names(
        &mut self,
        raw: &raw::Target,
        at: &Range<usize>,
        known: Option<&[&str]>,
    ) -> Option<Vec<String>> {
        let todo = "name one or more: sources = [\"…\"]";
        let Some(values) = &raw.sources else {
            self.missing(at, "sources", "a target without sources", todo);
            return None;
        };
        if values.get_ref().is_empty() && !self.cut.had(at, "sources") {
            self.fault(&values.span(), "a target without sources", todo);
            return None;
        }
        let mut names = Vec::new();
        for value in values.get_ref() {
            let name = value.get_ref();
            if names.contains(name) {
                let what = format!("source \"{name}\" is named twice");
                self.fault(&value.span(), what, "name it once");
            }
            if let Some(known) = known
                && !known.contains(&name.as_str())
            {
                let todo = match (suggest::nearest(name, known), known) {
                    (Some(near), _) => format!("did you mean \"{near}\""),
                    (None, []) => "add a [[source]] of that name".to_owned(),
                    (None, known) => format!("the sources are \"{}\"", known.join("\", \"")),
                };
                self.fault(
                    &value.span(),
                    format!("no source is named \"{name}\""),
                    todo,
                );
            }
            names.push(name.clone());
        }
        Some(names)
    }

    fn path_template(&mut self, raw: &raw::Target) -> Option<PathTemplate> {
        let text = raw.path.as_ref().map_or(PATH, |value| value.get_ref());
        let error = match PathTemplate::parse(text) {
            Ok(path) => return Some(path),
            Err(error) => error,
        };
        let todo = match error {
            PathTemplateError::Tilde => "write %h for the home directory",
            PathTemplateError::Relative => "begin with / or with %h/",
            PathTemplateError::Token => "use %h, %u, %U or %%",
            PathTemplateError::Form => "name a file, without \".\" and \"..\", %h only in front",
        };
        if let Some(value) = &raw.path {
            self.fault(&value.span(), format!("\"{text}\": {error}"), todo);
        }
        None
    }
}
