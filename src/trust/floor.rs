//! The floor: the highest revision that was ever taken, with its digest. Nothing below it comes
//! back, whoever serves it (protocol.md section 2).

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The highest revision applied, and what it said.
///
/// The digest is that of the part of a payload that a second signing of the same revision leaves
/// alone; the floor that enrolment names has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// The revision.
    pub revision: u64,
    /// SHA-256 in hex of what it said.
    pub digest: Option<String>,
}

/// Where a new revision stands to the floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Above: a new list.
    Newer,
    /// On it, saying the same: a fresh signature over the list that is held.
    Same,
}

/// Why a revision is refused, though its signature is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FloorFault {
    /// Below the floor: somebody plays back an old list.
    #[error("revision {offered} is below {floor}, which was applied already")]
    Lower {
        /// What was offered.
        offered: u64,
        /// What is held.
        floor: u64,
    },
    /// The same number over other content.
    #[error("revision {revision} came with two contents")]
    Forked {
        /// The number.
        revision: u64,
    },
}

impl Floor {
    /// The digest under which `content` is remembered.
    #[must_use]
    pub fn digest(content: &[u8]) -> String {
        Self::digest_of(Sha256::new_with_prefix(content))
    }

    /// The same of content that was hashed piece by piece.
    #[must_use]
    pub fn digest_of(content: Sha256) -> String {
        let digest = content.finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Judges a revision against this floor.
    ///
    /// # Errors
    /// [`FloorFault`]: the list that is held stays.
    pub fn judge(&self, revision: u64, digest: &str) -> Result<Standing, FloorFault> {
        match (revision.cmp(&self.revision), &self.digest) {
            (std::cmp::Ordering::Less, _) => Err(FloorFault::Lower {
                offered: revision,
                floor: self.revision,
            }),
            (std::cmp::Ordering::Greater, _) | (std::cmp::Ordering::Equal, None) => {
                Ok(Standing::Newer)
            }
            (std::cmp::Ordering::Equal, Some(held)) if held == digest => Ok(Standing::Same),
            (std::cmp::Ordering::Equal, Some(_)) => Err(FloorFault::Forked { revision }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_revision_is_refused_and_a_forked_one_too() {
        let floor = Floor {
            revision: 7,
            digest: Some("aa".into()),
        };
        assert_eq!(floor.judge(8, "bb"), Ok(Standing::Newer));
        assert_eq!(floor.judge(7, "aa"), Ok(Standing::Same));
        assert_eq!(
            floor.judge(7, "bb"),
            Err(FloorFault::Forked { revision: 7 })
        );
        assert_eq!(
            floor.judge(6, "aa"),
            Err(FloorFault::Lower {
                offered: 6,
                floor: 7
            })
        );
    }

    #[test]
    fn the_first_list_may_have_the_very_revision_that_enrolment_named() {
        let floor = Floor {
            revision: 7,
            digest: None,
        };
        assert_eq!(floor.judge(7, "aa"), Ok(Standing::Newer));
        assert!(floor.judge(6, "aa").is_err());
    }
}
