//! The asking side of the control socket.

use super::{Answer, Request};
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Longest answer that a client reads, in bytes.
const MAX_ANSWER: u64 = 16 * 1024 * 1024;
/// To the answer of a request that waits for sources.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);

/// Why the agent gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("no agent answers at {path}: {source}")]
    NoAgent {
        /// Where.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The answer is none.
    #[error("the agent gave no answer: {0}")]
    Broken(#[source] io::Error),
}

/// Asks the agent that listens at `path`.
///
/// # Errors
/// [`AskError`].
pub async fn ask(path: &Path, request: Request) -> Result<Answer, AskError> {
    let mut stream = UnixStream::connect(path)
        .await
        .map_err(|source| AskError::NoAgent {
            path: path.display().to_string(),
            source,
        })?;
    let exchange = async {
        let mut line = serde_json::to_vec(&request)?;
        line.push(b'\n');
        // Who is turned away is told so before he has asked.
        let _ = stream.write_all(&line).await;
        let mut answer = Vec::new();
        (&mut stream)
            .take(MAX_ANSWER)
            .read_to_end(&mut answer)
            .await?;
        Ok(serde_json::from_slice(&answer)?)
    };
    match timeout(ANSWER_WITHIN, exchange).await {
        Ok(answer) => answer.map_err(AskError::Broken),
        Err(_) => Err(AskError::Broken(io::ErrorKind::TimedOut.into())),
    }
}
