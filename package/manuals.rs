//! `cargo run --example manuals -- DIRECTORY`: manual pages of every command, made from the command
//! line itself, and of both configuration files, made from their commented examples.
//!
//! Owns how a commented example becomes a page of section 5. Refuses to be in the program, which
//! stays small by it; `package/deb` and a test call it.

use clap_mangen::Man;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The configuration files, and what reads each.
const FILES: [(&str, &str, &str); 2] = [
    (
        "sshkeyd-agent.toml",
        "what the sshkeyd agent is told to do",
        include_str!("../config/agent.toml"),
    ),
    (
        "sshkeyd-server.toml",
        "what the sshkeyd service is told to do",
        include_str!("../config/server.toml"),
    ),
];

#[cfg_attr(test, expect(dead_code, reason = "the test calls what is below"))]
fn main() -> io::Result<()> {
    let directory = std::env::args_os().nth(1);
    let directory = directory.ok_or_else(|| io::Error::other("usage: manuals DIRECTORY"))?;
    write(&PathBuf::from(directory))
}

/// Writes every page into a directory that is there.
///
/// # Errors
/// What the system says.
pub(crate) fn write(directory: &Path) -> io::Result<()> {
    let mut command = sshkeyd::cli::command().disable_help_subcommand(true);
    command.build();
    of_command(&command, directory)?;
    for (name, about, text) in FILES {
        let page = of_file(name, about, text);
        put(&directory.join(format!("{name}.5")), page.as_bytes())?;
    }
    Ok(())
}

fn of_command(command: &clap::Command, directory: &Path) -> io::Result<()> {
    for below in command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
    {
        of_command(below, directory)?;
    }
    let man = Man::new(command.clone())
        .source(concat!("sshkeyd ", env!("CARGO_PKG_VERSION")))
        .manual("sshkeyd");
    let mut page = Vec::new();
    man.render(&mut page)?;
    let files = "sshkeyd\\-agent.toml(5), sshkeyd\\-server.toml(5)";
    let top = match command.get_display_name() {
        None | Some("sshkeyd") => files.to_owned(),
        Some(_) => format!("sshkeyd(1), {files}"),
    };
    page.extend_from_slice(format!(".SH \"SEE ALSO\"\n{top}\n").as_bytes());
    put(&directory.join(man.get_filename()), &page)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a new file in a directory that is made for it"
)]
fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::write(path, bytes)
}

/// A page of section 5: what stands at the head of the example, each table with its keys and what is
/// said of them, and the whole example as it stands.
fn of_file(name: &str, about: &str, text: &str) -> String {
    let mut page = format!(
        ".TH {name} 5 \"\" \"sshkeyd {}\" sshkeyd\n.SH NAME\n{} \\- {about}\n.SH DESCRIPTION\n",
        env!("CARGO_PKG_VERSION"),
        escaped(name),
    );
    let head: Vec<&str> = text
        .lines()
        .take_while(|line| line.starts_with('#'))
        .collect();
    let head = head.iter().map(|line| line.trim_start_matches(['#', ' ']));
    let _ = writeln!(page, "{}", escaped(&head.collect::<Vec<_>>().join(" ")));
    let mut last = "";
    for line in text.lines().skip_while(|line| line.starts_with('#')) {
        let (is_set, line) = match line.strip_prefix("# ") {
            Some(line) => (false, line),
            None => (true, line),
        };
        let (what, said) = split_comment(line);
        if what.starts_with('[') {
            if what != last {
                let _ = writeln!(page, ".SH \"{}\"", escaped(what));
                last = what;
            }
            if let Some(said) = said {
                let _ = writeln!(page, "{}.", escaped(said));
            }
        } else if let Some((key, value)) = what.split_once(" = ") {
            let key = escaped(key);
            let _ = writeln!(page, ".TP\n\\fB{key}\\fR = {}", escaped(value));
            let by_default = if is_set {
                ""
            } else {
                "Not set in the example."
            };
            let said = said
                .map(|said| format!("{}. ", escaped(said)))
                .unwrap_or_default();
            let said = format!("{said}{by_default}");
            let said = said.trim();
            let _ = writeln!(
                page,
                "{}",
                if said.is_empty() {
                    "As it is called."
                } else {
                    said
                }
            );
        }
    }
    page.push_str(".SH EXAMPLE\n.nf\n");
    for line in text.lines() {
        let _ = writeln!(page, "{}", escaped(line));
    }
    page.push_str(".fi\n.SH \"SEE ALSO\"\nsshkeyd(1), sshkeyd\\-check(1)\n");
    page
}

/// A line's setting, and the comment behind it; `#` within quotes begins none.
fn split_comment(line: &str) -> (&str, Option<&str>) {
    let mut is_quoted = false;
    let at = line.char_indices().find(|(_, c)| {
        is_quoted ^= *c == '"';
        *c == '#' && !is_quoted
    });
    match at.and_then(|(at, _)| line.split_at_checked(at)) {
        Some((what, said)) => (what.trim_end(), Some(said.trim_start_matches(['#', ' ']))),
        None => (line.trim_end(), None),
    }
}

/// Text that troff(1) shows as it is.
fn escaped(text: &str) -> String {
    let text = text
        .replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('"', "\\(dq");
    let text = text.replace('…', "...");
    match text.strip_prefix(['.', '\'']) {
        Some(_) => format!("\\&{text}"),
        None => text,
    }
}
