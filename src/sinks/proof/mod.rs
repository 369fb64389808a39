//! The proof: would sshd take this key for this user?
//!
//! Asks a real sshd without owning a private key: a client may name a public key without a
//! signature, and being asked to sign is the answer "yes" (RFC 4252, section 7). Owns the order of
//! the questions, their limits, and what may be concluded. Refuses to believe a server whose host
//! key is not known, and to call a key refused while nothing shows that the user can log in at all.

mod asked;
mod banner;
mod budget;
mod effective;
mod probe;
mod verdict;

pub use asked::Asked;
pub use banner::{Greeting, greet, read_banner, sshd_version};
pub use budget::{REFUSALS_A_MINUTE, RefusalBudget};
pub use effective::{Algorithms, DEFAULT_MAX_AUTH_TRIES, EffectiveConfig};
pub use verdict::{Outcome, Unknown};

use crate::keys::PublicKey;
use jiff::{SignedDuration, Timestamp};
#[cfg(feature = "demo")]
pub(crate) use probe::HangUp;
use probe::Session;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;
use verdict::{Answer, Answers};

/// Most refusals that are provoked on one connection, whatever sshd's MaxAuthTries says.
const REFUSALS_A_CONNECTION: u32 = 4;

/// Connections in a row that break before they answer anything; then the proof stops.
const BROKEN_IN_A_ROW: u32 = 2;

/// Keys of [`Question::witnesses`] that are asked at the most.
const WITNESSES: usize = 2;

/// The sshd that is asked, and what is known of it from elsewhere.
#[derive(Debug, Clone)]
pub struct Sshd {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its host keys, from the files that `sshd -T` names. With none of them nothing is believed.
    pub host_keys: Vec<PublicKey>,
    /// MaxAuthTries of sshd_config(5): the refusal that reaches it ends the connection.
    pub max_auth_tries: u32,
    /// AuthenticationMethods wants more than one key: what a key alone is worth cannot be seen.
    pub several_methods: bool,
    /// What it takes of certificates.
    pub algorithms: Algorithms,
}

impl Sshd {
    /// Whether it is in 127/8, where the probe has addresses of its own. Elsewhere sshd's penalties
    /// fall on an address that others use, so a caller asks once a change and does not repeat it.
    #[must_use]
    pub fn is_on_loopback(&self) -> bool {
        budget::source(self.address, 0).is_some()
    }
}

/// What is asked about one local user.
#[derive(Debug, Clone, Copy, Default)]
pub struct Question<'a> {
    /// The local user's name.
    pub user: &'a str,
    /// Keys and certificates that sshd is to take.
    pub expect_accepted: &'a [Asked],
    /// Keys and certificates that sshd is to refuse.
    pub expect_refused: &'a [Asked],
    /// Keys of other lines in the user's file: asked only where no other key shows that the user
    /// can log in, and never reported.
    pub witnesses: &'a [PublicKey],
    /// The caller knows that the user can log in: this sshd, with the configuration it still has,
    /// took one of his keys. Then a refusal counts without another key beside it.
    pub can_log_in: bool,
}

/// How long each part of a proof may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// To reach the port.
    pub connect: Duration,
    /// From there to an encrypted connection with a known host key.
    pub handshake: Duration,
    /// For the answer about one key.
    pub key: Duration,
    /// For everything.
    pub all: Duration,
}

impl Limits {
    /// What [`prove`] allows.
    pub const STANDARD: Self = Self {
        connect: Duration::from_secs(3),
        handshake: Duration::from_secs(10),
        key: Duration::from_secs(5),
        all: Duration::from_secs(30),
    };
}

/// Asks sshd about the keys of one user, within [`Limits::STANDARD`].
///
/// Never fails: what could not be found out is [`Outcome::unknown`], with its reason. `budget` is
/// kept by the caller for as long as it runs, one for each sshd; `now` is the time at the call.
///
/// Keys expected to be there come first, those expected to be refused last, so that a refusal costs
/// no other answer; what exceeds the refusals of one connection is asked on a fresh one (OpenSSH
/// `auth2.c`, `userauth_finish`). No key is asked twice. A key with `from=` or an expired one is never
/// called refused or missing for that. A certificate is asked about as a key is, under a fingerprint of
/// its own ([`Asked::fingerprint`]).
pub async fn prove(
    sshd: &Sshd,
    question: &Question<'_>,
    budget: &mut RefusalBudget,
    now: Timestamp,
) -> Outcome {
    prove_within(sshd, question, budget, now, &Limits::STANDARD).await
}

/// [`prove`] with other limits.
pub async fn prove_within(
    sshd: &Sshd,
    question: &Question<'_>,
    budget: &mut RefusalBudget,
    now: Timestamp,
    limits: &Limits,
) -> Outcome {
    let mut round = Round {
        sshd,
        user: question.user,
        budget,
        began: now,
        start: Instant::now(),
        limits,
        session: None,
        broken: 0,
        stopped: None,
        banner: None,
    };
    if sshd.host_keys.is_empty() {
        round.stopped = Some(Unknown::HostKeyUnknown);
    }
    let answers = round.ask_all(question).await;
    let banner = round.banner.take();
    if let Some(session) = round.session.take() {
        session.close().await;
    }
    verdict::judge(sshd, question, &answers, banner)
}

