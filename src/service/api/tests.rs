//! The routes as a caller meets them: status, code and body of every one.

mod agents;
mod api_keys;
mod certificates;
mod compat;
mod cut_off;
mod events;
mod host_keys;
mod install;
mod instances;
mod keys;
mod limits;
mod matrix;
mod meanwhile;
mod on_one_line;
mod owners;
mod people;
mod second_factor;
mod served;
mod sessions;
mod signers;

use super::router;
use crate::config::ServerConfig;
use crate::service::Service;
use crate::service::store::testing;
use crate::trust::{AGENT_NAMESPACE, Signer};
use crate::wire::{EnrollAnswer, NewInstanceAnswer, NonceAnswer, SshKey, renewal_message};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tower::ServiceExt as _;

const URL: &str = "https://keys.example.com";
const ED: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g";

/// A service with a clock that stands still until it is told otherwise.
pub(super) struct Bed {
    pub(super) service: Service,
    router: Router,
    clock: Arc<Mutex<Timestamp>>,
    key: String,
    dir: tempfile::TempDir,
}

pub(super) struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    json: Value,
}

impl Reply {
    fn code(&self) -> (u16, &str) {
        (
            self.status.as_u16(),
            self.json["code"].as_str().unwrap_or(""),
        )
    }

    fn etag(&self) -> String {
        self.headers["etag"].to_str().unwrap().to_owned()
    }

    pub(super) fn of<T: serde::de::DeserializeOwned>(&self, status: u16) -> T {
        assert_eq!(self.status.as_u16(), status, "{}", self.json);
        serde_json::from_value(self.json.clone()).unwrap()
    }
}

pub(in crate::service) fn config(dir: &tempfile::TempDir) -> ServerConfig {
    ServerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        public_url: format!("{URL}/"),
        database: testing::database(dir.path()),
        secrets_dir: dir.path().join("secrets"),
        tls: None,
        danger_plaintext: false,
        max_held: 1_000,
        trusted_proxies: Vec::new(),
        sign_up: false,
        session_lifetime: std::time::Duration::from_secs(7 * 24 * 60 * 60),
        reveal_api_keys: true,
        install_dir: None,
    }
}

impl Bed {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With a configuration of its own.
    async fn with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(&dir);
        change(&mut config);
        let clock = Arc::new(Mutex::new("2026-11-22T19:00:00Z".parse().unwrap()));
        let tells = clock.clone();
        let tells = Arc::new(move || *tells.lock().unwrap());
        let service = Service::open_at(&config, tells).unwrap();
        let router = router(service.clone());
        let account = service.add_account("a@example.com", None).await.unwrap();
        Self {
            service,
            router,
            clock,
            key: account.api_key.to_string(),
            dir,
        }
    }

    fn pass(&self, seconds: i64) {
        *self.clock.lock().unwrap() += SignedDuration::from_secs(seconds);
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if parts.status.is_client_error() || parts.status.is_server_error() {
            assert!(parts.headers.contains_key("x-request-id"));
            if json.get("success").is_none() {
                assert_eq!(parts.headers["content-type"], "application/problem+json");
                assert_eq!(json["status"], parts.status.as_u16());
                assert_eq!(
                    json["request_id"],
                    parts.headers["x-request-id"].to_str().unwrap()
                );
            }
        }
        Reply {
            status: parts.status,
            headers: parts.headers,
            json,
        }
    }

    pub(super) async fn call(&self, token: &str, call: &str, body: Option<Value>) -> Reply {
        self.call_with(token, call, &[], body).await
    }

    async fn call_with(
        &self,
        token: &str,
        call: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Reply {
        let (method, path) = call.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            None => Body::empty(),
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
        };
        self.send(request.body(body).unwrap()).await
    }

    /// Returns when a query is held.
    async fn held(&self) {
        while self.service.holds.taken() == 0 {
            tokio::task::yield_now().await;
        }
    }

    /// As the owner.
    async fn own(&self, call: &str, body: Option<Value>) -> Reply {
        self.call(&self.key, call, body).await
    }

    async fn save(&self, public_key: &str) -> SshKey {
        let body = json!({"public_key": public_key});
        self.own("POST /v1/ssh-keys", Some(body)).await.of(201)
    }

    async fn instance(&self) -> NewInstanceAnswer {
        let body = json!({"label": "box"});
        self.own("POST /v1/instances", Some(body)).await.of(201)
    }

    /// Who a new agent is to the store.
    pub(super) async fn agent_session(&self) -> crate::service::store::AgentSession {
        use crate::service::{store::AnySession, token::Token};
        let token = Token::parse(&self.agent().await.session).unwrap();
        let session = self.service.store.session(token.hash(), self.service.now());
        match session.await.unwrap() {
            Some(AnySession::Agent(session)) => session,
            other => panic!("{other:?}"),
        }
    }

    async fn agent(&self) -> TestAgent {
        let token = self.instance().await.enroll_token;
        let mut agent = TestAgent {
            token: token.split_once('.').unwrap().0.to_owned(),
            signer: Arc::new(Signer::from_seed(&rand::random())),
            run: "run-1".to_owned(),
            instance: 0,
            session: String::new(),
        };
        let answer: EnrollAnswer = agent.enroll(self).await.of(200);
        agent.instance = answer.instance;
        agent.session = answer.session_key;
        agent
    }
}

