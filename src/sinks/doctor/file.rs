//! What stands in the way of the file: not named, not there, not trusted, not to be read.

use super::facts::{Account, Facts, FileFacts, FileState, Listener, Stat};
use super::judge::{Sheet, set, set_all};
use super::keys;
use crate::config::Method;
use crate::sinks::keys_command::chained;
use crate::sinks::sshd::Settings;
use crate::sinks::sshd_config::quoted;
use crate::sinks::strict_modes::Refusal;
use std::path::{Path, PathBuf};

/// Everything about the file.
pub(super) fn file(
    facts: &Facts,
    account: &Account,
    file: &FileFacts,
    method: Method,
    sheet: &mut Sheet,
) {
    let path = file.path.display();
    if let Ok(settings) = &facts.sshd.settings {
        is_named(facts, settings, file, method, sheet);
    }
    if method == Method::Command {
        // sshd reads no file: what our own program would not read is one of the agent's conditions.
        return;
    }
    match &file.state {
        FileState::Missing => {
            let what = format!("{path} is not there");
            sheet.problem("keys-file", what, "see what the agent says: sshkeyd status");
        }
        FileState::Refused(why) => {
            let what = format!("{path} cannot be read: {why}");
            sheet.problem(
                "keys-file",
                what,
                "put a plain file of the user there, or nothing",
            );
        }
        FileState::Read => {}
    }
    let strict = facts
        .sshd
        .settings
        .as_ref()
        .map_or("yes", |s| s.one("strictmodes"));
    for refusal in file.strict.iter().filter(|_| strict != "no") {
        let fix = keys::mend(refusal, &facts.user);
        if passes_on_debian(facts, account, file, refusal) {
            let what =
                format!("{refusal}. Debian's sshd lets it pass: the group is the user's alone");
            sheet.notice("strict-modes", what, fix);
        } else {
            sheet.problem("strict-modes", refusal.to_string(), fix);
        }
    }
    if let Some(place) = closed_to(account, &file.way) {
        let at = place.path.display();
        let what = format!(
            "{at} (mode {:04o}) cannot be read by {}, as whom sshd reads it",
            place.mode, facts.user
        );
        let fix = match place.path == *file.real.as_deref().unwrap_or(&file.path) {
            true => format!("chown {}: {at} && chmod 600 {at}", facts.user),
            false => format!("chmod a+x {at}, or chown {}: {at}", facts.user),
        };
        sheet.problem("readable", what, fix);
    }
    for place in &file.immutable {
        let at = place.display();
        let what = format!("{at} has the immutable flag: keys can neither come nor go");
        sheet.problem("immutable", what, format!("chattr -i -a {at}"));
    }
    if let Some(label) = file
        .label
        .as_deref()
        .filter(|label| !label.contains(":ssh_home_t") && file.path.starts_with(&account.home))
    {
        let directory = file
            .path
            .parent()
            .unwrap_or_else(|| Path::new("/"))
            .display();
        let what =
            format!("SELinux is enforced, and {path} is labelled {label}: sshd may not read it");
        sheet.problem("selinux", what, format!("restorecon -Rv {directory}"));
    }
    let checks = ["keys-file", "strict-modes", "readable", "keys-file-named"];
    if !sheet.has_problem_of(&checks) {
        sheet.ok(
            "strict-modes",
            format!("sshd finds, reads and trusts {path}"),
        );
    }
}

/// Debian's sshd (`secure_permissions` of its user-group-modes.patch) takes what the group may write
/// to, where only its owner is in that group.
fn passes_on_debian(facts: &Facts, account: &Account, file: &FileFacts, refusal: &Refusal) -> bool {
    let Refusal::Mode { path, mode } = refusal else {
        return false;
    };
    let Listener::Speaks(_, banner) = &facts.listener else {
        return false;
    };
    let of_debian = ["Debian", "Ubuntu", "Raspbian"]
        .iter()
        .any(|name| banner.contains(name));
    let group = file
        .way
        .iter()
        .find(|place| place.path == *path)
        .map(|place| place.gid);
    of_debian && mode & 0o002 == 0 && group.is_some() && group == account.own_group
}

/// Whether AuthorizedKeysFile, or the command, leads to where the agent puts keys.
fn is_named(
    facts: &Facts,
    settings: &Settings,
    file: &FileFacts,
    method: Method,
    sheet: &mut Sheet,
) {
    if method == Method::Command {
        if settings
            .named("authorizedkeyscommand")
            .is_none_or(|c| !c.contains("sshkeyd"))
        {
            let what = "method \"command\", and AuthorizedKeysCommand does not run sshkeyd";
            sheet.problem("keys-command", what, command(facts, settings));
        }
        return;
    }
    let same = |named: &PathBuf| {
        *named == file.path || file.real.as_ref().is_some_and(|real| real == named)
    };
    if !facts.sshd.keys_files.iter().any(same) {
        let path = file.path.display();
        let value = settings.one("authorizedkeysfile");
        let what = format!("AuthorizedKeysFile is {value}, which does not name {path}");
        sheet.problem(
            "keys-file-named",
            what,
            set(facts, &with_file(facts, value, file)),
        );
    }
}

/// What has sshd run our command: both keywords, because sshd does not start with the one alone; and
/// a command that stands there goes on behind ours.
fn command(facts: &Facts, settings: &Settings) -> String {
    let mut lines: Vec<_> = facts.sshd.lines.lines().map(str::to_owned).collect();
    lines.retain(|line| line.starts_with("AuthorizedKeysCommand"));
    if lines.is_empty() {
        // The agent would not write them either, and says why.
        return "see what keeps the agent from setting it: sshkeyd status".to_owned();
    }
    if let Some(theirs) = settings.named("authorizedkeyscommand") {
        for line in &mut lines {
            if line.starts_with("AuthorizedKeysCommand ") {
                *line = chained(line, theirs);
            }
        }
    }
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    set_all(facts, &lines)
}

/// What has sshd read the file too: files that it reads already stay, for everybody has keys there.
fn with_file(facts: &Facts, value: &str, file: &FileFacts) -> String {
    let begin = format!("AuthorizedKeysFile {value} ");
    if let Some(line) = facts.sshd.lines.lines().find(|l| l.starts_with(&begin)) {
        return line.to_owned();
    }
    let before = if value == "none" { "" } else { value };
    let word = quoted(&file.template);
    format!("AuthorizedKeysFile {before} {word}").replace("  ", " ")
}

/// The first place on the way to the file that its user cannot pass. Root passes everywhere.
fn closed_to<'a>(account: &Account, way: &'a [Stat]) -> Option<&'a Stat> {
    if account.uid == 0 {
        return None;
    }
    let may = |at: usize, place: &Stat| {
        // The file is read, a directory is passed.
        let bit = if at == 0 { 0o4 } else { 0o1 };
        let shift = if place.uid == account.uid {
            6
        } else if account.groups.iter().any(|(gid, _)| *gid == place.gid) {
            3
        } else {
            0
        };
        place.mode >> shift & bit != 0
    };
    let closed = way
        .iter()
        .enumerate()
        .rev()
        .find(|(at, place)| !may(*at, place));
    closed.map(|(_, place)| place)
}
