//! What is in force of the wishes, and which files sshd's configuration names: looked at once the
//! steps are done, changing nothing.

use super::daemon::Daemon;
use super::drop_in::{self, Standing};
use super::places::Survey;
use super::state::State;
use super::steps::Sight;
use super::{Wish, judge};
use std::collections::BTreeSet;
use std::path::Path;
use tokio::task::spawn_blocking;

/// Keywords whose files sshd would miss, or read.
const NAMING: [&str; 4] = [
    "trustedusercakeys",
    "authorizedprincipalsfile",
    "revokedkeys",
    "hostcertificate",
];

/// What was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// Purposes of the wishes that are in force for every user, whoever set them.
    pub in_force: BTreeSet<&'static str>,
    /// Every value in sshd's configuration that could name a file: what stands here is not to be
    /// taken away.
    pub named: BTreeSet<String>,
    /// Nothing is on its way into force or out of it.
    pub is_settled: bool,
}

/// Looks; `None` where sshd does not say what is in force.
pub async fn look(sight: &Sight, wishes: &[Wish]) -> Option<Look> {
    let daemon = Daemon::find(sight.address, &sight.paths).await.ok()?;
    let values = sight.values(&daemon, &daemon.config).await.ok()?;
    let (config, path) = (daemon.config.clone(), sight.paths.drop_in.clone());
    let state_dir = sight.state_dir.clone();
    let files = move || {
        let survey = Survey::of(&config, &path);
        (survey, drop_in::read(&path), State::load(&state_dir))
    };
    let (survey, standing, state) = spawn_blocking(files).await.ok()?;
    let mut look = Look {
        is_settled: !state.unsettled,
        ..Look::default()
    };
    for (_, settings) in &values {
        let named = NAMING.iter().flat_map(|keyword| settings.all(keyword));
        look.named.extend(named.cloned());
    }
    let of_text = survey.places.iter().map(|place| unquoted(&place.value));
    look.named.extend(of_text);
    if let Ok(Standing::Ours(text)) = &standing {
        look.named.extend(values_in(text));
    }
    let options = daemon.set_by_option().map(|(_, value)| unquoted(value));
    look.named.extend(options);
    let is_in_force = |wish: &&Wish| judge::missing(&wish.directives, &values).is_none();
    if look.is_settled {
        let in_force = wishes.iter().filter(is_in_force);
        look.in_force = in_force.map(|wish| wish.purpose).collect();
    }
    Some(look)
}

/// Whether the agent's drop-in has this value, in force or not. May block.
#[must_use]
pub fn drop_in_names(drop_in: &Path, value: &str) -> bool {
    match drop_in::read(drop_in) {
        Ok(Standing::Ours(text)) => values_in(&text).any(|named| named == value),
        Ok(Standing::Nothing | Standing::Another) | Err(_) => false,
    }
}

fn values_in(text: &str) -> impl Iterator<Item = String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some(unquoted(line.split_once(' ')?.1)))
}

fn unquoted(value: &str) -> String {
    value.replace('"', "").trim().to_owned()
}
