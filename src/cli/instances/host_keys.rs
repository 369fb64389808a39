//! The owner's word on an instance's host keys (interface.md section 5): shown, given, taken back.

use super::found;
use crate::cli::exit::{Exit, Failed};
use crate::cli::output::Output;
use crate::cli::remote::RemoteArgs;
use crate::client::clean;
use crate::wire::{HostKey, HostKeyState};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The instance's id or its label
    #[arg(value_name = "INSTANCE")]
    instance: String,
    /// The key's fingerprint: `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the instance
    #[arg(value_name = "FINGERPRINT")]
    fingerprint: String,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Approves it, or refuses it.
pub(super) async fn run(args: Args, approve: bool, out: &mut Output) -> Result<Exit, Failed> {
    let remote = args.remote.open()?;
    let instance = found(&remote, &args.instance).await?;
    let (id, key) = (instance.id, &args.fingerprint);
    if approve {
        remote.ask(remote.approve_host_key(id, key)).await?;
        out.line(&format!(
            "host key {key} of instance {id} is approved: its agent has a certificate within minutes"
        ));
    } else {
        remote.ask(remote.refuse_host_key(id, key)).await?;
        out.line(&format!(
            "host key {key} of instance {id} is refused: it gets no certificate, and those that it \
             had are revoked"
        ));
    }
    Ok(Exit::Done)
}

/// A table of them, and what to do about those that wait.
pub(super) fn show(instance: i64, keys: &[HostKey], out: &mut Output) {
    if keys.is_empty() {
        return;
    }
    let row = |key: &HostKey| {
        [
            clean(&key.key_type, 64),
            clean(&key.fingerprint, 64),
            word(key.state).to_owned(),
            format!("{:.0}", key.since),
            key.serial
                .map(|serial| serial.to_string())
                .unwrap_or_default(),
            key.valid_before
                .map(|end| format!("{end:.0}"))
                .unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = keys.iter().map(row).collect();
    out.line("");
    let head = [
        "HOST KEY",
        "FINGERPRINT",
        "STATE",
        "SINCE",
        "CERTIFICATE",
        "ENDS",
    ];
    out.table(head, &rows);
    for key in keys.iter().filter(|key| key.state == HostKeyState::Waiting) {
        if let Some(other) = key.also_on {
            out.line(&format!(
                "{}: instance {other} has this very key; make new ones where a machine was copied \
                 (ssh-keygen -A)",
                clean(&key.fingerprint, 64)
            ));
        }
        out.line(&format!(
            "compare it on the machine, then: sshkeyd instances approve-host-key {instance} {}",
            clean(&key.fingerprint, 64)
        ));
    }
}

fn word(state: HostKeyState) -> &'static str {
    match state {
        HostKeyState::Approved => "approved",
        HostKeyState::Waiting => "waiting",
        HostKeyState::Refused => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_key_that_waits_says_what_to_do_and_steers_nothing() {
        let key = |state: &str, also: Option<i64>| -> HostKey {
            serde_json::from_value(json!({"type": "ssh-ed25519\u{1b}[2J",
                "fingerprint": "SHA256:abc", "public_key": "x", "state": state,
                "since": "2026-11-22T19:00:00Z", "also_on": also}))
            .unwrap()
        };
        let (mut out, seen) = Output::captured();
        show(
            12,
            &[key("approved", None), key("waiting", Some(7))],
            &mut out,
        );
        let text = seen.out();
        assert!(!text.contains('\u{1b}'), "{text}");
        assert_eq!(
            text.matches("approve-host-key 12 SHA256:abc").count(),
            1,
            "{text}"
        );
        assert!(text.contains("instance 7 has this very key"), "{text}");
        let (mut out, seen) = Output::captured();
        show(12, &[], &mut out);
        assert_eq!(seen.out(), "");
    }
}
