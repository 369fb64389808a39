//! `/v1/login` and `/v1/sign-up`: a session, as a cookie for a browser, in the body for anyone
//! else.
//!
//! A browser says that it is one with `X-Sshkeyd: 1`, which no page of another origin can send, and
//! never sees its session's key.

use super::super::Service;
use super::super::auth::{COOKIE_NAME, PLAIN_COOKIE_NAME, X_SSHKEYD};
use super::super::people::{DEVICE_LIFE, LoggedIn, Login, Proof, SignUp, cookie_named};
use super::super::store::SessionKind;
use super::extract::Json;
use super::{ApiError, Asked};
use crate::wire::{LoginAnswer, LoginDevice, LoginRequest, SignUpRequest};
use axum::extract::{Extension, State};
use axum::http::header::{SET_COOKIE, USER_AGENT};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use zeroize::Zeroizing;

/// Bytes of a body that holds a password.
pub(super) const BODY: usize = 16 * 1024;

const DEVICE_COOKIE: &str = "__Host-sshkeyd-device";
const PLAIN_DEVICE_COOKIE: &str = "sshkeyd-device";

/// Logs in.
pub(super) async fn log_in(
    State(service): State<Service>,
    Extension(asked): Extension<Asked>,
    headers: HeaderMap,
    Json(given): Json<LoginRequest, BODY>,
) -> Result<Response, ApiError> {
    let login = login(&service, &headers, given.device, given.device_token)?;
    let proof = Proof {
        password: Zeroizing::new(given.password),
        code: given.code,
    };
    let kind = login.kind;
    let made = service.log_in(&given.email, proof, login, &asked).await?;
    Ok(answer(&service, &headers, StatusCode::OK, kind, &made))
}

/// Makes an account and logs in to it.
pub(super) async fn sign_up(
    State(service): State<Service>,
    Extension(asked): Extension<Asked>,
    headers: HeaderMap,
    Json(given): Json<SignUpRequest, BODY>,
) -> Result<Response, ApiError> {
    let login = login(&service, &headers, None, None)?;
    let new = SignUp {
        email: given.email,
        proof: Proof {
            password: Zeroizing::new(given.password),
            code: None,
        },
    };
    let kind = login.kind;
    let made = service.sign_up(new, login, &asked).await?;
    Ok(answer(&service, &headers, StatusCode::CREATED, kind, &made))
}

/// What logs in.
fn login(
    service: &Service,
    headers: &HeaderMap,
    device: Option<LoginDevice>,
    device_token: Option<String>,
) -> Result<Login, ApiError> {
    let browser = headers.contains_key(X_SSHKEYD);
    if browser {
        service.check_host(headers)?;
        service.check_origin(headers)?;
    }
    let device_token = if browser {
        let plain = service.takes_plain_cookie(headers);
        cookie_named(headers, names(plain).1).map(str::to_owned)
    } else {
        device_token
    };
    let user_agent = headers.get(USER_AGENT).and_then(|v| v.to_str().ok());
    Ok(Login {
        kind: if browser {
            SessionKind::Browser
        } else {
            SessionKind::Cli
        },
        device,
        user_agent: user_agent.unwrap_or_default().to_owned(),
        device_token,
    })
}

fn answer(
    service: &Service,
    headers: &HeaderMap,
    status: StatusCode,
    kind: SessionKind,
    made: &LoggedIn,
) -> Response {
    let mut answer = LoginAnswer {
        session_key: None,
        expires_at: made.expires_at,
        device_token: None,
    };
    if kind != SessionKind::Browser {
        answer.session_key = Some(made.token.reveal().to_owned());
        answer.device_token = Some(made.device_token.clone());
        return (status, axum::Json(answer)).into_response();
    }
    let plain = service.takes_plain_cookie(headers);
    let left = made.expires_at.duration_since(service.now()).as_secs();
    let mut response = (status, axum::Json(answer)).into_response();
    let (session, device) = names(plain);
    set_cookie(&mut response, plain, session, made.token.reveal(), left);
    set_cookie(
        &mut response,
        plain,
        device,
        &made.device_token,
        DEVICE_LIFE,
    );
    response
}

/// Has a browser forget its session.
pub(super) fn clear_cookie(service: &Service, headers: &HeaderMap, response: &mut Response) {
    let plain = service.takes_plain_cookie(headers);
    set_cookie(response, plain, names(plain).0, "", 0);
}

/// The cookies of session and device.
fn names(plain: bool) -> (&'static str, &'static str) {
    if plain {
        (PLAIN_COOKIE_NAME, PLAIN_DEVICE_COOKIE)
    } else {
        (COOKIE_NAME, DEVICE_COOKIE)
    }
}

/// RFC 6265bis: `__Host-` wants `Secure`, `Path=/` and no `Domain`.
fn set_cookie(response: &mut Response, plain: bool, name: &str, value: &str, max_age: i64) {
    let secure = if plain { "" } else { " Secure;" };
    let text =
        format!("{name}={value};{secure} HttpOnly; SameSite=Strict; Path=/; Max-Age={max_age}");
    if let Ok(mut value) = HeaderValue::try_from(text) {
        value.set_sensitive(true);
        response.headers_mut().append(SET_COOKIE, value);
    }
}
