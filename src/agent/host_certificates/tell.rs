//! What the task tells: lines for sshd's configuration, conditions, what sshd shows.

use super::View;
use super::task::{Task, life};
use crate::sinks::host_certificates::Served;
use crate::sync::{Code, Finding};
use crate::sys::clock;
use crate::trust::Certificate;
use crate::wire::HostCertificateStatus;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Task {
    /// Tells the loop.
    pub(super) fn publish(&self, served: &Served, settled: bool) {
        let now = clock::now();
        let mut findings: Vec<_> = self.refused.values().cloned().collect();
        let instance = self.asked.as_ref().map_or(0, |(instance, _)| *instance);
        for fingerprint in &self.waiting {
            let text = format!(
                "this host key is new here and waits for the owner's word: \
                 sshkeyd instances approve-host-key {instance} {fingerprint}"
            );
            let about = crate::keys::printable(fingerprint);
            findings.push(Finding::new(Code::HostKeyWaiting, about, text));
        }
        for (key, file) in &served.taken {
            let text = format!(
                "{} is somebody's own certificate for host key {}, and stays; sshd shows one for a \
                 key, so the service's is not put beside it",
                file.display(),
                key.fingerprint()
            );
            findings.push(Finding::new(
                Code::SshdSettingTaken,
                "HostCertificate",
                text,
            ));
        }
        let used = self.used();
        for (name, certificate) in &used {
            let life = life(certificate);
            if life.ends_soon(now) {
                let why = self.last_fault.as_deref().unwrap_or("no new one came");
                let about = self.files.path(name).display().to_string();
                let text = format!("it ends at {}: {why}", life.end());
                findings.push(Finding::new(Code::HostCertificateEnds, about, text));
            }
        }
        let shown = used.iter().filter(|(name, _)| self.shown.contains(**name));
        let view = View {
            lines: Some(self.lines()),
            findings,
            shown: shown
                .map(|(_, certificate)| HostCertificateStatus {
                    key: certificate.key().fingerprint().to_string(),
                    serial: certificate.serial(),
                    valid_to: certificate.valid_before(),
                })
                .collect(),
            settled,
        };
        self.tell.send_if_modified(|held| {
            let is_news = **held != view;
            *held = Arc::new(view);
            is_news
        });
    }

    /// What sshd is to show.
    pub(super) fn used(&self) -> BTreeMap<&'static str, Certificate> {
        let used = self.standing.iter();
        let used = used.filter(|(name, _)| !self.left_out.contains(**name));
        used.map(|(name, held)| (*name, held.clone())).collect()
    }

    /// Its lines.
    pub(super) fn lines(&self) -> Vec<String> {
        let used = self.used();
        let path = |name: &&'static str| self.files.path(name).display().to_string();
        used.keys().map(path).collect()
    }
}