/// One proof under way.
struct Round<'a> {
    sshd: &'a Sshd,
    user: &'a str,
    budget: &'a mut RefusalBudget,
    began: Timestamp,
    start: Instant,
    limits: &'a Limits,
    session: Option<Session>,
    /// Connections in a row that broke without one answer.
    broken: u32,
    /// Why nothing more is asked.
    stopped: Option<Unknown>,
    banner: Option<String>,
}

impl Round<'_> {
    async fn ask_all(&mut self, question: &Question<'_>) -> Answers {
        let mut answers = Answers::new();
        // A line that sshd refuses by itself is no reason to spend a try on it.
        let present = || question.expect_accepted.iter().filter(|a| !a.expired);
        for asked in present().filter(|a| !a.has_from) {
            self.ask_once(asked, &mut answers).await;
        }
        let mut seen = question.can_log_in || answers.any_accepted();
        for key in question.witnesses.iter().take(WITNESSES) {
            if seen {
                break;
            }
            self.ask_once(&Asked::plain(key.clone()), &mut answers)
                .await;
            seen = answers.any_accepted();
        }
        for asked in question.expect_refused {
            self.ask_once(asked, &mut answers).await;
        }
        // Most likely refused from here, which says nothing: they get what is left.
        for asked in present().filter(|a| a.has_from) {
            self.ask_once(asked, &mut answers).await;
        }
        answers
    }

    async fn ask_once(&mut self, asked: &Asked, answers: &mut Answers) {
        if answers.of(asked).is_none() {
            let answer = self.ask(asked).await;
            answers.note(asked, answer);
        }
    }

    async fn ask(&mut self, asked: &Asked) -> Answer {
        if let Some(why) = self.stopped {
            return Answer::Unknown(why);
        }
        let Some(offer) = probe::offer(asked) else {
            return Answer::Unknown(Unknown::UnsupportedKey);
        };
        if !self.budget.has_room(self.now()) {
            return Answer::Unknown(Unknown::Budget);
        }
        let mut session = match self.session().await {
            Ok(session) => session,
            Err(why) => return Answer::Unknown(why),
        };
        let Some(limit) = self.left(self.limits.key) else {
            self.session = Some(session);
            return Answer::Unknown(Unknown::Timeout);
        };
        let answer = session.ask(self.user, offer, limit).await;
        match answer {
            Answer::Accepted => {}
            Answer::Refused => {
                self.budget.spend(self.now());
                session.refusals += 1;
            }
            // The refusal that reaches MaxAuthTries is seen as a disconnect.
            Answer::Unknown(_) => self.budget.spend(self.now()),
        }
        if session.is_usable() {
            self.broken = 0;
            self.session = Some(session);
        } else {
            self.breaks(session.answered, answer);
            session.close().await;
        }
        answer
    }

    /// The open connection, or a fresh one where none is open or its refusals are used up.
    async fn session(&mut self) -> Result<Session, Unknown> {
        if let Some(session) = self.session.take() {
            if session.refusals < refusals_a_connection(self.sshd.max_auth_tries) {
                return Ok(session);
            }
            session.close().await;
        }
        let opened = match self.left(self.limits.connect + self.limits.handshake) {
            Some(limit) => {
                let source = self.budget.next_source(self.sshd.address);
                let opening = Session::open(self.sshd, source, self.limits);
                tokio::time::timeout(limit, opening)
                    .await
                    .unwrap_or(Err(Unknown::Timeout))
            }
            None => Err(Unknown::Timeout),
        };
        match opened {
            Ok(session) => {
                self.banner.clone_from(&session.banner);
                Ok(session)
            }
            Err(why) => {
                self.stopped = Some(why);
                Err(why)
            }
        }
    }

    fn breaks(&mut self, answered: bool, answer: Answer) {
        self.broken = if answered { 0 } else { self.broken + 1 };
        if let (Answer::Unknown(why), true) = (answer, self.broken >= BROKEN_IN_A_ROW) {
            self.stopped = Some(why);
        }
    }

    fn now(&self) -> Timestamp {
        let spent = SignedDuration::try_from(self.start.elapsed()).unwrap_or(SignedDuration::ZERO);
        self.began.saturating_add(spent).unwrap_or(self.began)
    }

    /// `part`, or what is left of the whole; `None` when that is over.
    fn left(&self, part: Duration) -> Option<Duration> {
        let left = self.limits.all.checked_sub(self.start.elapsed())?;
        (!left.is_zero()).then(|| left.min(part))
    }
}

/// Refusals that may be provoked on one connection: two below MaxAuthTries, so that other failures
/// which sshd counts do not end it; where that leaves none, one.
fn refusals_a_connection(max_auth_tries: u32) -> u32 {
    max_auth_tries
        .saturating_sub(2)
        .clamp(1, REFUSALS_A_CONNECTION)
}

#[cfg(test)]
mod tests {
    use super::refusals_a_connection;

    #[test]
    fn refusals_stay_two_below_max_auth_tries() {
        let made: Vec<_> = [0, 1, 2, 3, 4, 6, 100]
            .map(refusals_a_connection)
            .into_iter()
            .collect();
        assert_eq!(made, [1, 1, 1, 1, 2, 4, 4]);
    }
}
