//! What a person or a pipe would see, byte for byte.

use super::*;
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What was printed to a captured [`Output`].
pub(in crate::cli) struct Seen {
    out: Buffer,
    err: Buffer,
}

impl Seen {
    pub(in crate::cli) fn out(&self) -> String {
        String::from_utf8(self.out.0.lock().unwrap().clone()).unwrap()
    }

    pub(in crate::cli) fn err(&self) -> String {
        String::from_utf8(self.err.0.lock().unwrap().clone()).unwrap()
    }
}

impl Output {
    /// Prints into memory, as into a pipe.
    pub(in crate::cli) fn captured() -> (Self, Seen) {
        let seen = Seen {
            out: Buffer::default(),
            err: Buffer::default(),
        };
        let out = Self {
            out: stream(seen.out.clone()),
            err: stream(seen.err.clone()),
        };
        (out, seen)
    }
}

fn stream(to: impl Write + Send + 'static) -> Stream {
    Stream {
        to: Box::new(to),
        terminal: false,
        color: false,
        lost: None,
    }
}

/// A pipe nobody reads, or a full disk.
struct Fails(io::ErrorKind);

impl Write for Fails {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_table_lines_up_and_a_cell_stays_one_line() {
    let (mut out, seen) = Output::captured();
    let row = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
    out.table(
        ["ID", "NAME"],
        &[row("1", "lap\ntop"), row("100", ""), row("2", "ä\x1b[2J")],
    );
    assert_eq!(seen.out(), "ID   NAME\n1    lap top\n100  -\n2    ä[2J\n");
}

#[test]
fn colour_stands_only_where_it_is_wanted() {
    let (mut out, seen) = Output::captured();
    out.out.color = true;
    out.table(["ID"], &[["\x1b[31m7".to_owned()]]);
    assert_eq!(seen.out(), "\x1b[1mID\x1b[0m\n[31m7\n");
}

#[test]
fn json_is_one_document_that_no_terminal_acts_on() {
    let (mut out, seen) = Output::captured();
    let value = serde_json::json!({"a": "x\u{1b}\u{9b}\u{7f}\u{202e}y", "b": 1});
    out.json(&value).unwrap();
    let line = seen.out();
    assert_eq!(line, "{\"a\":\"x\\u001b\\u009b\\u007f\\u202ey\",\"b\":1}\n");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&line).unwrap(),
        value
    );
    out.out.terminal = true;
    out.json(&value).unwrap();
    let pretty = seen.out().replace(&line, "");
    assert!(pretty.contains("\n  \"b\": 1\n}"), "{pretty}");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&pretty).unwrap(),
        value
    );
}

#[test]
fn errors_carry_the_name_and_answers_do_not() {
    let (mut out, seen) = Output::captured();
    out.error("no\x07 way");
    out.note("wait");
    out.line("yes");
    assert_eq!(seen.err(), "sshkeyd: no way\nwait\n");
    assert_eq!(seen.out(), "yes\n");
}

#[test]
fn a_reader_that_went_away_is_quiet_and_a_full_disk_is_not() {
    for (kind, exit, said) in [
        (io::ErrorKind::BrokenPipe, Exit::Done, false),
        (io::ErrorKind::StorageFull, Exit::NotDone, true),
    ] {
        let (mut out, seen) = Output::captured();
        out.out = stream(Fails(kind));
        out.line("answer");
        out.line("more");
        assert_eq!(out.finish(Exit::Done), exit);
        assert_eq!(seen.err().contains("not whole"), said);
        assert_eq!(out.finish(Exit::Config), Exit::Config);
    }
}

#[test]
fn progress_in_a_pipe_says_each_change_once() {
    let (mut out, seen) = Output::captured();
    let mut progress = out.progress();
    for words in ["0 of 2", "0 of 2", "1 of 2", "1 of 2"] {
        progress.show(&mut out, 0, 2, words);
    }
    progress.end(&mut out);
    assert_eq!(seen.err(), "0 of 2\n1 of 2\n");
}

#[test]
fn progress_on_a_terminal_is_one_line_and_leaves_nothing() {
    let (mut out, seen) = Output::captured();
    out.err.terminal = true;
    let mut progress = out.progress();
    progress.show(&mut out, 0, 0, "nobody yet");
    progress.show(&mut out, 1, 2, "1 of 2\n\x1b[2J");
    progress.end(&mut out);
    let said = seen.err();
    let lines: Vec<&str> = said.split('\r').collect();
    let blank = " ".repeat(30);
    let half = format!("{}{}", "=".repeat(15), " ".repeat(15));
    let shown = [
        "\x1b[?7l",
        &format!("{blank} 0/0  nobody yet\x1b[K\x1b[?7h\x1b[?7l"),
        &format!("{half} 1/2  1 of 2 [2J\x1b[K\x1b[?7h"),
        "\x1b[K",
    ];
    assert_eq!(lines, shown);
}
