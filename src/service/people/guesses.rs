//! Wrong guesses, and the wait that they cost: none for five, then 1, 2, 4 … 30 seconds.
//!
//! A guess that comes during the wait is refused unseen, the right one too: nothing is learnt by
//! asking sooner, and many at once are no better than one. Whoever has a device that logged in
//! before, or a session, is counted by that alone, so that nobody else's guesses keep him out.
//! Refuses to remember more than a fixed number: the least guilty are forgotten first.

use super::passwords::Block;
use crate::service::Service;
use crate::service::api::ApiError;
use crate::service::store::{Hash, StoreError, Tries};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use sha2::Sha256;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Guesses that cost no wait.
const FREE: u32 = 5;

/// The longest wait, milliseconds.
const LONGEST: i64 = 30_000;

/// Whoever is silent for this long has a clean slate, milliseconds.
const FORGET: i64 = 60 * 60 * 1000;

/// Guessers that are remembered.
const GUESSERS: usize = 16_384;

/// Sets this MAC apart from anything else the key may ever seal.
const PURPOSE: &[u8] = b"sshkeyd guesser v1\0";

/// By whom guesses are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::service) enum Guesser {
    /// A network, and the digest of the address that it names, whether there is such an account or
    /// not.
    Stranger(Hash, Block),
    /// A device that logged in to this account before.
    Device(i64, [u8; 16]),
    /// A person's session.
    Session(i64),
    /// An API key that asks for a session by a code.
    ApiKey(i64),
    /// A network that makes accounts.
    SignUp(Block),
}

impl Guesser {
    /// By which replicas know it, and nobody who reads the database learns whose address was tried.
    fn mac(self, sealing_key: &[u8; 32]) -> Hash {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(sealing_key).expect("HMAC takes a key of any length");
        mac.update(PURPOSE);
        let mut block = |block| match block {
            Block::V4(bytes) => mac.update(&[&b"4"[..], &bytes].concat()),
            Block::V6(bytes) => mac.update(&[&b"6"[..], &bytes].concat()),
            Block::Unknown => mac.update(b"-"),
        };
        match self {
            Self::Stranger(hash, from) => {
                block(from);
                mac.update(b"stranger");
                mac.update(&hash);
            }
            Self::SignUp(from) => {
                block(from);
                mac.update(b"sign-up");
            }
            Self::Device(account, number) => {
                mac.update(b"device");
                mac.update(&account.to_be_bytes());
                mac.update(&number);
            }
            Self::Session(id) => {
                mac.update(b"session");
                mac.update(&id.to_be_bytes());
            }
            Self::ApiKey(id) => {
                mac.update(b"api-key");
                mac.update(&id.to_be_bytes());
            }
        }
        mac.finalize().into_bytes().into()
    }
}

impl Tries {
    fn wait(self, now: i64) -> i64 {
        let wait = match self.count.checked_sub(FREE) {
            None => 0,
            Some(over) => 1_000_i64
                .checked_shl(over)
                .filter(|_| over < 5)
                .unwrap_or(LONGEST),
        };
        // A clock that stepped back makes no wait longer.
        (self.last.min(now) + wait - now).max(0)
    }

    /// What counts of these, and what does with one more now; else the seconds to wait.
    fn one_more(self, now: i64) -> Result<(Self, Self), u32> {
        let before = match now - self.last > FORGET {
            true => Self::default(),
            false => self,
        };
        let wait = before.wait(now);
        if wait > 0 {
            return Err(u32::try_from((wait + 999) / 1_000).unwrap_or(u32::MAX));
        }
        let count = before.count.saturating_add(1);
        Ok((before, Self { count, last: now }))
    }
}

/// A guess that is under way, counted as wrong until it is given back.
#[must_use]
pub(in crate::service) struct Guess {
    guesser: Guesser,
    before: Tries,
}

/// All that are counted.
#[derive(Default)]
pub(in crate::service) struct Guesses(Mutex<HashMap<Guesser, Tries>>);

impl Guesses {
    /// Begins a guess.
    ///
    /// # Errors
    /// Seconds to wait.
    pub(in crate::service) fn begin(&self, guesser: Guesser, now: Timestamp) -> Result<Guess, u32> {
        let now = now.as_millisecond();
        let mut all = self.lock();
        if all.len() >= GUESSERS && !all.contains_key(&guesser) {
            make_room(&mut all, now);
        }
        let tries = all.entry(guesser).or_default();
        let (before, after) = tries.one_more(now)?;
        *tries = after;
        Ok(Guess { guesser, before })
    }

