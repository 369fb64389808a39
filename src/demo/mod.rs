//! The story that `sshkeyd demo` tells, and the SSH server and client it tells it with.
//!
//! Nothing here is for real logins: the server runs no command and has no users. The service and
//! the agent are the real ones, on loopback, in a scratch directory.

pub mod admission;
mod scratch;
pub mod ssh_client;
pub mod ssh_server;
mod stage;
mod story;

pub use scratch::Scratch;
pub use stage::Stage;
pub use story::{Step, tell};
