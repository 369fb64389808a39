//! What the loop waits for, where that may be nothing at all.

use super::SYNC_WITHIN;
use crate::sys::watch;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

pub(super) async fn wait_for(heard: Vec<oneshot::Receiver<()>>) {
    let all = async {
        for one in heard {
            // A closed channel means that the source has just been asked by somebody else.
            let _ = one.await;
        }
    };
    let _ = timeout(SYNC_WITHIN, all).await;
}

pub(super) async fn changed(watched: &mut Option<watch::Watch>) {
    match watched {
        Some(watched) => watched.changed().await,
        None => std::future::pending().await,
    }
}

pub(super) async fn wake_at(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
