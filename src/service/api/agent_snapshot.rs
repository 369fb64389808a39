//! `/v1/agent/snapshot`: the signed list, now or as soon as it is another one.
//!
//! A fetch that waits: the same call fetches, polls and subscribes. What wakes a held query says
//! only that there is something; the list is read anew, once for all who wait.

use super::super::Service;
use super::super::auth::Agent;
use super::super::holds::Holder;
use super::super::hub::Mark;
use super::super::listen::Conn;
use super::super::snapshots::Signed;
use super::super::store::{AgentSession, Removal, StoreError};
use super::ApiError;
use super::extract::Params;
use super::held::{self, Wait};
use axum::extract::{Extension, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// Longest `wait`.
const WAIT: Duration = Duration::from_secs(300);

/// The agent's run id: this call has no body to hold it.
const RUN: &str = "x-sshkeyd-run";

/// The list, or 304 at the end of the wait.
pub(super) async fn show(
    holder: Agent,
    State(service): State<Service>,
    Params(wait): Params<Wait>,
    conn: Option<Extension<Conn>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let agent = holder.session;
    let run = headers.get(RUN).and_then(|run| run.to_str().ok());
    let run = service.take_run(&agent, run.unwrap_or_default()).await?;

    let mut conn = conn.map(|Extension(conn)| conn);
    let wait = wait.limited(WAIT);
    let mut deadline = pin!(tokio::time::sleep(wait));
    let mut watching = service.hub.watch(agent.account);
    let _present = service
        .board
        .hold(agent.instance, run, service.clock.clone());
    service.hub.reported(agent.account);
    let mut list = List::begin(&service, agent).await?;
    let mut hold = None;
    loop {
        let mark = *watching.keys.borrow_and_update();
        let signed = list.at(&service, mark).await?;
        // Before the tags are compared: `*` fits every list, and would never be told.
        list.told(&service).await?;
        if !held::has(&headers, &signed.etag) {
            return Ok(found(&signed));
        }
        if wait.is_zero() {
            return Ok(unchanged(&signed));
        }
        let hold = match &mut hold {
            Some(hold) => hold,
            None => {
                let holder = Holder::Agent(agent.instance);
                hold.insert(held::take(&service, holder, conn.as_ref())?)
            }
        };
        tokio::select! {
            // An instance that has its last word is told nothing more.
            _ = watching.keys.changed(), if list.removal.is_none() => {}
            () = turn(&service, signed.turn), if list.removal.is_none() => {}
            _ = watching.access.changed() => service.still_agent(&holder).await?,
            () = &mut deadline => return Ok(unchanged(&signed)),
            () = hold.superseded() => return Ok(unchanged(&signed)),
            () = held::stopping(&mut conn) => return Ok(unchanged(&signed)),
        }
    }
}

/// The list that this agent is to have.
struct List {
    agent: AgentSession,
    revision: u64,
    removals: Option<u64>,
    removal: Option<Removal>,
}

impl List {
    /// Asks the store where the account stands; call it once the hub is watched.
    async fn begin(service: &Service, agent: AgentSession) -> Result<Self, StoreError> {
        let head = service.store.head(agent.account).await?;
        Ok(Self {
            agent,
            revision: head.map_or(0, |head| head.revision),
            removals: None,
            removal: None,
        })
    }

    async fn at(&mut self, service: &Service, mark: Mark) -> Result<Arc<Signed>, StoreError> {
        let (agent, now) = (self.agent, service.now());
        self.revision = self.revision.max(mark.revision);
        if self.removals != Some(mark.removals) {
            self.removals = Some(mark.removals);
            self.removal = service.store.removal(agent.instance).await?;
        }
        let signed = service
            .snapshots
            .current(&service.store, agent.account, self.revision, now)
            .await?;
        let Some(removal) = self.removal else {
            return Ok(signed);
        };
        let keys = signed.keys.clone();
        let last = service
            .snapshots
            .last_word(agent.account, keys, agent.instance, removal, now);
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

/// Returns when the list is to be signed again.
async fn turn(service: &Service, at: Timestamp) {
    let left = at.duration_since(service.now());
    tokio::time::sleep(left.try_into().unwrap_or_default()).await;
}

fn found(signed: &Signed) -> Response {
    let headers = [
        (ETAG, signed.etag.as_str()),
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, signed.body.clone()).into_response()
}

fn unchanged(signed: &Signed) -> Response {
    (StatusCode::NOT_MODIFIED, [(ETAG, signed.etag.as_str())]).into_response()
}
