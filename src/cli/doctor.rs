//! `sshkeyd doctor`: why a login with an account key works here, or does not, and what mends it.
//! A running agent is asked; without one root has it done here, from the configuration.

use super::exit::{Exit, Failed};
use super::output::Output;
use super::status::WhichAgent;
use crate::agent::{Answer, AskError, Request, sshd_lines};
use crate::config::AgentConfig;
use crate::sinks::doctor::{examine, patients};
use crate::sys::{clock, users};
use crate::wire::{Doctor, DoctorReport, Level};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The local user; every target's where none is named (for others than root: yourself)
    user: Option<String>,
    #[command(flatten)]
    agent: WhichAgent,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Exit 0 when there is no problem, 1 when there is one.
pub(super) fn run(args: Args, out: &mut Output) -> anyhow::Result<Exit> {
    let doctor = examined(&args)?;
    if args.json {
        out.json(&doctor)?;
    } else {
        doctor.reports.iter().for_each(|report| show(report, out));
    }
    Ok(match doctor.is_healthy() {
        true => Exit::Done,
        false => Exit::NotDone,
    })
}

fn examined(args: &Args) -> anyhow::Result<Doctor> {
    let request = Request::Doctor {
        user: args.user.clone(),
    };
    let failed = match args.agent.try_ask(request)? {
        Ok(Answer::Doctor(doctor)) => return Ok(*doctor),
        Ok(answer) => {
            super::status::status_of(answer)?;
            return Err(Failed::new(Exit::Unavailable, "the agent gave another answer").into());
        }
        Err(error) => error,
    };
    let AskError::NoAgent { .. } = &failed else {
        return Err(super::status::unavailable(&failed).into());
    };
    let config = super::agent::read(&args.agent.file())?;
    if users::current_uid() != 0 && !config.unprivileged {
        let text = format!("{failed}; start it, or run this as root");
        return Err(Failed::new(Exit::Unavailable, text).into());
    }
    Ok(super::run_to_end(examine_here(
        &config,
        args.user.as_deref(),
    ))?)
}

async fn examine_here(config: &AgentConfig, user: Option<&str>) -> Doctor {
    let targets: Vec<_> = config.targets.iter().collect();
    let mut reports = Vec::new();
    let lines = sshd_lines(config);
    for patient in patients(user, &targets, None) {
        let now = clock::now();
        reports.push(examine(&config.sshd, config.verify, &lines, &patient, now).await);
    }
    Doctor { reports }
}

fn show(report: &DoctorReport, out: &mut Output) {
    let of = |level: Level| report.findings.iter().filter(|f| f.level == level).count();
    let words = match (of(Level::Problem), of(Level::Notice)) {
        (0, 0) => "no problem".to_owned(),
        (0, notices) => format!("no problem, {notices} to know of"),
        (problems, _) => format!("{problems} in the way of a login with an account key"),
    };
    out.line(&format!("{}: {words}", report.user));
    for finding in &report.findings {
        let mark = match finding.level {
            Level::Problem => "PROBLEM",
            Level::Notice => "notice ",
            Level::Ok => "ok     ",
        };
        out.line(&format!("  {mark}  {}: {}", finding.check, finding.what));
        if let Some(fix) = &finding.fix {
            out.line(&format!("           {fix}"));
        }
    }
}
