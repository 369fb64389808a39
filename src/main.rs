//! The program: arguments → [`sshkeyd::cli`] → exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    sshkeyd::client::install_crypto();
    sshkeyd::cli::run(std::env::args_os())
}
