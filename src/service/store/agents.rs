//! Agents: enrolment and sessions (protocol.md section 1).

use super::audit::{self, Act, Actor, By};
use super::db;
use super::db::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use super::instances::{Removal, removal, told_before};
use super::runs::{self, Speaker, take_run};
use super::{Commit, Hash, Kinds, Store, StoreError, millis, revision};
use jiff::Timestamp;
use serde_json::json;
use std::net::IpAddr;
use subtle::ConstantTimeEq as _;

/// Session keys that were given out and not used yet, an instance: answers that may be lost.
const UNUSED_SESSIONS: u32 = 4;

/// An enrolment, checked in form.
#[derive(Debug, Clone)]
pub(in crate::service) struct EnrolRequest {
    /// The token's hash.
    pub(in crate::service) token: Hash,
    /// The public half of the agent's identity key, canonical.
    pub(in crate::service) identity: String,
    /// What the host calls itself.
    pub(in crate::service) hostname: String,
    /// The run's hash.
    pub(in crate::service) run: Hash,
    /// The hash of the session key that the answer will hold.
    pub(in crate::service) session: Hash,
    /// Where it came from.
    pub(in crate::service) from: Option<IpAddr>,
    /// The request's id.
    pub(in crate::service) request: String,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) enum Enrolled {
    /// The session stands.
    Session {
        /// Which instance this agent is.
        instance: i64,
        /// Of which account.
        account: i64,
        /// The account's revision now.
        revision: u64,
        /// The same key had the token before: an answer was lost.
        again: bool,
    },
    /// There is no such token.
    Unknown,
    /// Its day is over.
    Expired,
    /// Another identity key has used it.
    Used,
    /// The run was superseded: a twin.
    Clone,
}

/// A renewal whose signature was found good.
#[derive(Debug, Clone)]
pub(in crate::service) struct RenewRequest {
    /// Which instance.
    pub(in crate::service) instance: i64,
    /// The identity key that the signature was checked with, canonical.
    pub(in crate::service) identity: String,
    /// The nonce's hash.
    pub(in crate::service) nonce: Hash,
    /// Until when the nonce could be used again.
    pub(in crate::service) nonce_expires: Timestamp,
    /// The run's hash.
    pub(in crate::service) run: Hash,
    /// The hash of the session key that the answer will hold.
    pub(in crate::service) session: Hash,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) enum Renewed {
    /// The session stands.
    Session,
    /// The instance is gone.
    Gone,
    /// The nonce was used before.
    Spent,
    /// The run was superseded: a twin.
    Clone,
}

/// Who speaks with a session key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) struct AgentSession {
    /// The session.
    pub(in crate::service) id: i64,
    /// Which instance.
    pub(in crate::service) instance: i64,
    /// Of which account.
    pub(in crate::service) account: i64,
    /// The hash of the run that speaks for the instance now.
    pub(in crate::service) run: Option<Hash>,
    /// It is being removed.
    pub(in crate::service) removal: Option<Removal>,
    /// Its removal is over: the session was good until now and is gone.
    pub(in crate::service) ended: bool,
}

impl Store {
    /// Spends a token. The same token with the same key gives the same instance again.
    pub(in crate::service) async fn enrol(
        &self,
        request: EnrolRequest,
        now: Timestamp,
    ) -> Result<Enrolled, StoreError> {
        let committed = self.committed.clone();
        self.call(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let found = tx
                .query_row(
                    "SELECT e.instance, e.expires_at, e.used_by, i.account, i.run, a.revision
                     FROM enrolments e JOIN instances i ON i.id = e.instance
                     JOIN accounts a ON a.id = i.account WHERE e.hash = ?1",
                    [request.token],
                    |row| {
                        Ok((
                            row.get::<_, i64>("instance")?,
                            row.get::<_, i64>("expires_at")?,
                            row.get::<_, Option<String>>("used_by")?,
                            row.get::<_, i64>("account")?,
                            row.get::<_, Option<Hash>>("run")?,
                            revision(row, "revision")?,
                        ))
                    },
                )
                .optional()?;
            let Some((instance, expires_at, used_by, account, run, revision)) = found else {
                return Ok(Enrolled::Unknown);
            };
            if expires_at <= millis(now) {
                return Ok(Enrolled::Expired);
            }
            let again = used_by.is_some();
            if used_by.is_some_and(|by| by != request.identity) {
                return Ok(Enrolled::Used);
            }
            if !take_run(&tx, instance, run, request.run)? {
                let speaker = Speaker {
                    from: request.from,
                    request: request.request.clone(),
                };
                let commit = runs::refused(&tx, instance, &speaker, now)?;
                tx.commit()?;
                commit.into_iter().for_each(|commit| committed(commit));
                return Ok(Enrolled::Clone);
            }
            tx.execute(
                "UPDATE enrolments SET used_by = ?2 WHERE hash = ?1",
                params![request.token, request.identity],
            )?;
            tx.execute(
                "UPDATE instances SET identity_key = ?2, hostname = ?3, last_seen = ?4, stopped = 0,
                        enrolled_at = coalesce(enrolled_at, ?4)
                 WHERE id = ?1",
                params![instance, request.identity, request.hostname, millis(now)],
            )?;
            add_session(&tx, instance, request.session, now)?;
            if !again {
                let actor = Actor {
                    account,
                    by: By::Agent { instance },
                    from: request.from,
                    request: request.request.clone(),
                };
                let detail = json!({"hostname": request.hostname});
                let act = Act::done("instance.enrol", instance, detail);
                audit::note(&tx, &actor, &act, now)?;
            }
            tx.commit()?;
            committed(Commit::of(
                account,
                Kinds::INSTANCES | Kinds::SESSIONS | Kinds::AUDIT,
            ));
            Ok(Enrolled::Session {
                instance,
                account,
                revision,
                again,
            })
        })
        .await
    }

    /// The identity key of an instance, if one has enrolled as it.
    pub(in crate::service) async fn identity(
        &self,
        instance: i64,
        now: Timestamp,
    ) -> Result<Option<String>, StoreError> {
        self.call(move |db| {
            let found = db
                .prepare_cached(
                    "SELECT identity_key FROM instances
                     WHERE id = ?1 AND (removal_told_at IS NULL OR removal_told_at > ?2)",
                )?
                .query_row([instance, told_before(now)], |row| row.get(0))
                .optional()?;
            Ok(found.flatten())
        })
        .await
    }

    /// Gives the instance a new session and spends the nonce.
    pub(in crate::service) async fn renew(
        &self,
        request: RenewRequest,
        speaker: Speaker,
        now: Timestamp,
    ) -> Result<Renewed, StoreError> {
        let committed = self.committed.clone();
        self.call(move |db| {
            let tx =
                db.transaction_with_behavior(TransactionBehavior::Instance(request.instance))?;
            let found = tx
                .query_row(
                    "SELECT run FROM instances WHERE id = ?1 AND identity_key = ?2 AND cut_off = 0",
                    params![request.instance, request.identity],
                    |row| row.get::<_, Option<Hash>>("run"),
                )
                .optional()?;
            let Some(run) = found else {
                return Ok(Renewed::Gone);
            };
            tx.execute(
                "DELETE FROM used_nonces WHERE instance = ?1 AND expires_at <= ?2",
                params![request.instance, millis(now)],
            )?;
            let spent = tx.execute(
                "INSERT INTO used_nonces (instance, nonce, expires_at) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO NOTHING",
                params![
                    request.instance,
                    request.nonce,
                    millis(request.nonce_expires)
                ],
            )? == 0;
            if spent {
                return Ok(Renewed::Spent);
            }
            if !take_run(&tx, request.instance, run, request.run)? {
                let commit = runs::refused(&tx, request.instance, &speaker, now)?;
                tx.commit()?;
                commit.into_iter().for_each(|commit| committed(commit));
                return Ok(Renewed::Clone);
            }
            add_session(&tx, request.instance, request.session, now)?;
            tx.commit()?;
            Ok(Renewed::Session)
        })
        .await
    }
}

