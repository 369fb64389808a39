//! The Debian package: installed, upgraded, removed and purged by dpkg in a Debian 13 of its own, with
//! a real service, a real sshd, and logins that go on.

use crate::support::host::read;
use crate::support::process::{Ran, wait_until};
use crate::support::service::Service;
use crate::support::sshd::put;
use debian::{Debian, packages};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

mod debian;
#[path = "../../package/manuals.rs"]
mod manuals;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// It went well, and nobody has to be told anything but what systemd's own tools did.
#[track_caller]
fn quiet(ran: &Ran) {
    let is_usual = |line: &str| ["Creat", "Remov"].iter().any(|word| line.starts_with(word));
    assert!(
        ran.code == Some(0) && ran.err.lines().all(is_usual),
        "{ran:?}"
    );
}

/// Names in the one that are not, or not the same, in the other.
fn differ(one: &BTreeMap<PathBuf, String>, other: &BTreeMap<PathBuf, String>) -> Vec<PathBuf> {
    let is_other = |(name, fixed): &(&PathBuf, &String)| other.get(*name) != Some(*fixed);
    one.iter()
        .filter(is_other)
        .map(|(name, _)| name.clone())
        .collect()
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn from_the_first_installation_to_the_purge_nobody_loses_what_is_his() {
    let (service, debian) = (Service::start(), Debian::boot());
    let [laptop, late, own] = ["laptop", "late", "own"].map(|name| debian.key(name));
    put(&debian.path("root/.ssh-was-here"), "", 0o600);
    debian
        .shell("install -d -m 0700 /root/.ssh && mkdir -p /run/sshd")
        .done();
    debian.start_sshd();
    let before = debian.everything();

    // Installed it does nothing yet, and says nothing.
    quiet(&debian.shell("dpkg -i /before.deb"));
    assert!(!debian.runs());
    assert!(
        debian
            .shell("getent passwd sshkeyd-keys")
            .done()
            .out
            .contains("nologin")
    );
    let link = |unit: &str| {
        let wants = "etc/systemd/system/multi-user.target.wants";
        debian.path(wants).join(unit).is_symlink()
    };
    assert!(link("sshkeyd-agent.service") && !link("sshkeyd-server.service"));
    assert!(
        !debian.path("etc/sshkeyd/agent.toml").exists(),
        "it is the administrator's to write"
    );
    let refused = debian.shell("sshkeyd agent");
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert_eq!(
        debian
            .shell("dpkg --verify sshkeyd | grep -v /usr/share/")
            .out,
        ""
    );

    // It keeps the account's keys.
    let authorized = debian.configure(&service, "block", &own);
    debian.shell("sshkeyd check").done();
    let config = read(&debian.path("etc/sshkeyd/agent.toml"));
    debian.start_agent();
    service.save(&laptop.public, "laptop", &["--wait"]);
    assert!(debian.lets_in(&laptop) && debian.lets_in(&own) && !debian.lets_in(&late));

    // An upgrade finds the administrator's words, and leaves them.
    let server_unit = "etc/systemd/system/sshkeyd-agent.service.d/mine.conf";
    fs::create_dir_all(debian.path(server_unit).parent().unwrap()).unwrap();
    put(&debian.path(server_unit), "[Service]\nNice=5\n", 0o644);
    let old_program = fs::metadata(debian.program()).unwrap().ino();
    quiet(&debian.shell("dpkg -i /now.deb"));
    assert_ne!(fs::metadata(debian.program()).unwrap().ino(), old_program);
    assert_eq!(read(&debian.path("etc/sshkeyd/agent.toml")), config);
    assert_eq!(read(&debian.path(server_unit)), "[Service]\nNice=5\n");
    assert!(link("sshkeyd-agent.service") && debian.lets_in(&laptop));
    debian.stop_agent();
    debian.start_agent();
    service.save(&late.public, "late", &["--wait"]);
    assert!(debian.lets_in(&late), "the same instance goes on");

    // Removed: the agent ends, and everybody who got in gets in.
    let block = debian.authorized_keys();
    quiet(&debian.shell("dpkg -r sshkeyd"));
    assert!(!debian.program().exists() && !debian.runs());
    assert_eq!(debian.authorized_keys(), block);
    assert!(debian.lets_in(&laptop) && debian.lets_in(&late) && debian.lets_in(&own));
    assert_eq!(read(&debian.path("etc/sshkeyd/agent.toml")), config);

    // Installed again it is the same instance, and what was deleted meanwhile goes.
    let ids: serde_json::Value = service.run(&["ssh-keys", "list", "--json"]).done().json();
    let items = ids["items"].as_array().unwrap();
    let laptop_id = items.iter().find(|item| item["name"] == "laptop").unwrap();
    service.delete(laptop_id["id"].as_i64().unwrap());
    debian.shell("dpkg -i /now.deb").done();
    assert!(!debian.path("var/lib/sshkeyd/program").exists());
    debian.start_agent();
    wait_until("the deleted key to go", || {
        !debian
            .authorized_keys()
            .contains(&laptop.public.to_string())
    });
    assert!(debian.lets_in(&late) && !debian.lets_in(&laptop));

    // Purged: nothing is left that is ours, and what was there is as it was.
    debian.shell("dpkg -r sshkeyd").done();
    quiet(&debian.shell("dpkg -P sshkeyd"));
    assert_eq!(debian.authorized_keys(), authorized);
    assert!(debian.lets_in(&own) && !debian.lets_in(&late));
    let after = debian.everything();
    // The file that its owner has made, and the drop-in of the administrator.
    let unit_dir = Path::new(server_unit).parent().unwrap().to_owned();
    let own_file = PathBuf::from("root/.ssh/authorized_keys");
    let mut left = differ(&after, &before);
    // What sshd writes once it is up, and backups of the system's own tools.
    left.retain(|name| *name != Path::new("run/sshd.pid"));
    left.retain(|name| {
        !["passwd-", "group-", "shadow-", "gshadow-"]
            .iter()
            .any(|backup| *name == Path::new("etc").join(backup))
    });
    assert_eq!(left, [unit_dir, server_unit.into(), own_file]);
    let gone: Vec<_> = before
        .keys()
        .filter(|name| !after.contains_key(*name))
        .collect();
    assert_eq!(gone, [] as [&PathBuf; 0]);
    let known = debian.shell("dpkg -s sshkeyd");
    assert_ne!(known.code, Some(0), "{known:?}");
}

#[test]
#[ignore = "needs a real sshd; tests/run includes it"]
fn while_sshd_asks_the_program_for_keys_the_package_stays() {
    let (service, debian) = (Service::start(), Debian::boot());
    let [laptop, own] = ["laptop", "own"].map(|name| debian.key(name));
    debian.shell("install -d -m 0700 /root/.ssh").done();
    debian.start_sshd();
    debian.shell("dpkg -i /now.deb").done();
    let authorized = debian.configure(&service, "command", &own);
    debian.start_agent();
    service.save(&laptop.public, "laptop", &["--wait"]);
    assert!(debian.lets_in(&laptop) && debian.lets_in(&own));
    assert_eq!(debian.authorized_keys(), authorized);

    for ask in ["dpkg -r sshkeyd", "dpkg -P sshkeyd"] {
        let ran = debian.shell(ask);
        assert_ne!(ran.code, Some(0), "{ran:?}");
        assert!(
            ran.err.contains("AuthorizedKeysCommand") && ran.err.contains("sshkeyd unmanage"),
            "{ran:?}"
        );
        assert!(debian.program().exists() && debian.runs() && debian.lets_in(&laptop));
    }
    let state = debian
        .shell("dpkg-query -W -f '${db:Status-Abbrev}' sshkeyd")
        .out;
    assert_eq!(state.trim().get(1..), Some("i"), "it is whole");

    // What it says to do first keeps the keys.
    let config = debian.path("etc/sshkeyd/agent.toml");
    let text = read(&config).replace("\"command\"", "\"block\"");
    put(&config, &text, 0o644);
    wait_until("sshd not to ask any more", || {
        !debian
            .shell("sshd -T")
            .out
            .contains("sshkeyd authorized-keys")
            && debian.lets_in(&laptop)
    });
    debian.shell("dpkg -r sshkeyd").done();
    assert!(debian.lets_in(&laptop) && debian.lets_in(&own) && !debian.runs());
    debian.shell("dpkg -P sshkeyd").done();
    assert_eq!(debian.authorized_keys(), authorized);
    assert!(!debian.path("var/lib/sshkeyd").exists() && !debian.path("etc/sshkeyd").exists());
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn what_cannot_be_taken_out_is_named_and_what_is_the_owners_stays() {
    let (service, debian) = (Service::start(), Debian::boot());
    let [laptop, own] = ["laptop", "own"].map(|name| debian.key(name));
    debian.shell("install -d -m 0700 /root/.ssh").done();
    debian.start_sshd();
    debian.shell("dpkg -i /now.deb").done();
    debian.configure(&service, "block", &own);
    debian.start_agent();
    service.save(&laptop.public, "laptop", &["--wait"]);
    for (path, text) in [
        ("etc/sshkeyd/break-glass.pub", "# his\n"),
        ("var/lib/private/sshkeyd-server/sshkeyd.db", "accounts"),
    ] {
        fs::create_dir_all(debian.path(path).parent().unwrap()).unwrap();
        put(&debian.path(path), text, 0o600);
    }
    debian.shell("dpkg -r sshkeyd").done();
    // The file is where the agent would not write.
    debian.shell("cd /root/.ssh && mv authorized_keys away && ln -s away authorized_keys && chown -h 1 authorized_keys").done();
    let ran = debian.shell("dpkg -P sshkeyd").done();
    assert!(
        ran.err.contains("authorized_keys") && ran.err.contains("are yours to take out"),
        "{ran:?}"
    );
    assert!(
        ran.err
            .contains("holds the accounts of the service, and stays"),
        "{ran:?}"
    );
    assert!(read(&debian.path("root/.ssh/away")).contains("BEGIN sshkeyd"));
    assert_eq!(read(&debian.path("etc/sshkeyd/break-glass.pub")), "# his\n");
    assert_eq!(
        read(&debian.path("var/lib/private/sshkeyd-server/sshkeyd.db")),
        "accounts"
    );
    assert!(
        !debian.path("etc/sshkeyd/enroll-token").exists()
            && !debian.path("var/lib/sshkeyd").exists()
    );
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn lintian_has_nothing_to_say() {
    let mut lintian = Command::new("lintian");
    lintian
        .args(["--allow-root", "--show-overrides"])
        .args(["--profile", "debian"])
        .arg(&packages().now);
    let said = Ran::of(&mut lintian);
    let found = |mark: &str| {
        said.out
            .lines()
            .filter(|line| line.starts_with(mark))
            .count()
    };
    assert!(
        said.code == Some(0) && found("E:") + found("W:") == 0,
        "{}{}",
        said.out,
        said.err
    );
    // Each override has its reason, and something to override.
    let text = read(&root().join("package/debian/lintian-overrides"));
    let tags = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    assert!(found("O:") >= tags.count(), "{}", said.out);
    assert!(!said.out.contains("unused-override"), "{}", said.out);
}

#[test]
#[ignore = "needs man(1); tests/run includes it"]
fn every_command_and_file_has_a_page_that_man_shows_without_a_word() {
    let dir = tempfile::tempdir().unwrap();
    manuals::write(dir.path()).unwrap();
    let mut pages: Vec<PathBuf> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    pages.sort();
    for name in [
        "sshkeyd.1",
        "sshkeyd-agent.1",
        "sshkeyd-ssh-keys-add.1",
        "sshkeyd-server-backup.1",
        "sshkeyd-agent.toml.5",
        "sshkeyd-server.toml.5",
    ] {
        assert!(pages.contains(&dir.path().join(name)), "{name}: {pages:?}");
    }
    for page in &pages {
        let mut man = Command::new("man");
        man.args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"])
            .arg(page)
            .env("LC_ALL", "C.UTF-8")
            .env("MANROFFSEQ", "")
            .env("MANWIDTH", "80");
        let said = man.output().unwrap();
        let words = String::from_utf8_lossy(&said.stderr);
        assert!(
            said.status.success() && words.is_empty(),
            "{}: {words}",
            page.display()
        );
    }
    // Every key of the examples has an entry, in force or not.
    let mut man = Command::new("man");
    man.arg("-l").arg(dir.path().join("sshkeyd-agent.toml.5"));
    let shown = Ran::of(
        man.env("MANPAGER", "cat")
            .env("MANWIDTH", "120")
            .env("LC_ALL", "C.UTF-8"),
    )
    .done()
    .out;
    let (entries, example) = shown.split_once("EXAMPLE").unwrap();
    for key in [
        "state-dir",
        "unprivileged",
        "account.urls",
        "adopt",
        "end-on-revoke",
        "file.path",
    ] {
        assert!(
            entries.contains(&format!("{key} = ")) && example.contains(key),
            "{key}: {shown}"
        );
    }
}

#[test]
#[ignore = "needs root; tests/run includes it"]
fn the_package_holds_what_belongs_to_it() {
    let mut list = Command::new("dpkg-deb");
    let list = Ran::of(list.arg("--contents").arg(&packages().now))
        .done()
        .out;
    for path in [
        "/usr/bin/sshkeyd",
        "/usr/lib/systemd/system/sshkeyd-agent.service",
        "/usr/lib/systemd/system/sshkeyd-server.service",
        "/usr/lib/sysusers.d/sshkeyd.conf",
        "/usr/lib/tmpfiles.d/sshkeyd.conf",
        "/usr/share/man/man1/sshkeyd.1.gz",
        "/usr/share/man/man5/sshkeyd-agent.toml.5.gz",
        "/usr/share/man/man5/sshkeyd-server.toml.5.gz",
        "/usr/share/bash-completion/completions/sshkeyd",
        "/usr/share/zsh/vendor-completions/_sshkeyd",
        "/usr/share/fish/vendor_completions.d/sshkeyd.fish",
        "/usr/share/doc/sshkeyd/README.md",
        "/usr/share/doc/sshkeyd/README.Debian",
        "/usr/share/doc/sshkeyd/copyright",
        "/usr/share/doc/sshkeyd/crates",
        "/usr/share/doc/sshkeyd/changelog.Debian.gz",
        "/usr/share/doc/sshkeyd/examples/agent.toml",
        "/usr/share/doc/sshkeyd/examples/server.toml",
        "/usr/share/doc/sshkeyd/examples/cloud-init.yaml",
        "/usr/share/doc/sshkeyd/examples/onstart",
    ] {
        let found = list
            .lines()
            .find(|line| line.ends_with(&format!(" .{path}")));
        let found = found.unwrap_or_else(|| panic!("no {path} in {list}"));
        assert!(found.contains(" 0/0 "), "{found}");
    }
    // A configuration in /etc would start the agent with somebody else's service.
    assert!(!list.contains(" ./etc"), "{list}");
    let mut depends = Command::new("dpkg-deb");
    let depends = Ran::of(depends.arg("--field").arg(&packages().now).arg("Depends"));
    assert!(depends.done().out.contains("libc6 (>= "), "it links glibc");
    let changelog = read(&root().join("package/debian/changelog"));
    let newest = format!("sshkeyd ({}-", env!("CARGO_PKG_VERSION"));
    assert!(changelog.starts_with(&newest), "{changelog}");
}

#[test]
fn shells_take_the_scripts_and_the_completions() {
    let scripts = [
        "deb",
        "agent-static",
        "onstart",
        "debian/postinst",
        "debian/prerm",
        "debian/postrm",
    ];
    let mut check = Command::new("shellcheck");
    check.args(scripts.map(|name| root().join("package").join(name)));
    let said = check
        .output()
        .expect("shellcheck is there: apt-get install shellcheck");
    assert!(
        said.status.success(),
        "{}",
        String::from_utf8_lossy(&said.stdout)
    );
    let mut bash = Command::new("bash");
    let script = "set -euo pipefail; eval \"$(\"$1\" completions bash)\"; complete -p sshkeyd";
    bash.args([
        "--norc",
        "-c",
        script,
        "bash",
        env!("CARGO_BIN_EXE_sshkeyd"),
    ]);
    assert!(Ran::of(&mut bash).done().out.contains("_sshkeyd"));
}
