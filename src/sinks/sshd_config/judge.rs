//! What the drop-in is to read, and which wishes stand against somebody's own setting: pure.

use super::places::{Reach, Survey};
use super::{Directive, MARK, Wanted, Wish};
use crate::sinks::keys_command::chained;
use crate::sinks::sshd::Settings;
use crate::sync::{Code, Finding};

/// What is in force and who set it.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    /// What `sshd -T` says for each user.
    pub(super) values: &'a [(String, Settings)],
    pub(super) survey: &'a Survey,
    /// Keywords with their values that sshd was started with.
    pub(super) options: Vec<(&'a str, &'a str)>,
    /// The drop-in as it stands, where it is ours.
    pub(super) ours: Option<&'a str>,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// The whole drop-in; none where it has nothing to say.
    pub(super) text: Option<String>,
    /// What must be in force once it is read.
    pub(super) expected: Vec<Directive>,
    /// `sshd-setting-taken`.
    pub(super) findings: Vec<Finding>,
}

/// Judges every wish by itself: one that is taken leaves the others be. With `only_add`, what stands
/// in the drop-in and no wish names stays.
pub(super) fn judge(wishes: &[Wish], scene: &Scene<'_>, only_add: bool) -> Verdict {
    let mut verdict = Verdict::default();
    let mut body = String::new();
    for wish in wishes {
        let taken: Vec<_> = wish
            .directives
            .iter()
            .filter_map(|directive| Some((directive, scene.taken(directive)?)))
            .collect();
        if taken.is_empty() {
            for directive in &wish.directives {
                let stays = scene
                    .our_lines(directive)
                    .find(|line| only_add && is_only_elsewhere(line, directive));
                if let Some(line) = stays {
                    // There sshd finds every key that it found before; the new place may lack some.
                    body.push_str(line);
                    body.push('\n');
                } else if !scene.is_others_already(directive) {
                    body.push_str(&directive.text());
                    verdict.expected.push(directive.clone());
                }
            }
            continue;
        }
        // Nothing changes: what was in force by us before somebody set it too stays.
        for directive in &wish.directives {
            scene.our_lines(directive).for_each(|line| {
                body.push_str(line);
                body.push('\n');
            });
        }
        verdict
            .findings
            .extend(taken.into_iter().map(|(directive, by)| {
                let add = needed(directive, scene);
                let text = format!("{by}; {} needs: {add}", wish.purpose);
                Finding::new(Code::SshdSettingTaken, directive.keyword, text)
            }));
    }
    if only_add {
        let all = || wishes.iter().flat_map(|wish| &wish.directives);
        let lines = scene.ours.into_iter().flat_map(str::lines);
        let unnamed = |line: &&str| !all().any(|directive| sets(line, directive.keyword));
        for line in lines.filter(|line| !line.starts_with('#')).filter(unnamed) {
            body.push_str(line);
            body.push('\n');
        }
    }
    verdict.text = (!body.is_empty()).then(|| format!("{MARK}\n{body}"));
    verdict
}

/// Whether a line runs the wanted command, for another index.
fn is_only_elsewhere(line: &str, directive: &Directive) -> bool {
    let program = |value: &str| value.split_ascii_whitespace().next().map(str::to_owned);
    match &directive.wanted {
        Wanted::Is(wanted) if directive.keyword == "AuthorizedKeysCommand" => {
            let stands = value_of(line);
            stands != *wanted && program(&stands) == program(wanted)
        }
        _ => false,
    }
}

/// What an administrator would have to set for a directive where he has set it to something else.
fn needed(directive: &Directive, scene: &Scene<'_>) -> String {
    if let (Wanted::Is(ours), "AuthorizedKeysCommand") = (&directive.wanted, directive.keyword) {
        let mut theirs = scene
            .values
            .iter()
            .map(|(_, values)| values.one(directive.keyword));
        let theirs = theirs.find(|theirs| theirs.starts_with('/') && theirs != ours);
        if let Some(theirs) = theirs {
            return format!("{} {}", directive.keyword, chained(ours, theirs));
        }
    }
    directive.text().trim_end().replace('\n', "; ")
}