/// An agent of few words.
#[derive(Clone)]
struct TestAgent {
    token: String,
    signer: Arc<Signer>,
    run: String,
    instance: i64,
    session: String,
}

impl TestAgent {
    async fn enroll(&self, bed: &Bed) -> Reply {
        let body = json!({"token": self.token, "public_key": self.signer.public().to_string(),
            "run": self.run, "hostname": "box\u{1b}[2J"});
        bed.call("", "POST /v1/agent/enroll", Some(body)).await
    }

    async fn nonce(&self, bed: &Bed) -> NonceAnswer {
        bed.call("", "GET /v1/agent/nonce", None).await.of(200)
    }

    async fn renew(&self, bed: &Bed, nonce: &NonceAnswer, url: &str) -> Reply {
        let message = renewal_message(self.instance, url, nonce.at, &nonce.nonce);
        let body = json!({"instance": self.instance, "url": url, "at": nonce.at,
            "nonce": nonce.nonce, "run": self.run,
            "signature": self.signer.sign(AGENT_NAMESPACE, &message)});
        bed.call("", "POST /v1/agent/renew", Some(body)).await
    }

    async fn snapshot(&self, bed: &Bed, wait: u64, etag: Option<&str>) -> Reply {
        let call = format!("GET /v1/agent/snapshot?wait={wait}");
        let mut headers = vec![("x-sshkeyd-run", self.run.as_str())];
        headers.extend(etag.map(|etag| ("if-none-match", etag)));
        bed.call_with(&self.session, &call, &headers, None).await
    }

    async fn heartbeat(&self, bed: &Bed, more: Value) -> Reply {
        let mut body = json!({"run": self.run, "status": {"version": "0.1.0",
            "instance": self.instance, "state": "ok"}});
        for (name, value) in more.as_object().unwrap() {
            match name.as_str() {
                "stopping" | "device" | "orders" => body[name] = value.clone(),
                _ => body["status"][name] = value.clone(),
            }
        }
        bed.call(&self.session, "POST /v1/agent/heartbeat", Some(body))
            .await
    }

    /// Says what an agent says that has this list in its file.
    async fn applied(&self, bed: &Bed, revision: u64, target: Value) -> Reply {
        let mut whole = json!({"user": "root", "path": "/root/.ssh/authorized_keys",
            "method": "block", "foreign": 0, "revision": revision, "applied_at": null,
            "digest": null, "proof": null});
        for (name, value) in target.as_object().unwrap() {
            whole[name] = value.clone();
        }
        let source = json!({"name": "account", "kind": "account", "state": "live",
            "revision": revision, "keys": 1, "last_success": null, "last_error": null});
        let more = json!({"targets": [whole], "sources": [source]});
        self.heartbeat(bed, more).await
    }
}
