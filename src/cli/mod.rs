//! What a person starts: one file a command, `output.rs` prints, `exit.rs` says how it ended.
//!
//! Owns the words of the command line and the exit codes of interface.md section 1. Refuses to do
//! any command's work: it reads arguments, calls the folder below, and shows what came of it. The
//! environment is read here, nowhere lower.

#[cfg(feature = "service")]
mod account;
mod agent;
mod api_keys;
mod ask;
mod audit;
mod authorized_keys;
mod ca;
mod cert;
mod check;
mod completions;
#[cfg(feature = "demo")]
mod demo;
mod doctor;
mod exit;
mod expires;
mod instances;
mod known_hosts;
mod krl;
mod logging;
mod login;
mod named;
mod output;
mod plan;
mod remote;
mod rollout;
mod saved;
mod seal_image;
#[cfg(feature = "service")]
mod server;
#[cfg(feature = "service")]
mod server_data;
mod sessions;
mod ssh_config;
mod ssh_keys;
mod status;
mod syslog_socket;
mod unmanage;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use exit::{Exit, exit_of};
use output::Output;
use std::ffi::OsString;
use std::process::ExitCode;

/// Keeps an account's SSH keys live on every instance, and proves it by asking sshd.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[cfg(feature = "demo")]
    /// Runs the whole story here: service, agent and an SSH server in one directory
    Demo(demo::Args),
    /// Runs the agent: keys from its sources into its targets, proved by sshd
    Agent(agent::Args),
    #[cfg(feature = "service")]
    /// Runs the account key service
    Server(server::Args),
    /// Checks a configuration file and names every fault in it
    Check(check::Args),
    /// Shows what the agent of this machine holds
    Status(status::StatusArgs),
    /// Lets the agent of this machine fetch and write now, and waits for it
    Sync(status::SyncArgs),
    /// Shows what a sync would change, key by key; nothing is written
    Plan(plan::Args),
    /// Explains why a login with an account key works here, or does not
    Doctor(doctor::Args),
    /// Takes out everything that the agent ever wrote
    Unmanage(unmanage::Args),
    /// Prints a user's keys for sshd, as its AuthorizedKeysCommand
    AuthorizedKeys(authorized_keys::Args),
    /// The same, and drops all that is kept of this machine, for an image to be copied
    SealImage(seal_image::Args),
    /// Is /dev/log where nothing is, for the agent to hear sshd
    SyslogSocket(syslog_socket::Args),
    #[cfg(feature = "service")]
    /// Accounts, on the service's own machine
    Account(account::Args),
    /// Logs in to a service: a session key for this person and device
    Login(login::Args),
    /// Ends the login: the session dies, and its key is gone from here
    Logout,
    /// Shows whose account the commands work on, and by what right
    Whoami(login::WhoamiArgs),
    /// The account's SSH keys
    SshKeys(ssh_keys::Args),
    /// The account's API keys
    ApiKeys(api_keys::Args),
    /// Who and what is logged in to the account
    Sessions(sessions::Args),
    /// The account's instances
    Instances(instances::Args),
    /// A user certificate, into the ssh-agent or beside a key
    Cert(cert::Args),
    /// The lines by which ssh believes the hosts of the account's instances
    KnownHosts(known_hosts::Args),
    /// Host entries for the account's instances
    SshConfig(ssh_config::Args),
    /// The account's certificate authorities
    Ca(ca::Args),
    /// The account's revocation list
    Krl(krl::Args),
    /// Who did what from where with which key
    Audit(audit::Args),
    /// Prints what a shell needs to complete these commands
    Completions(completions::Args),
}

/// The command line, for what is made of it: manual pages.
#[must_use]
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Runs the command that `args` name (the program's own name first) and says how it ended.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut out = Output::of_process();
    let args: Vec<OsString> = args.into_iter().collect();
    let ended = match agent::Args::of_a_daemon(&args) {
        Some(args) => agent::run(args, &mut out),
        None => match Cli::try_parse_from(args) {
            Ok(cli) => start(cli.command, &mut out),
            Err(error) => Ok(usage(&error, &mut out)),
        },
    };
    let exit = ended.unwrap_or_else(|error| {
        out.error(&in_words(error.as_ref()));
        exit_of(&error)
    });
    out.finish(exit).into()
}

