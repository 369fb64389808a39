//! One instance for a person's eyes: its device, its targets, what is wrong, who is logged in.
//!
//! Owns the layout. All of it but label and state is the tenant's words (protocol.md section 5):
//! each text is cut, stays on its line and keeps nothing that steers a terminal; a fingerprint that
//! is no key of the account is shown as unknown.

use super::health;
use crate::cli::output::Output;
use crate::cli::rollout::state_word;
use crate::client::clean;
use crate::wire::{Condition, Device, Instance, Session, SshKey, TargetStatus};
use jiff::Timestamp;

/// Bytes of one text of an instance.
const TEXT: usize = 256;
/// Bytes of one that stands in a table.
const CELL: usize = 64;
/// As many sessions as an instance names.
const MOST_SESSIONS: usize = 200;

/// Shows it; `keys` are the account's, to call sessions by their names.
pub(super) fn show(instance: &Instance, keys: &[SshKey], out: &mut Output) {
    let heard = instance.last_seen.map(|at| format!(", last heard {at:.0}"));
    out.line(&format!(
        "instance {} \"{}\": {}{}",
        instance.id,
        clean(&instance.label, TEXT),
        state_word(instance.state),
        heard.unwrap_or_default()
    ));
    match &instance.device {
        Some(device) => show_device(device, out),
        None if instance.hostname.is_empty() => {}
        None => field("host", &instance.hostname, out),
    }
    let Some(status) = &instance.status else {
        out.line("it has said nothing of itself yet");
        return;
    };
    if let Some(revision) = instance.revision {
        field("revision", &revision.to_string(), out);
    }
    field("health", &health(instance).unwrap_or_default(), out);
    for condition in &status.conditions {
        show_condition(condition, out);
    }
    if !status.targets.is_empty() {
        let rows: Vec<_> = status.targets.iter().map(target).collect();
        out.line("");
        let head = [
            "USER", "PATH", "METHOD", "KEYS", "FOREIGN", "PROVED", "APPLIED",
        ];
        out.table(head, &rows);
    }
    out.line("");
    if status.sessions.is_empty() {
        out.line("no live sessions are known");
        return;
    }
    let rows: Vec<_> = status.sessions.iter().map(|s| session(s, keys)).collect();
    out.table(["USER", "FROM", "SINCE", "KEY", "KIND", "PID"], &rows);
    if rows.len() >= MOST_SESSIONS {
        out.line(&format!(
            "an instance names {MOST_SESSIONS} sessions at the most; there may be more"
        ));
    }
}

fn show_device(device: &Device, out: &mut Output) {
    for (name, text) in [
        ("host", &device.hostname),
        ("system", &device.os),
        ("kernel", &device.kernel),
        ("agent", &device.agent_version),
    ] {
        if !text.is_empty() {
            field(name, text, out);
        }
    }
    if let Some(at) = device.boot_time {
        field("started", &time(at), out);
    }
    for key in &device.host_keys {
        field("host key", key, out);
    }
}

fn field(name: &str, text: &str, out: &mut Output) {
    out.line(&format!("  {name:<9} {}", clean(text, TEXT)));
}

fn show_condition(condition: &Condition, out: &mut Output) {
    let said = |text: &str| clean(text, TEXT);
    out.line(&format!(
        "  {} since {}: {}: {}\n    {}",
        said(&condition.code),
        time(condition.since),
        said(&condition.about),
        said(&condition.text),
        said(&condition.todo)
    ));
}

fn target(target: &TargetStatus) -> [String; 7] {
    let proved = target.proof.as_ref().map(|proof| proof.accepted.len());
    [
        cell(&target.user),
        cell(&target.path),
        cell(&target.method),
        target.managed.len().to_string(),
        target.foreign.to_string(),
        proved.map(|n| n.to_string()).unwrap_or_default(),
        target.applied_at.map(time).unwrap_or_default(),
    ]
}

fn session(session: &Session, keys: &[SshKey]) -> [String; 6] {
    let named = session.fingerprint.as_ref().map(|fingerprint| {
        match keys.iter().find(|k| k.fingerprint == *fingerprint) {
            Some(key) => format!("{} \"{}\"", key.id, clean(&key.name, CELL)),
            None => format!("unknown {}", clean(fingerprint, CELL)),
        }
    });
    let mut key = match (&session.certificate, named) {
        (Some(certificate), named) => format!(
            "{}certificate {} \"{}\"",
            named.map(|key| format!("{key} by ")).unwrap_or_default(),
            certificate.serial,
            clean(&certificate.key_id, CELL)
        ),
        (None, Some(named)) => named,
        (None, None) => "not known".to_owned(),
    };
    if session.unproved {
        key.push_str(" (unproved)");
    }
    [
        cell(&session.user),
        cell(&session.from),
        time(session.since),
        key,
        session.kind.as_deref().map(cell).unwrap_or_default(),
        session.pid.to_string(),
    ]
}

