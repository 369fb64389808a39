//! What `sshd -T` says is in force, as far as the proof needs it.
//!
//! Reads the output of sshd(8) `-T`: a keyword in lower case, a blank, its values. Owns no process:
//! running sshd is the caller's. An unknown line is passed over.

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
    /// PubkeyAuthentication.
    pub pubkey_authentication: bool,
    /// AuthorizedKeysFile, with sshd's tokens in it.
    pub authorized_keys_files: Vec<String>,
}

impl EffectiveConfig {
    /// Reads what `sshd -T` printed. What it does not name has sshd's default.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut config = Self {
            host_keys: Vec::new(),
            max_auth_tries: DEFAULT_MAX_AUTH_TRIES,
            several_methods: false,
            pubkey_authentication: true,
            authorized_keys_files: Vec::new(),
        };
        for line in text.lines() {
            let Some((keyword, value)) = line.trim().split_once(' ') else {
                continue;
            };
            let value = value.trim();
            match keyword.to_ascii_lowercase().as_str() {
                "hostkey" if value != "none" => config.host_keys.push(value.into()),
                "maxauthtries" => {
                    config.max_auth_tries = value.parse().unwrap_or(DEFAULT_MAX_AUTH_TRIES);
                }
                "authenticationmethods" => config.several_methods = !one_key_is_enough(value),
                "pubkeyauthentication" => config.pubkey_authentication = value != "no",
                "authorizedkeysfile" => {
                    config.authorized_keys_files =
                        value.split_ascii_whitespace().map(str::to_owned).collect();
                }
                _ => {}
            }
        }
        config
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
        let config = EffectiveConfig::parse(
            "port 22\nmaxauthtries 3\nstrictmodes yes\nhostkey /etc/ssh/ssh_host_rsa_key\n\
             hostkey /etc/ssh/ssh_host_ed25519_key\npubkeyauthentication yes\n\
             authenticationmethods any\n\
             authorizedkeysfile .ssh/authorized_keys .ssh/authorized_keys2\n",
        );
        assert_eq!(config.max_auth_tries, 3);
        assert!(!config.several_methods);
        assert!(config.pubkey_authentication);
        assert_eq!(
            config.host_key_files(),
            [
                PathBuf::from("/etc/ssh/ssh_host_rsa_key.pub"),
                PathBuf::from("/etc/ssh/ssh_host_ed25519_key.pub"),
            ]
        );
        assert_eq!(
            config.authorized_keys_files,
            [".ssh/authorized_keys", ".ssh/authorized_keys2"]
        );
    }

    #[test]
    fn nothing_printed_means_the_defaults() {
        let config = EffectiveConfig::parse("");
        assert_eq!(config.max_auth_tries, DEFAULT_MAX_AUTH_TRIES);
        assert!(config.host_keys.is_empty() && !config.several_methods);
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
                EffectiveConfig::parse(&text).several_methods,
                several,
                "{value}"
            );
        }
    }
}
