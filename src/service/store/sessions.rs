//! Sessions: of people, and of agents beside them, in one table and one listing.
//!
//! A session's key is kept as its hash. A person's ends a week after it was made, an agent's when
//! its instance goes; either ends at once when it is deleted.

use super::agents::{self, AgentSession};
use super::audit::{Act, Actor, By, note};
use super::db;
use super::db::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};
use super::people::Credentials;
use super::revocations::{By as Revoked, revoke_for};
use super::{Commit, Hash, Kinds, Store, StoreError, millis, time, time_opt};
use jiff::Timestamp;
use serde_json::json;
use subtle::ConstantTimeEq as _;

/// Sessions of people that one account has; one more ends the oldest.
const MAX_SESSIONS: u32 = 1_000;

/// What a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::service) enum SessionKind {
    /// A browser's: by cookie only.
    Browser,
    /// A person's command line: by bearer only.
    Cli,
    /// An agent's.
    Agent,
}

impl SessionKind {
    /// As the database and the API name it.
    pub(in crate::service) fn word(self) -> &'static str {
        match self {
            Self::Browser => "browser",
            Self::Cli => "cli",
            Self::Agent => "agent",
        }
    }

    fn of_word(word: &str) -> Self {
        match word {
            "browser" => Self::Browser,
            "cli" => Self::Cli,
            // The table takes no other word; an agent's reaches the least.
            _ => Self::Agent,
        }
    }
}

/// A session, as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) struct PersonSession {
    /// Its id.
    pub(in crate::service) id: i64,
    /// Of which account.
    pub(in crate::service) account: i64,
    /// What it is.
    pub(in crate::service) kind: SessionKind,
    /// An agent's instance.
    pub(in crate::service) instance: Option<i64>,
    /// The device, in its own words.
    pub(in crate::service) name: String,
    /// Its operating system, in its own words.
    pub(in crate::service) os: String,
    /// Where it was last seen from; empty: unknown.
    pub(in crate::service) address: String,
    /// When it was made.
    pub(in crate::service) created_at: Timestamp,
    /// When it last asked for something.
    pub(in crate::service) last_seen: Option<Timestamp>,
    /// When it ends; `None`: with its instance.
    pub(in crate::service) expires_at: Option<Timestamp>,
}

/// Whose a session key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) enum AnySession {
    /// A person's.
    Person(PersonSession),
    /// An agent's.
    Agent(AgentSession),
}

/// A session that is to be made.
#[derive(Debug, Clone)]
pub(in crate::service) struct NewSession {
    /// Browser or command line.
    pub(in crate::service) kind: SessionKind,
    /// Its key's hash.
    pub(in crate::service) hash: Hash,
    /// The device, in its own words, cut.
    pub(in crate::service) name: String,
    /// Its operating system, in its own words, cut.
    pub(in crate::service) os: String,
    /// When it ends.
    pub(in crate::service) expires_at: Timestamp,
}

impl Store {
    /// Whose session key this is: that of an account in force, and not past its time.
    pub(in crate::service) async fn session(
        &self,
        hash: Hash,
        now: Timestamp,
    ) -> Result<Option<AnySession>, StoreError> {
        if let Some(found) = self.readers.ask(|db| settled(db, hash, now)) {
            return Ok(found);
        }
        let ask = self.call(move |db| match by_hash(db, hash, now)? {
            Some(person) => Ok(Some(AnySession::Person(person))),
            None => Ok(agents::by_hash(db, hash, now)?.map(AnySession::Agent)),
        });
        Box::pin(ask).await
    }

