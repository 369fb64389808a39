//! What the facts come to. Pure: each finding says what is so, and what mends it.
//!
//! The order is sshd's own: is it there, may the user log in at all (auth.c, `allowed_user`), are
//! keys taken (auth2-pubkey.c), is the file found and trusted (misc.c, `safe_path`), are the keys
//! in it good for anything, and what did sshd itself say.

use super::AgentWord;
use super::facts::{Account, Facts, Listener, Shell};
use super::{allowed, certificates, file, keys};
use crate::sinks::sshd::Settings;
use crate::wire::{DoctorFinding, Level, Severity};
use jiff::Timestamp;

/// Findings as they are written down.
#[derive(Debug, Default)]
pub(super) struct Sheet(pub(super) Vec<DoctorFinding>);

impl Sheet {
    fn write(&mut self, level: Level, check: &str, what: String, fix: Option<String>) {
        self.0.push(DoctorFinding {
            level,
            check: check.to_owned(),
            what,
            fix,
        });
    }

    pub(super) fn problem(&mut self, check: &str, what: impl Into<String>, fix: impl Into<String>) {
        self.write(Level::Problem, check, what.into(), Some(fix.into()));
    }

    pub(super) fn notice(&mut self, check: &str, what: impl Into<String>, fix: impl Into<String>) {
        self.write(Level::Notice, check, what.into(), Some(fix.into()));
    }

    pub(super) fn ok(&mut self, check: &str, what: impl Into<String>) {
        self.write(Level::Ok, check, what.into(), None);
    }

    pub(super) fn has_problem_of(&self, checks: &[&str]) -> bool {
        let bad = |f: &&DoctorFinding| f.level == Level::Problem;
        self.0
            .iter()
            .filter(bad)
            .any(|f| checks.contains(&&*f.check))
    }
}

/// Everything that is to be said.
#[must_use]
pub fn judge(facts: &Facts) -> Vec<DoctorFinding> {
    let mut sheet = Sheet::default();
    listener(facts, &mut sheet);
    if facts.agent.as_ref().is_some_and(AgentWord::is_stuck) {
        // Nothing was looked at.
        agent(facts, &mut sheet);
        return sheet.0;
    }
    let Some(account) = &facts.account else {
        let what = format!("there is no local user {}", facts.user);
        let fix = format!(
            "useradd --create-home {}, or name another user in [[target]]",
            facts.user
        );
        sheet.problem("user", what, fix);
        return sheet.0;
    };
    match &facts.sshd.settings {
        Ok(settings) => {
            self::account(facts, account, Some(settings), &mut sheet);
            allowed::may_log_in(facts, account, settings, &mut sheet);
            methods(facts, settings, &mut sheet);
            certificates::revoked(facts, &mut sheet);
            certificates::taken(facts, settings, &mut sheet);
        }
        Err(why) => {
            self::account(facts, account, None, &mut sheet);
            sshd_says_nothing(facts, why, &mut sheet);
        }
    }
    match &facts.target {
        Some((place, method)) => {
            file::file(facts, account, place, *method, &mut sheet);
            keys::keys(facts, place, *method, &mut sheet);
        }
        None => {
            let what = format!(
                "no target of the agent's configuration is user {}",
                facts.user
            );
            sheet.problem(
                "target",
                what,
                "add a [[target]] with this user, or log in as another",
            );
        }
    }
    keys::proof(facts, &mut sheet);
    agent(facts, &mut sheet);
    sheet.0
}

fn listener(facts: &Facts, sheet: &mut Sheet) {
    match &facts.listener {
        Listener::Off => {
            let fix = "set [verify] sshd to the address where sshd listens";
            sheet.notice(
                "listening",
                "[verify] sshd is off: nobody asks sshd itself",
                fix,
            );
        }
        Listener::Silent(address) => {
            let what = format!("no sshd answers at {address}");
            let fix =
                "start it (systemctl start ssh, or /usr/sbin/sshd), or put [verify] sshd right";
            sheet.problem("listening", what, fix);
        }
        Listener::Speaks(address, banner) => {
            sheet.ok("listening", format!("{banner} answers at {address}"));
        }
    }
}

fn sshd_says_nothing(facts: &Facts, why: &str, sheet: &mut Sheet) {
    let config = facts.sshd.config.display();
    if let Some((_, directory)) = why.split_once("Missing privilege separation directory: ") {
        let directory = directory.trim();
        let what = format!("{directory} is missing: sshd drops every connection");
        return sheet.problem(
            "privilege-separation",
            what,
            format!("mkdir -m 0755 {directory}"),
        );
    }
    let what = format!("sshd does not take its configuration: {why}");
    let fix = format!("put the line right that it names, then: sshd -t -f {config}");
    sheet.problem("sshd-config", what, fix);
}

