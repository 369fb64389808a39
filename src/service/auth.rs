//! Who asks: a bearer token, looked up by its hash at every request, so that one that is deleted is
//! dead on the next.
//!
//! An agent's session reaches `/v1/agent/*` and nothing else; an API key all the rest. A handler
//! says which by taking an [`Owner`] or an [`Agent`] as its first argument.

use super::Service;
use super::api::ApiError;
use super::store::{AgentSession, Hash};
use super::token::{Kind, Token};
use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use sha2::{Digest as _, Sha256};

/// Who a token speaks for.
#[derive(Debug, Clone, Copy)]
enum Identity {
    /// A program of the account's owner: may do everything to its account.
    ApiKey { account: i64 },
    /// An instance's agent.
    AgentSession(AgentSession),
}

/// The owner of an account.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    /// Which account.
    pub(super) account: i64,
}

/// An agent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Agent(pub(super) AgentSession);

impl FromRequestParts<Service> for Owner {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, ApiError> {
        match identify(service, &parts.headers).await? {
            Identity::ApiKey { account } => Ok(Self { account }),
            Identity::AgentSession(_) => Err(ApiError::forbidden(
                "an agent's session reaches /v1/agent only; use an API key",
            )),
        }
    }
}

impl FromRequestParts<Service> for Agent {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, ApiError> {
        match identify(service, &parts.headers).await? {
            Identity::AgentSession(session) => Ok(Self(session)),
            Identity::ApiKey { .. } => Err(ApiError::forbidden(
                "only an agent's session reaches this; an API key does not",
            )),
        }
    }
}

async fn identify(service: &Service, headers: &HeaderMap) -> Result<Identity, ApiError> {
    let token = bearer(headers).ok_or_else(ApiError::unauthorized)?;
    let identity = match token.kind() {
        Kind::Api => {
            let account = service.store.api_key(token.hash()).await?;
            account.map(|account| Identity::ApiKey { account })
        }
        Kind::Session => {
            let session = service.store.agent(token.hash(), service.now()).await?;
            if let Some(ended) = session.filter(|session| session.ended) {
                service.board.forget(ended.instance);
                tracing::info!(instance = ended.instance, "instance removed");
            }
            session
                .filter(|session| !session.ended)
                .map(Identity::AgentSession)
        }
        Kind::Enrolment => None,
    };
    identity.ok_or_else(ApiError::unauthorized)
}

/// The token of `Authorization: Bearer TOKEN` (RFC 6750, section 2.1). Two such headers are none:
/// whatever stands before us may have read the other one.
fn bearer(headers: &HeaderMap) -> Option<Token> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (all.next()?, all.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim())?;
    Token::parse(token)
}

impl Service {
    /// Lets this run speak for the agent's instance. Gives what is kept of it.
    ///
    /// # Errors
    /// 400 for what is no run id, 409 `clone` for a run that another has superseded.
    pub(super) async fn take_run(&self, agent: &AgentSession, run: &str) -> Result<Hash, ApiError> {
        let run = run_hash(run)?;
        if agent.run == Some(run) || self.store.run(agent.instance, run).await? {
            return Ok(run);
        }
        Err(ApiError::twin())
    }
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

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn one_bearer_token_is_read_and_nothing_else() {
        let token = Token::random(Kind::Api);
        let text = token.reveal();
        let read = bearer(&headers(&[&format!("bearer {text}")])).unwrap();
        assert_eq!(read.hash(), token.hash());
        let good = format!("Bearer {text}");
        assert!(bearer(&headers(&[])).is_none());
        assert!(bearer(&headers(&[text])).is_none());
        assert!(bearer(&headers(&[&format!("Basic {text}")])).is_none());
        assert!(bearer(&headers(&[&format!("{good}x")])).is_none());
        assert!(bearer(&headers(&[&good, &good])).is_none());
    }

    #[test]
    fn a_run_id_is_visible_and_short() {
        assert!(run_hash("0123abcd").is_ok());
        for run in ["", "a b", "a\n", "é", &"x".repeat(129)] {
            assert!(run_hash(run).is_err());
        }
    }
}
