//! What an API key is held to: its rights, where it may come from, until when; and whether one key
//! is held to no more than another.
//!
//! No key makes, resets, edits or deletes a key that could do, anywhere or at any time, what it
//! cannot: each of the three is to be within its own. A person's session has no limits.

use super::permissions::Permissions;
use super::store::ApiKeyRow;
use ipnet::{IpNet, Ipv4Net};
use jiff::Timestamp;
use std::net::{IpAddr, Ipv4Addr};

/// Networks of one key.
pub(super) const NETWORKS: usize = 64;

/// The three.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Limits {
    /// What it may do.
    pub(super) rights: Permissions,
    /// Where it may come from; none: anywhere.
    pub(super) networks: Vec<IpNet>,
    /// Until when; `None`: for ever.
    pub(super) ends: Option<Timestamp>,
}

impl Limits {
    /// Those of a key; `None`: they cannot be read, and it may do nothing.
    pub(super) fn of(key: &ApiKeyRow) -> Option<Self> {
        Some(Self {
            rights: rights(key)?,
            networks: networks(key)?,
            ends: key.expires_at,
        })
    }

    /// Whether a key with these may do, from wherever and whenever, all that one with `other` may.
    pub(super) fn contain(&self, other: &Self) -> bool {
        let is_in = |inner: &IpNet| self.networks.iter().any(|outer| outer.contains(inner));
        let from = self.networks.is_empty()
            || (!other.networks.is_empty() && other.networks.iter().all(is_in));
        let until = self
            .ends
            .is_none_or(|ends| other.ends.is_some_and(|other| other <= ends));
        from && until && self.rights.contains(&other.rights)
    }

    /// Whether a key with these is good from there; one with networks is not good from nowhere.
    pub(super) fn admit(networks: &[IpNet], from: Option<IpAddr>) -> bool {
        let from = from.map(|from| from.to_canonical());
        networks.is_empty()
            || from.is_some_and(|from| networks.iter().any(|network| network.contains(&from)))
    }
}

/// A key's tree.
pub(super) fn rights(key: &ApiKeyRow) -> Option<Permissions> {
    let tree = serde_json::from_str(&key.rights).ok()?;
    Permissions::parse(&tree).ok()
}

/// A key's networks.
pub(super) fn networks(key: &ApiKeyRow) -> Option<Vec<IpNet>> {
    let texts: Vec<String> = serde_json::from_str(&key.addresses).ok()?;
    texts.iter().map(|text| network(text)).collect()
}

/// An address or a network: without host bits, and IPv4 as IPv4 even where it was written within
/// IPv6, because that is how addresses are compared.
pub(super) fn network(text: &str) -> Option<IpNet> {
    let net = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .ok()?
        .trunc();
    if let IpNet::V6(v6) = net
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && v6.prefix_len() >= 96
    {
        return mapped(v4, v6.prefix_len() - 96);
    }
    Some(net)
}

fn mapped(address: Ipv4Addr, prefix: u8) -> Option<IpNet> {
    Ipv4Net::new(address, prefix).ok().map(IpNet::V4)
}

/// As it is kept and shown: an address alone without its length.
pub(super) fn written(network: &IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() {
        network.addr().to_string()
    } else {
        network.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn limits(rights: Value, from: &[&str], ends: Option<&str>) -> Limits {
        Limits {
            rights: Permissions::parse(&rights).unwrap(),
            networks: from.iter().map(|text| network(text).unwrap()).collect(),
            ends: ends.map(|ends| ends.parse().unwrap()),
        }
    }

    #[test]
    fn networks_have_one_form() {
        let form = |text: &str| network(text).map(|network| written(&network));
        for (text, canonical) in [
            ("203.0.113.9", "203.0.113.9"),
            ("203.0.113.9/32", "203.0.113.9"),
            ("203.0.113.9/24", "203.0.113.0/24"),
            ("2001:DB8::0:1", "2001:db8::1"),
            ("2001:db8::1/64", "2001:db8::/64"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
            ("::/0", "::/0"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            assert_eq!(form(text).as_deref(), Some(canonical));
            assert_eq!(form(canonical).as_deref(), Some(canonical));
        }
        for text in [
            "",
            "example.com",
            "1.2.3",
            "1.2.3.4/33",
            "fe80::1%eth0",
            " 1.2.3.4",
        ] {
            assert_eq!(form(text), None, "{text}");
        }
    }

    #[test]
    fn a_network_admits_its_own_and_nobody_from_nowhere() {
        let networks = [
            network("203.0.113.0/24").unwrap(),
            network("2001:db8::/64").unwrap(),
        ];
        let admit = |from: &str| Limits::admit(&networks, Some(from.parse().unwrap()));
        for from in ["203.0.113.9", "::ffff:203.0.113.9", "2001:db8::5"] {
            assert!(admit(from), "{from}");
        }
        for from in ["203.0.114.9", "2001:db8:1::5", "::1"] {
            assert!(!admit(from), "{from}");
        }
        assert!(!Limits::admit(&networks, None));
        assert!(Limits::admit(&[], None));
    }

    #[test]
    fn each_of_the_three_is_to_be_within() {
        let all = || json!({"api": {}});
        let caller = limits(all(), &["10.0.0.0/8", "::1"], Some("2026-12-01T00:00:00Z"));
        let same = |from: &[&str], ends| caller.contain(&limits(all(), from, ends));
        let (end, sooner, later) = (
            Some("2026-12-01T00:00:00Z"),
            Some("2026-11-30T00:00:00Z"),
            Some("2026-12-01T00:00:01Z"),
        );
        assert!(caller.contain(&caller));
        assert!(same(&["10.1.0.0/16", "10.2.3.4"], sooner));
        assert!(!same(&[], end), "from anywhere");
        assert!(!same(&["10.0.0.0/7"], end));
        assert!(!same(&["10.1.0.0/16", "192.0.2.1"], end));
        assert!(!same(&["::1"], None), "for ever");
        assert!(!same(&["::1"], later));
        let free = limits(json!({"api": {"misc": {}}}), &[], None);
        assert!(free.contain(&limits(json!({"api": {"misc": {}}}), &["::1"], end)));
        assert!(!free.contain(&caller));
        assert!(!caller.contain(&free));
    }
}
