//! Passwords: argon2id, on two threads with a queue of 32; past that, come again.
//!
//! One hash takes 19 MiB and some tens of milliseconds, and anyone may ask for one: so there is a
//! limit on those at work, on those that wait, and on what one network may have of both. Refuses to
//! let time tell whether there is an account: where there is no password to compare with, one of
//! the same cost is computed.

use super::super::api::ApiError;
use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Bytes of a password: enough to be one, and no work for nothing.
pub(in crate::service) const PASSWORD: std::ops::RangeInclusive<usize> = 8..=1024;

/// Hashes at work.
const THREADS: usize = 2;

/// Hashes that wait.
const QUEUE: usize = 32;

/// Hashes of one network, at work and waiting, so that it does not fill the queue for all.
const PER_BLOCK: usize = 12;

/// A network that guesses are counted by: /24, or /64 of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::service) enum Block {
    /// The first three bytes.
    V4([u8; 3]),
    /// The first eight bytes.
    V6([u8; 8]),
    /// Nobody knows from where.
    Unknown,
}

impl Block {
    /// Where this address is.
    pub(in crate::service) fn of(from: Option<IpAddr>) -> Self {
        match from.map(|from| from.to_canonical()) {
            Some(IpAddr::V4(address)) => {
                let [a, b, c, _] = address.octets();
                Self::V4([a, b, c])
            }
            Some(IpAddr::V6(address)) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
            None => Self::Unknown,
        }
    }

    /// Loopback is a proxy, or the machine's own.
    fn is_shared(self) -> bool {
        matches!(self, Self::Unknown | Self::V4([127, ..])) || self == Self::V6([0; 8])
    }
}

/// The threads and the queue before them.
pub(in crate::service) struct Passwords {
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    blocks: Arc<Mutex<HashMap<Block, usize>>>,
}

impl Passwords {
    /// Nobody waits.
    pub(in crate::service) fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(THREADS + QUEUE)),
            turns: Arc::new(Semaphore::new(THREADS)),
            blocks: Arc::default(),
        }
    }

    /// Hashes a password, for keeping.
    ///
    /// # Errors
    /// 429 when the queue is full, 500 when it cannot be hashed.
    pub(in crate::service) async fn hash(
        &self,
        password: Zeroizing<String>,
        block: Block,
    ) -> Result<String, ApiError> {
        let hashed = self.run(block, move || hash(&password)).await?;
        hashed.ok_or_else(ApiError::internal)
    }

    /// Whether it is the password that is kept so; where none is kept, no, at the same cost.
    ///
    /// # Errors
    /// 429 when the queue is full.
    pub(in crate::service) async fn verify(
        &self,
        password: Zeroizing<String>,
        kept: Option<String>,
        block: Block,
    ) -> Result<bool, ApiError> {
        self.run(block, move || verify(&password, kept.as_deref()))
            .await
    }

    async fn run<T: Send + 'static>(
        &self,
        block: Block,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let full = || {
            let detail = "too many passwords are being checked; come again in a moment";
            ApiError::too_many("busy", detail, 2)
        };
        let place = self.places.clone().try_acquire_owned();
        let place = place.map_err(|_| full())?;
        let share = self.share(block).ok_or_else(full)?;
        let turn = self.turns.clone().acquire_owned().await;
        let turn = turn.map_err(|_| ApiError::internal())?;
        let done = tokio::task::spawn_blocking(move || {
            // Whoever asked may be gone: the thread is taken until the work is done.
            let _held = (place, share, turn);
            work()
        });
        done.await.map_err(|_| ApiError::internal())
    }

    fn share(&self, block: Block) -> Option<Share> {
        if !block.is_shared() {
            let mut blocks = lock(&self.blocks);
            let count = blocks.entry(block).or_default();
            if *count >= PER_BLOCK {
                return None;
            }
            *count += 1;
        }
        Some(Share {
            block,
            blocks: self.blocks.clone(),
        })
    }
}

