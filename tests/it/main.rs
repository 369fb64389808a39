//! One integration binary: it links once.

// `cfg(test)` tells clippy that helpers are tests too, and may unwrap.
#[cfg(test)]
mod cli;
#[cfg(test)]
mod enrolment;
#[cfg(test)]
mod files;
#[cfg(test)]
mod guards;
#[cfg(test)]
mod liar;
#[cfg(test)]
mod proof;
#[cfg(test)]
mod service_process;
#[cfg(test)]
mod story_openssh;
#[cfg(test)]
mod story_russh;
#[cfg(test)]
mod subscription;
#[cfg(test)]
mod support;
