//! The accept loop: HTTP/1.1 by hyper over the routes, with a limit on everything that takes time.
//!
//! Our own rather than axum's: half the memory a held query. Owns connections and their end;
//! refuses to know what a request means.

use super::Service;
use super::api;
use super::patience::Patient;
use super::tls::Reloading;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
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

/// What a request's handler may know of its connection.
#[derive(Clone)]
pub(super) struct Conn {
    /// Who is at the other end.
    pub(super) peer: SocketAddr,
    stopping: watch::Receiver<bool>,
}

impl Conn {
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
    let router = api::router(service);
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
        let acceptor = tls.as_ref().map(Reloading::acceptor);
        let router = router.clone();
        let conn = Conn {
            peer,
            stopping: stopping.clone(),
        };
        connections.spawn(async move {
            let _place = place;
            let stream = Patient::new(stream, UNREAD);
            match acceptor {
                None => converse(stream, router, conn).await,
                Some(acceptor) => {
                    match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                        Ok(Ok(stream)) => converse(stream, router, conn).await,
                        Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS"),
                        Err(_) => tracing::debug!(%peer, "no TLS in time"),
                    }
                }
            }
        });
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

/// One connection, request after request.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    mut conn: Conn,
) {
    let peer = conn.peer;
    let of_request = conn.clone();
    let answer = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(of_request.clone());
        router.clone().oneshot(request)
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .serve_connection(TokioIo::new(stream), answer)
    );
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = conn.stopping() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection");
    }
}
