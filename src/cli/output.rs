//! The one place that prints.
//!
//! Owns stdout and stderr: lines, tables, JSON, the progress bar, and when there is colour
//! (interface.md section 1; no-color.org). Refuses to let a remote's words act on a terminal: every
//! text loses its control characters here. A reader that went away is no error.

use crate::client::is_unprintable;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write};

use super::exit::Exit;

/// stdout and stderr of a command.
pub(crate) struct Output {
    out: Stream,
    err: Stream,
}

struct Stream {
    to: Box<dyn Write + Send>,
    terminal: bool,
    color: bool,
    /// The first write that did not come through; nothing is written after it.
    lost: Option<io::Error>,
}

impl Output {
    /// The process's own.
    pub(super) fn of_process() -> Self {
        let colorless = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        let stream = |to, terminal| Stream {
            to,
            terminal,
            color: terminal && !colorless,
            lost: None,
        };
        let (out, err) = (io::stdout(), io::stderr());
        let (out_terminal, err_terminal) = (out.is_terminal(), err.is_terminal());
        Self {
            out: stream(Box::new(io::LineWriter::new(out)), out_terminal),
            err: stream(Box::new(err), err_terminal),
        }
    }

    /// One or more lines on stdout: the answer.
    pub(crate) fn line(&mut self, text: &str) {
        self.out.write(&format!("{}\n", shown(text)));
    }

    /// Bytes on stdout as they are, at once: for a program that reads them, never for a terminal's
    /// eyes.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.out.write_bytes(bytes);
        self.out.flush();
    }

    /// Whether nobody reads any more what stands on stdout.
    pub(super) fn is_lost(&self) -> bool {
        self.out.lost.is_some()
    }

    /// One or more lines on stderr: how it goes.
    pub(crate) fn note(&mut self, text: &str) {
        self.err.write(&format!("{}\n", shown(text)));
    }

    /// An error on stderr, with the program's name before it.
    pub(crate) fn error(&mut self, text: &str) {
        self.err.write(&format!("sshkeyd: {}\n", shown(text)));
    }

    /// One JSON document on stdout: one line, or indented on a terminal.
    ///
    /// # Errors
    /// The value has no JSON form.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> serde_json::Result<()> {
        let text = if self.out.terminal {
            serde_json::to_string_pretty(value)?
        } else {
            serde_json::to_string(value)?
        };
        self.out.write(&escaped(&text));
        self.out.write("\n");
        Ok(())
    }

    /// A table on stdout, columns as wide as their widest cell. A cell is one line.
    pub(crate) fn table<const N: usize>(&mut self, head: [&str; N], rows: &[[String; N]]) {
        let cell = |text: &str| shown(text).replace(['\n', '\t'], " ");
        let head = head.map(str::to_owned);
        let rows: Vec<[String; N]> = std::iter::once(&head)
            .chain(rows)
            .map(|row| row.each_ref().map(|text| cell(text)))
            .collect();
        let mut widths = [0; N];
        for row in &rows {
            for (width, text) in widths.iter_mut().zip(row) {
                *width = text.chars().count().max(*width);
            }
        }
        for (at, row) in rows.iter().enumerate() {
            let mut line = String::new();
            for (text, width) in row.iter().zip(widths) {
                let filled = if text.is_empty() { "-" } else { text };
                // Writing to a String cannot fail.
                let _ = write!(line, "{filled:<width$}  ");
            }
            let line = line.trim_end();
            let line = match at == 0 && self.out.color {
                true => format!("\x1b[1m{line}\x1b[0m\n"),
                false => format!("{line}\n"),
            };
            self.out.write(&line);
        }
    }

    /// Help or a usage fault, in clap's own styles.
    pub(super) fn styled(&mut self, text: &clap::builder::StyledStr, to_stdout: bool) {
        let stream = if to_stdout {
            &mut self.out
        } else {
            &mut self.err
        };
        if stream.color {
            stream.write(&text.ansi().to_string());
        } else {
            stream.write(&text.to_string());
        }
    }

    /// A bar on stderr where that is a terminal, else a line for every change.
    pub(crate) fn progress(&self) -> Progress {
        if self.err.terminal {
            Progress::Bar
        } else {
            Progress::Lines {
                last: String::new(),
            }
        }
    }

    /// Writes out what is left. An answer that could not be written is not done.
    pub(super) fn finish(&mut self, exit: Exit) -> Exit {
        self.out.flush();
        match &self.out.lost {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                let text = format!("stdout: {error}; the answer is not whole");
                self.error(&text);
                if exit == Exit::Done {
                    Exit::NotDone
                } else {
                    exit
                }
            }
            _ => exit,
        }
    }
}

impl Stream {
    fn write(&mut self, text: &str) {
        self.write_bytes(text.as_bytes());
    }

    fn write_bytes(&mut self, bytes: &[u8]) {
        if self.lost.is_none() {
            self.lost = self.to.write_all(bytes).err();
        }
    }

    fn flush(&mut self) {
        if self.lost.is_none() {
            self.lost = self.to.flush().err();
        }
    }
}

/// How far something is.
pub(crate) enum Progress {
    /// On a terminal: one line that is written over.
    Bar,
    /// Elsewhere.
    Lines {
        /// What was said last; it is not said twice.
        last: String,
    },
}

impl Progress {
    /// Shows `done` of `total`, and a few words.
    pub(crate) fn show(&mut self, out: &mut Output, done: u64, total: u64, words: &str) {
        match self {
            Self::Bar => out.err.write(&bar(done, total, words)),
            Self::Lines { last } if last != words => {
                out.note(words);
                words.clone_into(last);
            }
            Self::Lines { .. } => {}
        }
    }

    /// Takes the bar away; lines stay.
    pub(crate) fn end(self, out: &mut Output) {
        if let Self::Bar = self {
            out.err.write("\r\x1b[K");
        }
    }
}

/// A bar of 30 columns and the words after it. The terminal is told not to wrap it (DECAWM, ECMA-48
/// EL): a second line would stay behind.
fn bar(done: u64, total: u64, words: &str) -> String {
    let filled = (30 * done.min(total)).checked_div(total).unwrap_or(0) as usize;
    let words = shown(words).replace(['\n', '\t'], " ");
    let full = "=".repeat(filled);
    format!("\x1b[?7l\r{full:<30} {done}/{total}  {words}\x1b[K\x1b[?7h")
}

/// Text without what a terminal would act on; line breaks and tabs stay.
fn shown(text: &str) -> String {
    let keep = |c: &char| matches!(c, '\n' | '\t') || !is_unprintable(*c);
    text.chars().filter(keep).collect()
}

/// JSON with the same characters as `\u` escapes. serde_json leaves DEL, C1 and direction marks as
/// they are; they can stand inside strings only.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && is_unprintable(c) {
            // Each of them is within the basic plane: one unit. Writing to a String cannot fail.
            let _ = write!(out, "\\u{:04x}", c as u32);
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests;