/// A text that stands in a table: cut and marked.
fn cell(text: &str) -> String {
    let mut shown = clean(text, CELL);
    if shown.len() + '…'.len_utf8() > CELL {
        shown = clean(&shown, CELL - '…'.len_utf8());
        shown.push('…');
    }
    shown
}

fn time(at: Timestamp) -> String {
    format!("{at:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn instance(status: serde_json::Value) -> Instance {
        serde_json::from_value(json!({
            "id": 12, "label": "web", "state": "live", "created_at": "2026-11-22T19:00:00Z",
            "last_seen": "2026-11-22T19:00:05Z", "hostname": "box", "revision": 42,
            "device": {"hostname": "box", "os": "Debian\u{1b}[31m", "kernel": "6.1\nready",
                "agent_version": "0.1.0", "host_keys": ["SHA256:h"], "boot_time": null},
            "status": status
        }))
        .unwrap()
    }

    fn session(more: serde_json::Value) -> serde_json::Value {
        let mut session = json!({"id": "1", "user": "root", "from": "203.0.113.9:50022",
            "since": "2026-11-22T19:00:00Z", "fingerprint": null, "certificate": null, "pid": 812});
        for (name, value) in more.as_object().unwrap() {
            session[name] = value.clone();
        }
        session
    }

    fn shown(status: serde_json::Value) -> String {
        let key = serde_json::from_value(json!({"id": 7, "name": "laptop", "public_key": "",
            "fingerprint": "SHA256:a", "options": "", "created_at": "2026-11-22T19:00:00Z",
            "expires_at": null, "last_used_at": null}));
        let (mut out, seen) = Output::captured();
        show(&instance(status), &[key.unwrap()], &mut out);
        seen.out()
    }

    #[test]
    fn a_session_is_called_by_its_key_and_an_unknown_one_by_its_fingerprint() {
        let text = shown(
            json!({"version": "0", "instance": 12, "state": "ok", "sessions": [
                session(json!({"fingerprint": "SHA256:a", "kind": "pty"})),
                session(json!({"fingerprint": "SHA256:b", "unproved": true})),
                session(json!({"certificate": {"key_id": "1/7/3", "serial": 9, "ca": "SHA256:c"}})),
                session(json!({"fingerprint": "SHA256:a",
                    "certificate": {"key_id": "1/7/3", "serial": 9, "ca": "SHA256:c"}})),
                session(json!({})),
            ]}),
        );
        let at = text
            .lines()
            .position(|line| line.starts_with("USER"))
            .unwrap();
        let rows: Vec<_> = text.lines().skip(at + 1).collect();
        let since = "root  203.0.113.9:50022  2026-11-22T19:00:00Z  ";
        let ends = [
            ("7 \"laptop\"", "pty"),
            ("unknown SHA256:b (unproved)", "-"),
            ("certificate 9 \"1/7/3\"", "-"),
            ("7 \"laptop\" by certificate 9 \"1/7/3\"", "-"),
            ("not known", "-"),
        ];
        for (row, (key, kind)) in rows.iter().zip(ends) {
            let rest = row.strip_prefix(since).unwrap_or_else(|| panic!("{row}"));
            let rest = rest.strip_prefix(key).unwrap_or_else(|| panic!("{row}"));
            let words: Vec<_> = rest.split_whitespace().collect();
            assert_eq!(words, [kind, "812"]);
        }
        assert_eq!(rows.len(), 5, "{text}");
    }

    #[test]
    fn a_tenants_text_stays_on_its_line_is_cut_and_steers_nothing() {
        let long = "x".repeat(300);
        let text = shown(json!({"version": "0", "instance": 12, "state": "failing",
            "sessions": [session(json!({"user": long, "from": "a\nroot\u{202e}"}))],
            "conditions": [{"code": "c", "severity": "error", "since": "2026-11-22T19:00:00Z",
                "about": "a\ninstance 13 \"db\": live", "text": long, "do": "x"}]}));
        assert!(text.contains("  system    Debian[31m\n"), "{text}");
        assert!(text.contains("  kernel    6.1 ready\n"), "{text}");
        assert!(
            text.contains("c since 2026-11-22T19:00:00Z: a instance 13"),
            "{text}"
        );
        let mut lines = text.lines();
        assert!(
            lines.all(|line| line.len() < 600 && !line.starts_with("instance 13")),
            "{text}"
        );
        assert!(
            text.contains(&format!("{}…  a root", "x".repeat(61))),
            "{text}"
        );
        assert!(!text.contains('\u{202e}') && !text.contains('\u{1b}'));
    }

    #[test]
    fn an_instance_that_never_spoke_says_so() {
        let mut silent = instance(serde_json::Value::Null);
        silent.device = None;
        silent.hostname = String::new();
        let (mut out, seen) = Output::captured();
        show(&silent, &[], &mut out);
        let text = seen.out();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.ends_with("it has said nothing of itself yet\n"));
    }
}
