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
            return (!same).then(|| format!("{} sets {keyword} {}", place.at, place.value));
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
mod tests {
    use super::*;
    use crate::sinks::sshd_config::places::Place;

    const COMMAND: &str = "/usr/bin/sshkeyd authorized-keys %u %f";

    fn own_file() -> Wish {
        Wish {
            purpose: "method own-file",
            directives: vec![Directive::authorized_keys_file(vec!["/keys/%u".into()])],
        }
    }

    fn command() -> Wish {
        Wish {
            purpose: "method command",
            directives: vec![
                Directive::is("AuthorizedKeysCommand", COMMAND),
                Directive::is("AuthorizedKeysCommandUser", "sshkeyd-keys"),
            ],
        }
    }

    fn place(keyword: &str, value: &str, is_matched: bool) -> Place {
        Place {
            at: "/etc/ssh/sshd_config:7".into(),
            keyword: keyword.to_ascii_lowercase(),
            value: value.into(),
            is_matched,
        }
    }

    /// Judges with one user `al`.
    fn judged(shown: &str, places: Vec<Place>, ours: Option<&str>) -> Verdict {
        let all = format!("{shown}authorizedkeysfile .ssh/authorized_keys .ssh/authorized_keys2\n");
        let values = [("al".to_owned(), Settings::parse(&all))];
        let survey = Survey {
            places,
            reach: Reach::Never,
        };
        let scene = Scene {
            values: &values,
            survey: &survey,
            options: Vec::new(),
            ours,
        };
        judge(&[own_file(), command()], &scene, false)
    }

    #[test]
    fn what_nobody_has_set_is_ours_to_set() {
        let verdict = judged("", vec![], None);
        assert_eq!(
            verdict.text.unwrap(),
            format!(
                "{MARK}\nAuthorizedKeysFile .ssh/authorized_keys .ssh/authorized_keys2 /keys/%u\n\
                 AuthorizedKeysCommand {COMMAND}\nAuthorizedKeysCommandUser sshkeyd-keys\n"
            )
        );
        assert_eq!((verdict.expected.len(), verdict.findings.len()), (3, 0));
    }

    #[test]
    fn a_taken_directive_takes_its_wish_with_it_and_no_other() {
        let theirs = place("AuthorizedKeysCommand", "/usr/bin/sss_ssh %u", false);
        let shown = "authorizedkeyscommand /usr/bin/sss_ssh %u\n";
        let verdict = judged(shown, vec![theirs], None);
        assert_eq!(verdict.expected, own_file().directives);
        assert_eq!(verdict.findings.len(), 1);
        let finding = &verdict.findings[0];
        assert_eq!(finding.about, "AuthorizedKeysCommand");
        assert!(
            finding
                .text
                .starts_with("/etc/ssh/sshd_config:7 sets AuthorizedKeysCommand /usr")
        );
        let chain = format!("AuthorizedKeysCommand {COMMAND} --chain /usr/bin/sss_ssh %u");
        assert!(finding.text.ends_with(&chain), "{}", finding.text);
    }

    #[test]
    fn the_default_set_by_hand_is_somebodys_too() {
        let value = ".ssh/authorized_keys .ssh/authorized_keys2";
        let verdict = judged("", vec![place("AuthorizedKeysFile", value, false)], None);
        assert_eq!(verdict.findings.len(), 1);
        // For others than our users a Match may say what it likes.
        let verdict = judged("", vec![place("AuthorizedKeysFile", "none", true)], None);
        assert!(verdict.findings.is_empty());
    }

    #[test]
    fn a_match_that_holds_for_a_user_of_ours_is_named() {
        let shown = "authorizedkeysfile /srv/%u\n";
        let verdict = judged(
            shown,
            vec![place("AuthorizedKeysFile", "/srv/%u", true)],
            None,
        );
        let text = &verdict.findings[0].text;
        assert!(
            text.contains("_config:7 sets AuthorizedKeysFile /srv/%u for user al"),
            "{text}"
        );
    }

    #[test]
    fn what_the_admin_has_set_as_we_would_is_left_to_him() {
        let shown = "authorizedkeysfile .ssh/authorized_keys /keys/%u\n";
        let theirs = place("AuthorizedKeysFile", ".ssh/authorized_keys /keys/%u", false);
        let verdict = judged(shown, vec![theirs], None);
        assert_eq!(verdict.expected, command().directives);
        assert!(verdict.findings.is_empty());
    }

    #[test]
    fn a_setting_that_comes_after_ours_changes_nothing_and_is_named() {
        let line = "AuthorizedKeysFile .ssh/authorized_keys .ssh/authorized_keys2 /old/%u\n";
        let ours = format!("{MARK}\n{line}");
        let shown = line.to_ascii_lowercase();
        let theirs = place("AuthorizedKeysFile", "/srv/%u", false);
        let verdict = judged(&shown, vec![theirs], Some(&ours));
        assert!(verdict.text.unwrap().contains(line));
        assert_eq!(verdict.findings.len(), 1);
        let verdict = judged(&shown, vec![], Some(&ours));
        assert!(verdict.findings.is_empty() && verdict.text.unwrap().contains("/keys/%u"));
    }

    #[test]
    fn while_keys_may_stand_only_where_they_stood_the_command_keeps_its_index() {
        let of = |index: &str| format!("/usr/bin/sshkeyd authorized-keys --index {index} %u %t %k");
        let judged = |program: &str, only_add| {
            let stands = of("/old/keys").replace("/usr/bin/sshkeyd", program);
            let ours = format!("{MARK}\nAuthorizedKeysCommand {stands}\n");
            let shown = format!("authorizedkeyscommand {stands}\n");
            let values = [("al".to_owned(), Settings::parse(&shown))];
            let survey = Survey {
                places: vec![],
                reach: Reach::Never,
            };
            let scene = Scene {
                values: &values,
                survey: &survey,
                options: Vec::new(),
                ours: Some(&ours),
            };
            let wish = Wish {
                purpose: "method command",
                directives: vec![Directive::is("AuthorizedKeysCommand", &*of("/new/keys"))],
            };
            judge(&[wish], &scene, only_add).text.unwrap()
        };
        assert!(judged("/usr/bin/sshkeyd", true).contains("--index /old/keys"));
        assert!(judged("/usr/bin/sshkeyd", false).contains("--index /new/keys"));
        // A program that has moved may be gone.
        assert!(judged("/opt/sshkeyd", true).contains("--index /new/keys"));
    }
}
