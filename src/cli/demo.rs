//! `sshkeyd demo`: the whole story on this machine, then a stage to try more on.

use super::exit::Exit;
use super::logging;
use super::output::Output;
use crate::demo::{Scratch, Stage, Step, tell};
use crate::sys::signals::{Signal, Signals};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Exit after the story: 0 when all of it came true, else 1
    #[arg(long)]
    once: bool,
    /// An empty directory to play in; it is kept
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Tells the story.
pub(super) fn run(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    logging::start("error")?;
    let scratch = Scratch::make(args.dir.as_deref())?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(play(&scratch, args.once, out))
}

async fn play(scratch: &Scratch, once: bool, out: &mut Output) -> anyhow::Result<Exit> {
    let mut signals = Signals::try_new()?;
    out.line("sshkeyd demo: a service, an agent and an SSH server, all on loopback, in");
    out.line(&format!("  {}", scratch.path().display()));
    let stage = Stage::set(scratch).await?;
    let told = tokio::select! {
        told = tell(&stage, scratch.path(), |step| show(out, &step)) => told,
        () = stop(&mut signals) => Err(anyhow::anyhow!("stopped before the story's end")),
    };
    if let Err(fault) = told {
        stage.clear().await?;
        return Err(fault);
    }
    out.line("The whole story came true.");
    if !once {
        what_next(&stage, scratch, out);
        stop(&mut signals).await;
    }
    stage.clear().await?;
    Ok(Exit::Done)
}

/// Returns when it is asked to stop, or when its terminal is gone (HUP): there is nothing to reload.
async fn stop(signals: &mut Signals) {
    while signals.next().await == Signal::SyncNow {}
}

fn show(out: &mut Output, step: &Step) {
    let took = step.took.as_secs_f64() * 1000.0;
    out.line(&format!(
        "{took:9.1} ms  {}  (since {})",
        step.what, step.since
    ));
}

fn what_next(stage: &Stage, scratch: &Scratch, out: &mut Output) {
    let dir = scratch.path().display();
    let (url, api_key) = (&stage.url, stage.api_key.as_str());
    let (user, port, file) = (&stage.user, stage.ssh.port(), stage.agent_file.display());
    let program = std::env::current_exe()
        .map_or_else(|_| "sshkeyd".to_owned(), |path| path.display().to_string());
    for line in [
        String::new(),
        "All of it stays up. Open the console in a browser, and add a key there:".to_owned(),
        String::new(),
        format!("  {url}"),
        format!("  email     {}", stage.email),
        format!("  password  {}", stage.password.as_str()),
        String::new(),
        "Or in another shell:".to_owned(),
        String::new(),
        format!("  export SSHKEYD_URL={url} SSHKEYD_API_KEY={api_key}"),
        format!("  {program} ssh-keys add {dir}/id_ed25519.pub --wait"),
        format!(
            "  ssh -p {port} -i {dir}/id_ed25519 -o UserKnownHostsFile={dir}/known_hosts \
             {user}@127.0.0.1"
        ),
        format!("  {program} ssh-keys list"),
        format!("  {program} ssh-keys rollout 2"),
        format!("  {program} ssh-keys delete 2"),
        format!("  {program} instances list"),
        format!("  {program} status --config {file}"),
        format!("  cat {}", stage.authorized_keys.display()),
        String::new(),
        format!(
            "Ctrl-C ends it{}.",
            if scratch.is_kept() {
                ""
            } else {
                " and takes the directory away"
            }
        ),
    ] {
        out.line(&line);
    }
}
