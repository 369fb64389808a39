//! What is believed of whom.

use super::*;

fn proxies() -> Proxies {
    let networks = ["127.0.0.1/32", "10.0.0.0/8", "2001:db8:ffff::/48"];
    Proxies::new(networks.iter().map(|n| n.parse().unwrap()).collect())
}

fn said(peer: &str, lines: &[(&str, &str)]) -> String {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, value.parse().unwrap());
    }
    proxies()
        .believed(peer.parse().unwrap(), &headers)
        .to_string()
}

const X: &str = "x-forwarded-for";
const F: &str = "forwarded";

#[test]
fn what_a_proxy_hands_on_is_taken_from_the_right() {
    let far = "203.0.113.9";
    let v6 = "2001:db8:1::7";
    let table: &[(&str, &str, &str, &str)] = &[
        // peer, header, its value, whom it counts for
        ("10.0.0.1", X, "203.0.113.9", far),
        ("10.0.0.1", X, " 203.0.113.9 ", far),
        ("10.0.0.1", X, "203.0.113.9:40022", far),
        ("10.0.0.1", X, "198.51.100.1, 203.0.113.9", far),
        ("10.0.0.1", X, "198.51.100.1, 203.0.113.9, 10.1.2.3", far),
        ("10.0.0.1", X, "2001:db8:1::7", v6),
        ("10.0.0.1", X, "[2001:db8:1::7]", v6),
        ("10.0.0.1", X, "[2001:db8:1::7]:443", v6),
        ("10.0.0.1", X, "::ffff:203.0.113.9", far),
        ("10.0.0.1", X, "\"203.0.113.9\"", far),
        ("::ffff:10.0.0.1", X, "203.0.113.9", far),
        ("2001:db8:ffff::1", X, "203.0.113.9", far),
        ("10.0.0.1", F, "for=203.0.113.9", far),
        ("10.0.0.1", F, "For=\"203.0.113.9:47011\"", far),
        ("10.0.0.1", F, "for=\"203.0.113.9:_port\"", far),
        (
            "10.0.0.1",
            F,
            "by=10.0.0.1;proto=https;for=203.0.113.9",
            far,
        ),
        (
            "10.0.0.1",
            F,
            "for=\"[2001:db8:1::7]:47011\";proto=http",
            v6,
        ),
        ("10.0.0.1", F, "for=\"[2001:db8:1::7]:_x\"", v6),
        (
            "10.0.0.1",
            F,
            "for=198.51.100.1, for=203.0.113.9;by=x, for=10.9.9.9",
            far,
        ),
        ("10.0.0.1", F, "for=\"203\\.0.113.9\"", far),
        // All of them proxies of ours: the leftmost.
        ("10.0.0.1", X, "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        // Hidden, broken, or nothing: the proxy that says so.
        ("10.0.0.1", X, "unknown", "10.0.0.1"),
        ("10.0.0.1", X, "203.0.113.9, unknown, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", X, "", "10.0.0.1"),
        ("10.0.0.1", X, "203.0.113.9,", "10.0.0.1"),
        ("10.0.0.1", X, "203.0.113.9 198.51.100.1", "10.0.0.1"),
        ("10.0.0.1", X, "fe80::1%eth0", "10.0.0.1"),
        ("10.0.0.1", X, "0xcb007109", "10.0.0.1"),
        ("10.0.0.1", F, "for=unknown", "10.0.0.1"),
        ("10.0.0.1", F, "for=_hidden", "10.0.0.1"),
        (
            "10.0.0.1",
            F,
            "for=203.0.113.9, for=_hidden, for=10.0.0.2",
            "10.0.0.2",
        ),
        ("10.0.0.1", F, "proto=https", "10.0.0.1"),
        (
            "10.0.0.1",
            F,
            "for=203.0.113.9;for=198.51.100.1",
            "10.0.0.1",
        ),
        ("10.0.0.1", F, "for=\"203.0.113.9", "0.0.0.0"),
        // A quote that the caller left open does not swallow what the proxy wrote.
        (
            "10.0.0.1",
            F,
            "for=\"1.1.1.1, for=\"203.0.113.9\"",
            "0.0.0.0",
        ),
        // Nobody that we know: his word is nothing.
        (far, X, "198.51.100.1", far),
        (far, F, "for=127.0.0.1", far),
        ("::1", X, "198.51.100.1", "::1"),
    ];
    for (peer, name, value, whom) in table {
        assert_eq!(
            said(peer, &[(name, value)]),
            *whom,
            "{peer} {name}: {value}"
        );
    }
}

#[test]
fn several_lines_are_one_and_two_headers_must_agree() {
    let lines = [(X, "198.51.100.1"), (X, "203.0.113.9, 10.0.0.2")];
    assert_eq!(said("10.0.0.1", &lines), "203.0.113.9");
    let same = [(X, "203.0.113.9"), (F, "for=203.0.113.9")];
    assert_eq!(said("10.0.0.1", &same), "203.0.113.9");
    let other = [(X, "203.0.113.9"), (F, "for=198.51.100.1")];
    // The caller wrote one of them: he is not the proxy, which a key may be good from.
    assert_eq!(said("10.0.0.1", &other), "0.0.0.0");
}

#[test]
fn a_header_without_end_is_not_looked_at() {
    let long = format!("{}203.0.113.9", "198.51.100.1, ".repeat(200));
    assert_eq!(said("10.0.0.1", &[(X, &long)]), "203.0.113.9");
    let longer = format!("{}203.0.113.9", "198.51.100.1, ".repeat(400));
    assert_eq!(said("10.0.0.1", &[(X, &longer)]), "0.0.0.0");
    let half = "198.51.100.1, ".repeat(200);
    let lines = [(X, half.as_str()), (X, &half), (X, "203.0.113.9")];
    assert_eq!(said("10.0.0.1", &lines), "0.0.0.0");
}
