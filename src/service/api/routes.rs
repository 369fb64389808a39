//! The door of every call: which calls there are, and who may make them.
//!
//! A route is added with its access, so that none can stand without: the guard in front of its
//! handler finds out who asks, whether that token may do this with these parameters, and hands the
//! handler a [`Caller`] or an [`Agent`]. A refusal is written to the audit log.

use super::super::Service;
use super::super::auth::{Caller, Identity, Means};
use super::super::permissions::{Category, Endpoint};
use super::super::uses;
use super::extract::BODY;
use super::{ApiError, Asked, reads};
use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts as _, RawPathParams, Request};
use axum::handler::Handler;
use axum::http::Method;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, on};
use http_body_util::{BodyExt as _, Limited};
use serde_json::Value;
use std::convert::Infallible;
use std::marker::PhantomData;
use std::pin::Pin;

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
    router: Router<Service>,
    calls: Vec<Call>,
}

impl Routes {
    /// None yet.
    pub(super) fn new() -> Self {
        Self {
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
        let guarded = Guarded {
            access,
            path,
            handler,
        };
        self.router = self.router.route(path, on(filter, guarded));
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

/// A handler, and who may reach it.
#[derive(Clone)]
struct Guarded<H> {
    access: Access,
    path: &'static str,
    handler: H,
}

/// Tells the extractors of a handler that is guarded from those of one that is not.
enum Behind<T> {
    #[expect(dead_code, reason = "a type's name, never a value")]
    Never(Infallible, PhantomData<T>),
}

impl<H, T: 'static> Handler<Behind<T>, Service> for Guarded<H>
where
    H: Handler<T, Service>,
{
    type Future = Pin<Box<dyn Future<Output = Response> + Send>>;

    fn call(self, request: Request, service: Service) -> Self::Future {
        // In a box of its own: the room that it takes to find out who asks is given back before he
        // is answered, which may be minutes later.
        let entering = Box::pin(self.enter(request, service));
        Box::pin(async move {
            match entering.await {
                Ok(answering) => answering.await,
                Err(error) => error.into_response(),
            }
        })
    }
}

impl<H> Guarded<H> {
    async fn enter<T>(self, mut request: Request, service: Service) -> Result<H::Future, ApiError>
    where
        H: Handler<T, Service>,
    {
        let_in(&service, self.access, self.path, &mut request).await?;
        Ok(self.handler.call(request, service))
    }
}

/// Finds out who asks, and puts it into the request.
async fn let_in(
    service: &Service,
    access: Access,
    path: &str,
    request: &mut Request,
) -> Result<(), ApiError> {
    let endpoint = match access {
        Access::Anyone => return super::limits::stranger(service, request),
        Access::Agent | Access::AnyKey => None,
        Access::Right(endpoint) | Access::Person(endpoint) => Some(endpoint),
    };
    let asked = request.extensions().get::<Asked>().cloned();
    let asked = asked.ok_or_else(ApiError::internal)?;
    let means = Means::of(service, request.headers(), request.uri(), asked.face)?;
    means.check_browser(service, request.method(), request.headers())?;
    let identity = service.identify(&means, &asked).await?;
    super::limits::token(service, &asked, &means)?;
    match (identity, access) {
        (Identity::Agent(agent), Access::Agent) => {
            let used = service.used(&asked);
            service.uses.note_agent(agent.session.id, used);
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
                let may = may(service, &caller, (endpoint, path), person_only, request);
                if let Err(error) = Box::pin(may).await {
                    let path = request.uri().path();
                    Box::pin(service.refused(&caller, request.method(), path, &error)).await;
                    return Err(error);
                }
            }
            if !(caller.is_person() && uses::is_held(request.uri())) {
                service.uses.note(caller.bearing, service.used(&asked));
            }
            request.extensions_mut().insert(caller);
        }
    }
    Ok(())
}

/// Whether this token may make this call with these parameters.
async fn may(
    service: &Service,
    caller: &Caller,
    (endpoint, path): (Endpoint, &str),
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
    let mut parameters = parameters(request, path).await?;
    // Always the body too: a parameter that the handler reads there is not the one in the query.
    if !caller.rights.constrained(endpoint, &method).is_empty() {
        parameters.extend(of_body(request, path).await?);
        service.still(caller).await?;
    }
    let parameter = |name: &str| {
        let named = || parameters.iter().filter(|parameter| parameter.name == name);
        let first = &named().find(|parameter| parameter.is_read)?.value;
        // Named twice, and not the same: which one counts is not ours to guess.
        let one = named().all(|other| other.value == *first);
        one.then(|| first.clone())
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

/// A parameter of a request.
struct Parameter {
    name: String,
    value: Value,
    /// The handler reads it there.
    is_read: bool,
}

/// What path and query say.
async fn parameters(request: &mut Request, route: &str) -> Result<Vec<Parameter>, ApiError> {
    let (mut parts, body) = std::mem::take(request).into_parts();
    let path = RawPathParams::from_request_parts(&mut parts, &()).await;
    let of_path = |(name, value): (&str, &str)| Parameter {
        name: name.to_owned(),
        value: word(value),
        is_read: true,
    };
    let mut found: Vec<Parameter> = path
        .map(|params| params.iter().map(of_path).collect())
        .unwrap_or_default();
    let reads = reads::of(&parts.method, route);
    let query: Result<axum::extract::Query<Vec<(String, String)>>, _> =
        axum::extract::Query::try_from_uri(&parts.uri);
    *request = Request::from_parts(parts, body);
    let query = query.map_err(|error| ApiError::bad("bad-query", error.body_text()))?;
    found.extend(query.0.into_iter().map(|(name, value)| Parameter {
        value: word(&value),
        is_read: reads.query.contains(&&*name),
        name,
    }));
    Ok(found)
}

/// A number where it is written like one.
fn word(text: &str) -> Value {
    let number = text.parse().ok().filter(|n: &i64| n.to_string() == text);
    number.map_or_else(|| Value::String(text.to_owned()), Value::from)
}

/// What the body's outermost object says; the body stays whole for the handler.
async fn of_body(request: &mut Request, route: &str) -> Result<Vec<Parameter>, ApiError> {
    let reads = reads::of(request.method(), route);
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
        Ok(Value::Object(fields)) => fields
            .into_iter()
            .map(|(name, value)| Parameter {
                is_read: reads.body.contains(&&*name),
                name,
                value,
            })
            .collect(),
        _ => Vec::new(),
    };
    *request.body_mut() = Body::from(bytes);
    Ok(fields)
}
