//! A recording as it stands below tests/recorded/, and the bodies in it as other versions have them.

use super::making::{Bodies, Calls};
use super::shape::{Schemas, with_unknown};
use crate::support::host::read;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// What one version said.
pub(super) struct Recording {
    pub(super) dir: PathBuf,
    pub(super) calls: Calls,
    pub(super) api: Value,
}

impl Recording {
    pub(super) fn load(dir: PathBuf) -> Self {
        let mut calls = Calls::new();
        for entry in fs::read_dir(dir.join("calls")).unwrap() {
            let one = json_of(&entry.unwrap().path());
            let call = one["call"].as_str().unwrap().to_owned();
            let status = u16::try_from(one["status"].as_u64().unwrap()).unwrap();
            let bodies = calls.entry((call, status)).or_default();
            let list = |name: &str| one[name].as_array().unwrap().clone();
            (bodies.requests, bodies.answers) = (list("requests"), list("answers"));
        }
        let api = json_of(&dir.join("openapi.json"));
        Self { dir, calls, api }
    }

    /// All of them.
    pub(super) fn all() -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
        let entries = fs::read_dir(root)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let all: Vec<_> = entries
            .filter(|path| path.is_dir())
            .map(Self::load)
            .collect();
        assert!(!all.is_empty());
        all
    }

    pub(super) fn schemas(&self) -> Schemas<'_> {
        Schemas(self.api["components"]["schemas"].as_object().unwrap())
    }

    /// Whether there was such a call.
    pub(super) fn has(&self, call: &str) -> bool {
        let (method, path) = call.split_once(' ').unwrap();
        self.api["paths"][path][method.to_lowercase()].is_object()
    }

    /// The schema of a call's request, and that of its answer.
    pub(super) fn described(&self, call: &str, status: u16) -> (&Value, &Value) {
        let (method, path) = call.split_once(' ').unwrap();
        let operation = &self.api["paths"][path][method.to_lowercase()];
        let request = &operation["requestBody"]["content"]["application/json"]["schema"];
        let answer = &operation["responses"][status.to_string()]["content"]["application/json"];
        (request, &answer["schema"])
    }

    pub(super) fn bodies(&self, call: &str, status: u16) -> &Bodies {
        let key = (call.to_owned(), status);
        let found = self.calls.get(&key);
        found.unwrap_or_else(|| panic!("{}: no {call} {status}", self.dir.display()))
    }

    /// A body of this call as it was, as a later version sends it, as an earlier one does, and with
    /// everything that it may have.
    pub(super) fn requests(&self, call: &str, status: u16) -> Vec<Value> {
        let schema = self.described(call, status).0;
        assert!(schema.is_object(), "{call}: no schema");
        let mut all = Vec::new();
        for body in &self.bodies(call, status).requests {
            all.extend([
                body.clone(),
                with_unknown(body),
                self.schemas().only_required(schema, body),
            ]);
        }
        assert!(!all.is_empty(), "{call}");
        all
    }
}

/// What a file of a recording holds.
pub(super) fn json_of(path: &Path) -> Value {
    serde_json::from_str(&read(path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
