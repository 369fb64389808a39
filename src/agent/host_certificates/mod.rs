//! Host certificates on an instance: what the loop knows of the task that keeps them.
//!
//! The task asks the service, writes files and looks at sshd; the lines in sshd's configuration are
//! the keeper's, one wish among others, made of the files that stand. So files come before lines,
//! and lines go before files.

mod force;
mod task;
mod tell;

use super::holder::Holder;
use crate::config::AgentConfig;
use crate::sinks::host_certificates::HostFiles;
use crate::sinks::sshd_config::{Directive, Wish};
use crate::sync::Finding;
use crate::sys::users;
use crate::wire::{CertificatesStatus, HostCertificateStatus};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use task::Task;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

/// Who wants it of sshd's configuration.
const WHO: &str = "host certificates";
/// How long `agent --once` waits for certificates.
const ONCE_WITHIN: Duration = Duration::from_secs(90);

/// What the task tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct View {
    /// Files that sshd is to show, as HostCertificate has them; `None` while nothing is known.
    lines: Option<Vec<String>>,
    /// What an administrator should hear.
    findings: Vec<Finding>,
    /// What sshd was seen to show.
    shown: Vec<HostCertificateStatus>,
    /// Nothing is under way.
    settled: bool,
}

/// The task, as the loop sees it.
#[derive(Debug, Default)]
pub(super) struct HostCertificates {
    running: Option<Running>,
    /// Files that could not go.
    pub(super) left: Vec<String>,
}

#[derive(Debug)]
struct Running {
    view: watch::Receiver<Arc<View>>,
    kept: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What sshd is to show of the certificates that stand; none where the agent is to keep none.
pub(super) fn standing_wish(config: &AgentConfig) -> Option<Wish> {
    if !config.certificates.host {
        return None;
    }
    let files = HostFiles::new(&config.certificates.directory);
    let standing = files.standing();
    let paths = standing
        .keys()
        .map(|name| files.path(name).display().to_string());
    wish(paths.collect())
}

/// The keeper's first wishes of ours: what stands stays named from the start.
pub(super) fn first_wants(config: &AgentConfig) -> BTreeMap<&'static str, Vec<Wish>> {
    let wish = standing_wish(config).into_iter();
    wish.map(|wish| (WHO, vec![wish])).collect()
}

fn wish(lines: Vec<String>) -> Option<Wish> {
    let directives = vec![Directive::lines("HostCertificate", lines.clone())];
    (!lines.is_empty()).then_some(Wish {
        purpose: WHO,
        directives,
    })
}

impl HostCertificates {
    /// Waits until there is something new to tell; for ever where nothing runs. Safe to cancel.
    pub(super) async fn changed(&mut self) {
        if let Some(running) = &mut self.running
            && running.view.changed().await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }

    fn view(&self) -> Arc<View> {
        let view = self.running.as_ref();
        view.map(|running| Arc::clone(&running.view.borrow()))
            .unwrap_or_default()
    }

    /// Adds what an administrator should hear, and what sshd shows.
    pub(super) fn tell(
        &self,
        findings: &mut Vec<Finding>,
        certificates: &mut Option<CertificatesStatus>,
    ) {
        let view = self.view();
        findings.extend(view.findings.iter().cloned());
        if !view.shown.is_empty() {
            let certificates = certificates.get_or_insert_default();
            certificates.host.clone_from(&view.shown);
        }
    }

    /// Tells the task that sshd's configuration has been looked after.
    pub(super) fn kept(&self) {
        if let Some(running) = &self.running {
            running.kept.notify_one();
        }
    }

    /// Ends the task: it writes nothing any more.
    async fn close(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.task.abort();
            // It was cancelled: that is what was asked for.
            let _ = (&mut running.task).await;
        }
    }
}

impl Holder {
    /// Begins to keep host certificates, or to take away those of a configuration before.
    pub(super) fn start_host_certificates(&mut self) {
        let config = self.config();
        if users::current_uid() != 0 || config.unprivileged || self.host.running.is_some() {
            return;
        }
        // sshd shows one certificate for a key, so one account's.
        let session = self
            .sources
            .iter()
            .find_map(|source| source.session.clone());
        let session = session.filter(|_| config.certificates.host);
        let files = HostFiles::new(&config.certificates.directory);
        if session.is_none() && files.standing().is_empty() {
            return;
        }
        let (tell, view) = watch::channel(Arc::default());
        let kept = Arc::new(Notify::new());
        let task = Task::new(config, session, files, tell, Arc::clone(&kept));
        self.host.running = Some(Running {
            view,
            kept,
            task: tokio::spawn(task.run()),
        });
    }

    /// Takes what the task told.
    pub(super) fn host_changed(&mut self) {
        if let Some(lines) = self.host.view().lines.clone() {
            self.keeper.want(WHO, wish(lines).into_iter().collect());
        }
        self.publish();
    }

    /// One round of it to its end; for `agent --once`, once the sources have answered.
    pub(super) async fn host_certificates_once(&mut self) {
        self.start_host_certificates();
        let round = async {
            while self.host.running.is_some() && !self.host.view().settled {
                self.host.changed().await;
                self.host_changed();
                self.keep_sshd_now().await;
            }
        };
        if timeout(ONCE_WITHIN, round).await.is_err() {
            tracing::warn!("host certificates were not settled when the agent went");
        }
    }

    /// Ends the task, so that what is let go of stays away.
    pub(super) async fn close_host_certificates(&mut self) {
        self.host.close().await;
    }

    /// Takes the files away that sshd's configuration names no more.
    pub(super) async fn remove_host_certificates(&mut self) {
        if users::current_uid() != 0 {
            return;
        }
        let files = HostFiles::new(&self.config().certificates.directory);
        let directory = files.directory().display().to_string();
        let look = self.keeper.seen();
        let named = look.map(|look| look.named.clone()).unwrap_or_default();
        let removed = spawn_blocking(move || files.remove_all(&named)).await;
        let removed = removed.map_err(|fault| fault.to_string());
        self.host.left = match removed.and_then(|done| done.map_err(|fault| fault.to_string())) {
            Ok(left) => left,
            Err(fault) => {
                tracing::error!(fault, "host certificates are left");
                vec![directory]
            }
        };
    }
}
