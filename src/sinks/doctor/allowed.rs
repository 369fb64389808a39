//! Whether sshd lets the user try at all, whatever his keys: who is named, and who is root.

use super::facts::{Account, Facts, KeyFacts};
use super::judge::{Sheet, set};
use super::keys;
use super::patterns::{fits, fits_user};
use crate::sinks::sshd::Settings;

/// `allowed_user` of OpenSSH's auth.c, and PermitRootLogin.
pub(super) fn may_log_in(facts: &Facts, account: &Account, settings: &Settings, sheet: &mut Sheet) {
    let user = &facts.user;
    let check = [
        "deny-users",
        "allow-users",
        "deny-groups",
        "allow-groups",
        "root-login",
    ];
    for pattern in settings.words("denyusers") {
        match fits_user(user, pattern) {
            Some(None) => {
                let what = format!("DenyUsers names {user}");
                let config = facts.sshd.config.display();
                let fix = format!(
                    "take {user} out of DenyUsers in {config} (or what it includes), then: systemctl reload ssh"
                );
                sheet.problem("deny-users", what, fix);
            }
            Some(Some(host)) => {
                let what = format!("DenyUsers keeps {user} out from {host}");
                sheet.notice(
                    "deny-users",
                    what,
                    "log in from elsewhere, or take it out of DenyUsers",
                );
            }
            None => {}
        }
    }
    let mut allowed = settings.words("allowusers").peekable();
    if allowed.peek().is_some() {
        let fits: Vec<_> = allowed
            .filter_map(|pattern| fits_user(user, pattern))
            .collect();
        let hosts: Vec<_> = fits.iter().copied().flatten().collect();
        if fits.is_empty() {
            let what = format!("AllowUsers does not name {user}");
            sheet.problem("allow-users", what, add(facts, "AllowUsers", user));
        } else if hosts.len() == fits.len() {
            let what = format!("AllowUsers takes {user} from {} only", hosts.join(", "));
            sheet.notice("allow-users", what, add(facts, "AllowUsers", user));
        }
    }
    let in_group = |patterns: Vec<&str>| {
        let mut groups = account.groups.iter().map(|(_, name)| name);
        let fits = |name: &&String| patterns.iter().any(|p| fits(name, p));
        groups.find(fits).cloned()
    };
    if let Some(group) = in_group(settings.words("denygroups").collect()) {
        let what = format!("DenyGroups names {group}, and {user} is in it");
        sheet.problem(
            "deny-groups",
            what,
            format!("gpasswd -d {user} {group}, or change DenyGroups"),
        );
    }
    let allowed: Vec<_> = settings.words("allowgroups").collect();
    if !allowed.is_empty() && in_group(allowed).is_none() {
        let what = format!("AllowGroups names no group that {user} is in");
        sheet.problem(
            "allow-groups",
            what,
            format!("usermod -aG GROUP {user}, with a group of AllowGroups"),
        );
    }
    if account.uid == 0 {
        root_login(facts, settings, sheet);
    }
    if !sheet.has_problem_of(&check) {
        sheet.ok("allowed", format!("sshd lets {user} try"));
    }
}

fn add(facts: &Facts, keyword: &str, word: &str) -> String {
    let config = facts.sshd.config.display();
    format!("add {word} to {keyword} in {config} (or what it includes), then: systemctl reload ssh")
}

fn root_login(facts: &Facts, settings: &Settings, sheet: &mut Sheet) {
    match settings.one("permitrootlogin") {
        "no" => {
            let fix = set(facts, "PermitRootLogin prohibit-password");
            sheet.problem("root-login", "PermitRootLogin is no", fix);
        }
        "forced-commands-only" => {
            let has_command = |key: &&KeyFacts| {
                let options = key.options.as_deref().unwrap_or_default();
                key.ours && keys::option(options, "command").is_some()
            };
            let forced = settings.named("forcecommand").is_some();
            if !forced && facts.keys.iter().filter(has_command).count() == 0 {
                let what = "PermitRootLogin is forced-commands-only, and no key has command=";
                let fix = set(facts, "PermitRootLogin prohibit-password");
                sheet.problem("root-login", what, fix);
            }
        }
        _ => {}
    }
}