fn start(command: Command, out: &mut Output) -> anyhow::Result<Exit> {
    match command {
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::run(args, out),
        Command::Agent(args) => agent::run(args, out),
        #[cfg(feature = "service")]
        Command::Server(args) => server::run(args, out),
        Command::Check(args) => check::run(args, out),
        Command::Status(args) => status::status(args, out),
        Command::Sync(args) => status::sync(args, out),
        Command::Plan(args) => plan::run(args, out),
        Command::Doctor(args) => doctor::run(args, out),
        Command::Unmanage(args) => unmanage::run(args, out),
        Command::AuthorizedKeys(args) => authorized_keys::run(args, out),
        Command::SealImage(args) => seal_image::run(args, out),
        Command::SyslogSocket(args) => syslog_socket::run(args, out),
        #[cfg(feature = "service")]
        Command::Account(args) => account::run(args, out),
        Command::Login(args) => login::login(args, out),
        Command::Logout => login::logout(out),
        Command::Whoami(args) => login::whoami(args, out),
        Command::SshKeys(args) => ssh_keys::run(args, out),
        Command::ApiKeys(args) => api_keys::run(args, out),
        Command::Sessions(args) => sessions::run(args, out),
        Command::Instances(args) => instances::run(args, out),
        Command::Cert(args) => cert::run(args, out),
        Command::KnownHosts(args) => known_hosts::run(args, out),
        Command::SshConfig(args) => ssh_config::run(args, out),
        Command::Ca(args) => ca::run(args, out),
        Command::Krl(args) => krl::run(args, out),
        Command::Audit(args) => audit::run(args, out),
        Command::Completions(args) => Ok(completions::run(&args, out)),
    }
}

/// Help that was asked for is an answer; anything else is a fault of usage (64, not clap's 2).
fn usage(error: &clap::Error, out: &mut Output) -> Exit {
    let asked = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    out.styled(&error.render(), asked);
    if asked { Exit::Done } else { Exit::Usage }
}

/// A variable of the environment, as [`crate::config`] asks for it.
fn env(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// An error and its causes, on one line; a cause that the words before it end with is not repeated.
fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !words.ends_with(&text) {
            words = format!("{words}: {text}");
        }
        cause = inner.source();
    }
    words
}

/// The runtime of a command that makes a few calls.
///
/// # Errors
/// The system has no room for it.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // The C library gives each thread a heap of its own, and that of a thread that has ended to
        // the next: those that wait for more to do would each keep what their work once took.
        .thread_keep_alive(std::time::Duration::ZERO)
        .build()
}

/// Runs one thing to its end. A thread that waits for a file system or a directory that does not
/// answer is not waited for.
fn run_to_end<T>(work: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = runtime()?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(done)
}

/// A duration as people write it, for clap.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    crate::config::parse_duration(text)
        .map_err(|error| format!("{error}; as in 30s, 5m, 12h or 7d"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_cause_is_told_once() {
        let inner = std::io::Error::other("disk full");
        let outer = anyhow::Error::from(inner)
            .context("db: disk full")
            .context("open");
        assert_eq!(in_words(outer.as_ref()), "open: db: disk full");
    }

    #[test]
    fn usage_faults_are_64_and_help_is_an_answer() {
        let end = |args: &[&str]| {
            let (mut out, seen) = Output::captured();
            let error = Cli::try_parse_from(args).unwrap_err();
            (usage(&error, &mut out), seen.out(), seen.err())
        };
        let (exit, stdout, stderr) = end(&["sshkeyd", "--help"]);
        assert!(exit == Exit::Done && stdout.contains("ssh-keys") && stderr.is_empty());
        let (exit, stdout, _) = end(&["sshkeyd", "--version"]);
        assert_eq!(exit, Exit::Done);
        assert_eq!(stdout, concat!("sshkeyd ", env!("CARGO_PKG_VERSION"), "\n"));
        for wrong in [
            &["sshkeyd"] as &[_],
            &["sshkeyd", "nope"],
            &["sshkeyd", "ssh-keys", "add"],
        ] {
            let (exit, stdout, stderr) = end(wrong);
            assert!(
                exit == Exit::Usage && stdout.is_empty() && !stderr.is_empty(),
                "{wrong:?}"
            );
        }
    }
}
