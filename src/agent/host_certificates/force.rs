//! From files to what sshd shows: the lines by the keeper, a reload for files that changed, a look
//! by a new connection; what is not shown then is put back, or left out.

use super::task::Task;
use crate::agent::sshd_keeper::users_of;
use crate::sinks::host_certificates::Served;
use crate::sinks::proof::{Shown, shown_certificate};
use crate::sinks::sshd_config::{Reread, listens_at, reread, settled};
use crate::sync::{Code, Finding};
use crate::trust::Certificate;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How long the keeper may take to bring lines into force.
const LINES_WITHIN: Duration = Duration::from_secs(90);
/// Rounds of the keeper in that time: one may have been under way with the lines of before.
const KEPT: usize = 2;
/// How long sshd may take until it shows what it has read.
const SHOWN_WITHIN: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(500);
/// The directory of users.
const USERS_WITHIN: Duration = Duration::from_secs(5);

impl Task {
    /// Has sshd show what is to be shown, and forget the rest.
    pub(super) async fn bring_into_force(&mut self, served: &mut Served) {
        let are_in_force = self.have_lines(served).await;
        self.take_away(served).await;
        let Some(address) = listens_at(self.sight.address, &self.sight.paths).await else {
            return;
        };
        self.look(address).await;
        if !are_in_force || self.unseen().is_empty() {
            return;
        }
        // One reload for all that changed.
        let mut why = self.reload(address).await;
        let unseen = self.unseen();
        if unseen.is_empty() {
            return;
        }
        if let Some(Reread::Nobody) = why {
            // Whoever starts sshd will have it read them.
            return;
        }
        let mut is_back = false;
        for (name, certificate) in &unseen {
            let files = self.files.clone();
            let name = *name;
            let back = spawn_blocking(move || files.put_back(name)).await;
            let had_one = matches!(back, Ok(Ok(true)));
            is_back |= had_one;
            if !had_one {
                self.left_out.insert(name);
            }
            let why = match &why {
                Some(Reread::Failed(why)) => why.clone(),
                _ => "sshd does not show it; is the private key another one than the .pub file \
                      beside it says?"
                    .to_owned(),
            };
            let what = if had_one {
                "the one before is back"
            } else {
                "it is taken out"
            };
            let text = format!("certificate {}: {why}; {what}", certificate.serial());
            let about = self.files.path(name).display().to_string();
            let finding = Finding::new(Code::HostCertificateRefused, about, text);
            self.refused.insert(name, finding);
        }
        if is_back {
            self.standing = self.read().await;
            why = self.reload(address).await;
            if let Some(Reread::Failed(why)) = why {
                tracing::error!(why, "sshd was not told of the old host certificates");
            }
        }
        if unseen.keys().any(|name| self.left_out.contains(name)) {
            self.have_lines(served).await;
            self.take_away(served).await;
        }
    }

    /// Tells the keeper, and waits until its lines, and no others of ours, are what `sshd -T` says;
    /// false where that does not come to be.
    async fn have_lines(&mut self, served: &mut Served) -> bool {
        let lines = self.lines();
        let directory = self.files.directory().to_owned();
        let is_so = |served: &Served| {
            let Some(named) = &served.named else {
                return false;
            };
            let ours = |line: &&String| std::path::Path::new(line).starts_with(&directory);
            let ours: BTreeSet<_> = named.iter().filter(ours).collect();
            ours == lines.iter().collect()
        };
        self.publish(served, false);
        let until = Instant::now() + LINES_WITHIN;
        let mut rounds = 0;
        loop {
            *served = self.serves().await;
            if is_so(served) {
                // The drop-in stands before sshd has been told of it.
                settled().await;
                return true;
            }
            // Without leave to write, or with sshd out of reach, nobody brings them into force.
            if !self.sight.may_write || served.named.is_none() || rounds == KEPT {
                return false;
            }
            if timeout_at(until, self.kept.notified()).await.is_err() {
                return false;
            }
            rounds += 1;
        }
    }

    /// Takes files away that are not to be shown, and that nothing names any more.
    async fn take_away(&mut self, served: &Served) {
        let Some(named) = &served.named else { return };
        let is_named = |name: &str| {
            let path = self.files.path(name).display().to_string();
            named.contains(&path)
        };
        let gone: Vec<_> = self.standing.keys().copied().collect();
        let gone = gone.into_iter().filter(|name| self.left_out.contains(name));
        let gone: Vec<_> = gone.filter(|name| !is_named(name)).collect();
        for name in gone {
            let files = self.files.clone();
            let removed = spawn_blocking(move || files.remove(name)).await;
            if let Ok(Ok(())) = removed {
                self.standing.remove(name);
                self.shown.remove(name);
                tracing::info!(name, "host certificate taken away");
            }
        }
    }

    async fn reload(&mut self, address: SocketAddr) -> Option<Reread> {
        let targets = self.config.targets.clone();
        let users = spawn_blocking(move || users_of(&targets));
        let users = timeout(USERS_WITHIN, users).await.map(Result::ok);
        self.sight.users = users.ok().flatten().unwrap_or_default();
        let reread = reread(&self.sight).await;
        let until = Instant::now() + SHOWN_WITHIN;
        loop {
            self.look(address).await;
            if self.unseen().is_empty() || until <= Instant::now() {
                return Some(reread);
            }
            sleep(AGAIN).await;
        }
    }

    /// What is to be shown, and is seen not to be.
    fn unseen(&self) -> BTreeMap<&'static str, Certificate> {
        let mut unseen = self.used();
        let is_unseen = |name: &str| !self.shown.contains(name) && !self.unknown.contains(name);
        unseen.retain(|name, _| is_unseen(name));
        unseen
    }

    /// Looks at what sshd shows, with a new connection for each.
    async fn look(&mut self, address: SocketAddr) {
        for (name, certificate) in self.used() {
            match shown_certificate(address, certificate.key()).await {
                Shown::Certificate(shown) if is_same(&shown, &certificate) => {
                    self.unknown.remove(name);
                    if self.shown.insert(name) {
                        let serial = certificate.serial();
                        tracing::info!(serial, name, "sshd shows the host certificate");
                        let files = self.files.clone();
                        // The one before lies there for nothing, and is swept with the next.
                        let _ = spawn_blocking(move || files.settle(name)).await;
                    }
                }
                Shown::Certificate(_) | Shown::None => {
                    self.shown.remove(name);
                    self.unknown.remove(name);
                }
                Shown::Unknown => {
                    self.unknown.insert(name);
                }
            }
        }
    }
}

fn is_same(one: &Certificate, other: &Certificate) -> bool {
    (one.serial(), one.key(), one.ca()) == (other.serial(), other.key(), other.ca())
        && one.principals() == other.principals()
}
