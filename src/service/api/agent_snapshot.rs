//! `/v1/agent/snapshot`: the signed list, now or as soon as it is another one.
//!
//! A fetch that waits: the same call fetches, polls and subscribes. What wakes a held query says
//! only that there is something; the list is read anew, once for all who wait.

use super::super::Service;
use super::super::auth::Agent;
use super::super::holds::{Holder, Holds};
use super::super::listen::Conn;
use super::super::snapshots::Signed;
use super::super::store::{AgentSession, Removal, StoreError};
use super::extract::Params;
use super::held::{self, Known, Wait};
use super::{ApiError, Asked};
use crate::sync::retry_within;
use axum::extract::Request;
use axum::handler::Handler;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Longest `wait`.
const WAIT: Duration = Duration::from_secs(300);

/// The agent's run id: this call has no body to hold it.
const RUN: &str = "x-sshkeyd-run";

/// Over how many seconds whoever holds a query is to spread when all are let go.
const RETRY_WITHIN: HeaderName = HeaderName::from_static("x-sshkeyd-retry-within");

/// The list, or 304 at the end of the wait.
///
/// A handler by hand: in one that axum makes of a function there is room for the whole request, and
/// twice for what was read off it, for as long as the query is held.
#[derive(Clone)]
pub(super) struct Show;

impl Handler<Asks, Service> for Show {
    type Future = Pin<Box<dyn Future<Output = Response> + Send>>;

    fn call(self, request: Request, service: Service) -> Self::Future {
        let (parts, _) = request.into_parts();
        let asks = Asks::of(&parts);
        drop(parts);
        match asks {
            Ok(asks) => Box::pin(show(asks, service)),
            Err(error) => Box::pin(std::future::ready(error.into_response())),
        }
    }
}

#[expect(
    clippy::manual_async_fn,
    reason = "an async fn keeps its arguments twice while it is held"
)]
fn show(mut asks: Asks, service: Service) -> impl Future<Output = Response> + Send {
    async move {
        match answer(&mut asks, &service).await {
            Ok(response) => response,
            Err(error) => error.into_response(),
        }
    }
}

async fn answer(asks: &mut Asks, service: &Service) -> Result<Response, ApiError> {
    let agent = &asks.agent.session;
    let run = Box::pin(service.take_run(agent, &asks.run, &asks.asked)).await?;
    asks.run = String::new();

    let deadline = Instant::now() + asks.wait;
    let mut alarm = pin!(tokio::time::sleep_until(deadline));
    let mut watching = service.hub.watch(agent.account);
    let _present = service
        .board
        .hold(agent.instance, run, service.clock.clone());
    service.hub.reported(agent.account);
    let mut list = Box::pin(List::begin(service, agent)).await?;
    let mut hold = None;
    loop {
        let revision = *watching.keys.borrow_and_update();
        // Each in a box: what it needs while it looks is not kept while the query is held.
        let signed = Box::pin(list.at(service, revision)).await?;
        // Before the tags are compared: `*` fits every list, and would never be told.
        Box::pin(list.told(service)).await?;
        if !asks.known.has(&signed.etag) {
            return Ok(found(&signed, service));
        }
        if asks.wait.is_zero() {
            return Ok(unchanged(&signed, service));
        }
        let hold = match &mut hold {
            Some(hold) => hold,
            None => {
                let instance = Holder::Agent(agent.instance);
                let taken = held::take(service, instance, asks.conn.as_ref())?;
                // A session that ended between the door and the watch.
                Box::pin(service.still_agent(&asks.agent)).await?;
                hold.insert(taken)
            }
        };
        // An instance that has its last word is told nothing more.
        let is_over = list.removal.is_some();
        alarm.as_mut().reset(match is_over {
            true => deadline,
            false => deadline.min(turn(service, signed.turn)),
        });
        tokio::select! {
            _ = watching.keys.changed(), if !is_over => continue,
            _ = watching.access.changed() => {
                Box::pin(service.still_agent(&asks.agent)).await?;
                continue;
            }
            () = alarm.as_mut() => if Instant::now() < deadline { continue },
            () = hold.superseded() => {}
            () = held::stopping(&mut asks.conn) => {}
        }
        return Ok(unchanged(&signed, service));
    }
}

/// What a request says: all that is kept of it.
pub(super) struct Asks {
    agent: Agent,
    asked: Asked,
    conn: Option<Conn>,
    wait: Duration,
    run: String,
    known: Known,
}

impl Asks {
    fn of(parts: &Parts) -> Result<Self, ApiError> {
        let agent = parts.extensions.get::<Agent>().copied();
        let asked = parts.extensions.get::<Asked>().cloned();
        let run = parts.headers.get(RUN).and_then(|run| run.to_str().ok());
        Ok(Self {
            agent: agent.ok_or_else(ApiError::internal)?,
            asked: asked.ok_or_else(ApiError::internal)?,
            conn: parts.extensions.get::<Conn>().cloned(),
            wait: Params::<Wait>::of(&parts.uri)?.0.limited(WAIT),
            run: run.unwrap_or_default().to_owned(),
            known: Known::of(&parts.headers),
        })
    }
}

