//! `/v1/agent/signers`: from a signer that an agent knows to those that sign now.

use super::super::Service;
use super::super::auth::Agent;
use super::ApiError;
use super::extract::Params;
use crate::wire::{Handover, Page};
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// `?from=SHA256:…`.
#[derive(Debug, Deserialize)]
pub(super) struct From {
    from: String,
}

/// The hand-overs, the first first; none where nothing leads on.
pub(super) async fn list(
    _: Agent,
    State(service): State<Service>,
    Params(from): Params<From>,
) -> Result<axum::Json<Page<Handover>>, ApiError> {
    let chain = service.store.handovers(from.from).await?;
    let items = chain.into_iter().map(|handover| Handover {
        payload: STANDARD.encode(handover.payload),
        signature: handover.signature,
    });
    Ok(axum::Json(Page::whole(items.collect())))
}
