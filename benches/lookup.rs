//! `sshkeyd authorized-keys` from exec to exit, beside `setpriv … true`, by turns in one run.
//! `cargo bench --bench lookup`, as root. To reach: as long for 10,000 keys as for one.

use sshkeyd::keys::{IndexLine, encode_index};
use sshkeyd::sinks::IndexFile;
use std::error::Error;
use std::path::Path;
use std::process::{Command, Stdio};
use support::{Times, Work, timed};

#[allow(dead_code, reason = "each bench uses a part of it")]
mod support;

/// Who logs in, and who looks: users of every machine, none of them root.
const USER: (&str, u32) = ("daemon", 1);
const LOOKER: &str = "65534";
/// Rounds of every size.
const ROUNDS: usize = 200;
const SIZES: [u64; 3] = [1, 100, 10_000];

#[expect(clippy::print_stdout, reason = "a bench says what it measured")]
fn main() -> Result<(), Box<dyn Error>> {
    let work = Work::new()?;
    println!("milliseconds               median       p90     least");
    for keys in SIZES {
        let index = work.path().join(format!("{keys}/keys"));
        publish(&index, keys)?;
        let [kind, blob] = words(keys / 2);
        let [mut one, mut all, mut floor] = [0; 3].map(|_| Times::default());
        for _ in 0..ROUNDS {
            let (time, done) = timed(|| run("/bin/true", &[]));
            done?;
            floor.push(time);
            let lookup = ["authorized-keys", "--index", path(&index)?, USER.0];
            let (time, lines) = timed(|| {
                let args = [&lookup[..], &[kind.as_str(), blob.as_str()]].concat();
                run(env!("CARGO_BIN_EXE_sshkeyd"), &args)
            });
            assert_eq!(lines?, 1, "one key is asked about and found");
            one.push(time);
            let (time, lines) = timed(|| run(env!("CARGO_BIN_EXE_sshkeyd"), &lookup));
            assert_eq!(lines? as u64, keys, "all keys are printed");
            all.push(time);
        }
        println!("{keys:6} keys, one         {}", one.row());
        println!("{keys:6} keys, all         {}", all.row());
        println!("  setpriv true         {}", floor.row());
        let ratio = |times: &Times| times.median() / floor.median();
        println!(
            "  one, all / floor     {:9.2} {:9.2}",
            ratio(&one),
            ratio(&all)
        );
    }
    Ok(())
}

fn path(path: &Path) -> Result<&str, Box<dyn Error>> {
    path.to_str().ok_or_else(|| "not UTF-8".into())
}

/// Type and blob of a key.
fn words(number: u64) -> [String; 2] {
    let text = support::key(number).to_string();
    let (kind, blob) = text.split_once(' ').unwrap_or_default();
    [kind.to_owned(), blob.to_owned()]
}

/// Writes an index as the agent does.
fn publish(index: &Path, keys: u64) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(index.parent().unwrap_or(index))?;
    let line = |number| {
        let key = support::key(number);
        IndexLine {
            fingerprint: key.fingerprint(),
            ends: None,
            line: format!("{key} person-{number}@host").into_bytes(),
        }
    };
    let lines: Vec<_> = (0..keys).map(line).collect();
    let file = IndexFile::open(&index.join(USER.1.to_string()), USER.1)?;
    let read = file.read()?;
    file.replace(&read, &encode_index(USER.1, &lines)?, keys)?;
    Ok(())
}

/// Runs a program as nobody in particular, and counts the lines that it prints.
fn run(program: &str, args: &[&str]) -> Result<usize, Box<dyn Error>> {
    let output = Command::new("setpriv")
        .args(["--reuid", LOOKER, "--regid", LOOKER, "--clear-groups"])
        .arg(program)
        .args(args)
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(output.stdout.iter().filter(|b| **b == b'\n').count())
}