fn account(facts: &Facts, account: &Account, settings: Option<&Settings>, sheet: &mut Sheet) {
    let user = &facts.user;
    let pam = settings.is_some_and(|s| s.one("usepam") == "yes");
    let home = account.home.display();
    if !account.has_home {
        let what = format!("the home {home} is not there");
        sheet.problem(
            "home",
            what,
            format!("mount it, or: mkhomedir_helper {user}"),
        );
    }
    let shell = account.shell.0.display();
    match account.shell.1 {
        Shell::Usable => {}
        Shell::Missing => {
            let what = format!("the shell {shell} is not there: sshd refuses the user");
            sheet.problem("shell", what, format!("chsh -s /bin/sh {user}"));
        }
        Shell::NotExecutable => {
            let what = format!("the shell {shell} cannot be run: sshd refuses the user");
            sheet.problem(
                "shell",
                what,
                format!("chmod a+x {shell}, or chsh -s /bin/sh {user}"),
            );
        }
        Shell::TurnsAway => {
            let what =
                format!("sshd takes the key, and the shell {shell} ends the session at once");
            sheet.problem("shell", what, format!("chsh -s /bin/sh {user}"));
        }
    }
    if let Some(file) = facts.nologin.as_ref().filter(|_| account.uid != 0) {
        let file = file.display();
        let what = format!("{file} is there: nobody but root may log in");
        sheet.problem("nologin", what, format!("rm {file}"));
    }
    let Some(shadow) = account.shadow else { return };
    if shadow.locked && !pam {
        let what = format!(
            "the password of {user} is locked, and sshd has UsePAM no: it refuses the user"
        );
        let fix = format!("usermod -p '*' {user} (no password, and not locked), or UsePAM yes");
        sheet.problem("locked", what, fix);
    }
    let today = facts.now.duration_since(Timestamp::UNIX_EPOCH).as_hours() / 24;
    if shadow.expires.is_some_and(|day| today > day) {
        let what = format!("the account {user} has expired");
        sheet.problem("account-expired", what, format!("chage -E -1 {user}"));
    }
}

/// A setting that stands in the way, and where it is put right.
pub(super) fn set(facts: &Facts, line: &str) -> String {
    set_all(facts, &[line])
}

/// The same for settings that go together.
pub(super) fn set_all(facts: &Facts, lines: &[&str]) -> String {
    let config = facts.sshd.config.display();
    let lines: Vec<_> = lines.iter().map(|line| format!("`{line}`")).collect();
    let them = if lines.len() > 1 { "them" } else { "it" };
    let lines = lines.join(" and ");
    format!(
        "write {lines} into {config} above whatever sets {them} otherwise, then: systemctl reload ssh"
    )
}

fn methods(facts: &Facts, settings: &Settings, sheet: &mut Sheet) {
    if settings.one("pubkeyauthentication") == "no" {
        let what = "PubkeyAuthentication is no: no key logs in";
        sheet.problem(
            "pubkey-authentication",
            what,
            set(facts, "PubkeyAuthentication yes"),
        );
    } else {
        sheet.ok("pubkey-authentication", "sshd takes keys");
    }
    let methods = settings.one("authenticationmethods");
    let one_key = |list: &str| matches!(list, "any" | "publickey");
    if !methods.is_empty() && !methods.split_ascii_whitespace().any(one_key) {
        let what = format!("AuthenticationMethods is {methods}: a key alone does not log in");
        sheet.problem(
            "authentication-methods",
            what,
            set(facts, "AuthenticationMethods any"),
        );
    }
    match settings.number("maxauthtries") {
        Some(0) => {
            let what = "MaxAuthTries is 0: every login ends before it begins";
            sheet.problem("max-auth-tries", what, set(facts, "MaxAuthTries 6"));
        }
        Some(tries @ 1..=3) => {
            let what = format!(
                "MaxAuthTries is {tries}: a client that offers other keys first is cut off"
            );
            let fix = "ssh -o IdentitiesOnly=yes -i KEY …, or a higher MaxAuthTries";
            sheet.notice("max-auth-tries", what, fix);
        }
        _ => {}
    }
    if let Some(command) = settings.named("authorizedkeyscommand") {
        let ours = command.contains("sshkeyd") && command.contains("authorized-keys");
        if !ours {
            let what = format!("sshd also takes the keys that {command} prints");
            sheet.notice(
                "keys-command",
                what,
                "nothing, where that is meant; it is not the agent's",
            );
        }
    }
}

fn agent(facts: &Facts, sheet: &mut Sheet) {
    let Some(agent) = &facts.agent else {
        let fix = "systemctl start sshkeyd-agent, or sshkeyd agent";
        sheet.notice("agent", "no agent runs here: keys neither come nor go", fix);
        return;
    };
    for condition in &agent.conditions {
        let what = format!("{}: {}", condition.about, condition.text);
        match condition.severity {
            Severity::Error => sheet.problem(&condition.code, what, condition.todo.clone()),
            Severity::Warning | Severity::Notice => {
                sheet.notice(&condition.code, what, condition.todo.clone());
            }
        }
    }
}
