//! `sshkeyd cert revoke`: certificates that are to open nothing more, before they end.
//!
//! Refuses to guess which: by serial, by key ID, or by key, one of them.

use super::mark::Mark;
use super::place;
use super::ssh_agent::SshAgent;
use crate::cli::exit::{Exit, Failed};
use crate::cli::output::Output;
use crate::cli::remote::RemoteArgs;
use crate::cli::ssh_keys::read_key;
use crate::cli::{env, runtime};
use crate::keys::PublicKey;
use crate::trust::Certificate;
use crate::wire::RevokeCertificates;

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["serial", "key_id", "key"]))]
pub(super) struct Args {
    /// The certificate with this serial
    #[arg(long)]
    serial: Option<u64>,
    /// Those with this key ID: all that one login got over one key
    #[arg(long, value_name = "ID")]
    key_id: Option<String>,
    /// Those over this public key, and the key itself
    #[arg(long, value_name = "FILE")]
    key: Option<String>,
    /// Also end the sessions that were opened with them
    #[arg(long)]
    end_sessions: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

pub(super) fn run(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    let key = args.key.as_deref().map(read_key).transpose()?;
    let key = key.map(|(key, _)| key);
    let body = RevokeCertificates {
        serial: args.serial,
        key_id: args.key_id,
        public_key: key.as_ref().map(PublicKey::to_string),
    };
    let remote = args.remote.open()?;
    let call = remote.revoke_certificates(&body, args.end_sessions);
    runtime()?.block_on(async { remote.ask(call).await })?;
    let what = match (body.serial, &body.key_id, &key) {
        (Some(serial), ..) => format!("certificate {serial}"),
        (None, Some(key_id), _) => format!("the certificates with key ID {key_id}"),
        (None, None, Some(key)) => {
            let fingerprint = key.fingerprint();
            format!("the key {fingerprint} and the certificates over it")
        }
        (None, None, None) => return Err(Failed::new(Exit::Usage, "nothing is named").into()),
    };
    out.line(&format!(
        "revoked {what}; `sshkeyd krl show` says where the list is in force"
    ));
    // What is of no use any more is not to be tried by ssh.
    let socket = env("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
    if let Some(agent) = socket.and_then(|path| SshAgent::at(path.into())) {
        place::forget(&agent, |mark: &Mark, there: &Certificate| {
            mark.asker.url == remote.url
                && (body.serial == Some(there.serial())
                    || body.key_id.as_deref() == Some(there.key_id())
                    || key.as_ref() == Some(there.key()))
        });
    }
    Ok(Exit::Done)
}
