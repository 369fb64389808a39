//! Host certificates: over keys that have the owner's word, with names that the service sets.
//!
//! The same is given again until three fifths of its life are over, so that an agent that asks each
//! day, or each minute, gets one a renewal; other names or another CA make a new one at once.

use super::Service;
use super::api::{ApiError, Asked};
use super::host_names;
use super::store::{
    Actor, AgentSession, By, CaRow, CertificateRow, GivenRow, HostKeyRow, HostKeysSeen, Issued,
};
use crate::keys::PublicKey;
use crate::sync::Life;
use crate::trust::{Limits, NewCertificate, Role, Signer};
use crate::wire::{HostCertificate, HostCertificatesAnswer, HostKeyState};
use jiff::{SignedDuration, Timestamp};

/// How long a host certificate is good.
const LIFE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// It is good from so long before it was made: clocks differ.
const EARLY: SignedDuration = SignedDuration::from_mins(5);
/// Certificates that an instance is given within a day.
const A_DAY: i64 = 32;
/// Seconds until an agent that had all of them may ask again.
const AGAIN: u32 = 3600;
/// Host keys of a request.
const MAX_KEYS: usize = 8;
/// Types that a certificate is given for.
const TYPES: [&str; 5] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
];

/// The host keys of a request: each plain, of a type that is allowed, one of a type.
///
/// # Errors
/// 400, with what is wrong.
pub(super) fn parse(lines: &[String]) -> Result<Vec<PublicKey>, ApiError> {
    if lines.len() > MAX_KEYS {
        let detail = format!("at most {MAX_KEYS} host keys");
        return Err(ApiError::bad("too-many-keys", detail));
    }
    let mut keys: Vec<PublicKey> = Vec::new();
    for line in lines {
        let (key, _) = PublicKey::parse_text(line)
            .map_err(|error| ApiError::bad(error.code(), format!("keys: {error}")))?;
        if !TYPES.contains(&key.key_type()) {
            let detail = format!("{} is no type of a host key here", key.key_type());
            return Err(ApiError::bad("bad-key-type", detail));
        }
        if keys.iter().any(|had| had.key_type() == key.key_type()) {
            let detail = format!("two keys of type {}: sshd serves one", key.key_type());
            return Err(ApiError::bad("two-of-a-type", detail));
        }
        keys.push(key);
    }
    Ok(keys)
}

impl Service {
    /// Gives a certificate for each key that has the owner's word.
    ///
    /// # Errors
    /// 409 for an instance that is being removed, 429 where it was given too many.
    pub(super) async fn certify_hosts(
        &self,
        agent: &AgentSession,
        asked: &Asked,
        keys: Vec<PublicKey>,
    ) -> Result<HostCertificatesAnswer, ApiError> {
        let (account, instance, now) = (agent.account, agent.instance, self.now());
        let actor = Actor {
            account,
            by: By::Agent { instance },
            from: asked.from,
            request: asked.id.clone(),
        };
        let seen = self.store.see_host_keys(actor.clone(), instance, keys, now);
        let Some(seen) = seen.await? else {
            return Err(ApiError::conflict(
                "removing",
                "the instance is being removed: it gets no certificates",
            ));
        };
        let names = host_names::names(instance, &seen.label, seen.label_is_unique);
        let mut answer = HostCertificatesAnswer::default();
        let HostKeysSeen {
            keys, mut lately, ..
        } = seen;
        let mut ca = None;
        for row in keys {
            match row.state {
                HostKeyState::Refused => continue,
                HostKeyState::Waiting => {
                    answer.waiting.push(row.fingerprint);
                    continue;
                }
                HostKeyState::Approved => {}
            }
            let (signing, signer) = match &ca {
                Some(ca) => ca,
                None => ca.insert(self.signing_ca(account, Role::Host).await?),
            };
            let good = row.given.clone().filter(|given| {
                let life = Life::new(given.valid_after, given.valid_before);
                given.names == names && given.ca == signing.id && life.is_young(now)
            });
            let given = match good {
                Some(given) => Some(given),
                None if lately >= A_DAY => return Err(too_often()),
                None => {
                    lately += 1;
                    let by = (signing, signer);
                    self.certify_host(&actor, instance, &row, by, &names)
                        .await?
                }
            };
            answer
                .certificates
                .extend(given.map(|given| HostCertificate {
                    key: row.fingerprint,
                    certificate: given.certificate,
                    serial: given.serial,
                    valid_before: given.valid_before,
                }));
        }
        Ok(answer)
    }

