//! Whose setting stands, and what is written beside it.

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
        is_above: false,
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
fn a_setting_whose_work_ours_does_too_may_come_after_ours() {
    let judged = |is_above: bool, merged: &str| {
        let his = Place {
            is_above,
            ..place("RevokedKeys", "/his", false)
        };
        let values = [("al".to_owned(), Settings::parse("revokedkeys /his\n"))];
        let survey = Survey {
            places: vec![his],
            reach: Reach::Never,
        };
        let scene = Scene {
            values: &values,
            survey: &survey,
            options: Vec::new(),
            ours: None,
        };
        let directive = Directive::is("RevokedKeys", "/ours").over(vec![merged.to_owned()]);
        let wish = Wish {
            purpose: "revocation",
            directives: vec![directive],
        };
        judge(&[wish], &scene, false)
    };
    let verdict = judged(false, "/his");
    assert!(verdict.findings.is_empty() && verdict.text.unwrap().contains("/ours"));
    let verdict = judged(true, "/his");
    assert!(verdict.text.is_none());
    assert!(verdict.findings[0].text.contains("take that line out"));
    assert!(judged(false, "/another").text.is_none());
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
