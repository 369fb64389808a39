//! Why a login with an account key works here or not: `sshkeyd doctor --json`.

use serde::{Deserialize, Serialize};

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doctor {
    /// Each user who was looked at.
    pub reports: Vec<DoctorReport>,
}

/// One local user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorReport {
    /// The local user.
    pub user: String,
    /// Whether no problem was found.
    pub healthy: bool,
    /// What was found, problems first.
    pub findings: Vec<DoctorFinding>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorFinding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at, in a word: `strict-modes`, `allow-users`, `proof`, ….
    pub check: String,
    /// What is so.
    pub what: String,
    /// What mends it: a command, or a line to write and where. `None` where nothing is wrong.
    pub fix: Option<String>,
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// A login with an account key fails for it, or nearly every one.
    Problem,
    /// Some logins fail for it, or will.
    Notice,
    /// Looked at, and as it should be.
    Ok,
}

impl Doctor {
    /// Whether no problem was found.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.reports.iter().all(|report| report.healthy)
    }
}