    /// Signs one; `None`: the owner took his word back meanwhile.
    async fn certify_host(
        &self,
        actor: &Actor,
        instance: i64,
        row: &HostKeyRow,
        (ca, signer): (&CaRow, &Signer),
        names: &[String],
    ) -> Result<Option<GivenRow>, ApiError> {
        let (account, now) = (actor.account, self.now());
        let second = |at: Timestamp| Timestamp::from_second(at.as_second()).unwrap_or(at);
        let valid_after = second(now.checked_sub(EARLY).unwrap_or(now));
        let valid_before = second(now.checked_add(LIFE).unwrap_or(Timestamp::MAX));
        let key_id = format!("{account}/instance/{instance}");
        let new = CertificateRow {
            ca: ca.id,
            key_id: key_id.clone(),
            fingerprint: row.fingerprint.clone(),
            ssh_key: None,
            session: None,
            api_key: None,
            instance: Some(instance),
            valid_after,
            valid_before,
        };
        let added = self.store.add_certificate(actor.clone(), new, now);
        let serial = match added.await? {
            Issued::Serial(serial) => serial,
            Issued::Changed | Issued::Revoked | Issued::NotEverywhere => {
                let detail = "the instance, or the account's CA, is being changed; ask again";
                return Err(ApiError::conflict("changed", detail));
            }
            Issued::TooMany => return Err(too_often()),
        };
        // The table holds nothing but keys that were read.
        let (key, _) = PublicKey::parse_text(&row.public_key).map_err(|_| ApiError::internal())?;
        let signed = signer.certify(
            &NewCertificate {
                role: Role::Host,
                key: &key,
                serial,
                key_id: &key_id,
                principals: names,
                valid_after,
                valid_before,
                limits: &Limits::none(),
            },
            &rand::random(),
        );
        let certificate = signed.map_err(|error| {
            tracing::error!(account, instance, %error, "no host certificate");
            ApiError::internal()
        })?;
        let given = GivenRow {
            serial,
            certificate,
            names: names.to_vec(),
            ca: ca.id,
            valid_after,
            valid_before,
        };
        let fingerprint = row.fingerprint.clone();
        let kept = self
            .store
            .keep_host_certificate(instance, fingerprint, given.clone(), now);
        if !kept.await? {
            return Ok(None);
        }
        tracing::info!(account, instance, serial, "host certificate");
        Ok(Some(given))
    }
}

fn too_often() -> ApiError {
    let detail = "this instance was given as many host certificates as it may in a day";
    ApiError::too_many("too-many-certificates", detail, AGAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> String {
        Signer::from_seed(&[seed; 32]).public().to_string()
    }

    #[test]
    fn a_request_names_one_plain_host_key_of_a_type() {
        let code = |lines: &[String]| parse(lines).map_err(|error| error.code()).err();
        assert_eq!(code(&[]), None);
        assert_eq!(code(&[key(1)]), None);
        assert_eq!(code(&[key(1), key(2)]), Some("two-of-a-type"));
        assert_eq!(code(&vec![key(1); 9]), Some("too-many-keys"));
        for (line, why) in [
            ("", "empty"),
            ("nonsense", "malformed"),
            (
                "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gAAAABHNzaDo=",
                "bad-key-type",
            ),
        ] {
            let got = code(&[line.to_owned()]);
            assert!(
                got.is_some_and(|code| code == why || why != "bad-key-type"),
                "{line} {got:?}"
            );
        }
    }
}
