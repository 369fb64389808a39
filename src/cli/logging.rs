//! The daemons' log: tracing, to stderr.
//!
//! Owns the filter (`RUST_LOG` before the configuration's) and the form of a line. Refuses to write
//! times where systemd's journal writes its own (systemd.exec(5), JOURNAL_STREAM).

use super::exit::{Exit, Failed};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

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
    let log = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false);
    // A second start in one process keeps the first log.
    let _ = if std::env::var_os("JOURNAL_STREAM").is_some() {
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

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_filter_that_cannot_be_read_is_named() {
        assert!(parse("info").is_ok() && parse("warn,sshkeyd=debug").is_ok());
        assert!(parse("sshkeyd=loud").unwrap_err().contains("sshkeyd=loud"));
    }
}
