//! Around every request: its id, its refusal's text, its panic, its line in the log.
//!
//! A service of its own rather than `axum::middleware::from_fn`, whose future has room for the whole
//! request until it is answered: every held query would pay for that.

use super::super::Service;
use super::super::metrics::Asking;
use super::{ApiError, Asked, Face, limits};
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use axum::http::{Method, Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use tower::layer::{LayerFn, layer_fn};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A route, with what holds for all of them.
#[derive(Clone)]
pub(super) struct Around<S> {
    service: Service,
    inner: S,
}

/// Puts it around every route.
pub(super) fn layer<S>(service: Service) -> LayerFn<impl Fn(S) -> Around<S> + Clone> {
    layer_fn(move |inner| Around {
        service: service.clone(),
        inner,
    })
}

impl<S> tower::Service<Request<Body>> for Around<S>
where
    S: tower::Service<Request<Body>, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let service = self.service.clone();
        let (begun, from) = Begun::new(&service, &mut request);
        let answer = limits::address(&service, from).map(|()| caught(self.inner.call(request)));
        Box::pin(async move {
            let response = match answer {
                Ok(answer) => answer.await,
                Err(error) => error.into_response(),
            };
            Ok(begun.end(&service, response))
        })
    }
}

/// What of a request is known until it is answered.
struct Begun {
    id: String,
    method: Method,
    path: Box<str>,
    face: Face,
    watched: Asking,
}

impl Begun {
    fn new(service: &Service, request: &mut Request<Body>) -> (Self, Option<std::net::IpAddr>) {
        let id = format!("{:016x}", rand::random::<u64>());
        let path: Box<str> = request.uri().path().into();
        let face = if path.starts_with("/api/") {
            Face::V0
        } else {
            Face::V1
        };
        let from = limits::origin(service, request);
        let begun = Self {
            id: id.clone(),
            method: request.method().clone(),
            path,
            face,
            watched: service.metrics.request(request),
        };
        request.extensions_mut().insert(Asked { face, from, id });
        (begun, from)
    }

    fn end(self, service: &Service, mut response: Response) -> Response {
        let Self {
            id,
            method,
            path,
            face,
            watched,
        } = self;
        // The router's own refusal, in its own words: a path that is no UTF-8.
        if response.status() == StatusCode::BAD_REQUEST
            && response.extensions().get::<ApiError>().is_none()
        {
            response = ApiError::bad("bad-path", "the path is not UTF-8").into_response();
        }
        if let Some(error) = response.extensions_mut().remove::<ApiError>() {
            service.metrics.error(error.code());
            let mut rendered = error.render(&id, face);
            // What the router set beside it, as Allow.
            for (name, value) in response.headers() {
                if !rendered.headers().contains_key(name) {
                    rendered.headers_mut().insert(name, value.clone());
                }
            }
            response = rendered;
        }
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert(REQUEST_ID, id);
        }
        headers
            .entry(CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
        headers.insert(
            HeaderName::from_static("x-content-type-options"),
            HeaderValue::from_static("nosniff"),
        );
        let status = response.status().as_u16();
        service.metrics.answered(&watched, status);
        tracing::debug!(request_id = id, %method, path = &*path, status, "request");
        response
    }
}

/// Turns a panic of a handler into a 500. What it leaves behind is the store's, which rolls back,
/// or stands under locks whose every step is whole.
fn caught(
    handler: impl Future<Output = Result<Response, Infallible>>,
) -> impl Future<Output = Response> {
    let mut handler = Box::pin(handler);
    std::future::poll_fn(move |context| {
        match catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(context))) {
            Ok(answer) => answer.map(|Ok(response)| response),
            Err(_) => Poll::Ready(ApiError::internal().into_response()),
        }
    })
}
