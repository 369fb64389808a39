//! What only a person can give: a password, a second factor, a yes.
//!
//! Owns where they come from: an option, a file, standard input where that is a pipe, else the
//! terminal, and there without echo. Refuses to wait for an answer where nobody is.

use super::exit::{Exit, Failed};
use super::in_words;
use super::output::Output;
use crate::client::ClientError;
use crate::config;
use crate::sys::terminal::Terminal;
use std::io::{self, BufRead as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Longest password that is read from a pipe, in bytes.
const MAX_PASSWORD: u64 = 4096;
/// The service's word for: the same, with a code.
const TOTP_REQUIRED: &str = "totp-required";

/// How a command is given a password.
#[derive(Debug, clap::Args)]
pub(super) struct PasswordArgs {
    /// A file that holds the password alone; by default it is asked for, or read from standard
    /// input where that is no terminal
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The second factor: six digits, or a backup code; asked for where it is wanted
    #[arg(long)]
    code: Option<String>,
}

/// Whoever started the command.
pub(super) struct Person {
    terminal: Option<Terminal>,
}

impl Person {
    /// At a terminal or not.
    ///
    /// # Errors
    /// There is a terminal, and it cannot be used.
    pub(super) fn here() -> Result<Self, Failed> {
        let terminal = Terminal::open().map_err(|e| unanswered("the terminal", &e))?;
        Ok(Self { terminal })
    }

    /// Nobody.
    #[cfg(test)]
    pub(super) fn nobody() -> Self {
        Self { terminal: None }
    }

    /// Whether somebody can be asked.
    pub(super) fn is_there(&self) -> bool {
        self.terminal.is_some()
    }

    /// Asks for a line, blanks around it left out; `otherwise` says how it is given where nobody
    /// can be asked.
    ///
    /// # Errors
    /// 64 where nobody can be asked, 1 where nothing was answered.
    pub(super) fn line(&mut self, question: &str, otherwise: &str) -> Result<String, Failed> {
        let Some(terminal) = &mut self.terminal else {
            return Err(Failed::new(Exit::Usage, otherwise));
        };
        let answer = terminal.ask(question);
        let answer = answer.map_err(|error| unanswered("the terminal", &error))?;
        Ok(answer.trim().to_owned())
    }

    /// Asks whether to go on: `y` or `yes` does.
    ///
    /// # Errors
    /// As [`Person::line`].
    pub(super) fn agrees(&mut self, question: &str, otherwise: &str) -> Result<bool, Failed> {
        let answer = self.line(&format!("{question} [y/N] "), otherwise)?;
        Ok(matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// The password, from wherever it is to come.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn password(
        &mut self,
        args: &PasswordArgs,
        question: &str,
        out: &mut Output,
    ) -> Result<Zeroizing<String>, Failed> {
        let password = match (&args.password_file, &mut self.terminal) {
            (Some(path), _) => password_file(path, out)?,
            (None, Some(terminal)) => terminal
                .ask_hidden(question)
                .map_err(|error| unanswered("the terminal", &error))?,
            (None, None) => piped(io::stdin().lock())?,
        };
        if password.is_empty() {
            let text = "no password was given; name a file that holds it with --password-file";
            return Err(Failed::new(Exit::Usage, text));
        }
        Ok(password)
    }

    /// Makes a call with the code that was given; where the service asks for one and none was
    /// given, asks for it and makes the call again.
    ///
    /// # Errors
    /// 77 where a code is wanted and nobody can be asked.
    pub(super) async fn with_code<T>(
        &mut self,
        args: &PasswordArgs,
        mut call: impl AsyncFnMut(Option<String>) -> Result<T, ClientError>,
    ) -> Result<Result<T, ClientError>, Failed> {
        let answer = call(args.code.clone()).await;
        let wanted = |error: &ClientError| error.problem().is_some_and(|p| p.code == TOTP_REQUIRED);
        match &answer {
            Err(error) if args.code.is_none() && wanted(error) => {}
            _ => return Ok(answer),
        }
        if !self.is_there() {
            let text = "a second factor is asked for; give it with --code";
            return Err(Failed::new(Exit::NotPermitted, text));
        }
        let code = self.line("Code of your second factor, or a backup code: ", "")?;
        Ok(call(Some(code)).await)
    }
}

/// The first line of what is piped in, blanks kept.
fn piped(from: impl io::BufRead) -> Result<Zeroizing<String>, Failed> {
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_PASSWORD as usize + 1));
    from.take(MAX_PASSWORD + 1)
        .read_until(b'\n', &mut line)
        .map_err(|error| unanswered("standard input", &error))?;
    if line.len() as u64 > MAX_PASSWORD {
        let text = "standard input: over 4 KiB, which is no password";
        return Err(Failed::new(Exit::Usage, text));
    }
    let text = std::str::from_utf8(&line).map_err(|_| {
        let text = "standard input: not text; give the password alone";
        Failed::new(Exit::Usage, text)
    })?;
    let text = text.trim_end_matches(['\n', '\r']);
    Ok(Zeroizing::new(text.to_owned()))
}

/// The content of a password file, blanks around it left out.
///
/// # Errors
/// 1: no such file, or it holds no password.
pub(super) fn password_file(path: &Path, out: &mut Output) -> Result<Zeroizing<String>, Failed> {
    let file = config::read_secret_file(path).map_err(|error| {
        let text = format!(
            "{}; name a file that holds the password alone",
            in_words(&error)
        );
        Failed::new(Exit::NotDone, text)
    })?;
    if file.readable_by_others {
        let path = path.display();
        out.note(&format!("{path}: others can read it; chmod 0600 {path}"));
    }
    Ok(Zeroizing::new(file.secret.expose().to_owned()))
}

fn unanswered(place: &str, error: &io::Error) -> Failed {
    Failed::new(Exit::NotDone, format!("{place}: {error}; nothing was sent"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piped_password_is_one_line_with_its_blanks() {
        let read = |text: &[u8]| piped(text).map(|line| line.to_string());
        assert_eq!(
            read(b" correct horse \r\nmore\n").unwrap(),
            " correct horse "
        );
        assert_eq!(read(b"bare").unwrap(), "bare");
        assert_eq!(read(b"").unwrap(), "");
        assert!(
            read(&[b'a'; 5000])
                .unwrap_err()
                .to_string()
                .contains("4 KiB")
        );
        assert!(read(b"\xff\n").is_err());
    }

    #[test]
    fn nobody_is_waited_for() {
        let mut person = Person::nobody();
        let error = person.line("E-mail: ", "give --email").unwrap_err();
        assert_eq!(error.to_string(), "give --email");
    }
}
