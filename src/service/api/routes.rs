//! The door of every call: which calls there are, and who may make them.
//!
//! A route is added with its access, so that none can stand without: the guard in front of its
//! handler finds out who asks, whether that token may do this with these parameters, and hands the
//! handler a [`Caller`] or an [`Agent`]. A refusal is written to the audit log.

use super::super::Service;
use super::super::auth::{Caller, Identity, Means};
use super::super::permissions::{Category, Endpoint};
use super::extract::BODY;
use super::{ApiError, Asked};
use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts as _, RawPathParams, Request, State};
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, on};
use http_body_util::{BodyExt as _, Limited};
use serde_json::Value;

/// Who may make a call.
#[derive(Debug, Clone, Copy)]
pub(in crate::service) enum Access {
    /// Anyone.
    Anyone,
    /// An instance's agent.
    Agent,
    /// Any token of an account: it says only what the token itself is.
    AnyKey,
    /// A token of an account with this right.
    Right(Endpoint),
    /// A person's session with this right; no API key.
    Person(Endpoint),
}

/// One call.
#[derive(Debug, Clone)]
pub(in crate::service) struct Call {
    /// GET, POST, …
    pub(in crate::service) method: Method,
    /// With `{id}`.
    pub(in crate::service) path: &'static str,
    /// Who may make it.
    pub(in crate::service) access: Access,
}

/// A right: category, and the endpoint's dotted name.
pub(super) const fn right(category: Category, name: &'static str) -> Access {
    Access::Right(Endpoint { category, name })
}

/// The same, for a person only.
pub(super) const fn person(category: Category, name: &'static str) -> Access {
    Access::Person(Endpoint { category, name })
}

/// Routes, being gathered.
pub(super) struct Routes {
    service: Service,
    router: Router<Service>,
    calls: Vec<Call>,
}

impl Routes {
    /// None yet.
    pub(super) fn new(service: Service) -> Self {
        Self {
            service,
            router: Router::new(),
            calls: Vec::new(),
        }
    }

