//! Where people ask, what each request comes to, and what outlives a reload: the socket, and turns
//! and lookups that have not ended.

use super::control::{self, Answer, Asked, Request};
use super::lookups::Lookups;
use super::turns::Turns;
use super::{Agent, wait_for};
use crate::config::AgentConfig;
use crate::sinks::doctor;
use crate::sys::clock;
use crate::wire::Doctor;
use std::path::PathBuf;
use tokio::sync::mpsc;

/// Where people ask. It stays open over a reload: nobody's question is lost.
pub(super) struct Desk {
    socket: PathBuf,
    unprivileged: bool,
    control: Option<control::Control>,
    pub(super) requests: mpsc::Receiver<Asked>,
    /// Turns that have not ended yet: no second one is begun at their files.
    pub(super) turns: Turns,
    /// What is known of users, and is being asked.
    pub(super) lookups: Lookups,
}

impl Desk {
    pub(super) async fn open(config: &AgentConfig, before: Option<Self>) -> Self {
        let (socket, unprivileged) = (&config.control_socket, config.unprivileged);
        let mut turns = Turns::default();
        if let Some(before) = before {
            let same = before.socket == *socket && before.unprivileged == unprivileged;
            if same && before.control.is_some() {
                return before;
            }
            turns = before.turns;
            if let Some(control) = before.control {
                control.close().await;
            }
        }
        let (ask, requests) = mpsc::channel(16);
        let control = match control::start(socket, unprivileged, ask).await {
            Ok(control) => Some(control),
            Err(fault) => {
                // Keys matter more than being asked about them.
                tracing::error!(path = %socket.display(), %fault, "no control socket");
                None
            }
        };
        Self {
            socket: socket.clone(),
            unprivileged,
            control,
            requests,
            turns,
            lookups: Lookups::default(),
        }
    }
}

impl Agent {
    /// Answers, or has it answered by whoever gets to know.
    pub(super) async fn request(&mut self, asked: Asked) {
        let Asked {
            request,
            only,
            answer,
        } = asked;
        // An asker who has gone has no use for an answer: that it is not taken says nothing.
        let refused = match request {
            Request::Status => None,
            Request::Plan => {
                let preview = self.holder.preview(only.as_deref()).await;
                tokio::spawn(async move {
                    let plan = Box::new(preview.plan().await);
                    let _ = answer.send(Answer::Plan(plan));
                });
                return;
            }
            Request::Doctor { user } => {
                let patients = self.holder.patients(user.as_deref(), only.is_some());
                let (paths, verify, lines) = self.holder.sshd();
                tokio::spawn(async move {
                    let mut reports = Vec::new();
                    for patient in patients {
                        let now = clock::now();
                        reports.push(doctor::examine(&paths, verify, &lines, &patient, now).await);
                    }
                    let _ = answer.send(Answer::Doctor(Box::new(Doctor { reports })));
                });
                return;
            }
            Request::Sync if self.holder.may_sync() => {
                let (heard, answered) = (self.ask(), self.sources_answered.clone());
                tokio::spawn(async move {
                    wait_for(heard).await;
                    // An agent that is gone closes the asker's channel.
                    let _ = answered.send(answer).await;
                });
                return;
            }
            Request::Sync => {
                Some("a sync was asked for less than a second ago; ask again".to_owned())
            }
            Request::Unmanage => {
                self.holder.unmanage().await;
                None
            }
            Request::SealImage => self.holder.seal().await.err(),
        };
        if let Some(text) = refused {
            let _ = answer.send(Answer::Refused(text));
        } else {
            self.answer(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::agent_from_str;
    use std::path::Path;

    #[tokio::test]
    async fn a_turn_that_hangs_is_known_although_the_socket_moves() {
        let dir = tempfile::tempdir().unwrap();
        let config = |socket: &str| {
            let at = |name: &str| dir.path().join(name).display().to_string();
            let text = format!(
                "[agent]\nstate-dir = \"{}\"\ncontrol-socket = \"{}\"\n\
                 [[source]]\nname = \"a\"\nfile.path = \"/a\"\n\
                 [[target]]\nuser = \"root\"\nsources = [\"a\"]\n",
                at("state"),
                at(socket)
            );
            agent_from_str(&text, Path::new("/c"), &|_| None).unwrap()
        };
        let (wake, sleep) = std::sync::mpsc::channel::<()>();
        let mut desk = Desk::open(&config("one"), None).await;
        let hangs = move |_| {
            let _ = sleep.recv();
            unreachable!("the test ends before")
        };
        assert!(desk.turns.begin(Path::new("/a"), hangs).await.is_none());
        let desk = Desk::open(&config("two"), Some(desk)).await;
        assert!(desk.turns.is_under_way(Path::new("/a")));
        drop(wake);
    }
}
