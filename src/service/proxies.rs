//! Where a request comes from when there is a proxy before us (RFC 7239; X-Forwarded-For).
//!
//! Only a proxy that the configuration names is believed, and of what it hands on only what stands
//! to the right of the first address that is no such proxy's: the rest anyone can write. Where a
//! proxy says nothing or hides the address, the request counts as the proxy's own. Where what it
//! hands on cannot be read, or two headers disagree, it comes from [`NOWHERE`]: the caller can bring
//! that about, and must not pass for the proxy, which an API key may be good from.

use super::Service;
use axum::http::header::{FORWARDED, HeaderMap, HeaderName};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{PoisonError, RwLock};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Nobody has this address (RFC 6890): all whose own nobody can tell.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Bytes of either header, all its lines together. Longer ones are not looked at.
const LONGEST: usize = 4 * 1024;

/// The proxies whose word is taken.
#[derive(Default)]
pub(super) struct Proxies(RwLock<Vec<IpNet>>);

impl Proxies {
    /// These.
    pub(super) fn new(networks: Vec<IpNet>) -> Self {
        Self(RwLock::new(networks))
    }

    /// These from now on.
    pub(super) fn set(&self, networks: Vec<IpNet>) {
        // A list is replaced whole.
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = networks;
    }

    /// Whether this is one of them.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let networks = self.0.read().unwrap_or_else(PoisonError::into_inner);
        networks.iter().any(|network| network.contains(&address))
    }

    fn believed(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.has(peer) {
            return peer;
        }
        let walk = |name: &HeaderName, hops: fn(&str) -> Option<Vec<Option<IpAddr>>>| {
            let hops = joined(headers, name)?.and_then(|text| hops(&text));
            Some(hops.map_or(NOWHERE, |hops| self.origin(peer, &hops)))
        };
        let old = walk(&X_FORWARDED_FOR, forwarded_for);
        let new = walk(&FORWARDED, forwarded);
        match (old, new) {
            (Some(one), None) | (None, Some(one)) => one,
            // A proxy that writes one of them may well pass on what the caller wrote in the other.
            (Some(old), Some(new)) if old == new => old,
            (Some(_), Some(_)) => NOWHERE,
            (None, None) => peer,
        }
    }

    /// The rightmost address that is no proxy of ours; where there is none, the leftmost proxy's.
    fn origin(&self, peer: IpAddr, hops: &[Option<IpAddr>]) -> IpAddr {
        let mut at = peer;
        for hop in hops.iter().rev() {
            let Some(address) = hop else {
                return at;
            };
            at = *address;
            if !self.has(at) {
                return at;
            }
        }
        at
    }
}

impl Service {
    /// The address that a request comes from.
    pub(super) fn believed(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        self.proxies.believed(peer, headers)
    }

    /// What an address is counted by: itself, or the /64 that one subscriber has. None where many
    /// callers share it and none of them can be told apart: loopback, behind which a proxy stands
    /// that the configuration does not name.
    pub(super) fn counted(&self, address: IpAddr) -> Option<IpAddr> {
        let address = address.to_canonical();
        if address.is_loopback() && !self.proxies.has(address) {
            return None;
        }
        Some(match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        })
    }
}

/// All lines of a header as one (RFC 9110, section 5.3). The inner option is none for what is too
/// long or no text, the outer one where there is no such header.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<Option<String>> {
    let mut whole = String::new();
    let mut there = false;
    for line in headers.get_all(name) {
        let room = LONGEST.saturating_sub(whole.len());
        match line.to_str() {
            Ok(text) if text.len() < room => {
                if there {
                    whole.push(',');
                }
                whole.push_str(text);
            }
            _ => return Some(None),
        }
        there = true;
    }
    there.then_some(Some(whole))
}

/// The hops of X-Forwarded-For, the caller's end first.
#[expect(
    clippy::unnecessary_wraps,
    reason = "as `forwarded`, whose form can be broken"
)]
fn forwarded_for(text: &str) -> Option<Vec<Option<IpAddr>>> {
    let hop = |hop: &str| node(hop.trim().trim_matches('"'));
    Some(text.split(',').map(hop).collect())
}

/// The `for` of each element of Forwarded; none when its quotes are not closed, for then nobody can
/// say where what the proxy wrote begins.
fn forwarded(text: &str) -> Option<Vec<Option<IpAddr>>> {
    let mut hops = Vec::new();
    for element in split(text, b',')? {
        let mut found = Vec::new();
        for pair in split(element, b';')? {
            let Some((name, value)) = pair.trim().split_once('=') else {
                continue;
            };
            if name.eq_ignore_ascii_case("for") {
                found.push(node(&unquoted(value)));
            }
        }
        hops.push(match found[..] {
            [one] => one,
            // None, or two that contradict each other.
            _ => None,
        });
    }
    Some(hops)
}

/// Splits at `at` outside of quoted strings (RFC 9110, section 5.6.4).
fn split(text: &str, at: u8) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    let (mut quoted, mut escaped, mut from) = (false, false, 0);
    for (place, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if byte == at && !quoted => {
                parts.push(text.get(from..place)?);
                from = place + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(from..)?);
    (!quoted).then_some(parts)
}

fn unquoted(value: &str) -> String {
    let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
    let Some(inner) = inner else {
        return value.to_owned();
    };
    let mut text = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        text.extend(match letter {
            '\\' => letters.next(),
            other => Some(other),
        });
    }
    text
}

/// An address with or without a port; none for `unknown`, for a made-up name, for anything else.
fn node(text: &str) -> Option<IpAddr> {
    let address = text.parse::<IpAddr>().ok();
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    // RFC 7239, section 6: a port may be a made-up name, too.
    let without_port = || {
        let (node, port) = text.rsplit_once(':')?;
        port.starts_with('_').then_some(())?;
        let node = node
            .strip_prefix('[')
            .and_then(|n| n.strip_suffix(']'))
            .unwrap_or(node);
        node.parse().ok()
    };
    let address = address.or_else(bare).or_else(without_port)?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests;