    /// Adds one.
    pub(super) fn add<H, T>(
        mut self,
        method: Method,
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Service>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone())
            .expect("the methods of the API are those that axum knows");
        let door = middleware::from_fn_with_state((self.service.clone(), access), guard);
        let route = on(filter, handler).route_layer(door);
        self.router = self.router.route(path, route);
        self.calls.push(Call {
            method,
            path,
            access,
        });
        self
    }

    /// GET.
    pub(super) fn get<H, T>(self, path: &'static str, access: Access, handler: H) -> Self
    where
        H: Handler<T, Service>,
        T: 'static,
    {
        self.add(Method::GET, path, access, handler)
    }

    /// POST.
    pub(super) fn post<H, T>(self, path: &'static str, access: Access, handler: H) -> Self
    where
        H: Handler<T, Service>,
        T: 'static,
    {
        self.add(Method::POST, path, access, handler)
    }

    /// PATCH.
    pub(super) fn patch<H, T>(self, path: &'static str, access: Access, handler: H) -> Self
    where
        H: Handler<T, Service>,
        T: 'static,
    {
        self.add(Method::PATCH, path, access, handler)
    }

    /// PUT.
    pub(super) fn put<H, T>(self, path: &'static str, access: Access, handler: H) -> Self
    where
        H: Handler<T, Service>,
        T: 'static,
    {
        self.add(Method::PUT, path, access, handler)
    }

    /// DELETE.
    pub(super) fn delete<H, T>(self, path: &'static str, access: Access, handler: H) -> Self
    where
        H: Handler<T, Service>,
        T: 'static,
    {
        self.add(Method::DELETE, path, access, handler)
    }

    /// The router, and what it serves.
    pub(super) fn done(self) -> (Router<Service>, Vec<Call>) {
        (self.router, self.calls)
    }
}

/// In front of one handler.
async fn guard(
    State((service, access)): State<(Service, Access)>,
    mut request: Request,
    next: Next,
) -> Response {
    match let_in(&service, access, &mut request).await {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// Finds out who asks, and puts it into the request.
async fn let_in(service: &Service, access: Access, request: &mut Request) -> Result<(), ApiError> {
    let endpoint = match access {
        Access::Anyone => return Ok(()),
        Access::Agent | Access::AnyKey => None,
        Access::Right(endpoint) | Access::Person(endpoint) => Some(endpoint),
    };
    let asked = request.extensions().get::<Asked>().cloned();
    let asked = asked.ok_or_else(ApiError::internal)?;
    let means = Means::of(request.headers(), request.uri(), asked.face)?;
    means.check_browser(service, request.method(), request.headers())?;
    match (service.identify(&means, &asked).await?, access) {
        (Identity::Agent(agent), Access::Agent) => {
            request.extensions_mut().insert(agent);
        }
        (Identity::Agent(_), _) => {
            return Err(ApiError::forbidden(
                "an agent's session reaches /v1/agent only; use an API key",
            ));
        }
        (Identity::Caller(_), Access::Agent) => {
            return Err(ApiError::forbidden(
                "only an agent's session reaches this; an API key does not",
            ));
        }
        (Identity::Caller(caller), _) => {
            if let Some(endpoint) = endpoint {
                let person_only = matches!(access, Access::Person(_));
                if let Err(error) = may(&caller, endpoint, person_only, request).await {
                    let path = request.uri().path();
                    service
                        .refused(&caller, request.method(), path, &error)
                        .await;
                    return Err(error);
                }
            }
            request.extensions_mut().insert(caller);
        }
    }
    Ok(())
}

/// Whether this token may make this call with these parameters.
async fn may(
    caller: &Caller,
    endpoint: Endpoint,
    person_only: bool,
    request: &mut Request,
) -> Result<(), ApiError> {
    if person_only && !caller.is_person() {
        return Err(ApiError::new(
            axum::http::StatusCode::FORBIDDEN,
            "person-only",
            "this takes a person's session and the password; no API key can do it",
        ));
    }
    // HEAD is a GET whose body is not sent.
    let method = match request.method().as_str() {
        "HEAD" => "GET".to_owned(),
        other => other.to_owned(),
    };
    let mut parameters = parameters(request).await?;
    let missing = caller
        .rights
        .constrained(endpoint, &method)
        .iter()
        .any(|name| !parameters.iter().any(|(known, _)| known == name));
    if missing {
        parameters.extend(of_body(request).await?);
    }
    let parameter = |name: &str| {
        let mut found = parameters.iter().filter(|(known, _)| known == name);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Some(value.clone()),
            // Named twice: which one counts is not ours to guess.
            _ => None,
        }
    };
    if caller.rights.allows(endpoint, &method, &parameter) {
        return Ok(());
    }
    Err(ApiError::new(
        axum::http::StatusCode::FORBIDDEN,
        "scope",
        format!(
            "this key has no right to {} {}; give it one, or use another",
            endpoint.category.word(),
            endpoint.name
        ),
    ))
}

/// What path and query say.
async fn parameters(request: &mut Request) -> Result<Vec<(String, Value)>, ApiError> {
    let (mut parts, body) = std::mem::take(request).into_parts();
    let path = RawPathParams::from_request_parts(&mut parts, &()).await;
    let mut found: Vec<(String, Value)> = path
        .map(|params| {
            params
                .iter()
                .map(|(k, v)| (k.to_owned(), word(v)))
                .collect()
        })
        .unwrap_or_default();
    let query: Result<axum::extract::Query<Vec<(String, String)>>, _> =
        axum::extract::Query::try_from_uri(&parts.uri);
    *request = Request::from_parts(parts, body);
    let query = query.map_err(|error| ApiError::bad("bad-query", error.body_text()))?;
    found.extend(query.0.into_iter().map(|(k, v)| (k, word(&v))));
    Ok(found)
}

/// A number where it is one.
fn word(text: &str) -> Value {
    text.parse::<i64>()
        .map_or_else(|_| Value::String(text.to_owned()), Value::from)
}

/// What the body's outermost object says; the body stays whole for the handler.
async fn of_body(request: &mut Request) -> Result<Vec<(String, Value)>, ApiError> {
    let body = std::mem::replace(request.body_mut(), Body::empty());
    let read = tokio::time::timeout(
        super::extract::BODY_TIME,
        Limited::new(body, BODY).collect(),
    );
    let Ok(Ok(read)) = read.await else {
        return Err(ApiError::bad(
            "cut-off",
            "the body ended too soon, or is too large",
        ));
    };
    let bytes = read.to_bytes();
    let fields = match serde_json::from_slice(&bytes) {
        Ok(Value::Object(fields)) => fields.into_iter().collect(),
        _ => Vec::new(),
    };
    *request.body_mut() = Body::from(bytes);
    Ok(fields)
}
