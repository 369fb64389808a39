//! Things by the words that people have for them: an id, a name where only one has it.
//!
//! Refuses to guess between two of one name, and names their ids.

use super::exit::{Exit, Failed};

/// The one of `found`; `what` is a kind of thing, `list` the command that lists them.
///
/// # Errors
/// 1: there is none, or several.
pub(super) fn one<T>(
    what: &str,
    name: &str,
    list: &str,
    found: impl IntoIterator<Item = T>,
    id: impl Fn(&T) -> i64,
) -> Result<T, Failed> {
    let mut found = found.into_iter();
    let fault = |text: String| Err(Failed::new(Exit::NotDone, text));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(one), Some(other)) => fault(format!(
            "several {what}s are called \"{name}\", {} and {} among them; give an id",
            id(&one),
            id(&other)
        )),
        (None, _) => fault(format!("no {what} \"{name}\"; see `sshkeyd {list}`")),
    }
}
