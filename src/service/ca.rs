//! An account's certificate authorities: made at first use, sealed in the database, and what they
//! sign (interface.md section 5).
//!
//! A certificate is written down before it is signed, so that there is none that cannot be
//! revoked. It opens no more than the key that it is over, and lasts no longer than that key and
//! the token that asked for it.

use super::Service;
use super::api::ApiError;
use super::auth::{Bearing, Caller};
use super::store::{
    CaRow, CertificateRow, Issued, KeyRow, MAX_CERTIFICATES, MAX_TTL, NewCa, StoreError,
};
use crate::config::parse_duration;
use crate::keys::{Options, PublicKey};
use crate::trust::{Limits, NewCertificate, Role, Signer, account_principal};
use crate::wire::{CaState, NewUserCertificate, Probe, UserCertificate};
use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit};
use zeroize::Zeroizing;

/// How long a user's certificate is good where nobody says.
const TTL: SignedDuration = SignedDuration::from_hours(8);

/// A certificate is good from so long before it was made: by more than this a clock is not off
/// without a word (`clock-wrong`).
const EARLY: SignedDuration = SignedDuration::from_mins(5);

/// How often a certificate is tried again whose key was edited, or whose CA handed over, meanwhile.
const TRIES: usize = 3;

impl Service {
    /// The account's CAs, the one that signs first; made at first use.
    pub(super) async fn cas(&self, account: i64, role: Role) -> Result<Vec<CaRow>, StoreError> {
        let had = self.store.known_cas(account, role).await?;
        if had.iter().any(|ca| ca.state == CaState::Signing) {
            return Ok(had);
        }
        let made = self.store.cas(account, role, self.new_ca(), self.now());
        made.await
    }

    /// A key pair for a CA, sealed in its own place.
    pub(super) fn new_ca(&self) -> NewCa {
        let signer = Signer::from_seed(&Zeroizing::new(rand::random::<[u8; 32]>()));
        let public_key = signer.public().to_string();
        let pem = signer.to_openssh();
        NewCa {
            sealed: self.sealing.seal(&place(&public_key), pem.as_bytes()),
            public_key,
        }
    }

    /// The private half of a CA; `None`: it was not sealed here.
    pub(super) fn signer_of(&self, ca: &CaRow) -> Option<Signer> {
        let pem = self.sealing.open(&place(&ca.public_key), &ca.sealed)?;
        Signer::from_openssh(std::str::from_utf8(&pem).ok()?).ok()
    }

    /// The CA that signs, and its private half.
    ///
    /// # Errors
    /// 500: it does not open.
    pub(super) async fn signing_ca(
        &self,
        account: i64,
        role: Role,
    ) -> Result<(CaRow, Signer), ApiError> {
        let cas = self.cas(account, role).await?;
        let ca = cas.into_iter().find(|ca| ca.state == CaState::Signing);
        let ca = ca.ok_or_else(ApiError::internal)?;
        let Some(signer) = self.signer_of(&ca) else {
            tracing::error!(account, ca = ca.id, "the CA's key does not open");
            return Err(ApiError::internal());
        };
        Ok((ca, signer))
    }

    /// Signs a user's certificate.
    ///
    /// # Errors
    /// 400 for what is no key or no time; 409 where the key was revoked, its options cannot stand
    /// in a certificate, or the account has too many.
    pub(super) async fn certify_user(
        &self,
        caller: &Caller,
        new: &NewUserCertificate,
    ) -> Result<UserCertificate, ApiError> {
        let (key, _) = PublicKey::parse_text(&new.public_key)
            .map_err(|error| ApiError::bad(error.code(), format!("public_key: {error}")))?;
        let ttl = ttl(new.ttl.as_deref())?;
        let mut listed = false;
        for _ in 0..TRIES {
            let made = Box::pin(self.try_certify(caller, &key, ttl, &mut listed)).await?;
            if let Some(made) = made {
                return Ok(made);
            }
            // What changed may be the token itself.
            self.still(caller).await?;
        }
        Err(ApiError::conflict(
            "changed",
            "the key, or the account's CA, is being changed at the same time; try again",
        ))
    }

