//! A turn that changes nothing, and an apply beside the bare durable write, by turns in one run.
//! `cargo bench --bench apply`. To reach: a turn without changes writes nothing.

use sshkeyd::sinks::KeysFile;
use sshkeyd::sync::{Desired, FileWrite, Owned, plan, render};
use sshkeyd::sys::dir::Owner;
use std::error::Error;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use support::{Times, Work, bare_write, timed};

#[allow(dead_code, reason = "each bench uses a part of it")]
mod support;

/// Pairs of writes.
const PAIRS: u64 = 300;
/// Turns that change nothing.
const TURNS: usize = 2_000;

#[expect(clippy::print_stdout, reason = "a bench says what it measured")]
fn main() -> Result<(), Box<dyn Error>> {
    let work = Work::new()?;
    println!("milliseconds               median       p90     least");
    no_op(work.path())?;
    for kib in [1, 100] {
        let (apply, bare) = pairs(work.path(), kib * 1024)?;
        println!("apply, {kib:3} KiB          {}", apply.row());
        println!("  bare durable write   {}", bare.row());
        let ratio = apply.median() / bare.median();
        println!("  apply / bare         {ratio:9.2}");
    }
    Ok(())
}

/// Opens, reads and plans, and must leave the file as it is.
#[expect(clippy::print_stdout, reason = "a bench says what it measured")]
fn no_op(dir: &Path) -> Result<(), Box<dyn Error>> {
    let path = dir.join("no-op");
    let wanted = wanted(10);
    let first = turn(&path, dir, &wanted, 0)?;
    assert!(first, "the first turn writes");
    let about = |path: &Path| {
        let about = std::fs::metadata(path)?;
        Ok::<_, std::io::Error>((about.ino(), about.mtime_nsec(), about.ctime_nsec()))
    };
    let (file_before, dir_before) = (about(&path)?, about(dir)?);
    let mut times = Times::default();
    for unique in 1..=TURNS {
        let (time, wrote) = timed(|| turn(&path, dir, &wanted, unique as u64));
        assert!(!wrote?, "a turn without changes writes nothing");
        times.push(time);
    }
    assert_eq!(about(&path)?, file_before, "inode, mtime and ctime stay");
    assert_eq!(
        about(dir)?,
        dir_before,
        "nothing came and went in the directory"
    );
    println!("turn without changes   {}", times.row());
    println!("  wrote nothing: inode, mtime and ctime of file and directory unchanged");
    Ok(())
}

/// Ten keys and their lines.
fn wanted(keys: u64) -> Desired {
    use sshkeyd::sync::{Decision, Dialect, View, decide};
    let mut list = sshkeyd::keys::KeyList::default();
    for number in 0..keys {
        list.push(Ok(support::listed(number)));
    }
    let view = View {
        source: "account",
        list: Some(&list),
    };
    match decide(&[view], jiff::Timestamp::UNIX_EPOCH, &Dialect::default()) {
        Decision::Apply(desired) => desired,
        Decision::Hold(_) => Desired::default(),
    }
}

/// One turn, as the agent does it; whether it wrote.
fn turn(path: &Path, home: &Path, wanted: &Desired, unique: u64) -> Result<bool, Box<dyn Error>> {
    let mut file = KeysFile::open(path, home, Owner::ROOT)?;
    let read = file.read()?;
    let plan = plan(&read.keys, wanted, &Owned::default(), false)?;
    if plan.is_empty() {
        return Ok(false);
    }
    let write = render(&read.keys, &plan);
    file.replace(read, write, unique)?;
    Ok(true)
}

/// The program's replace and the bare one, by turns, on files of this size side by side.
fn pairs(dir: &Path, size: usize) -> Result<(Times, Times), Box<dyn Error>> {
    let (ours, bare) = (dir.join("ours"), dir.join("bare"));
    let (mut apply_times, mut bare_times) = (Times::default(), Times::default());
    for pair in 0..PAIRS {
        let bytes = vec![b'#'; size];
        let (time, done) = timed(|| bare_write(&bare, &bytes));
        done?;
        bare_times.push(time);
        let write = FileWrite { bytes };
        let (time, done) = timed(|| {
            let mut file = KeysFile::open(&ours, dir, Owner::ROOT)?;
            let read = file.read()?;
            file.replace(read, write, pair)
        });
        done?;
        apply_times.push(time);
    }
    Ok((apply_times, bare_times))
}
