//! How many files this process may have open (getrlimit(2), RLIMIT_NOFILE).

use rustix::process::{Resource, getrlimit};

/// The soft limit; `None`: there is none.
#[must_use]
pub fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}
