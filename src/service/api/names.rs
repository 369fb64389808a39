//! What permission trees call our endpoints: Vast's names where Vast has them (vast-api.md
//! section 4), so that a tree that was written for Vast does here what it did there.

/// SSH keys of the account.
pub(in crate::service) const SSH_KEYS: &str = "api.ssh.keys";

/// API keys.
pub(in crate::service) const API_KEYS: &str = "api.auth.apikeys";

/// Sessions.
pub(in crate::service) const SESSIONS: &str = "api.auth.sessions";

/// Instances.
pub(in crate::service) const INSTANCES: &str = "api.instances";

/// The account itself.
pub(in crate::service) const ACCOUNT: &str = "api.users.current";

/// The audit log.
pub(in crate::service) const AUDIT: &str = "api.audit_logs";

/// The stream that says what is new.
pub(in crate::service) const EVENTS: &str = "api.events";

/// Certificates of people.
pub(in crate::service) const CERTIFICATES: &str = "api.certificates";

/// The CAs that sign them, and what was revoked.
pub(in crate::service) const CA: &str = "api.ca";

/// The owner's word on an instance's host keys.
pub(in crate::service) const HOST_KEYS: &str = "api.instances.host_keys";
