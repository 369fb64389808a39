//! What PostgreSQL says when it does not do something, by what is to be done about it.

use tokio_postgres::error::SqlState;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) enum Kind {
    /// Try again later: there is no server, or it serves nobody now.
    Away,
    /// Try again: it has too much to do.
    Busy,
    /// Do it again from its beginning: another change came between, and nothing of it was kept.
    Again,
    /// The same; statements that were made ready are no good any more.
    Stale,
    /// A person makes room.
    Full,
    /// It may be done or not: nobody does it again unasked.
    Unknown,
    /// A person looks.
    Other,
}

/// What it says.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(in crate::service) struct Fault {
    kind: Kind,
    text: String,
    cut: bool,
}

impl Fault {
    pub(in crate::service::store) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
            cut: false,
        }
    }

    pub(super) fn gone() -> Self {
        Self::new(Kind::Away, "no connection to the server")
    }

    pub(super) fn silent() -> Self {
        Self::new(Kind::Away, "the server does not answer")
    }

    pub(super) fn rolled_back() -> Self {
        Self::new(Kind::Other, "a part of it went wrong, and nothing was kept")
    }

    /// The same of a commit: whether it was kept nobody knows.
    pub(super) fn unknown(self) -> Self {
        let text = format!("{}; whether it was kept is not known", self.text);
        Self::new(Kind::Unknown, text)
    }

    /// What to do.
    pub(in crate::service) fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether a connection that was there has ended: a new one may be had at once.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(said) = error.as_db_error() else {
            // The library's own words stand before the cause.
            let mut text = error.to_string();
            if let Some(cause) = std::error::Error::source(&error) {
                let cause = cause.to_string();
                if !text.contains(&cause) {
                    text = format!("{text}: {cause}");
                }
            }
            let is_ours = error.code().is_none() && is_of_form(&error);
            let kind = if is_ours { Kind::Other } else { Kind::Away };
            return Self {
                cut: kind == Kind::Away,
                ..Self::new(kind, text)
            };
        };
        // Its detail may hold what is in a row.
        let text = format!("{} ({})", said.message(), said.code().code());
        let kind = kind(said.code(), said.message());
        Self {
            cut: kind == Kind::Away,
            ..Self::new(kind, text)
        }
    }
}

/// Whether it is about a value, and the connection is as good as it was.
fn is_of_form(error: &tokio_postgres::Error) -> bool {
    let text = error.to_string();
    text.starts_with("error serializing") || text.starts_with("error deserializing")
}

fn kind(code: &SqlState, message: &str) -> Kind {
    if *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED {
        return Kind::Again;
    }
    let is_plan = *code == SqlState::FEATURE_NOT_SUPPORTED && message.contains("cached plan");
    if is_plan || *code == SqlState::INVALID_SQL_STATEMENT_NAME {
        return Kind::Stale;
    }
    if *code == SqlState::DISK_FULL {
        return Kind::Full;
    }
    let busy = [
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::QUERY_CANCELED,
        SqlState::OUT_OF_MEMORY,
        SqlState::CONFIGURATION_LIMIT_EXCEEDED,
    ];
    if busy.contains(code) {
        return Kind::Busy;
    }
    let away = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        // It was made a standby: the next connection finds the one that takes changes.
        SqlState::READ_ONLY_SQL_TRANSACTION,
    ];
    if away.contains(code) || code.code().starts_with("08") {
        return Kind::Away;
    }
    Kind::Other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_done_again_is_told_from_what_may_not() {
        assert_eq!(kind(&SqlState::T_R_SERIALIZATION_FAILURE, ""), Kind::Again);
        assert_eq!(kind(&SqlState::T_R_DEADLOCK_DETECTED, ""), Kind::Again);
        assert_eq!(kind(&SqlState::ADMIN_SHUTDOWN, ""), Kind::Away);
        assert_eq!(kind(&SqlState::CONNECTION_FAILURE, ""), Kind::Away);
        assert_eq!(kind(&SqlState::LOCK_NOT_AVAILABLE, ""), Kind::Busy);
        assert_eq!(kind(&SqlState::DISK_FULL, ""), Kind::Full);
        let plan = "cached plan must not change result type";
        assert_eq!(kind(&SqlState::FEATURE_NOT_SUPPORTED, plan), Kind::Stale);
        assert_eq!(kind(&SqlState::FEATURE_NOT_SUPPORTED, ""), Kind::Other);
        assert_eq!(kind(&SqlState::UNIQUE_VIOLATION, ""), Kind::Other);
        let lost = Fault::gone().unknown();
        assert_eq!(lost.kind(), Kind::Unknown);
    }
}
