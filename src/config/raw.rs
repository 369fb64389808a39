//! The shape of the two files and nothing else: every table and key of interface.md sections 2 and
//! 4, each value with its place.
//!
//! Every field is optional and none has a meaning here: `agent.rs` and `server.rs` say what is
//! wanted. Plain fields only: `flatten` and tagged enums lose places.

use serde::Deserialize;
use serde_spanned::Spanned;
use std::collections::BTreeMap;

/// A value and its place, or nothing.
pub(super) type Value<T> = Option<Spanned<T>>;
/// Text and its place, or nothing.
pub(super) type Text = Value<String>;

/// Declares tables whose keys are all optional and whose unknown keys are errors.
macro_rules! tables {
    ($($(#[$about:meta])* $name:ident { $($field:ident: $kind:ty),* $(,)? })*) => {$(
        $(#[$about])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
        pub(super) struct $name { $(pub(super) $field: Option<$kind>),* }
    )*};
}

tables! {
    /// `agent.toml`.
    AgentFile {
        agent: Spanned<Agent>,
        source: Spanned<Vec<Spanned<Source>>>,
        target: Spanned<Vec<Spanned<Target>>>,
        verify: Spanned<Verify>,
        sshd: Spanned<Sshd>,
        certificates: Spanned<Certificates>,
        sessions: Spanned<Sessions>,
        heartbeat: Spanned<Heartbeat>,
    }
    /// `[agent]`.
    Agent {
        state_dir: Spanned<String>,
        control_socket: Spanned<String>,
        log: Spanned<String>,
        unprivileged: Spanned<bool>,
    }
    /// `[[source]]`.
    Source {
        name: Spanned<String>,
        poll_interval: Spanned<String>,
        danger_allow_empty: Spanned<bool>,
        max_size: Spanned<u64>,
        account: Spanned<Account>,
        vast: Spanned<Vast>,
        http: Spanned<Http>,
        file: Spanned<File>,
    }
    /// `account.…` of a source.
    Account {
        urls: Spanned<Vec<Spanned<String>>>,
        enroll_token_file: Spanned<String>,
        ca_file: Spanned<String>,
        signers: Spanned<Vec<Spanned<String>>>,
        proxy: Spanned<bool>,
    }
    /// `vast.…` of a source.
    Vast {
        url: Spanned<String>,
        api_key_file: Spanned<String>,
        instance: Spanned<u64>,
        proxy: Spanned<bool>,
    }
    /// `http.…` of a source.
    Http {
        url: Spanned<String>,
        format: Spanned<String>,
        keys: Spanned<String>,
        headers: Spanned<BTreeMap<String, Spanned<String>>>,
        proxy: Spanned<bool>,
    }
    /// `file.…` of a source.
    File {
        path: Spanned<String>,
    }
    /// `[[target]]`.
    Target {
        user: Spanned<String>,
        sources: Spanned<Vec<Spanned<String>>>,
        method: Spanned<String>,
        path: Spanned<String>,
        adopt: Spanned<String>,
        danger_in_place: Spanned<bool>,
    }
    /// `[verify]`.
    Verify {
        sshd: Spanned<String>,
    }
    /// `[sshd]`.
    Sshd {
        manage: Spanned<bool>,
    }
    /// `[certificates]`.
    Certificates {
        user_ca: Spanned<bool>,
        host_certificates: Spanned<bool>,
        directory: Spanned<String>,
        drop_in: Spanned<String>,
        sshd: Spanned<String>,
        sshd_config: Spanned<String>,
        host_keys: Spanned<Vec<Spanned<String>>>,
        reload: Spanned<toml::Value>,
        merge_revoked: Spanned<Vec<Spanned<String>>>,
    }
    /// `[sessions]`.
    Sessions {
        report: Spanned<bool>,
        end_on_revoke: Spanned<String>,
        auth_log: Spanned<String>,
    }
    /// `[heartbeat]`.
    Heartbeat {
        interval: Spanned<String>,
    }

    /// `server.toml`.
    ServerFile {
        server: Spanned<Server>,
    }
    /// `[server]`.
    Server {
        listen: Spanned<String>,
        public_url: Spanned<String>,
        database: Spanned<String>,
        database_password_file: Spanned<String>,
        database_ca_file: Spanned<String>,
        database_connections: Spanned<u64>,
        secrets_dir: Spanned<String>,
        trusted_proxies: Spanned<Vec<Spanned<String>>>,
        tls: Spanned<Tls>,
        danger_plaintext: Spanned<bool>,
        sign_up: Spanned<bool>,
        session_lifetime: Spanned<String>,
        max_held: Spanned<u64>,
        reveal_api_keys: Spanned<bool>,
        install_dir: Spanned<String>,
    }
    /// `tls.…` of the server.
    Tls {
        certificate: Spanned<String>,
        key: Spanned<String>,
    }
}
