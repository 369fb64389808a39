//! `sshkeyd completions bash|zsh|fish`: a script by which a shell completes the command line.
//!
//! Owns which shells there are. Refuses to write it anywhere but to stdout.

use super::exit::Exit;
use super::output::Output;
use clap::ValueEnum;
use clap_complete::{Shell, generate};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// For which shell
    shell: For,
}

/// The shells.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum For {
    /// GNU bash, with bash-completion
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
}

/// Prints it.
pub(super) fn run(args: &Args, out: &mut Output) -> Exit {
    let shell = match args.shell {
        For::Bash => Shell::Bash,
        For::Zsh => Shell::Zsh,
        For::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut super::command(), "sshkeyd", &mut script);
    out.raw(&script);
    Exit::Done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_commands() {
        for (shell, begins) in [
            (For::Bash, "_sshkeyd()"),
            (For::Zsh, "#compdef sshkeyd"),
            (For::Fish, "# Print an optspec"),
        ] {
            let (mut out, seen) = Output::captured();
            assert_eq!(run(&Args { shell }, &mut out), Exit::Done);
            let script = seen.out();
            assert!(script.starts_with(begins), "{}", &script[..80]);
            assert!(script.contains("ssh-keys") && script.contains("rollout"));
        }
    }
}
