//! The daemons' log: tracing, to stderr; to systemd's journal with fields where stderr is its.
//!
//! Owns the filter (`RUST_LOG` before the configuration's), the form of a line, and the message ids
//! of the journal (journald's `MESSAGE_ID`, systemd.journal-fields(7)): these never change.

use super::exit::{Exit, Failed};
use crate::sys::journal::{Entry, Journal, say};
use std::fmt::Write as _;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Message ids, by the constant message. `journalctl MESSAGE_ID=…` finds all of one kind.
const MESSAGE_IDS: [(&str, &str); 4] = [
    ("key added", "33d2e9fd935149cfbb4036c96da2ac29"),
    ("key removed", "2d1e7fa28bb14d32b8a15583b2695da2"),
    ("condition", "2ad53f99db154c87b7d900dd340c60cc"),
    ("condition gone", "c043d75e294a48a394a984428152e389"),
];

/// Starts the log. `filter` is the configuration's; `RUST_LOG` goes before it.
///
/// # Errors
/// 78 for a filter of the configuration that cannot be read, 64 for one in `RUST_LOG`.
pub(super) fn start(filter: &str) -> Result<(), Failed> {
    let rust_log = std::env::var("RUST_LOG").ok().filter(|f| !f.is_empty());
    let filter = match rust_log {
        Some(text) => {
            parse(&text).map_err(|e| Failed::new(Exit::Usage, format!("RUST_LOG: {e}")))?
        }
        None => parse(filter).map_err(|e| Failed::new(Exit::Config, format!("log: {e}")))?,
    };
    let stream = std::env::var("JOURNAL_STREAM").ok();
    // A second start in one process keeps the first log.
    if let Some(journal) = Journal::of(std::io::stderr(), stream.as_deref()) {
        let log = tracing_subscriber::registry().with(ToJournal(journal));
        let _ = log.with(filter).try_init();
        return Ok(());
    }
    let log = tracing_subscriber::fmt()
        .with_max_level(Level::TRACE)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false);
    let _ = if stream.is_some() {
        log.without_time().finish().with(filter).try_init()
    } else {
        log.finish().with(filter).try_init()
    };
    Ok(())
}

fn parse(text: &str) -> Result<Targets, String> {
    text.parse::<Targets>()
        .map_err(|error| format!("\"{text}\": {error}; as in info, or info,sshkeyd::agent=debug"))
}

/// Events as journal entries: the line as `MESSAGE`, each field as `SSHKEYD_…`.
struct ToJournal(Journal);

impl<S: Subscriber> Layer<S> for ToJournal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        let line = format!("{}{}", words.message, words.rest);
        let mut entry = Entry::default();
        entry.field("MESSAGE", &line);
        entry.field("PRIORITY", priority(*event.metadata().level()));
        entry.field("SYSLOG_IDENTIFIER", "sshkeyd");
        let id = MESSAGE_IDS.iter().find(|(text, _)| *text == words.message);
        if let Some((_, id)) = id {
            entry.field("MESSAGE_ID", id);
        }
        for (name, value) in &words.fields {
            entry.field(&format!("SSHKEYD_{name}"), value);
        }
        if self.0.send(&entry).is_err() {
            // stderr is the journal's too, by another way.
            let mut text = line.replace('\n', " ");
            text.push('\n');
            let _ = say(std::io::stderr(), &text);
        }
    }
}

/// syslog(3): what `journalctl -p` goes by.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    }
}

/// An event's message, its fields, and the same as a person reads them.
#[derive(Default)]
struct Words {
    message: String,
    rest: String,
    fields: Vec<(&'static str, String)>,
}

impl Words {
    fn take(&mut self, field: &Field, plain: String, shown: &str) {
        if field.name() == "message" {
            self.message = plain;
        } else {
            // Writing to a String cannot fail.
            let _ = write!(self.rest, " {}={shown}", field.name());
            self.fields.push((field.name(), plain));
        }
    }
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_owned(), &format!("{value:?}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let text = format!("{value:?}");
        self.take(field, text.clone(), &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_cannot_be_read_is_named() {
        assert!(parse("info").is_ok() && parse("warn,sshkeyd=debug").is_ok());
        assert!(parse("sshkeyd=loud").unwrap_err().contains("sshkeyd=loud"));
    }

    #[test]
    fn message_ids_are_128_bits_and_none_is_used_twice() {
        let ids: std::collections::BTreeSet<_> = MESSAGE_IDS.iter().map(|(_, id)| id).collect();
        assert_eq!(ids.len(), MESSAGE_IDS.len());
        for id in ids {
            let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            assert!(id.len() == 32 && id.bytes().all(hex), "{id}");
        }
    }
}
