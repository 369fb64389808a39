//! The accept loop: HTTP/1.1 by hyper over the routes, with a limit on everything that takes time.
//!
//! Our own rather than axum's: half the memory a held query. Owns connections and their end;
//! refuses to know what a request means.

use super::Service;
use super::api;
use super::crowd::Crowd;
use super::patience::Patient;
use super::tls::Reloading;
use crate::sys::open_files;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Uri};
use bytes::BytesMut;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;

const HEADERS: Duration = Duration::from_secs(10);
const HANDSHAKE: Duration = Duration::from_secs(10);
const DRAIN: Duration = Duration::from_secs(10);

/// How long an answer may stand still because its caller does not read it.
const UNREAD: Duration = Duration::from_secs(30);

/// After an accept that did not work: most often there are no file descriptors left, and the only
/// cure is to wait until a connection ends.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Connections beside those that hold a query: saves, heartbeats, handshakes.
const SPARE: usize = 1_024;

/// Files that are no connections: the database, its readers, the log.
const OWN: usize = 128;

/// Says at the start what the kernel's limit will say later, and less clearly.
pub(super) fn warn_of_files(max_held: usize) {
    let wanted = max_held.saturating_add(SPARE).saturating_add(OWN);
    match open_files::limit() {
        Some(limit) if limit < wanted as u64 => tracing::warn!(
            limit,
            wanted,
            "max-held is more than this process may have open; set LimitNOFILE= of the unit"
        ),
        _ => {}
    }
}

/// What a request's handler may know of its connection.
#[derive(Clone)]
pub(super) struct Conn {
    /// Who is at the other end.
    pub(super) peer: SocketAddr,
    /// What the request's place is counted by ([`Service::counted`]); known once its headers are.
    pub(super) counted: Option<IpAddr>,
    stopping: watch::Receiver<bool>,
}

impl Conn {
    /// One of loopback, that ends when this says so.
    #[cfg(test)]
    pub(super) fn of_test(stopping: watch::Receiver<bool>) -> Self {
        let peer = SocketAddr::from(([127, 0, 0, 1], 50_022));
        Self {
            peer,
            counted: None,
            stopping,
        }
    }

    /// Returns when the service stops.
    pub(super) async fn stopping(&mut self) {
        // An error is a loop that has ended: it stopped.
        let _ = self.stopping.wait_for(|stopping| *stopping).await;
    }
}

/// Serves until `shutdown` is done, then drains.
pub(super) async fn run(
    service: Service,
    listener: TcpListener,
    tls: Option<Reloading>,
    shutdown: impl Future<Output = ()>,
) {
    let room = service.max_held.saturating_add(SPARE);
    let room = Arc::new(Semaphore::new(room.min(Semaphore::MAX_PERMITS)));
    let router = api::router(service.clone());
    let crowd = Arc::new(Crowd::default());
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &room) => accepted,
        };
        let Some((stream, peer, place)) = accepted else {
            continue;
        };
        let Ok(one_of_crowd) = service.admit(&crowd, peer.ip()) else {
            tracing::debug!(%peer, "too many connections");
            continue;
        };
        let acceptor = tls.as_ref().map(Reloading::acceptor);
        let router = router.clone();
        let counted = service.metrics.connection();
        let conn = Conn {
            peer,
            counted: None,
            stopping: stopping.clone(),
        };
        let places = (place, one_of_crowd, counted);
        let stream = Patient::new(stream, UNREAD);
        match acceptor {
            None => connections.spawn(converse(stream, router, conn, places)),
            Some(acceptor) => connections.spawn(async move {
                // In boxes: nobody is to have room for the handshake after it.
                if let Some(stream) = Box::pin(secured(acceptor, stream, peer)).await {
                    Box::pin(converse(stream, router, conn, places)).await;
                }
            }),
        };
    }
    drop(listener);
    stop.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("connections cut off at the end of the drain");
    }
}

/// The next connection, when there is room for it.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = room.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // A wake-up is one small write that is not to wait for another.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%peer, %error, "gone at once");
                return None;
            }
            Some((stream, peer, place))
        }
        Err(error) => {
            tracing::debug!(%error, "accept");
            tokio::time::sleep(BACK_OFF).await;
            None
        }
    }
}

/// The stream with TLS, once there is. In a box, as what it is for as long as the connection lasts.
async fn secured(
    acceptor: TlsAcceptor,
    stream: Patient<TcpStream>,
    peer: SocketAddr,
) -> Option<Box<TlsStream<Patient<TcpStream>>>> {
    match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => return Some(Box::new(stream)),
        Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS"),
        Err(_) => tracing::debug!(%peer, "no TLS in time"),
    }
    None
}

/// One connection, request after request; the places that it takes are given back at its end.
///
/// What lives as long as the connection is made before the future and captured by it: an async fn
/// has room for its arguments, and again for what becomes of them.
fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    mut conn: Conn,
    places: impl Send,
) -> impl Future<Output = ()> + Send {
    let of_request = conn.clone();
    let answer = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        let_go(&mut request);
        request.extensions_mut().insert(of_request.clone());
        router.clone().oneshot(request)
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .serve_connection(TokioIo::new(stream), answer);
    async move {
        let _places = &places;
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = conn.stopping() => {
                Pin::new(&mut connection).graceful_shutdown();
                (&mut connection).await
            }
        };
        if let Err(error) = ended {
            let peer = conn.peer;
            tracing::debug!(%peer, %error, "connection");
        }
    }
}

/// Copies what a request has of its connection's read buffer. Hyper reads on while a request is
/// answered, to notice an end, and takes another 8 KiB for that where the first are still used.
fn let_go<B>(request: &mut Request<B>) {
    let values: usize = request.headers().values().map(HeaderValue::len).sum();
    let uri = request.uri().to_string();
    let mut copies = BytesMut::with_capacity(values + uri.len());
    copies.extend_from_slice(uri.as_bytes());
    if let Ok(uri) = Uri::from_maybe_shared(copies.split().freeze()) {
        *request.uri_mut() = uri;
    }
    for value in request.headers_mut().values_mut() {
        copies.extend_from_slice(value.as_bytes());
        if let Ok(copy) = HeaderValue::from_maybe_shared(copies.split().freeze()) {
            *value = copy;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn a_request_says_the_same_and_holds_nothing_of_the_buffer_that_it_was_read_into() {
        let buffer = Bytes::from(b"/v1/a%20b?c=d#one two\xff".to_vec());
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from_maybe_shared(buffer.slice(..13)).unwrap();
        for (name, place) in [("a", 14..17), ("b", 18..22), ("a", 0..0)] {
            let value = HeaderValue::from_maybe_shared(buffer.slice(place)).unwrap();
            request.headers_mut().append(name, value);
        }
        let said = (request.uri().clone(), request.headers().clone());
        let_go(&mut request);
        assert_eq!(said, (request.uri().clone(), request.headers().clone()));
        assert_eq!(request.uri().query(), Some("c=d"));
        drop(said);
        assert!(buffer.is_unique());
    }

    #[test]
    fn every_form_of_a_target_stays_as_it_is() {
        for target in ["/", "*", "http://a.example:80/b?c", "a.example:443", "/?"] {
            let mut request = Request::new(());
            *request.uri_mut() = target.parse().unwrap();
            let_go(&mut request);
            assert_eq!(request.uri(), &target.parse::<Uri>().unwrap());
            assert_eq!(
                request.uri().authority().is_some(),
                target.contains("a.example")
            );
        }
    }
}
