//! proc(5) as it reads, and that a signal reaches nobody but whom it is for.

use super::*;
use std::process::{Command, Stdio};

#[test]
fn a_name_cannot_pass_for_other_fields() {
    let text = "42 (a) R 1 (b) S 7 42 42 34819 99 4194304 1 0 0 0 0 0 0 0 20 0 1 0 12345 0 0";
    let stat = parse_stat(text).unwrap();
    let process = Process {
        pid: 42,
        start: 12345,
    };
    assert_eq!((stat.process, stat.parent), (process, 7));
    assert_eq!(stat.name, "a) R 1 (b");
    assert_eq!((stat.state, stat.pts), ('S', Some(3)));
    let many = text.replace("34819", "34820");
    assert_eq!(parse_stat(&many).unwrap().pts, Some(4));
    let none = text.replace("34819", "0");
    assert_eq!(parse_stat(&none).unwrap().pts, None);
    for wrong in ["", "1 (a", "1 (a) S", "x (a) S 1 1 1 0"] {
        assert_eq!(parse_stat(wrong), None, "{wrong}");
    }
}

#[test]
fn children_of_children_are_found_and_nobody_else() {
    let stat = |pid, parent| Stat {
        process: Process { pid, start: 1 },
        parent,
        name: String::new(),
        state: 'S',
        pts: None,
    };
    let all = [stat(1, 0), stat(5, 1), stat(6, 5), stat(7, 6), stat(8, 1)];
    let pids = |from: &[u32]| {
        let found = descendants(&all, from);
        found.iter().map(|s| s.process.pid).collect::<Vec<_>>()
    };
    assert_eq!(pids(&[5]), [6, 7]);
    assert_eq!(pids(&[7]), [] as [u32; 0]);
    assert_eq!(pids(&[9]), [] as [u32; 0]);
}

#[test]
fn this_process_is_as_it_is() {
    let pid = std::process::id();
    let us = stat(pid).unwrap();
    assert_eq!(us.process.pid, pid);
    assert!(all().contains(&us) || all().iter().any(|s| s.process == us.process));
    assert_eq!(program(pid), std::env::current_exe().ok());
    let uid = crate::sys::users::current_uid();
    assert_eq!(users_of(pid).map(|(_, effective)| effective), Some(uid));
    assert!(!boot_id().is_empty());
    assert!(ticks(us.process.start) > Duration::ZERO);
}

#[tokio::test]
async fn only_the_process_that_was_meant_is_signalled() {
    let mut child = Command::new("sleep")
        .arg("1000")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let process = stat(child.id()).unwrap().process;
    let other = Process {
        start: process.start + 1,
        ..process
    };
    let fault = Held::open(other).unwrap_err();
    assert_eq!(fault.kind(), io::ErrorKind::NotFound);
    let held = Held::open(process).unwrap();
    assert!(!held.is_gone());
    held.signal(Signal::Terminate).unwrap();
    held.ended().await.unwrap();
    assert!(held.is_gone());
    child.wait().unwrap();
    held.signal(Signal::Kill).unwrap();
    let fault = Held::open(process).unwrap_err();
    assert_eq!(fault.kind(), io::ErrorKind::NotFound);
}
