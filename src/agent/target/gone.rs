//! Keys that a turn took out, which sshd is to refuse from then on.
//!
//! Whoever owns the file can put any number of keys among ours, and a source can change its list
//! for ever: both are limited, and what somebody put there never crowds out what was ours.

use super::Target;
use crate::keys::PublicKey;
use crate::sync::Owned;

/// Most keys that are remembered.
const MAX_GONE: usize = 1024;
/// Most of them while keys that were never ours are taken up.
const MAX_OF_OTHERS: usize = 64;

impl Target {
    /// Keys that were taken out and that other lines may hold.
    pub(in crate::agent) fn gone(&self) -> Vec<PublicKey> {
        let all = self.gone.values().chain(self.refused.values());
        all.cloned().collect()
    }

    /// Takes what a turn took out, where `owned` was ours before it.
    pub(super) fn took_out(&mut self, owned: &Owned, removed: &[PublicKey]) {
        for key in removed {
            let fingerprint = key.fingerprint();
            let was_ours = owned.keys.contains(&fingerprint);
            let most = if was_ours { MAX_GONE } else { MAX_OF_OTHERS };
            if self.gone.len() < most {
                self.gone.insert(fingerprint, key.clone());
            }
        }
    }
}