    /// The same; `None`: something changed meanwhile. A key that was `listed` as the account's is
    /// never taken for a fresh one.
    pub(super) async fn try_certify(
        &self,
        caller: &Caller,
        key: &PublicKey,
        ttl: SignedDuration,
        listed: &mut bool,
    ) -> Result<Option<UserCertificate>, ApiError> {
        let (account, now) = (caller.account(), self.now());
        let fingerprint = key.fingerprint().to_string();
        let known = self.store.key_of(account, fingerprint.clone()).await?;
        if known.is_none() && *listed {
            return Err(ApiError::conflict(
                "changed",
                "the key was deleted at the same time; ask over another",
            ));
        }
        *listed = known.is_some();
        let limits = known
            .as_ref()
            .map_or(Ok(Limits::none()), |row| limits(&row.options))?;
        let (valid_after, valid_before) = times(now, ttl, known.as_ref(), caller)?;
        let (ca, signer) = self.signing_ca(account, Role::User).await?;
        let session = match caller.bearing {
            Bearing::Session(id, _) => Some(id),
            Bearing::ApiKey(_) => None,
        };
        let key_id = key_id(account, known.as_ref().map(|row| row.id), caller.bearing);
        let row = CertificateRow {
            ca: ca.id,
            key_id: key_id.clone(),
            fingerprint,
            ssh_key: known.as_ref().map(|row| (row.id, row.revision)),
            session,
            api_key: caller.api_key(),
            instance: None,
            valid_after,
            valid_before,
        };
        let added = self.store.add_certificate(caller.actor.clone(), row, now);
        let serial = match added.await? {
            Issued::Serial(serial) => serial,
            Issued::Changed => return Ok(None),
            Issued::Revoked => return Err(revoked(&key_id)),
            Issued::NotEverywhere => return Err(not_everywhere()),
            Issued::TooMany => return Err(too_many()),
        };
        let principals = [account_principal(account)];
        let certificate = signer
            .certify(
                &NewCertificate {
                    role: Role::User,
                    key,
                    serial,
                    key_id: &key_id,
                    principals: &principals,
                    valid_after,
                    valid_before,
                    limits: &limits,
                },
                &rand::random(),
            )
            .map_err(|error| ApiError::bad("no-certificate", error.to_string()))?;
        self.metrics.signed(1);
        tracing::info!(account, serial, key_id, "user certificate");
        Ok(Some(UserCertificate {
            certificate,
            serial,
            key_id,
            principals: principals.into(),
            valid_after,
            valid_before,
        }))
    }

    /// What sshd on the account's instances can be asked about: two certificates of each user CA of
    /// the list in force, and nobody has the key.
    ///
    /// # Errors
    /// 500: a CA does not open.
    pub(super) async fn probes(&self, account: i64) -> Result<Vec<Probe>, ApiError> {
        let now = self.now();
        let head = self.store.head(account).await?;
        let revision = head.map_or(0, |head| head.revision);
        let signed = self.snapshots.current(&self.store, account, revision, now);
        let signed = signed.await?;
        let version = signed.krl.as_ref().map(|krl| krl.version);
        let listed = &signed.keys.trust.user_ca;
        let mut probes = Vec::new();
        for ca in self.store.known_cas(account, Role::User).await? {
            if !listed.contains(&ca.public_key) {
                continue;
            }
            let signer = self.signer_of(&ca).ok_or_else(ApiError::internal)?;
            // Where there is a CA there is a list.
            for revoked_by in [None, version] {
                let made = signer.probe(account, revoked_by, now, &rand::random());
                probes.push(Probe {
                    certificate: made.map_err(|_| ApiError::internal())?,
                    revoked_by,
                });
            }
        }
        Ok(probes)
    }
}

/// From when and until when: no longer than what was asked for, the key, and the token that asks.
fn times(
    now: Timestamp,
    ttl: SignedDuration,
    key: Option<&KeyRow>,
    caller: &Caller,
) -> Result<(Timestamp, Timestamp), ApiError> {
    let whole = TimestampRound::new()
        .smallest(Unit::Second)
        .mode(RoundMode::Floor);
    let down = |at: Timestamp| at.round(whole).unwrap_or(at);
    let ends = [
        now.checked_add(ttl).ok(),
        key.and_then(|row| row.expires_at),
        caller.ends,
    ];
    let valid_before = down(ends.into_iter().flatten().min().unwrap_or(now));
    if valid_before <= now {
        return Err(ApiError::conflict(
            "too-short",
            "the key, or the session that asks, is about to end",
        ));
    }
    Ok((down(now.checked_sub(EARLY).unwrap_or(now)), valid_before))
}

fn revoked(key_id: &str) -> ApiError {
    ApiError::conflict(
        "revoked",
        format!(
            "the account revoked this key, or the key ID {key_id}; make a new key, or log in anew"
        ),
    )
}

fn not_everywhere() -> ApiError {
    ApiError::conflict(
        "not-everywhere",
        "a certificate opens every instance of the account, and this key is not on all of them; \
         give the key scope all and attach it where it was detached, or ask over a fresh key",
    )
}

fn too_many() -> ApiError {
    ApiError::conflict(
        "too-many-certificates",
        format!(
            "{MAX_CERTIFICATES} certificates of the account are good at this time; wait until some \
             end"
        ),
    )
}

/// `account/key/session`: a fresh key is `0`, an API key in the place of a session has a `k`.
fn key_id(account: i64, key: Option<i64>, by: Bearing) -> String {
    let key = key.unwrap_or(0);
    match by {
        Bearing::Session(id, _) => format!("{account}/{key}/{id}"),
        Bearing::ApiKey(id) => format!("{account}/{key}/k{id}"),
    }
}

fn limits(options: &str) -> Result<Limits, ApiError> {
    // They were checked when they were saved.
    let options = Options::parse(options).map_err(|_| ApiError::internal())?;
    Limits::of(&options).map_err(|error| ApiError::conflict("options", error.to_string()))
}

fn ttl(text: Option<&str>) -> Result<SignedDuration, ApiError> {
    let Some(text) = text else { return Ok(TTL) };
    parse_duration(text)
        .ok()
        .and_then(|ttl| SignedDuration::try_from(ttl).ok())
        .filter(|ttl| ttl.is_positive() && *ttl <= MAX_TTL)
        .ok_or_else(|| ApiError::bad("bad-ttl", "ttl is a time as 30m or 8h, at most 24h"))
}

/// The place of a CA's private key among what is sealed.
fn place(public_key: &str) -> String {
    format!("ca {public_key}")
}
