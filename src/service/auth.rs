//! Who asks: a token, looked up by its hash at every request, so that one that is deleted is dead
//! on the next.
//!
//! An agent's session reaches `/v1/agent/*` and nothing else. A program sends its token as
//! `Authorization: Bearer`, a browser as a cookie that no page of another origin can use; neither
//! is taken as the other. What a token may do stands in its [`Permissions`]; `api::routes` asks.

mod means;

pub(super) use means::{COOKIE_NAME, Means, PLAIN_COOKIE_NAME, X_SSHKEYD};

use super::Service;
use super::api::{ApiError, Asked};
use super::holds::Holder;
use super::limits::{self, Limits};
use super::permissions::Permissions;
use super::store::{Actor, AgentSession, AnySession, ApiKeyRow, ApiKeySeen, By, Hash, SessionKind};
use super::token::Kind;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Who a token speaks for.
#[derive(Debug, Clone)]
pub(super) enum Identity {
    /// An account's owner, or a program of his.
    Caller(Caller),
    /// An instance's agent.
    Agent(Agent),
}

/// Which token of an account it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Bearing {
    /// An API key, by its id.
    ApiKey(i64),
    /// A person's session, by its id.
    Session(i64, SessionKind),
}

/// An account's owner, or a program of his.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// Who acts, for the audit log.
    pub(super) actor: Actor,
    /// Which token it is.
    pub(super) bearing: Bearing,
    /// What it may do.
    pub(super) rights: Arc<Permissions>,
    /// When the token ends.
    pub(super) ends: Option<Timestamp>,
    token: Hash,
}

impl Caller {
    /// Whose keys these are.
    pub(super) fn account(&self) -> i64 {
        self.actor.account
    }

    /// It is a person's session, not an API key.
    pub(super) fn is_person(&self) -> bool {
        matches!(self.bearing, Bearing::Session(..))
    }

    /// How long the token is good for, if not for ever.
    pub(super) fn left(&self, now: Timestamp) -> Option<Duration> {
        let left = self.ends?.duration_since(now);
        Some(Duration::try_from(left).unwrap_or(Duration::ZERO))
    }

    /// The API key as it was let in, where it is one.
    pub(super) fn api_key(&self) -> Option<ApiKeySeen> {
        match self.bearing {
            Bearing::Session(..) => None,
            Bearing::ApiKey(id) => Some(ApiKeySeen {
                id,
                hash: self.token,
                rights: self.rights.clone(),
            }),
        }
    }

    /// Who holds the queries that it holds.
    pub(super) fn holder(&self) -> Holder {
        match self.bearing {
            Bearing::ApiKey(id) => Holder::ApiKey(id),
            Bearing::Session(id, _) => Holder::Session(id),
        }
    }
}

/// An agent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Agent {
    /// Its session, its instance, its account.
    pub(super) session: AgentSession,
    token: Hash,
}

impl FromRequestParts<Service> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Service) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(ApiError::internal)
    }
}

impl FromRequestParts<Service> for Agent {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Service) -> Result<Self, ApiError> {
        parts
            .extensions
            .get::<Self>()
            .copied()
            .ok_or_else(ApiError::internal)
    }
}

impl Service {
    /// Who this token speaks for.
    ///
    /// # Errors
    /// 401, the same for every reason.
    pub(super) async fn identify(
        &self,
        means: &Means,
        asked: &Asked,
    ) -> Result<Identity, ApiError> {
        let (token, now) = (means.token(), self.now());
        let hash = token.hash();
        let identity = match token.kind() {
            Kind::Api if !means.is_cookie() => {
                let key = self.store.api_key(hash, now).await?;
                key.filter(|key| may_come_from(key, asked.from))
                    .and_then(|key| of_api_key(key, hash, asked))
            }
            Kind::Session => match self.store.session(hash, now).await? {
                Some(AnySession::Agent(session)) if !means.is_cookie() => {
                    self.of_agent(session, hash)
                }
                Some(AnySession::Person(session))
                    if means.is_cookie() == (session.kind == SessionKind::Browser) =>
                {
                    Some(Identity::Caller(Caller {
                        actor: Actor {
                            account: session.account,
                            by: By::Session {
                                id: session.id,
                                name: session.name,
                            },
                            from: asked.from,
                            request: asked.id.clone(),
                        },
                        bearing: Bearing::Session(session.id, session.kind),
                        rights: Arc::new(Permissions::all()),
                        ends: session.expires_at,
                        token: hash,
                    }))
                }
                _ => return Err(ApiError::session_ended()),
            },
            Kind::Api | Kind::Enrolment => None,
        };
        identity.ok_or_else(ApiError::unauthorized)
    }