/// Which of the directives are not in force for somebody, in words.
pub(super) fn missing(expected: &[Directive], values: &[(String, Settings)]) -> Option<String> {
    expected.iter().find_map(|directive| {
        let (user, values) = values.iter().find(|(_, values)| !directive.is_in(values))?;
        let shown = values.all(directive.keyword).join(", ");
        let shown = if shown.is_empty() { "none" } else { &shown };
        Some(format!(
            "for user {user} sshd -T shows {} {shown}",
            directive.keyword
        ))
    })
}

/// Why a drop-in that was written is not in force.
pub(super) fn why_unread(survey: &Survey, drop_in: &std::path::Path, shown: &str) -> String {
    match &survey.reach {
        Reach::Never => format!(
            "no Include names it, and {shown}; put in front of everything else: Include {}",
            drop_in.display()
        ),
        Reach::BelowMatch(place) => {
            format!("its Include stands below the Match at {place}, and {shown}; put it above")
        }
        Reach::Read(place) => format!("it is included at {place}, and {shown}"),
    }
}

impl Scene<'_> {
    /// Whether it is in force without us.
    fn is_others_already(&self, directive: &Directive) -> bool {
        let by_us = self.our_lines(directive).next().is_some();
        !by_us
            && self
                .values
                .iter()
                .all(|(_, values)| directive.is_in(values))
    }

    /// Somebody's own setting that ours would overrule, or that overrules ours; in words.
    fn taken(&self, directive: &Directive) -> Option<String> {
        if matches!(directive.wanted, Wanted::Lines(_)) || self.is_others_already(directive) {
            return None;
        }
        let keyword = directive.keyword;
        let by_option = self
            .options
            .iter()
            .find(|(k, _)| k.eq_ignore_ascii_case(keyword));
        if let Some((_, value)) = by_option {
            return Some(format!("sshd was started with -o {keyword}={value}"));
        }
        let mut places = self.survey.of_keyword(keyword);
        let first = places.next();
        if let Some(place) = first.filter(|place| !place.is_matched) {
            // The same words as ours take nothing away.
            let theirs = Settings::parse(&format!("{keyword} {}", place.value.replace('"', "")));
            let same = directive.is_in(&theirs);
            let is_covered = directive.over.contains(&place.value.replace('"', ""));
            if same || (is_covered && !place.is_above) {
                return None;
            }
            let text = format!("{} sets {keyword} {}", place.at, place.value);
            if is_covered {
                let why = "above the drop-in's Include, and the first value counts; ours does all \
                           that it does: take that line out";
                return Some(format!("{text} {why}"));
            }
            return Some(text);
        }
        // Nobody sets it for all: then it has sshd's default, or ours, but for whom a Match says
        // otherwise.
        let ours: Vec<String> = self.our_lines(directive).map(value_of).collect();
        let otherwise = |values: &Settings| match ours.first() {
            Some(ours) => values.one(keyword) != ours && !directive.is_default_in(values),
            None => !directive.is_default_in(values) && !directive.is_in(values),
        };
        let (user, values) = self.values.iter().find(|(_, values)| otherwise(values))?;
        let value = values.one(keyword);
        let at = first.map_or("sshd -T", |place| &place.at);
        Some(format!("{at} sets {keyword} {value} for user {user}"))
    }

    /// Lines of the drop-in that set this keyword.
    fn our_lines<'a>(&'a self, directive: &'a Directive) -> impl Iterator<Item = &'a str> {
        let lines = self.ours.into_iter().flat_map(str::lines);
        lines.filter(|line| sets(line, directive.keyword))
    }
}

fn sets(line: &str, keyword: &str) -> bool {
    let first = line.split_ascii_whitespace().next();
    first.is_some_and(|first| first.eq_ignore_ascii_case(keyword))
}

/// A line's value as `sshd -T` prints it.
fn value_of(line: &str) -> String {
    let value = line.split_once(' ').map_or("", |(_, value)| value);
    value.replace('"', "")
}

#[cfg(test)]
mod tests;
