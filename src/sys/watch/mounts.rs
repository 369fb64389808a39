//! Mounts that come and go: proc(5) `mountinfo`, which poll(2) says has changed.

use std::fs::File;
use std::io;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// This process's mounts.
#[derive(Debug)]
pub(super) struct Mounts(AsyncFd<File>);

impl Mounts {
    /// Begins to listen.
    ///
    /// # Errors
    /// There is no /proc, or no runtime.
    #[expect(
        deprecated,
        reason = "its successor is unsafe; a File keeps its descriptor"
    )]
    pub(super) fn open() -> io::Result<Self> {
        let file = File::open("/proc/self/mountinfo")?;
        Ok(Self(AsyncFd::with_interest(file, Interest::PRIORITY)?))
    }

    /// Waits until something was mounted or unmounted since it was last told; for ever where that
    /// cannot be known. Safe to cancel.
    pub(super) async fn changed(mounts: Option<&Self>) {
        let Some(Self(file)) = mounts else {
            return std::future::pending().await;
        };
        match file.ready(Interest::PRIORITY).await {
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => std::future::pending().await,
        }
    }
}