    fn of_agent(&self, session: AgentSession, token: Hash) -> Option<Identity> {
        if session.ended {
            self.board.forget(session.instance);
            tracing::info!(instance = session.instance, "instance removed");
            return None;
        }
        Some(Identity::Agent(Agent { session, token }))
    }

    /// Whether the token of whoever holds a query is still good; ask when the access bell rings.
    ///
    /// # Errors
    /// 401: it is not.
    pub(super) async fn still(&self, caller: &Caller) -> Result<(), ApiError> {
        let now = self.now();
        let good = match caller.bearing {
            Bearing::ApiKey(_) => {
                let key = self.store.api_key(caller.token, now).await?;
                // Rights that were narrowed are not those that this query was let in by.
                key.is_some_and(|key| {
                    may_come_from(&key, caller.actor.from)
                        && limits::rights(&key).is_some_and(|rights| rights == *caller.rights)
                })
            }
            Bearing::Session(..) => self.store.session(caller.token, now).await?.is_some(),
        };
        match caller.bearing {
            _ if good => Ok(()),
            Bearing::ApiKey(_) => Err(ApiError::unauthorized()),
            Bearing::Session(..) => Err(ApiError::session_ended()),
        }
    }

    /// The same, of an agent.
    ///
    /// # Errors
    /// 401: it is not.
    pub(super) async fn still_agent(&self, agent: &Agent) -> Result<(), ApiError> {
        let session = self.store.session(agent.token, self.now()).await?;
        match session {
            Some(AnySession::Agent(session)) if !session.ended => Ok(()),
            _ => Err(ApiError::unauthorized()),
        }
    }

    /// Lets this run speak for the agent's instance. Gives what is kept of it.
    ///
    /// # Errors
    /// 400 for what is no run id, 409 `clone` for a run that another has superseded.
    pub(super) async fn take_run(
        &self,
        agent: &AgentSession,
        run: &str,
        asked: &Asked,
    ) -> Result<Hash, ApiError> {
        let run = run_hash(run)?;
        if agent.run == Some(run) {
            return Ok(run);
        }
        let (instance, now) = (agent.instance, self.now());
        match Box::pin(self.store.run(instance, run, asked.speaker(), now)).await? {
            true => Ok(run),
            false => Err(ApiError::twin()),
        }
    }
}

/// A key whose tree or networks cannot be read may do nothing.
fn of_api_key(key: ApiKeyRow, token: Hash, asked: &Asked) -> Option<Identity> {
    let rights = limits::rights(&key)?;
    Some(Identity::Caller(Caller {
        actor: Actor {
            account: key.account,
            by: By::ApiKey {
                id: key.id,
                name: key.name,
            },
            from: asked.from,
            request: asked.id.clone(),
        },
        bearing: Bearing::ApiKey(key.id),
        rights: Arc::new(rights),
        ends: key.expires_at,
        token,
    }))
}

/// Whether the key is good from there; one with networks is not good from nowhere.
fn may_come_from(key: &ApiKeyRow, from: Option<IpAddr>) -> bool {
    limits::networks(key).is_some_and(|networks| Limits::admit(&networks, from))
}

/// What is kept of a run id.
pub(super) fn run_hash(run: &str) -> Result<[u8; 32], ApiError> {
    if run.is_empty() || run.len() > 128 || !run.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(ApiError::bad(
            "bad-run",
            "the run id is 1 to 128 visible ASCII characters, made anew at every start",
        ));
    }
    Ok(Sha256::digest(run.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_is_visible_and_short() {
        assert!(run_hash("0123abcd").is_ok());
        for run in ["", "a b", "a\n", "é", &"x".repeat(129)] {
            assert!(run_hash(run).is_err());
        }
    }
}