    /// Makes a person's session, as long as the account is known by what was `proven`: the password
    /// may have been changed while it was hashed. `None`: it is known by something else by now.
    pub(in crate::service) async fn add_session(
        &self,
        actor: Actor,
        new: NewSession,
        proven: Option<Credentials>,
        now: Timestamp,
    ) -> Result<Option<i64>, StoreError> {
        let committed = self.committed.clone();
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(actor.account))?;
            if let Some(proven) = &proven {
                let mut same = tx.prepare_cached(
                    "SELECT 1 FROM accounts WHERE id = ?1 AND disabled_at IS NULL
                       AND password IS NOT DISTINCT FROM ?2 AND totp_since IS NOT DISTINCT FROM ?3",
                )?;
                let since = proven.totp_since.map(millis);
                if !same.exists(params![actor.account, proven.password, since])? {
                    return Ok(None);
                }
            }
            // Those whose time is over are of no more use to anyone.
            tx.execute(
                "DELETE FROM sessions WHERE account = ?1 AND expires_at <= ?2",
                params![actor.account, millis(now)],
            )?;
            let gone = tx.execute(
                "DELETE FROM sessions WHERE id IN
                   (SELECT id FROM sessions WHERE account = ?1 AND kind <> 'agent'
                    ORDER BY id DESC LIMIT 1000000 OFFSET ?2)",
                params![actor.account, MAX_SESSIONS - 1],
            )?;
            let id = tx
                .prepare_cached(
                    "INSERT INTO sessions (account, kind, hash, used, name, os, address,
                                           created_at, last_seen, expires_at)
                     VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7, ?7, ?8) RETURNING id",
                )?
                .query_row(
                    params![
                        actor.account,
                        new.kind.word(),
                        new.hash,
                        new.name,
                        new.os,
                        actor.from.map(|a| a.to_string()).unwrap_or_default(),
                        millis(now),
                        millis(new.expires_at)
                    ],
                    |row| row.get(0),
                )?;
            let list = match gone {
                0 => None,
                _ => revoke_for(&tx, actor.account, &Revoked::GoneSessions, now)?,
            };
            let detail = json!({"kind": new.kind.word(), "device": new.name});
            // It shows its own key from here on.
            let name = new.name.clone();
            let actor = Actor {
                by: By::Session { id, name },
                ..actor.clone()
            };
            note(&tx, &actor, &Act::done("session.create", id, detail), now)?;
            tx.commit()?;
            let kinds = Kinds::SESSIONS | Kinds::AUDIT;
            committed(match gone {
                0 => Commit::of(actor.account, kinds),
                _ => Commit::access(actor.account, kinds).and_list(list),
            });
            Ok(Some(id))
        })
        .await
    }

    /// The account's sessions, by id; not those of instances that are gone, nor those whose time
    /// is over. Of an agent's, which has spare ones while it renews, the one in use.
    pub(in crate::service) async fn sessions(
        &self,
        account: i64,
        now: Timestamp,
    ) -> Result<Vec<PersonSession>, StoreError> {
        self.call(move |db| {
            let rows = db
                .prepare_cached(
                    "SELECT * FROM sessions s
                     WHERE account = ?1 AND (expires_at IS NULL OR expires_at > ?2)
                       AND (instance IS NULL OR id = (SELECT id FROM sessions
                            WHERE instance = s.instance ORDER BY used DESC, id DESC LIMIT 1))
                     ORDER BY id",
                )?
                .query_map(params![account, millis(now)], person)?
                .collect::<db::Result<_>>()?;
            Ok(rows)
        })
        .await
    }

    /// One session of the account.
    pub(in crate::service) async fn session_of_id(
        &self,
        account: i64,
        id: i64,
    ) -> Result<Option<PersonSession>, StoreError> {
        self.call(move |db| {
            Ok(db
                .prepare_cached("SELECT * FROM sessions WHERE account = ?1 AND id = ?2")?
                .query_row([account, id], person)
                .optional()?)
        })
        .await
    }

    /// Deletes all sessions of people but `keep`. Gives how many.
    pub(in crate::service) async fn delete_other_sessions(
        &self,
        actor: Actor,
        keep: Option<i64>,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let committed = self.committed.clone();
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(actor.account))?;
            let gone: Vec<PersonSession> = tx
                .prepare_cached(
                    "DELETE FROM sessions
                     WHERE account = ?1 AND kind <> 'agent' AND id IS DISTINCT FROM ?2 RETURNING *",
                )?
                .query_map(params![actor.account, keep], person)?
                .collect::<db::Result<_>>()?;
            for gone in &gone {
                note(&tx, &actor, &deleted(gone), now)?;
            }
            let list = revoke_for(&tx, actor.account, &Revoked::GoneSessions, now)?;
            tx.commit()?;
            let kinds = Kinds::SESSIONS | Kinds::AUDIT;
            committed(Commit::access(actor.account, kinds).and_list(list));
            Ok(gone.len())
        })
        .await
    }

    /// Deletes a session, a person's or an agent's. An agent whose session a person deletes may
    /// not renew it, nor enrol again with the token that it came by. `None`: the account has none of that id.
    pub(in crate::service) async fn delete_session(
        &self,
        actor: Actor,
        id: i64,
        now: Timestamp,
    ) -> Result<Option<PersonSession>, StoreError> {
        let committed = self.committed.clone();
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Account(actor.account))?;
            let gone = tx
                .prepare_cached("DELETE FROM sessions WHERE account = ?1 AND id = ?2 RETURNING *")?
                .query_row(params![actor.account, id], person)
                .optional()?;
            let Some(gone) = gone else {
                return Ok(None);
            };
            if let Some(instance) = gone.instance {
                tx.execute("UPDATE instances SET cut_off = 1 WHERE id = ?1", [instance])?;
                tx.execute("DELETE FROM sessions WHERE instance = ?1", [instance])?;
                tx.execute("DELETE FROM enrolments WHERE instance = ?1", [instance])?;
            }
            let list = revoke_for(&tx, actor.account, &Revoked::GoneSessions, now)?;
            let certificates = list.map_or(0, |(count, _)| count);
            let act = deleted(&gone).with_certificates(certificates);
            note(&tx, &actor, &act, now)?;
            tx.commit()?;
            let kinds = Kinds::SESSIONS | Kinds::INSTANCES | Kinds::AUDIT;
            committed(Commit::access(actor.account, kinds).and_list(list));
            Ok(Some(gone))
        })
        .await
    }
}