    /// It was no wrong guess.
    pub(in crate::service) fn give_back(&self, guess: &Guess) {
        let mut all = self.lock();
        if let Some(tries) = all.get_mut(&guess.guesser) {
            tries.count = tries.count.saturating_sub(1);
            tries.last = guess.before.last;
            if tries.count == 0 {
                all.remove(&guess.guesser);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Guesser, Tries>> {
        // Each change under this lock leaves an entry whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service {
    /// Counts a guess as wrong until it is known to be none: in memory, or in the database where
    /// other replicas count too.
    ///
    /// # Errors
    /// 429 `slow-down`. The wait is not held: a held connection costs us more than the guesser,
    /// who can hold many at once, and a refusal says how long the wait is.
    pub(super) async fn begin_guess(&self, guesser: Guesser) -> Result<Guess, ApiError> {
        let now = self.now();
        let begun = if self.store.is_shared() {
            let (mac, now) = (guesser.mac(&self.people.sealing_key), now.as_millisecond());
            let judge = move |tries: Tries| tries.one_more(now);
            let before = self.store.count_guess(mac, judge).await?;
            before.map(|before| Guess { guesser, before })
        } else {
            self.people.guesses.begin(guesser, now)
        };
        begun.map_err(|seconds| {
            let detail = "too many wrong tries; wait as long as Retry-After says, at most 30 s";
            ApiError::too_many("slow-down", detail, seconds)
        })
    }

    /// It was no wrong guess.
    pub(super) async fn give_guess_back(&self, guess: &Guess) {
        if !self.store.is_shared() {
            return self.people.guesses.give_back(guess);
        }
        let mac = guess.guesser.mac(&self.people.sealing_key);
        let given = self.store.give_guess_back(mac, guess.before.last).await;
        if let Err(error) = given {
            tracing::debug!(%error, "a guess that was none counts as wrong");
        }
    }

    /// Forgets, in the database, whoever has been silent for long.
    pub(in crate::service) async fn forget_guesses(&self) -> Result<(), StoreError> {
        let since = self.now() - SignedDuration::from_millis(FORGET);
        self.store.forget_guesses(since).await
    }
}

/// Forgets whoever is due, and else the quarter that guessed least, the longest ago.
fn make_room(all: &mut HashMap<Guesser, Tries>, now: i64) {
    all.retain(|_, tries| now - tries.last <= FORGET);
    if all.len() < GUESSERS {
        return;
    }
    let mut order: Vec<_> = all.iter().map(|(g, t)| (t.count, t.last, *g)).collect();
    order.sort_unstable_by_key(|(count, last, _)| (*count, *last));
    for (_, _, guesser) in order.into_iter().take(GUESSERS / 4) {
        all.remove(&guesser);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(1_790_000_000_000 + ms).unwrap()
    }

    fn stranger(n: u32) -> Guesser {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&n.to_be_bytes());
        Guesser::Stranger(hash, Block::Unknown)
    }

    #[test]
    fn five_are_free_and_then_the_wait_doubles_up_to_thirty_seconds() {
        let guesses = Guesses::default();
        let (who, mut now) = (stranger(1), 0);
        for _ in 0..5 {
            let _ = guesses.begin(who, at(now)).unwrap();
        }
        for wait in [1, 2, 4, 8, 16, 30, 30, 30] {
            assert_eq!(guesses.begin(who, at(now)).err(), Some(wait));
            assert_eq!(
                guesses.begin(who, at(now + wait_ms(wait) - 1)).err(),
                Some(1)
            );
            now += wait_ms(wait);
            let _ = guesses.begin(who, at(now)).unwrap();
        }
        assert!(guesses.begin(stranger(2), at(now)).is_ok());
        // The clock steps back: the wait is no longer than it was.
        assert_eq!(guesses.begin(who, at(-900_000)).err(), Some(30));
        assert!(guesses.begin(who, at(now + FORGET + 1)).is_ok());
        assert_eq!(guesses.lock()[&who].count, 1);
    }

    fn wait_ms(seconds: u32) -> i64 {
        i64::from(seconds) * 1_000
    }

    #[test]
    fn a_right_one_is_given_back_and_clears_nothing_else() {
        let guesses = Guesses::default();
        let who = stranger(1);
        for _ in 0..5 {
            let _ = guesses.begin(who, at(0)).unwrap();
        }
        let right = guesses.begin(who, at(1_000)).unwrap();
        guesses.give_back(&right);
        assert_eq!(guesses.lock()[&who].count, 5);
        let _ = guesses.begin(who, at(1_000)).unwrap();
        let alone = guesses.begin(stranger(2), at(0)).unwrap();
        guesses.give_back(&alone);
        assert!(!guesses.lock().contains_key(&stranger(2)));
    }

    #[test]
    fn a_flood_of_names_does_not_wash_away_who_guesses_most() {
        let guesses = Guesses::default();
        for _ in 0..5 {
            let _ = guesses.begin(stranger(0), at(0)).unwrap();
        }
        for n in 1..=u32::try_from(GUESSERS * 2).unwrap() {
            let _ = guesses.begin(stranger(n), at(1)).unwrap();
        }
        assert!(guesses.lock().len() <= GUESSERS);
        assert_eq!(guesses.begin(stranger(0), at(2)).err(), Some(1));
    }
}