/// Whose session key this is. Its first use ends the sessions before it; one whose instance was
/// told of its removal a minute ago is ended here.
pub(super) fn by_hash(
    db: &mut Connection,
    hash: Hash,
    now: Timestamp,
) -> Result<Option<AgentSession>, StoreError> {
    let Some((mut session, used, ended)) = session(db, hash, now)? else {
        return Ok(None);
    };
    if ended {
        let tx = db.transaction_with_behavior(TransactionBehavior::Account(session.account))?;
        tx.execute("DELETE FROM instances WHERE id = ?1", [session.instance])?;
        tx.commit()?;
        session.ended = true;
    } else if !used {
        let tx = db.transaction_with_behavior(TransactionBehavior::Account(session.account))?;
        tx.execute("UPDATE sessions SET used = 1 WHERE id = ?1", [session.id])?;
        tx.execute(
            "DELETE FROM sessions WHERE instance = ?1 AND id < ?2",
            [session.instance, session.id],
        )?;
        tx.commit()?;
    }
    Ok(Some(session))
}

/// The same for one who cannot write; `None`: something is to be written first.
pub(super) fn settled(
    db: &Connection,
    hash: Hash,
    now: Timestamp,
) -> db::Result<Option<Option<AgentSession>>> {
    Ok(match session(db, hash, now)? {
        None => Some(None),
        Some((session, true, false)) => Some(Some(session)),
        Some(_) => None,
    })
}

fn session(
    db: &Connection,
    hash: Hash,
    now: Timestamp,
) -> db::Result<Option<(AgentSession, bool, bool)>> {
    let found = db
        .prepare_cached(
            "SELECT s.id, s.hash, s.used, s.instance, i.account, i.run, i.removal_keys,
                    i.removal_sessions, i.removal_told_at, coalesce(i.removal_told_at <= ?2, FALSE) AS ended
             FROM sessions s JOIN instances i ON i.id = s.instance WHERE s.hash = ?1",
        )?
        .query_row(params![hash, told_before(now)], |row| {
            let session = AgentSession {
                id: row.get("id")?,
                instance: row.get("instance")?,
                account: row.get("account")?,
                run: row.get("run")?,
                removal: removal(row)?,
                ended: false,
            };
            let kept: Hash = row.get("hash")?;
            Ok((session, kept, row.get("used")?, row.get("ended")?))
        })
        .optional()?;
    Ok(found
        .filter(|(_, kept, ..)| bool::from(kept.ct_eq(&hash)))
        .map(|(session, _, used, ended)| (session, used, ended)))
}

fn add_session(tx: &Transaction<'_>, instance: i64, hash: Hash, now: Timestamp) -> db::Result<()> {
    tx.execute(
        "INSERT INTO sessions (account, kind, hash, instance, name, created_at)
         SELECT account, 'agent', ?2, id, hostname, ?3 FROM instances WHERE id = ?1",
        params![instance, hash, millis(now)],
    )?;
    tx.execute(
        "DELETE FROM sessions WHERE instance = ?1 AND used = 0 AND id NOT IN
           (SELECT id FROM sessions WHERE instance = ?1 AND used = 0
            ORDER BY id DESC LIMIT ?2)",
        params![instance, UNUSED_SESSIONS],
    )?;
    Ok(())
}