fn lock(blocks: &Mutex<HashMap<Block, usize>>) -> std::sync::MutexGuard<'_, HashMap<Block, usize>> {
    // A count is changed in one step.
    blocks.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A network's part of the queue, given back by drop.
struct Share {
    block: Block,
    blocks: Arc<Mutex<HashMap<Block, usize>>>,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut blocks = lock(&self.blocks);
        if let Some(count) = blocks.get_mut(&self.block) {
            *count -= 1;
            if *count == 0 {
                blocks.remove(&self.block);
            }
        }
    }
}

/// argon2id, as a PHC string with its own salt.
pub(in crate::service) fn hash(password: &str) -> Option<String> {
    let hashed = Argon2::default().hash_password(password.as_bytes());
    hashed.map(|phc| phc.to_string()).ok()
}

fn verify(password: &str, kept: Option<&str>) -> bool {
    let argon2 = Argon2::default();
    let Some(kept) = kept else {
        let mut out = [0; 32];
        // Only the time that it takes is wanted.
        let _ = argon2.hash_password_into(password.as_bytes(), &[0; 16], &mut out);
        std::hint::black_box(out);
        return false;
    };
    argon2.verify_password(password.as_bytes(), kept).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    fn of(text: &str) -> Block {
        Block::of(Some(text.parse().unwrap()))
    }

    #[test]
    fn a_network_is_a_24_or_a_64() {
        assert_eq!(of("203.0.113.9"), of("203.0.113.200"));
        assert_eq!(of("203.0.113.9"), of("::ffff:203.0.113.1"));
        assert_ne!(of("203.0.113.9"), of("203.0.114.9"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    }

    #[tokio::test]
    async fn a_password_is_kept_as_argon2id_and_known_again() {
        let passwords = Passwords::new();
        let home = of("203.0.113.9");
        let kept = passwords.hash(secret("correct horse"), home).await;
        let kept = kept.unwrap();
        assert!(kept.starts_with("$argon2id$v=19$"));
        for (text, good) in [("correct horse", true), ("wrong horse", false), ("", false)] {
            let known = passwords.verify(secret(text), Some(kept.clone()), home);
            assert_eq!(known.await.unwrap(), good);
        }
        let none = passwords.verify(secret("correct horse"), None, home).await;
        assert!(!none.unwrap());
        assert!(lock(&passwords.blocks).is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_queue_has_an_end_and_a_network_has_a_part_of_it() {
        let passwords = Arc::new(Passwords::new());
        let begin = |block| {
            let (passwords, gate) = (passwords.clone(), std::sync::mpsc::channel::<()>());
            let (open, gate) = gate;
            let run = tokio::spawn(async move {
                let run = passwords.run(block, move || gate.recv().is_err());
                run.await
            });
            (open, run)
        };
        let taken = async |count: usize| {
            while passwords.places.available_permits() > THREADS + QUEUE - count {
                tokio::task::yield_now().await;
            }
        };
        let mut all: Vec<_> = (0..PER_BLOCK).map(|_| begin(of("203.0.113.9"))).collect();
        taken(PER_BLOCK).await;
        let more = passwords.run(of("203.0.113.200"), || ()).await;
        assert_eq!(more.unwrap_err().code(), "busy");
        for other in PER_BLOCK..THREADS + QUEUE {
            all.push(begin(of(&format!("192.0.{other}.1"))));
        }
        taken(THREADS + QUEUE).await;
        let more = passwords.run(of("198.51.100.1"), || ()).await;
        assert_eq!(more.unwrap_err().code(), "busy");
        let (gates, runs): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        drop(gates);
        for run in runs {
            assert!(run.await.unwrap().unwrap());
        }
        assert!(lock(&passwords.blocks).is_empty());
        passwords.run(of("203.0.113.9"), || ()).await.unwrap();
    }
}
