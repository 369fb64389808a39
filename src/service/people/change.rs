//! A password's change by its owner.

use super::super::Service;
use super::super::api::ApiError;
use super::super::auth::{Bearing, Caller};
use super::Block;
use super::login::check_new;
use crate::wire::{PasswordChange, PasswordGiven};
use zeroize::Zeroizing;

impl Service {
    /// Changes the password, after the one that is; ends all other sessions of people.
    ///
    /// # Errors
    /// Those of [`Service::check_password`]; 400 for what is no password.
    pub(in crate::service) async fn change_password(
        &self,
        caller: &Caller,
        change: PasswordChange,
    ) -> Result<(), ApiError> {
        let new = Zeroizing::new(change.new_password);
        check_new(&new)?;
        let given = PasswordGiven {
            password: change.password,
            code: change.code,
        };
        self.check_password(caller, given).await?;
        let block = Block::of(caller.actor.from);
        let password = self.people.passwords.hash(new, block).await?;
        let keep = match caller.bearing {
            Bearing::Session(session, _) => Some(session),
            Bearing::ApiKey(_) => None,
        };
        let changed = self
            .store
            .set_password(caller.actor.clone(), password, keep, self.now())
            .await?;
        let ended = changed.ok_or_else(ApiError::session_ended)?;
        tracing::info!(account = caller.account(), ended, "password changed");
        Ok(())
    }
}
