//! An instance that is a few calls of the agents' API, so that a test can choose what it says.

use crate::support::service::Service;
use crate::support::ssh::public_key;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sshkeyd::client::{Api, Fetched, Http, HttpOptions, install_crypto};
use sshkeyd::keys::PublicKey;
use sshkeyd::sys::clock;
use sshkeyd::wire::{
    Device, EndSessions, EnrollRequest, HeartbeatRequest, OrderOutcome, OrderResult, Payload,
    Proof, Session, SourceKind, SourceState, SourceStatus, State, Status, TargetStatus,
};
use std::time::Duration;
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

/// An instance that says what a test has it say.
pub(crate) struct Told {
    pub(crate) id: i64,
    /// What it says next.
    pub(crate) status: Status,
    api: Api,
    runtime: Runtime,
}

impl Told {
    /// Makes an instance and enrols as it.
    pub(crate) fn enrol(service: &Service, label: &str) -> Self {
        let (id, token) = service.create_instance(label);
        Self::with_token(service, id, label, &token)
    }

    /// Enrols as an instance that somebody else made.
    pub(crate) fn with_token(service: &Service, id: i64, hostname: &str, token: &str) -> Self {
        install_crypto();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let http = Http::try_new(&HttpOptions::default()).unwrap();
        let api = Api::try_new(http, &service.url, None).unwrap();
        let request = EnrollRequest {
            token: token.split_once('.').unwrap().0.to_owned(),
            public_key: public_key().to_string(),
            run: "run".to_owned(),
            hostname: hostname.to_owned(),
        };
        let answer = runtime.block_on(api.enroll(&request)).unwrap();
        assert_eq!(answer.instance, id);
        let api = api.with_token(Zeroizing::new(answer.session_key)).unwrap();
        Self {
            id,
            api,
            runtime,
            status: Status {
                version: "0.1.0".to_owned(),
                instance: Some(id),
                state: State::Ok,
                sources: Vec::new(),
                targets: Vec::new(),
                certificates: None,
                sessions: Vec::new(),
                conditions: Vec::new(),
            },
        }
    }

    /// Its list, another one than `etag` names, as soon as there is one.
    pub(crate) fn list(&self, etag: Option<&str>) -> (Payload, String) {
        let wait = Duration::from_secs(if etag.is_some() { 30 } else { 0 });
        let fetched = self.runtime.block_on(self.api.snapshot(etag, wait, "run"));
        let Fetched::New { snapshot, etag, .. } = fetched.unwrap() else {
            panic!("there was no other list in 30 s");
        };
        let payload = STANDARD.decode(snapshot.payload).unwrap();
        (serde_json::from_slice(&payload).unwrap(), etag.unwrap())
    }

    /// Whether there is another list than `etag` names within so long.
    pub(crate) fn waits(&self, etag: &str, wait: Duration) -> bool {
        let fetched = self
            .runtime
            .block_on(self.api.snapshot(Some(etag), wait, "run"));
        matches!(fetched.unwrap(), Fetched::New { .. })
    }

    /// Says it, once.
    pub(crate) fn say(&self, device: Option<Device>, orders: Vec<OrderResult>) {
        let body = HeartbeatRequest {
            run: "run".to_owned(),
            status: self.status.clone(),
            stopping: false,
            device,
            orders,
        };
        self.runtime.block_on(self.api.heartbeat(&body)).unwrap();
    }

    /// Says that these keys stand in its one file, as of its list now, and that sshd takes them.
    pub(crate) fn proves(&mut self, keys: &[&PublicKey]) {
        let names = || keys.iter().map(|key| key.fingerprint().to_string());
        let (list, _) = self.list(None);
        self.status.sources = vec![SourceStatus {
            name: "account".to_owned(),
            kind: SourceKind::Account,
            state: SourceState::Live,
            revision: Some(list.revision),
            keys: list.keys.len(),
            rejected: Vec::new(),
            last_success: Some(clock::now()),
            last_error: None,
        }];
        self.status.targets = vec![TargetStatus {
            user: "root".to_owned(),
            path: "/root/.ssh/authorized_keys".to_owned(),
            method: "block".to_owned(),
            managed: names().collect(),
            foreign: 0,
            foreign_keys: Vec::new(),
            revision: Some(list.revision),
            applied_at: Some(clock::now()),
            digest: None,
            rejected: Vec::new(),
            proof: Some(Proof {
                accepted: names().collect(),
                at: Some(clock::now()),
                ..Proof::default()
            }),
        }];
        self.say(None, Vec::new());
    }

    /// Says what came of an order: the sessions with its key are gone.
    pub(crate) fn answer(&mut self, order: &EndSessions, outcome: OrderOutcome, ended: u32) {
        let keys = self.status.sessions.iter();
        self.status.sessions = keys
            .filter(|session| session.fingerprint != order.fingerprint)
            .cloned()
            .collect();
        self.say(
            None,
            vec![OrderResult {
                id: order.id,
                outcome,
                ended,
                left: 0,
            }],
        );
    }
}

/// A live session that was opened with a key.
pub(crate) fn session(key: &PublicKey, pid: u32) -> Session {
    Session {
        id: format!("{pid}-1"),
        user: "root".to_owned(),
        from: format!("203.0.113.9:{pid}"),
        since: clock::now(),
        fingerprint: Some(key.fingerprint().to_string()),
        certificate: None,
        pid,
        kind: Some("pty".to_owned()),
        unproved: false,
    }
}
