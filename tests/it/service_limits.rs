//! The limits of protocol.md section 4 that take time: what does not arrive is not waited for.

use crate::support::process::{pause, wait_until};
use crate::support::service::Service;
use sshkeyd::sys::clock;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// How long until the other end hangs up, and what it said before.
fn until_closed(mut stream: TcpStream) -> (Duration, String) {
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let began = clock::monotonic();
    let mut said = Vec::new();
    // Reset or closed.
    let _ = stream.read_to_end(&mut said);
    (
        clock::monotonic() - began,
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn headers_and_handshakes_that_do_not_arrive_are_not_waited_for() {
    let (plain, tls) = (Service::start(), Service::start_with_tls());
    let open = |to, bytes: &[u8]| {
        let mut stream = TcpStream::connect(to).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    let half = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ";
    let begun = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let streams = [
        ("nothing", open(plain.address, b"")),
        ("half a head", open(plain.address, half)),
        (
            "a second request that never comes",
            open(plain.address, begun),
        ),
        ("no handshake", open(tls.address, b"")),
        (
            "half a handshake",
            open(tls.address, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        ),
    ];
    std::thread::scope(|scope| {
        for (what, stream) in streams {
            scope.spawn(move || {
                let (took, said) = until_closed(stream);
                let about = Duration::from_secs(8)..Duration::from_secs(20);
                assert!(about.contains(&took), "{what}: {took:?} {said}");
            });
        }
    });
    assert_eq!(plain.http("GET /healthz", "").0, 200);
}

#[test]
fn a_stop_answers_what_is_under_way_and_takes_nothing_more() {
    let mut service = Service::start();
    let (address, key) = (service.address, service.api_key.clone());
    let body = format!("{{\"label\":\"{}\"}}", "x".repeat(40));
    let mut slow = TcpStream::connect(address).unwrap();
    let (first, rest) = body.split_at(20);
    write!(
        slow,
        "POST /v1/instances HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{first}",
        body.len()
    )
    .unwrap();
    // The head is read when the service has begun to wait for the rest.
    pause(Duration::from_millis(300));
    service.signal("TERM");
    wait_until("the listener to close", || {
        TcpStream::connect(address).is_err()
    });
    slow.write_all(rest.as_bytes()).unwrap();
    let (_, said) = until_closed(slow);
    assert!(said.starts_with("HTTP/1.1 201"), "{said}");
    wait_until("a clean end", || service.log().contains("stopped"));
    service.up();
    let list = service.http("GET /v1/instances", "").2;
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
}

#[test]
fn a_reload_brings_trusted_proxies_into_force_and_names_what_waits() {
    let service = Service::start();
    let config = service.dir().join("server.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let more = format!("{text}trusted-proxies = [\"127.0.0.1\"]\nsign-up = true\n");
    crate::support::sshd::put(&config, &more, 0o600);
    assert_eq!(service.http("GET /metrics", "").0, 200);
    service.signal("HUP");
    wait_until("the log", || {
        service.log().contains("configuration read again")
    });
    let log = service.log();
    let line = log
        .lines()
        .find(|line| line.contains("configuration read again"))
        .unwrap();
    assert!(
        line.contains("sign-up") && !line.contains("trusted-proxies"),
        "{line}"
    );
    // What comes from a proxy's own address is nobody's on this machine any more.
    let metrics = |key: &str| {
        let mut stream = TcpStream::connect(service.address).unwrap();
        write!(
            stream,
            "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{key}\r\n"
        )
        .unwrap();
        until_closed(stream).1
    };
    assert!(metrics("").starts_with("HTTP/1.1 401"));
    let key = format!("Authorization: Bearer {}\r\n", service.api_key);
    assert!(metrics(&key).starts_with("HTTP/1.1 200"));
}