/// Whose session key this is, as far as it is known without a write; `None`: that takes one.
fn settled(
    db: &Connection,
    hash: Hash,
    now: Timestamp,
) -> Result<Option<Option<AnySession>>, StoreError> {
    match by_hash(db, hash, now)? {
        Some(person) => Ok(Some(Some(AnySession::Person(person)))),
        None => {
            let agent = agents::settled(db, hash, now)?;
            Ok(agent.map(|agent| agent.map(AnySession::Agent)))
        }
    }
}

/// A person's session.
fn by_hash(db: &Connection, hash: Hash, now: Timestamp) -> db::Result<Option<PersonSession>> {
    let found = db
        .prepare_cached(
            "SELECT s.* FROM sessions s JOIN accounts a ON a.id = s.account
             WHERE s.hash = ?1 AND s.kind <> 'agent' AND s.expires_at > ?2
               AND a.disabled_at IS NULL",
        )?
        .query_row(params![hash, millis(now)], |row| {
            Ok((person(row)?, row.get::<_, Hash>("hash")?))
        })
        .optional()?;
    Ok(found
        .filter(|(_, kept)| bool::from(kept.ct_eq(&hash)))
        .map(|(session, _)| session))
}

fn deleted(session: &PersonSession) -> Act {
    let detail = json!({"kind": session.kind.word(), "device": session.name});
    Act::done("session.delete", session.id, detail)
}

fn person(row: &Row<'_>) -> db::Result<PersonSession> {
    Ok(PersonSession {
        id: row.get("id")?,
        account: row.get("account")?,
        kind: SessionKind::of_word(&row.get::<_, String>("kind")?),
        instance: row.get("instance")?,
        name: row.get("name")?,
        os: row.get("os")?,
        address: row.get("address")?,
        created_at: time(row, "created_at")?,
        last_seen: time_opt(row, "last_seen")?,
        expires_at: time_opt(row, "expires_at")?,
    })
}
