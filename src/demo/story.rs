//! The main job, told once: a key is saved and it logs in, it is deleted and it is refused.

use super::Stage;
use super::ssh_client::{LoginError, login};
use crate::agent::{Answer, Request, ask};
use crate::keys::{Fingerprint, PublicKey};
use crate::sys::{clock, private_file};
use crate::wire::{InstanceState, NewSshKey, RolloutState, Status};
use anyhow::{Context as _, bail, ensure};
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey};
use std::path::Path;
use std::time::Duration;

/// Longest wait for any one step.
const STEP: Duration = Duration::from_secs(20);
/// How often a file, or a socket, is looked at for a change.
const LOOK: Duration = Duration::from_millis(1);

/// One step of the story, once it has come true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What came true.
    pub what: String,
    /// How long it took.
    pub took: Duration,
    /// From when that counts.
    pub since: &'static str,
}

/// Tells it: each step is handed out as it comes true. The private key stays in `dir`, for its
/// owner to try.
///
/// # Errors
/// The step that did not come true, and why.
pub async fn tell(stage: &Stage, dir: &Path, mut hear: impl FnMut(Step)) -> anyhow::Result<()> {
    let mut step = |what: String, began: Duration, since| {
        let took = clock::monotonic().saturating_sub(began);
        hear(Step { what, took, since });
    };

    let began = clock::monotonic();
    let instance = enrolled(stage).await.context("the agent did not enrol")?;
    step(
        format!("agent enrolled as instance {instance}"),
        began,
        "its start",
    );

    let (private, public) = make_key(dir)?;
    let fingerprint = public.fingerprint();
    let new = NewSshKey {
        name: Some("demo".to_owned()),
        public_key: public.to_string(),
        ..NewSshKey::default()
    };
    let began = clock::monotonic();
    let (key, _) = stage
        .api
        .add_ssh_key(&new)
        .await
        .context("saving the key")?;
    step(format!("key saved: {fingerprint}"), began, "the request");

    let saved = clock::monotonic();
    file_reads(stage, &public, true).await?;
    step(
        "it stands in authorized_keys".to_owned(),
        saved,
        "the save's answer",
    );

    proved(stage, key.id).await?;
    step(
        "the SSH server takes it: proved".to_owned(),
        saved,
        "the save's answer",
    );

    let began = clock::monotonic();
    let session = login(stage.ssh, &stage.host_key, &stage.user, &private).await?;
    step(
        format!("logged in: {}", session.output.trim()),
        began,
        "connecting",
    );

    let began = clock::monotonic();
    stage
        .api
        .delete_ssh_key(key.id, false)
        .await
        .context("deleting the key")?;
    step("key deleted".to_owned(), began, "the request");

    let deleted = clock::monotonic();
    file_reads(stage, &public, false).await?;
    step(
        "it is gone from authorized_keys".to_owned(),
        deleted,
        "the delete's answer",
    );

    refused(stage, fingerprint).await?;
    step(
        "the SSH server refuses it: proved".to_owned(),
        deleted,
        "the delete's answer",
    );

    let began = clock::monotonic();
    match login(stage.ssh, &stage.host_key, &stage.user, &private).await {
        Err(LoginError::Refused) => {
            let what = format!("login refused: {}", LoginError::Refused);
            step(what, began, "connecting");
            Ok(())
        }
        Err(fault) => Err(fault).context("the deleted key was neither taken nor refused"),
        Ok(_) => bail!("the deleted key still logs in"),
    }
}

fn make_key(dir: &Path) -> anyhow::Result<(PrivateKey, PublicKey)> {
    let mut private = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519)?;
    private.set_comment("demo");
    let pem = private.to_openssh(LineEnding::LF)?;
    private_file::replace(&dir.join("id_ed25519"), pem.as_bytes())?;
    let line = private.public_key().to_openssh()?;
    private_file::replace(&dir.join("id_ed25519.pub"), format!("{line}\n").as_bytes())?;
    let (public, _) = PublicKey::parse_text(&line)?;
    Ok((private, public))
}

async fn enrolled(stage: &Stage) -> anyhow::Result<i64> {
    within("an instance that is live", async || {
        let page = stage.api.instances().await?;
        let live = page.items.iter().find(|i| i.state == InstanceState::Live);
        Ok(live.map(|instance| instance.id))
    })
    .await
}

async fn file_reads(stage: &Stage, key: &PublicKey, there: bool) -> anyhow::Result<()> {
    let (_, blob) = key.to_string().split_once(' ').map_or_else(
        || (String::new(), String::new()),
        |(kind, blob)| (kind.to_owned(), blob.to_owned()),
    );
    let what = if there {
        "the key in the file"
    } else {
        "the key gone from the file"
    };
    within(what, async || {
        let text = std::fs::read_to_string(&stage.authorized_keys).unwrap_or_default();
        Ok((text.contains(&blob) == there).then_some(()))
    })
    .await
}

async fn proved(stage: &Stage, key: i64) -> anyhow::Result<()> {
    within("the proof that the key is taken", async || {
        let rollout = stage.api.rollout(key, None).await?;
        let proved = |i: &crate::wire::RolloutInstance| i.state == RolloutState::Proved;
        Ok(rollout.instances.iter().any(proved).then_some(()))
    })
    .await
}

async fn refused(stage: &Stage, key: Fingerprint) -> anyhow::Result<()> {
    let key = key.to_string();
    let heard = async || -> anyhow::Result<Status> {
        match ask(&stage.control_socket, Request::Status).await? {
            Answer::Status(status) => Ok(*status),
            Answer::Refused(why) | Answer::Denied(why) => bail!("the agent says: {why}"),
            Answer::Plan(_) | Answer::Doctor(_) => bail!("the agent gave another answer"),
        }
    };
    within("the proof that the key is refused", async || {
        let status = heard().await?;
        let mut proofs = status.targets.iter().filter_map(|t| t.proof.as_ref());
        Ok(proofs
            .any(|proof| proof.refused.contains(&key))
            .then_some(()))
    })
    .await
}

/// Looks until it is so.
async fn within<T>(
    what: &str,
    look: impl AsyncFn() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let began = clock::monotonic();
    loop {
        if let Some(seen) = look().await? {
            return Ok(seen);
        }
        let waited = clock::monotonic().saturating_sub(began);
        ensure!(
            waited < STEP,
            "{what} did not come within {} s",
            STEP.as_secs()
        );
        tokio::time::sleep(LOOK).await;
    }
}
