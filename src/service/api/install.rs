//! `/install` and `/install/sshkeyd-ARCH`: what the install line of an instance runs.
//!
//! The script is made for each request, with this service's address and the SHA-256 of each
//! program; the token comes by the environment of the shell, and is in no address and no argument.

use super::super::Service;
use super::super::listen::Conn;
use super::super::programs::{NoProgram, file_name};
use super::ApiError;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use std::fmt::Write as _;
use std::io;

const SCRIPT: &str = include_str!("../install.sh");
const UNIT: &str = include_str!("../../../systemd/sshkeyd-agent.service");
const SYSUSERS: &str = include_str!("../../../systemd/sshkeyd.sysusers");
const TMPFILES: &str = include_str!("../../../systemd/sshkeyd.tmpfiles");

/// Where the unit has the program, and where the script puts it.
const PACKAGED: &str = "/usr/bin/sshkeyd";
const INSTALLED: &str = "/usr/local/bin/sshkeyd";

/// Seconds after which a download that found no place comes again.
const AGAIN: u32 = 5;

/// The line for a root shell.
pub(super) fn line(public_url: &str, token: &str) -> String {
    let address = quoted(&format!("{public_url}/install"));
    format!("curl -fsS {address} | SSHKEYD_TOKEN={} sh", quoted(token))
}

/// The script.
pub(super) async fn script(State(service): State<Service>) -> Result<Response, ApiError> {
    let programs = service.programs.digests().await.map_err(unreadable)?;
    let script = fill(&service.public_url, &programs);
    let kind = HeaderValue::from_static("text/x-shellscript; charset=utf-8");
    Ok(([(CONTENT_TYPE, kind)], script).into_response())
}

/// One program.
pub(super) async fn program(
    State(service): State<Service>,
    conn: Option<Extension<Conn>>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let none = || ApiError::not_found("there is no program of that name; /install knows which are");
    let arch = name.strip_prefix(&file_name("")).ok_or_else(none)?;
    let address = conn.and_then(|Extension(conn)| conn.counted);
    match service.programs.download(arch, address).await {
        Ok(download) => {
            let kind = HeaderValue::from_static("application/octet-stream");
            Ok(([(CONTENT_TYPE, kind)], Body::new(download)).into_response())
        }
        Err(NoProgram::Unknown) => Err(none()),
        Err(NoProgram::Busy) => Err(ApiError::too_many(
            "too-many-downloads",
            "the program is being downloaded as often as it may be at a time",
            AGAIN,
        )),
        Err(NoProgram::Fault(error)) => Err(unreadable(error)),
    }
}

fn unreadable(error: io::Error) -> ApiError {
    tracing::debug!(%error, "install-dir");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "install-dir", "")
}

fn fill(public_url: &str, programs: &[(&str, String)]) -> String {
    let mut digests = String::new();
    for (arch, digest) in programs {
        let _ = writeln!(digests, "    {arch}) echo {digest} ;;");
    }
    SCRIPT
        .replace("@PUBLIC-URL@", public_url)
        .replace("@URL@", &quoted(public_url))
        .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
        .replace("#@DIGESTS@\n", &digests)
        .replace("@UNIT@", UNIT.replace(PACKAGED, INSTALLED).trim_end())
        .replace("@SYSUSERS@", SYSUSERS.trim_end())
        .replace("@TMPFILES@", TMPFILES.trim_end())
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.:/+=-%@,".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}