/// The list that this agent is to have.
struct List<'a> {
    agent: &'a AgentSession,
    revision: u64,
    removal: Option<Removal>,
}

impl<'a> List<'a> {
    /// Asks the store where the account stands; call it once the hub is watched.
    async fn begin(service: &Service, agent: &'a AgentSession) -> Result<Self, StoreError> {
        let head = service.store.head(agent.account).await?;
        Ok(Self {
            agent,
            revision: head.map_or(0, |head| head.revision),
            removal: None,
        })
    }

    /// Of this revision or a later one.
    async fn at(&mut self, service: &Service, revision: u64) -> Result<Arc<Signed>, StoreError> {
        let (agent, now) = (self.agent, service.now());
        self.revision = self.revision.max(revision);
        let signed = service
            .snapshots
            .of_instance(
                &service.store,
                (agent.account, agent.instance),
                self.revision,
                now,
            )
            .await?;
        // Read with the list: of the revision that a removal has, the agent sees no other list than
        // its last word.
        self.removal = signed.keys.removals.get(&agent.instance).copied();
        let Some(removal) = self.removal else {
            return Ok(signed);
        };
        let last =
            service
                .snapshots
                .last_word(agent.account, &signed, agent.instance, removal, now);
        Ok(Arc::new(last))
    }

    /// Notes that a last word is on its way.
    async fn told(&self, service: &Service) -> Result<(), StoreError> {
        if self.removal.is_none() {
            return Ok(());
        }
        let instance = self.agent.instance;
        service.store.told_of_removal(instance, service.now()).await
    }
}

/// When the list is to be signed again.
fn turn(service: &Service, at: Timestamp) -> Instant {
    let left = at.duration_since(service.now());
    Instant::now() + left.try_into().unwrap_or_default()
}

fn found(signed: &Signed, service: &Service) -> Response {
    let headers = [
        (ETAG, signed.etag.as_str()),
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-cache"),
    ];
    spread(
        (headers, signed.body.clone()).into_response(),
        &service.holds,
    )
}

fn unchanged(signed: &Signed, service: &Service) -> Response {
    let headers = [(ETAG, signed.etag.as_str())];
    spread(
        (StatusCode::NOT_MODIFIED, headers).into_response(),
        &service.holds,
    )
}

/// Names the window in which this one comes back if all have to; nothing where they are few.
fn spread(mut response: Response, holds: &Holds) -> Response {
    let window = retry_within(holds.lately()).as_secs();
    if window > 0 {
        let headers = response.headers_mut();
        headers.insert(RETRY_WITHIN, HeaderValue::from(window));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::api::tests::Bed;
    use crate::service::store::Actor;
    use crate::wire::{Payload, SignedSnapshot};
    use base64::Engine as _;

    fn payload(signed: &Signed) -> Payload {
        let signed: SignedSnapshot = serde_json::from_slice(&signed.body).unwrap();
        let payload = base64::engine::general_purpose::STANDARD.decode(signed.payload);
        serde_json::from_slice(&payload.unwrap()).unwrap()
    }

    #[test]
    fn a_window_is_named_where_many_hold_and_stays_while_they_are_let_go() {
        let holds = Holds::new(10_000);
        let window = || {
            let answer = spread(().into_response(), &holds);
            answer.headers().get(RETRY_WITHIN).cloned()
        };
        let take = |instance| holds.take(Holder::Agent(instance), None).ok().unwrap();
        assert_eq!(window(), None);
        let held: Vec<_> = (0..3_000).map(take).collect();
        assert_eq!(window().unwrap(), "3");
        drop(held);
        assert_eq!(window().unwrap(), "3");
        // Fewer have come since.
        for instance in 0..40 {
            drop(take(instance));
        }
        assert_eq!(window(), None);
    }

    #[tokio::test]
    async fn a_removal_right_behind_a_change_has_no_revision_in_common_with_another_list() {
        let bed = Bed::new().await;
        let session = bed.agent_session().await;
        let service = &bed.service;
        let mut list = List::begin(service, &session).await.unwrap();
        let first = list.at(service, 0).await.unwrap();
        assert!(payload(&first).removed.is_none());
        // The bell has rung for a change; before the list is read the removal is there, too.
        let change = service
            .store
            .lift(session.account, list.revision + 1, service.now());
        let rung = change.await.unwrap();
        let (store, owner) = (&service.store, Actor::server(session.account));
        let removed = store.remove_instance(owner, session.instance, (true, false), service.now());
        assert!(removed.await.unwrap());
        let second = payload(&list.at(service, rung).await.unwrap());
        assert!(second.removed.is_some(), "revision {}", second.revision);
        let third = payload(&list.at(service, second.revision).await.unwrap());
        assert_eq!(
            (third.revision, third.removed),
            (second.revision, second.removed)
        );
    }
}
