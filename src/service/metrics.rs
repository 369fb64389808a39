//! What is counted for Prometheus (OpenMetrics text).
//!
//! Counts only, with labels of fixed sets: routes as patterns, methods, classes of answers, codes of
//! refusals. No account, no instance, no key, no address: whoever reads this learns how the service
//! is, and nothing of those who use it.

use axum::body::Body;
use axum::extract::MatchedPath;
use axum::http::{Method, Request};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// From save to proof, seconds: from "at once" to "when the instance came back".
const PROOF: [f64; 12] = [
    0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 600.0, 3_600.0,
];

/// Bytes of a revocation list: from one that stands in the snapshot to the most that agents read.
const KRL: [f64; 7] = [
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    8_388_608.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    route: String,
    method: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    code: &'static str,
}

/// What only a look at the service tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// Queries that are held.
    pub(super) held: usize,
    /// Jobs that wait for the database.
    pub(super) queued: usize,
}

/// All counts.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Answer, Counter>,
    errors: Family<Refusal, Counter>,
    heartbeats: Counter,
    proof: Histogram,
    certificates: Counter,
    revoked: Counter,
    krl_bytes: Histogram,
    connections: Gauge,
    held: Gauge,
    queued: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("sshkeyd"),
            requests: Family::default(),
            errors: Family::default(),
            heartbeats: Counter::default(),
            proof: Histogram::new(PROOF),
            certificates: Counter::default(),
            revoked: Counter::default(),
            krl_bytes: Histogram::new(KRL),
            connections: Gauge::default(),
            held: Gauge::default(),
            queued: Gauge::default(),
        };
        let about = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        let all = &mut metrics.registry;
        all.register("build", "The program", about);
        let help = "Answers, by route, method and class of status";
        all.register("http_requests", help, metrics.requests.clone());
        let help = "Refusals and errors, by code";
        all.register("http_errors", help, metrics.errors.clone());
        let help = "Open connections";
        all.register("connections", help, metrics.connections.clone());
        let help = "Queries that wait for news";
        all.register("held_queries", help, metrics.held.clone());
        let help = "Jobs that wait for the database";
        all.register("database_queue", help, metrics.queued.clone());
        let help = "Heartbeats of agents that were taken in";
        all.register("heartbeats", help, metrics.heartbeats.clone());
        let help = "From the save of a key until sshd on an instance that was there took it";
        let proof = metrics.proof.clone();
        all.register_with_unit("save_to_proof", help, Unit::Seconds, proof);
        let help = "Certificates that were signed, of people and of hosts";
        all.register("certificates_signed", help, metrics.certificates.clone());
        let help = "Certificates that were revoked before their end";
        all.register("certificates_revoked", help, metrics.revoked.clone());
        let help = "Bytes of each revocation list that was made";
        let bytes = metrics.krl_bytes.clone();
        all.register_with_unit("krl", help, Unit::Bytes, bytes);
        metrics
    }
}

impl Metrics {
    /// A request has come in; say what became of it.
    pub(super) fn request(&self, request: &Request<Body>) -> Asking {
        let route = request.extensions().get::<MatchedPath>();
        Asking {
            route: route.cloned(),
            method: method(request.method()),
        }
    }

    /// It was answered with this status.
    pub(super) fn answered(&self, asking: &Asking, status: u16) {
        let status = match status {
            100..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            _ => "5xx",
        };
        let answer = Answer {
            route: asking
                .route
                .as_ref()
                .map_or("none", MatchedPath::as_str)
                .to_owned(),
            method: asking.method,
            status,
        };
        self.requests.get_or_create(&answer).inc();
    }

    /// A request was refused, or went wrong.
    pub(super) fn error(&self, code: &'static str) {
        self.errors.get_or_create(&Refusal { code }).inc();
    }

    /// A heartbeat was taken in, the first to prove keys that were saved these milliseconds ago.
    pub(super) fn heartbeat(&self, took: Vec<u64>) {
        self.heartbeats.inc();
        for ms in took {
            // Exact for 285,000 years.
            self.proof.observe(ms as f64 / 1_000.0);
        }
    }

    /// Certificates were signed.
    pub(super) fn signed(&self, count: u64) {
        self.certificates.inc_by(count);
    }

    /// Certificates were revoked that were good until then.
    pub(super) fn revoked(&self, count: usize) {
        self.revoked
            .inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// A revocation list was made.
    pub(super) fn krl(&self, bytes: usize) {
        // Exact for 8 PiB.
        self.krl_bytes.observe(bytes as f64);
    }

    /// A connection is open until the answer is dropped.
    pub(super) fn connection(&self) -> Open {
        self.connections.inc();
        Open(self.connections.clone())
    }

    /// The whole text.
    pub(super) fn text(&self, now: Now) -> Option<String> {
        self.held.set(count(now.held));
        self.queued.set(count(now.queued));
        let mut text = String::new();
        encode(&mut text, &self.registry).ok()?;
        Some(text)
    }
}

/// A request under way.
pub(super) struct Asking {
    route: Option<MatchedPath>,
    method: &'static str,
}

/// An open connection.
pub(super) struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A name of a fixed set: callers may make up any other.
fn method(method: &Method) -> &'static str {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    let names = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let place = known.iter().position(|known| known == method);
    place
        .and_then(|at| names.get(at))
        .copied()
        .unwrap_or("other")
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_openmetrics_and_made_up_names_make_no_rows() {
        let metrics = Metrics::default();
        for name in ["BREW", "WHEN", "GET"] {
            let request = Request::builder().method(name).body(Body::empty()).unwrap();
            let asking = metrics.request(&request);
            metrics.answered(&asking, 405);
        }
        metrics.heartbeat(vec![250]);
        metrics.error("too-often");
        let open = metrics.connection();
        let now = Now { held: 3, queued: 0 };
        let text = metrics.text(now).unwrap();
        for line in [
            "sshkeyd_http_requests_total{route=\"none\",method=\"other\",status=\"4xx\"} 2",
            "sshkeyd_http_errors_total{code=\"too-often\"} 1",
            "sshkeyd_save_to_proof_seconds_bucket{le=\"0.2\"} 0",
            "sshkeyd_save_to_proof_seconds_bucket{le=\"0.5\"} 1",
            "sshkeyd_held_queries 3",
            "sshkeyd_connections 1",
            "sshkeyd_heartbeats_total 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        drop(open);
        let now = Now { held: 0, queued: 0 };
        assert!(metrics.text(now).unwrap().contains("sshkeyd_connections 0"));
    }
}
