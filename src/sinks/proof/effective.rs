//! What `sshd -T` says is in force, as far as the proof needs it.
//!
//! Owns no process: running sshd is the caller's.

use crate::sinks::doctor::patterns::list_takes;
use crate::sinks::sshd::Settings;
use std::path::PathBuf;

/// sshd's own default of MaxAuthTries.
pub const DEFAULT_MAX_AUTH_TRIES: u32 = 6;

/// The part of an `sshd -T` output that is used here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveConfig {
    /// HostKey: private key files; the public half stands beside each, with `.pub`.
    pub host_keys: Vec<PathBuf>,
    /// MaxAuthTries.
    pub max_auth_tries: u32,
    /// AuthenticationMethods has no list that one key satisfies.
    pub several_methods: bool,
    /// What is taken of certificates.
    pub algorithms: Algorithms,
}

/// Lists of algorithms; one that is not known takes all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Algorithms {
    keys: Option<String>,
    signatures: Option<String>,
}

impl Algorithms {
    /// PubkeyAcceptedAlgorithms (PubkeyAcceptedKeyTypes before OpenSSH 8.5) and
    /// CASignatureAlgorithms.
    fn of(said: &Settings) -> Self {
        let named = |name| Some(said.one(name)).filter(|list| !list.is_empty());
        let keys = named("pubkeyacceptedalgorithms").or_else(|| named("pubkeyacceptedkeytypes"));
        Self {
            keys: keys.map(str::to_owned),
            signatures: named("casignaturealgorithms").map(str::to_owned),
        }
    }

    /// Whether a user's key or certificate may be offered under this name.
    pub(super) fn takes_key(&self, name: &str) -> bool {
        let list = self.keys.as_deref();
        list.is_none_or(|list| list_takes(name, list))
    }

    /// Whether a CA may sign like this.
    pub(super) fn takes_signature(&self, name: &str) -> bool {
        let list = self.signatures.as_deref();
        list.is_none_or(|list| list_takes(name, list))
    }
}

impl EffectiveConfig {
    /// What of it counts here. What sshd does not name has its default.
    #[must_use]
    pub fn of(said: &Settings) -> Self {
        let host_keys = said.all("hostkey").iter();
        let methods = said.named("authenticationmethods");
        let tries = said.one("maxauthtries").parse().ok();
        Self {
            host_keys: host_keys
                .filter(|file| *file != "none")
                .map(PathBuf::from)
                .collect(),
            max_auth_tries: tries.unwrap_or(DEFAULT_MAX_AUTH_TRIES),
            several_methods: methods.is_some_and(|methods| !one_key_is_enough(methods)),
            algorithms: Algorithms::of(said),
        }
    }

    /// The public halves of the host keys.
    #[must_use]
    pub fn host_key_files(&self) -> Vec<PathBuf> {
        let beside = |path: &PathBuf| {
            let mut name = path.clone().into_os_string();
            name.push(".pub");
            name.into()
        };
        self.host_keys.iter().map(beside).collect()
    }
}

/// AuthenticationMethods: lists apart by blanks, the methods of a list by commas, each of which the
/// client must pass.
fn one_key_is_enough(value: &str) -> bool {
    value == "any" || value.split_ascii_whitespace().any(|l| l == "publickey")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sshd_prints_is_read() {
        let config = EffectiveConfig::of(&Settings::parse(
            "port 22\nmaxauthtries 3\nstrictmodes yes\nhostkey /etc/ssh/ssh_host_rsa_key\n\
             hostkey /etc/ssh/ssh_host_ed25519_key\nauthenticationmethods any\n",
        ));
        assert_eq!(config.max_auth_tries, 3);
        assert!(!config.several_methods);
        assert_eq!(
            config.host_key_files(),
            [
                PathBuf::from("/etc/ssh/ssh_host_rsa_key.pub"),
                PathBuf::from("/etc/ssh/ssh_host_ed25519_key.pub"),
            ]
        );
    }

    #[test]
    fn nothing_printed_means_the_defaults() {
        let config = EffectiveConfig::of(&Settings::parse(""));
        assert_eq!(config.max_auth_tries, DEFAULT_MAX_AUTH_TRIES);
        assert!(config.host_keys.is_empty() && !config.several_methods);
    }

    #[test]
    fn lists_of_algorithms_take_what_they_name_and_all_where_nothing_is_known() {
        let of = |text: &str| EffectiveConfig::of(&Settings::parse(text)).algorithms;
        let certificate = "ssh-ed25519-cert-v01@openssh.com";
        let all = of("");
        assert!(all.takes_key(certificate) && all.takes_signature("ssh-rsa"));
        let some = of(
            "pubkeyacceptedalgorithms ssh-ed25519,*-cert-v01@openssh.com\n\
             casignaturealgorithms ssh-ed25519,rsa-sha2-512\n",
        );
        assert!(some.takes_key(certificate) && !some.takes_key("ssh-rsa"));
        assert!(some.takes_signature("ssh-ed25519") && !some.takes_signature("ssh-rsa"));
        assert!(!of("pubkeyacceptedkeytypes ssh-ed25519\n").takes_key(certificate));
    }

    #[test]
    fn a_list_of_one_key_alone_is_enough() {
        for (value, several) in [
            ("any", false),
            ("publickey", false),
            ("publickey,password publickey", false),
            ("publickey,password", true),
            ("publickey,publickey", true),
            ("password,publickey keyboard-interactive", true),
        ] {
            let text = format!("authenticationmethods {value}\n");
            assert_eq!(
                EffectiveConfig::of(&Settings::parse(&text)).several_methods,
                several,
                "{value}"
            );
        }
    }
}
