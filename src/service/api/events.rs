//! `/v1/events`: says which kinds of things have changed, as server-sent events (WHATWG HTML,
//! "Server-sent events"), for the console and for whoever follows.
//!
//! An event has no content but its kind, and names each kind once however often it changed since
//! the last: a reader that is slow, or was away, misses nothing by reading anew what it shows.
//! Ends when its token is no good any more, at a stop, and after an hour; the client comes again.

use super::super::Service;
use super::super::auth::Caller;
use super::super::holds::Hold;
use super::super::hub::{News, Watching};
use super::super::listen::Conn;
use super::super::permissions::{Category, Endpoint, Permissions};
use super::super::store::Kinds;
use super::{ApiError, held, names};
use axum::body::{Body, Bytes};
use axum::extract::{Extension, State};
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::response::{IntoResponse as _, Response};
use hyper::body::{Body as HttpBody, Frame};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Between two signs of life.
const COMMENT: Duration = Duration::from_secs(15);

/// Longest life of a stream.
const LIFE: Duration = Duration::from_secs(60 * 60);

/// A fleet that speaks all at once is told of this often.
const PAUSE: Duration = Duration::from_millis(250);

/// At once, so that whoever waits knows that he is heard; and how soon to come again.
const BEGIN: &[u8] = b": sshkeyd\nretry: 2000\n\n";

/// Buffering proxies would hold events back (nginx).
const ACCEL: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The stream.
pub(super) async fn stream(
    caller: Caller,
    State(service): State<Service>,
    conn: Option<Extension<Conn>>,
) -> Result<Response, ApiError> {
    let conn = conn.map(|Extension(conn)| conn);
    let body = body(service, caller, conn, COMMENT, LIFE).await?;
    let headers = [(CONTENT_TYPE, "text/event-stream"), (ACCEL, "no")];
    Ok((headers, body).into_response())
}

/// What it sends: a comment each `comment`, for `life` at most.
pub(super) async fn body(
    service: Service,
    caller: Caller,
    conn: Option<Conn>,
    comment: Duration,
    life: Duration,
) -> Result<Body, ApiError> {
    let hold = held::take(&service, caller.holder(), conn.as_ref())?;
    let mut watching = service.hub.watch(caller.account());
    let known = *watching.news.borrow_and_update();
    // A token that ended between the door and the watch.
    service.still(&caller).await?;
    let now = Instant::now();
    let left = caller.left(service.now());
    let stream = Stream {
        shown: shown(&caller.rights),
        ends: now + left.unwrap_or(life).min(life),
        comment,
        quiet_until: now,
        known,
        service,
        caller,
        conn,
        watching,
        _hold: hold,
    };
    Ok(Body::new(Events {
        next: Some(Box::pin(async move {
            Some((stream, Bytes::from_static(BEGIN)))
        })),
    }))
}

const KINDS: [(Kinds, &str, Category, &str); 6] = [
    (
        Kinds::SSH_KEYS,
        "ssh-keys",
        Category::UserRead,
        names::SSH_KEYS,
    ),
    (
        Kinds::API_KEYS,
        "api-keys",
        Category::UserRead,
        names::API_KEYS,
    ),
    (
        Kinds::SESSIONS,
        "sessions",
        Category::UserRead,
        names::SESSIONS,
    ),
    (
        Kinds::INSTANCES,
        "instances",
        Category::InstanceRead,
        names::INSTANCES,
    ),
    (Kinds::AUDIT, "audit", Category::Misc, names::AUDIT),
    (
        Kinds::ACCOUNT,
        "account",
        Category::UserRead,
        names::ACCOUNT,
    ),
];

/// Which kinds these rights may list.
fn shown(rights: &Permissions) -> [bool; KINDS.len()] {
    KINDS.map(|(_, _, category, name)| {
        let endpoint = Endpoint { category, name };
        rights.allows(endpoint, "GET", &|_| None)
    })
}

/// What a stream keeps between two events.
struct Stream {
    service: Service,
    caller: Caller,
    conn: Option<Conn>,
    watching: Watching,
    known: News,
    shown: [bool; KINDS.len()],
    ends: Instant,
    comment: Duration,
    quiet_until: Instant,
    _hold: Hold,
}

impl Stream {
    /// Waits for what is to be sent next; `None`: the stream ends.
    async fn next(mut self) -> Option<(Self, Bytes)> {
        let comment_at = Instant::now() + self.comment;
        loop {
            tokio::select! {
                biased;
                () = held::stopping(&mut self.conn) => return None,
                () = sleep_until(self.ends) => return None,
                rung = self.watching.access.changed() => {
                    rung.ok()?;
                    Box::pin(self.service.still(&self.caller)).await.ok()?;
                }
                changed = until(self.quiet_until, self.watching.news.changed()) => {
                    changed.ok()?;
                    let events = self.events();
                    if !events.is_empty() {
                        self.quiet_until = Instant::now() + PAUSE;
                        return Some((self, events));
                    }
                }
                () = sleep_until(comment_at) => {
                    return Some((self, Bytes::from_static(b":\n\n")));
                }
            }
        }
    }

    /// What has changed since this was last asked, as far as it is the caller's to know.
    fn events(&mut self) -> Bytes {
        let now = *self.watching.news.borrow_and_update();
        let mut out = String::new();
        for changed in now.since(self.known) {
            let kinds = KINDS.iter().zip(self.shown);
            for ((_, word, ..), _) in kinds.filter(|((kind, ..), shown)| *shown && *kind == changed)
            {
                out.push_str("event: change\ndata: {\"kind\":\"");
                out.push_str(word);
                out.push_str("\"}\n\n");
            }
        }
        self.known = now;
        out.into()
    }
}

/// The same, but not before that time.
async fn until<T>(at: Instant, then: impl Future<Output = T>) -> T {
    sleep_until(at).await;
    then.await
}

type Next = Pin<Box<dyn Future<Output = Option<(Stream, Bytes)>> + Send>>;

/// The stream as a body: asked for its next piece only when the last one is on its way.
struct Events {
    next: Option<Next>,
}

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(next) = &mut self.next else {
            return Poll::Ready(None);
        };
        let Poll::Ready(came) = next.as_mut().poll(context) else {
            return Poll::Pending;
        };
        self.next = None;
        Poll::Ready(came.map(|(stream, bytes)| {
            self.next = Some(Box::pin(stream.next()));
            Ok(Frame::data(bytes))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_key_hears_of_what_it_may_list() {
        let of = |tree: serde_json::Value| {
            let shown = shown(&Permissions::parse(&tree).unwrap());
            let words = KINDS.iter().zip(shown).filter(|(_, shown)| *shown);
            words.map(|((_, word, ..), _)| *word).collect::<Vec<_>>()
        };
        assert_eq!(of(json!({"api": {"misc": {}}})), ["audit"]);
        let instances = json!({"api": {"misc": {"api.events": {}}, "instance_read": {}}});
        assert_eq!(of(instances), ["instances"]);
        let one = json!({"api": {"instance_read": {"constraints": {"id": {"eq": 1}}}}});
        assert!(of(one).is_empty());
        assert_eq!(of(json!({"api": {}})).len(), KINDS.len());
    }

    #[test]
    fn a_stream_costs_little() {
        let next = Stream::next;
        fn size<F: Future>(_: &impl Fn(Stream) -> F) -> usize {
            size_of::<F>()
        }
        assert!(size(&next) <= 2_560, "{}", size(&next));
    }
}
