//! Certificates of users and hosts, the CAs that sign them, and what was revoked (interface.md
//! section 5).

use super::PasswordGiven;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// `POST /v1/certificates/user`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct NewUserCertificate {
    /// A key of the account, or a fresh one.
    pub public_key: String,
    /// How long, as `8h`; at most 24 h, and no longer than the key and the session that ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
}

/// The answer: 201.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct UserCertificate {
    /// `ssh-ed25519-cert-v01@openssh.com AAAA…`.
    pub certificate: String,
    /// Never given out twice.
    pub serial: u64,
    /// `account/key/session`: who it leads back to.
    pub key_id: String,
    /// `account:ID`.
    pub principals: Vec<String>,
    /// Good from this second on.
    pub valid_after: Timestamp,
    /// Good up to this second, which is not in it.
    pub valid_before: Timestamp,
}

/// `POST /v1/certificates/revoke`: exactly one of them. 204.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct RevokeCertificates {
    /// The certificate with this serial,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<u64>,
    /// or those with this key ID,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// or those over this key, and the key itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
}

/// `GET /v1/ca`: public key lines, the one that signs first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct Cas {
    /// CAs of users: for TrustedUserCAKeys.
    pub user_ca: Vec<String>,
    /// CAs of hosts: for `@cert-authority` in known_hosts.
    pub host_ca: Vec<String>,
    /// Each of them, and where it stands.
    #[serde(default)]
    pub items: Vec<Ca>,
}

/// A certificate authority of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct Ca {
    /// Whose certificates it signs.
    pub role: CaRole,
    /// `ssh-ed25519 AAAA…`.
    pub public_key: String,
    /// `SHA256:…`.
    pub fingerprint: String,
    /// Where it stands.
    pub state: CaState,
    /// When it was made.
    pub created_at: Timestamp,
    /// Live instances that have not reported yet that sshd trusts it: the next one waits for them.
    /// Always empty for a CA of hosts, which people's machines trust.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<i64>,
}

/// Whose certificates a CA signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub enum CaRole {
    /// Those of people.
    User,
    /// Those of instances.
    Host,
}

/// Where a CA stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub enum CaState {
    /// Handed out, and does not sign yet.
    Next,
    /// Signs.
    Signing,
    /// Signs no more, and goes when the last certificate by it has ended.
    Leaving,
}

/// `POST /v1/ca/rotate`: for a person's session only. 202 with the [`Cas`] after it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct RotateCa {
    /// Which.
    pub role: CaRole,
    /// Somebody else may have the private half of those that sign: they, and all certificates by
    /// them, are good for nothing at once, and the new one waits for nobody.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compromised: bool,
    /// Whose word it is.
    #[serde(flatten)]
    pub person: PasswordGiven,
}

/// `GET /v1/agent/probes`: certificates to ask sshd about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct Probes {
    /// Two of each user CA of the account.
    pub probes: Vec<Probe>,
}

/// A certificate over a key that nobody has, good for minutes: sshd can be asked about it, and
/// nobody can log in with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct Probe {
    /// `ssh-ed25519-cert-v01@openssh.com AAAA…`.
    pub certificate: String,
    /// The revocation list of this number, and of no other, revokes it by its key ID; `None`: sshd
    /// is to take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_by: Option<u64>,
}

/// The revocation list of a snapshot: the file itself stands at `/v1/agent/krl/SHA256`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct KrlRef {
    /// Its number; a later list has a higher one.
    pub version: u64,
    /// Hexadecimal digest of the file.
    pub sha256: String,
    /// Bytes of the file.
    pub size: u64,
    /// The file itself, where it has at most 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

/// `POST /v1/agent/host-certificates`: the host keys that sshd serves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct HostCertificatesRequest {
    /// The agent's run id.
    pub run: String,
    /// Public key lines, one of a type.
    pub keys: Vec<String>,
}

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct HostCertificatesAnswer {
    /// One for each key that has the owner's word.
    pub certificates: Vec<HostCertificate>,
    /// Fingerprints of keys that have changed and wait for it.
    #[serde(default)]
    pub waiting: Vec<String>,
}

/// A host's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct HostCertificate {
    /// `SHA256:…` of the host key.
    pub key: String,
    /// `ssh-ed25519-cert-v01@openssh.com AAAA…`.
    pub certificate: String,
    /// Never given out twice.
    pub serial: u64,
    /// Good up to this second, which is not in it.
    pub valid_before: Timestamp,
}

/// Which certificates an instance trusts and shows: part of its status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct CertificatesStatus {
    /// Fingerprints of the user CAs that sshd trusts.
    #[serde(default)]
    pub user_ca: Vec<String>,
    /// The number of the revocation list that is in force; `None`: none is.
    #[serde(default)]
    pub krl_version: Option<u64>,
    /// The host certificates that sshd shows.
    #[serde(default)]
    pub host: Vec<HostCertificateStatus>,
    /// Fingerprints of the user CAs by which sshd was seen to take a certificate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proved_ca: Vec<String>,
    /// The number of the revocation list by which sshd was seen to refuse one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proved_krl: Option<u64>,
    /// When sshd was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proved_at: Option<Timestamp>,
    /// Why sshd could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unproved: Option<String>,
}

/// One host certificate of a status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct HostCertificateStatus {
    /// `SHA256:…` of the host key.
    pub key: String,
    /// The certificate's serial.
    pub serial: u64,
    /// When it ends.
    pub valid_to: Timestamp,
}
