//! `[[target]]`: which local user's file gets the keys of which sources.

use super::check::Check;
use super::path_template::{PathTemplate, PathTemplateError};
use super::source::is;
use super::{raw, suggest};
use serde_spanned::Spanned;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

/// Where sshd looks by itself: AuthorizedKeysFile in sshd_config(5).
const PATH: &str = "%h/.ssh/authorized_keys";
/// Where indexes are, below the state directory.
const INDEX: &str = "keys";
/// Longest name of a local user: `LOGIN_NAME_MAX` of Linux.
const MAX_USER: usize = 256;

/// Where the agent puts keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The local user.
    pub user: String,
    /// Names of sources, at least one, each once, all of them configured.
    pub sources: Vec<String>,
    /// How the keys are put there.
    pub method: Method,
    /// The file; for [`Method::Command`] the index, `state-dir/keys/%U`.
    pub path: PathTemplate,
    /// What becomes of a foreign line with a key of the list.
    pub adopt: Adopt,
    /// A file that cannot be replaced (a mount point) is written over in place.
    pub in_place: bool,
}

/// How keys are put where sshd finds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// A marked block in a file that is shared with others.
    Block,
    /// A file of the agent's own, which `AuthorizedKeysFile` names.
    OwnFile,
    /// An index that `sshkeyd authorized-keys` reads as `AuthorizedKeysCommand`.
    Command,
}

impl Method {
    /// Its word in the configuration and in status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::OwnFile => "own-file",
            Self::Command => "command",
        }
    }
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
        state_dir: &Path,
    ) -> Option<Vec<Target>> {
        let mut targets: Option<Vec<Target>> = Some(Vec::new());
        let mut seen = BTreeSet::new();
        for raw in raw {
            let (at, raw) = (raw.span(), raw.get_ref());
            let target = self.target(raw, &at, sources, state_dir);
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
        state_dir: &Path,
    ) -> Option<Target> {
        let user = self.user(raw, at);
        let sources = self.source_names(raw, at, sources);
        let method = self.method(raw);
        let path = self.path_template(raw, method, state_dir);
        let choices = [("no", Adopt::No), ("same-key", Adopt::SameKey)];
        let adopt = self.choice(&raw.adopt, "adopt", &choices);
        Some(Target {
            user: user?,
            sources: sources?,
            method: method?,
            path: path?,
            adopt: adopt?,
            in_place: is(&raw.danger_in_place),
        })
    }

    fn method(&mut self, raw: &raw::Target) -> Option<Method> {
        let methods = [Method::Block, Method::OwnFile, Method::Command];
        let method = self.choice(&raw.method, "method", &methods.map(|m| (m.as_str(), m)))?;
        // What only one method knows would silently do nothing with another.
        let foreign: [(&str, Option<Range<usize>>, bool); 3] = [
            (
                "path",
                raw.path.as_ref().map(Spanned::span),
                method == Method::Command,
            ),
            (
                "adopt",
                raw.adopt.as_ref().map(Spanned::span),
                method != Method::Block,
            ),
            (
                "danger-in-place",
                raw.danger_in_place.as_ref().map(Spanned::span),
                method == Method::Command,
            ),
        ];
        for (key, place, is_foreign) in foreign {
            if let Some(place) = place.filter(|_| is_foreign) {
                let what = format!("method \"{}\" takes no \"{key}\"", method.as_str());
                self.fault(&place, what, "remove it");
            }
        }
        Some(method)
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

    fn path_template(
        &mut self,
        raw: &raw::Target,
        method: Option<Method>,
        state_dir: &Path,
    ) -> Option<PathTemplate> {
        if method == Some(Method::Command) {
            return self.index_path(raw, state_dir);
        }
        let text = raw.path.as_ref().map_or(PATH, |value| value.get_ref());
        let error = match PathTemplate::parse(text) {
            Ok(path) if method == Some(Method::OwnFile) => return self.own_path(raw, path),
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

    /// Where the index of each user is.
    fn index_path(&mut self, raw: &raw::Target, state_dir: &Path) -> Option<PathTemplate> {
        let dir = state_dir.join(INDEX).display().to_string();
        let path = PathTemplate::parse(&format!("{}/%U", dir.replace('%', "%%")));
        if path.is_err() {
            let place = raw.method.as_ref()?.span();
            let what = format!("method \"command\" with its index in {dir}");
            let todo = "give a state-dir without \".\" as a part";
            self.fault(&place, what, todo);
        }
        path.ok()
    }

    /// A file that is replaced whole must be nobody else's: neither another user's nor the one in
    /// which people put their own keys.
    fn own_path(&mut self, raw: &raw::Target, path: PathTemplate) -> Option<PathTemplate> {
        let place = raw.path.as_ref().or(raw.method.as_ref())?.span();
        let shared = [PATH, "%h/.ssh/authorized_keys2"];
        if shared.contains(&path.to_string().as_str()) {
            let what =
                format!("method \"own-file\" would replace {path}, where people's own keys are");
            self.fault(
                &place,
                what,
                "name another file, such as \"/etc/ssh/sshkeyd/keys/%u\"",
            );
            return None;
        }
        if path.is_fixed() {
            let what = format!("method \"own-file\" with one file for every user, {path}");
            self.fault(&place, what, "put %h, %u or %U into the path");
            return None;
        }
        Some(path)
    }
}
