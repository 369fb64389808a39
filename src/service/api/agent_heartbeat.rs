//! `/v1/agent/heartbeat`: what an instance says of itself (protocol.md section 5).

use super::super::Service;
use super::super::auth::Agent;
use super::super::board::{self, HEARTBEAT};
use super::super::store::{Actor, AgentSession, By};
use super::super::words;
use super::extract::{Json, parse};
use super::{ApiError, Asked};
use crate::wire::{HeartbeatAnswer, HeartbeatRequest, OrderResult};
use axum::extract::{Extension, State};
use jiff::Timestamp;
use serde_json::Value;

/// Bytes of a heartbeat.
const LIMIT: usize = 64 * 1024;

/// Conditions, sessions, host keys of the device, and answers to orders that are taken.
const CONDITIONS: usize = 64;
const SESSIONS: usize = 200;
const HOST_KEYS: usize = 16;
const ORDERS: usize = 256;

/// CAs that an instance is taken to trust: more than an account has.
const CAS: usize = 64;

/// How far above now a revision may be that lifts the account: what a service with a clock that is
/// wrong may have given out, and no more.
const AHEAD_MS: u64 = 24 * 60 * 60 * 1000;

/// Takes in a status.
pub(super) async fn take(
    Agent { session: agent, .. }: Agent,
    Extension(asked): Extension<Asked>,
    State(service): State<Service>,
    Json(mut body): Json<Value, LIMIT>,
) -> Result<axum::Json<HeartbeatAnswer>, ApiError> {
    words::clean(&mut body);
    let HeartbeatRequest {
        run,
        mut status,
        stopping,
        mut device,
        mut orders,
    } = parse(serde_json::from_value(body))?;
    status.conditions.truncate(CONDITIONS);
    status.sessions.truncate(SESSIONS);
    if let Some(kept) = &mut status.certificates {
        kept.user_ca.truncate(CAS);
        kept.proved_ca.truncate(CAS);
        kept.host.truncate(HOST_KEYS);
    }
    orders.truncate(ORDERS);
    if let Some(device) = &mut device {
        device.host_keys.truncate(HOST_KEYS);
    }
    // Which instance this is, its session says: it must not pass for another in a listing.
    status.instance = Some(agent.instance);
    let run = service.take_run(&agent, &run, &asked).await?;

    let now = service.now();
    let head = service.store.head(agent.account).await?;
    let mut revision = head.map_or(0, |head| head.revision);
    let claimed = board::revision(&status).unwrap_or(0);
    let limit = u64::try_from(now.as_millisecond()).unwrap_or(0) + AHEAD_MS;
    let lost = claimed > revision && claimed <= limit;
    if lost && service.board.may_lift(agent.instance, now) {
        revision = service.store.lift(agent.account, claimed, now).await?;
        let (account, instance) = (agent.account, agent.instance);
        tracing::debug!(account, instance, claimed, revision, "account lifted");
    }

    answered(&service, &agent, &asked, orders, now).await?;
    let mut next_in = HEARTBEAT;
    if stopping && agent.removal.is_some_and(|removal| removal.told) {
        service.store.end_removal(agent.instance).await?;
        service.board.forget(agent.instance);
        tracing::info!(instance = agent.instance, "instance removed");
    } else {
        let signed = service
            .snapshots
            .current(&service.store, agent.account, revision, now)
            .await?;
        service.hear_other(agent.instance, now).await?;
        let keys = &signed.keys.keys;
        let board = &service.board;
        let used = board.used(agent.instance, &status.sessions, keys, now);
        // More than one user CA: one may wait for this instance.
        let waits = signed.keys.trust.user_ca.len() > 1;
        let trusts = status.certificates.as_ref().map(|kept| &kept.user_ca);
        if waits && trusts.is_some_and(|trusts| *trusts != board.trusts(agent.instance)) {
            service.hub.answered();
        }
        let said = (status, device);
        next_in = board.next_in(now);
        let report = board.report((agent.instance, run), said, stopping, keys, now);
        service.metrics.heartbeat(board.took(agent.instance));
        service.hub.reported(agent.account);
        if !used.is_empty() {
            service.store.used_keys(agent.account, used).await?;
        }
        if let Some(report) = report {
            service.store.report_soon(agent.account, report);
        }
    }
    Ok(axum::Json(HeartbeatAnswer {
        next_in: u64::from(next_in),
        revision,
    }))
}

/// Keeps what the instance says of orders: of its own account, each once.
async fn answered(
    service: &Service,
    agent: &AgentSession,
    asked: &Asked,
    orders: Vec<OrderResult>,
    now: Timestamp,
) -> Result<(), ApiError> {
    if orders.is_empty() {
        return Ok(());
    }
    let (account, instance) = (agent.account, agent.instance);
    let actor = Actor {
        account,
        by: By::Agent { instance },
        from: asked.from,
        request: asked.id.clone(),
    };
    let store = &service.store;
    let new = store.answer_orders(actor, instance, orders, now).await?;
    for result in &new {
        let OrderResult {
            id,
            outcome,
            ended,
            left,
        } = result;
        tracing::info!(
            account,
            instance,
            order = id,
            ?outcome,
            ended,
            left,
            "sessions ended"
        );
    }
    if !new.is_empty() {
        service.hub.answered();
    }
    Ok(())
}
