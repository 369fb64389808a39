//! Who the targets' users are, asked beside the agent's loop: a directory of users that does not
//! answer holds up those whom only it knows, and nobody else.
//!
//! A new question is waited for a moment, one that is under way not at all; at most [`MOST`] are.
//! Keeps the last word on each user. Refuses to judge what it is good for: see `target/place.rs`.

use crate::sys::users::{self, LocalUser};
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};

/// How long the loop waits for an answer.
const PATIENCE: Duration = Duration::from_millis(250);
/// The same, where there is no loop that others wait for.
const NO_HURRY: Duration = Duration::from_secs(10);
/// Most questions at once; each keeps a thread.
const MOST: usize = 8;
/// An answer that nobody waited for any more is good for this long. A directory that is always
/// slower than [`PATIENCE`] is heard too, by the turn after its answer.
const GOOD_FOR: Duration = Duration::from_secs(5);

/// A user, or that there is none, or why that cannot be told.
type Answer = Result<Option<LocalUser>, String>;

/// That somebody could not be looked up, which says nothing about him.
#[derive(Debug)]
pub(super) struct Unknown {
    /// Why, in words.
    pub(super) why: String,
    /// Who he was by the last answer of this run.
    pub(super) before: Option<LocalUser>,
}

/// Questions that are under way, and what is known.
#[derive(Debug)]
pub(super) struct Lookups {
    ask: fn(&str) -> io::Result<Option<LocalUser>>,
    patience: Duration,
    under_way: JoinSet<Answer>,
    names: BTreeMap<Id, String>,
    late: BTreeMap<String, (Instant, Answer)>,
    known: BTreeMap<String, LocalUser>,
}

impl Default for Lookups {
    fn default() -> Self {
        Self {
            ask: users::lookup,
            patience: PATIENCE,
            under_way: JoinSet::new(),
            names: BTreeMap::new(),
            late: BTreeMap::new(),
            known: BTreeMap::new(),
        }
    }
}

impl Lookups {
    /// For a pass that ends: nobody else waits meanwhile.
    pub(super) fn patient() -> Self {
        Self {
            patience: NO_HURRY,
            ..Self::default()
        }
    }

    /// The user of this name as he is now; none when there is no such user.
    ///
    /// # Errors
    /// [`Unknown`]: the directory says nothing, or not in time.
    pub(super) async fn user(&mut self, name: &str) -> Result<Option<LocalUser>, Unknown> {
        self.answer(name).await.map_err(|why| Unknown {
            why,
            before: self.known.get(name).cloned(),
        })
    }

    /// Whether an answer is still to come.
    pub(super) fn are_under_way(&self) -> bool {
        !self.names.is_empty()
    }

    /// Waits for an answer that came late; for ever where none is to come. Safe to cancel.
    pub(super) async fn answered(&mut self) {
        match self.under_way.join_next_with_id().await {
            Some(ended) => drop(self.take(ended)),
            None => std::future::pending().await,
        }
    }

    async fn answer(&mut self, name: &str) -> Answer {
        while let Some(ended) = self.under_way.try_join_next_with_id() {
            self.take(ended);
        }
        if let Some((at, answer)) = self.late.get(name)
            && at.elapsed() < GOOD_FOR
        {
            return answer.clone();
        }
        self.late.remove(name);
        if self.names.values().any(|asked| asked == name) {
            return Err("the directory of users does not answer".to_owned());
        }
        if self.names.len() >= MOST {
            return Err(format!(
                "{MOST} lookups of others have not come back; the directory of users does not answer"
            ));
        }
        let (ask, asked) = (self.ask, name.to_owned());
        let lookup = move || ask(&asked).map_err(|fault| fault.to_string());
        let id = self.under_way.spawn_blocking(lookup).id();
        self.names.insert(id, name.to_owned());
        let until = Instant::now() + self.patience;
        while let Ok(Some(ended)) = timeout_at(until, self.under_way.join_next_with_id()).await {
            if self.take(ended) == Some(id)
                && let Some((_, answer)) = self.late.remove(name)
            {
                return answer;
            }
        }
        let waited = self.patience.as_secs_f32();
        Err(format!(
            "no answer from the directory of users in {waited} s"
        ))
    }

    /// Keeps an answer, and says to which question.
    fn take(&mut self, ended: Result<(Id, Answer), JoinError>) -> Option<Id> {
        let (id, answer) = ended.unwrap_or_else(|broken| (broken.id(), Err(broken.to_string())));
        let name = self.names.remove(&id)?;
        match &answer {
            Ok(Some(user)) => drop(self.known.insert(name.clone(), user.clone())),
            Ok(None) => drop(self.known.remove(&name)),
            // Nothing was said about him.
            Err(_) => {}
        }
        self.late.insert(name, (Instant::now(), answer));
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Mutex, PoisonError};

    /// Held by a test while the directory does not answer.
    static DIRECTORY: Mutex<()> = Mutex::new(());

    fn ask(name: &str) -> io::Result<Option<LocalUser>> {
        if name.starts_with("far") {
            drop(DIRECTORY.lock().unwrap_or_else(PoisonError::into_inner));
        }
        users::lookup("root")
    }

    #[tokio::test]
    #[expect(
        clippy::await_holding_lock,
        reason = "what waits for the lock is the directory, on threads of its own"
    )]
    async fn a_silent_directory_holds_up_its_own_users_once() {
        let mut lookups = Lookups {
            ask,
            ..Lookups::default()
        };
        let root = users::lookup("root").unwrap();
        assert_eq!(lookups.user("far").await.unwrap(), root);
        let silent = DIRECTORY.lock().unwrap();
        assert_eq!(lookups.user("far").await.unwrap_err().before, root);
        assert!(lookups.are_under_way());
        let began = Instant::now();
        let again = lookups.user("far").await.unwrap_err();
        assert_eq!(again.before, root);
        assert!(
            began.elapsed() < PATIENCE,
            "a question was waited for twice"
        );
        assert_eq!(lookups.user("near").await.unwrap(), root);
        lookups.patience = Duration::ZERO;
        for n in 1..MOST {
            assert!(lookups.user(&format!("far-{n}")).await.is_err());
        }
        let refused = lookups.user("near").await.unwrap_err();
        assert_eq!((lookups.names.len(), refused.before), (MOST, root.clone()));
        drop(silent);
        while lookups.are_under_way() {
            lookups.answered().await;
        }
        // Answers that came late are taken: no question is begun for them.
        assert_eq!(lookups.user("far").await.unwrap(), root);
        assert_eq!(lookups.user("far-1").await.unwrap(), root);
        assert!(!lookups.are_under_way());
    }
}
