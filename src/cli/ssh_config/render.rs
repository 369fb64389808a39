//! The entries, as text.
//!
//! Pure. Labels are the user's words and all of a status is the tenant's: a name stands in an entry
//! only where it is a plain word that can be nothing else, and addresses and ids are written from
//! numbers. So nothing of theirs can become a directive, a pattern, or the name of another host.

use crate::client::clean;
use crate::wire::Instance;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Bytes of one line of names: far below what any ssh reads.
const MAX_NAMES: usize = 800;
/// Bytes of a label in a comment.
const MAX_LABEL: usize = 128;
/// By what a certificate is had before it is needed.
const RENEW: &str = "sshkeyd cert --if-needed --quiet";

/// An instance, and where it is.
pub(super) struct Known<'a> {
    pub(super) instance: &'a Instance,
    pub(super) address: Option<IpAddr>,
}

/// A key whose certificate stands beside it, by plain paths.
pub(super) struct Identity {
    pub(super) private: String,
    pub(super) certificate: String,
}

/// What all entries share.
pub(super) struct Page {
    /// `account:ID ADDRESS`.
    pub(super) name: String,
    pub(super) identity: Option<Identity>,
    /// A plain path.
    pub(super) known_hosts: Option<String>,
}

impl Page {
    /// The whole file. Its first line names whose it is.
    pub(super) fn render(&self, all: &[Known<'_>]) -> String {
        let name = &self.name;
        let mut text =
            format!("# sshkeyd ssh-config, {name}: written anew by `sshkeyd ssh-config --write`\n");
        let labels = labels(all);
        let names: Vec<Vec<String>> = all
            .iter()
            .map(|known| names(known.instance, &labels))
            .collect();
        let renew = match &self.identity {
            Some(identity) => format!("{RENEW} --beside {}", identity.private),
            None => RENEW.to_owned(),
        };
        let flat: Vec<&str> = names.iter().flatten().map(String::as_str).collect();
        for names in in_lines(&flat) {
            text.push_str(&format!("\nMatch originalhost {names} exec \"{renew}\"\n"));
        }
        for (known, names) in all.iter().zip(&names) {
            text.push_str(&self.entry(known, names));
        }
        text
    }

    fn entry(&self, known: &Known<'_>, names: &[String]) -> String {
        let id = known.instance.id;
        let label = clean(&known.instance.label, MAX_LABEL);
        let mut lines = vec![
            String::new(),
            format!("# instance {id} \"{label}\""),
            format!("Host {}", names.join(" ")),
        ];
        match known.address {
            Some(address) => lines.push(format!("    HostName {address}")),
            None => lines.push("    # its address is not known; add HostName".to_owned()),
        }
        lines.push(format!("    HostKeyAlias instance-{id}.sshkeyd"));
        if let Some(user) = user(known.instance) {
            lines.push(format!("    User {user}"));
        }
        if let Some(identity) = &self.identity {
            lines.push(format!("    IdentityFile {}", identity.private));
            lines.push(format!("    CertificateFile {}", identity.certificate));
        }
        if let Some(file) = &self.known_hosts {
            lines.push(format!("    UserKnownHostsFile {file}"));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

/// How many instances have each label.
fn labels<'a>(all: &[Known<'a>]) -> BTreeMap<&'a str, usize> {
    let mut labels = BTreeMap::new();
    for known in all {
        *labels.entry(known.instance.label.as_str()).or_insert(0) += 1;
    }
    labels
}

/// What an instance may be called: always by its id, and by its label where that is a plain word
/// that no other instance has.
fn names(instance: &Instance, labels: &BTreeMap<&str, usize>) -> Vec<String> {
    let id = instance.id;
    let label = instance.label.as_str();
    let mut names = vec![format!("instance-{id}"), format!("instance-{id}.sshkeyd")];
    if is_plain_label(label) && labels.get(label) == Some(&1) {
        names.insert(0, label.to_owned());
    }
    names
}

/// Whether a label can stand as a name in a Host line and mean nothing else: no pattern, no option,
/// no name of another host (those have dots), not `localhost`, and not another instance's name.
fn is_plain_label(label: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
    label.len() <= 63
        && label.bytes().all(plain)
        && label
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric())
        && !is_number(label)
        && !label.to_ascii_lowercase().starts_with("instance-")
        && !label.eq_ignore_ascii_case("localhost")
}

/// An address without dots: 2130706433 is 127.0.0.1 to a resolver, and so is 0x7f000001.
fn is_number(label: &str) -> bool {
    label.starts_with(|c: char| c.is_ascii_digit())
        && label
            .bytes()
            .all(|b| b.is_ascii_hexdigit() || b"xX".contains(&b))
}

/// Whom to log in as: the one user that it keeps keys for, or root where that is one of several.
fn user(instance: &Instance) -> Option<&str> {
    let targets = &instance.status.as_ref()?.targets;
    let mut users: Vec<&str> = targets.iter().map(|target| target.user.as_str()).collect();
    users.sort_unstable();
    users.dedup();
    let user = match users[..] {
        [user] => user,
        _ => users.into_iter().find(|user| *user == "root")?,
    };
    is_plain_user(user).then_some(user)
}

/// useradd(8), CAVEATS: `[a-z_][a-z0-9_-]*[$]?`, and the capitals and dots that others allow.
fn is_plain_user(user: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    let begins = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    user.len() <= 32 && user.bytes().all(plain) && user.bytes().next().is_some_and(begins)
}

/// Names in lists of a length that any ssh reads.
fn in_lines(names: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for name in names {
        match lines.last_mut() {
            Some(line) if line.len() + name.len() < MAX_NAMES => {
                line.push(',');
                line.push_str(name);
            }
            _ => lines.push((*name).to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn instance(id: i64, label: &str, users: &[&str]) -> Instance {
        let targets: Vec<_> = users
            .iter()
            .map(|user| {
                json!({"user": user, "path": "", "method": "block", "foreign": 0,
                "revision": null, "applied_at": null, "digest": null, "proof": null})
            })
            .collect();
        serde_json::from_value(json!({
            "id": id, "label": label, "state": "live", "created_at": "2026-11-22T19:00:00Z",
            "last_seen": null, "revision": null,
            "status": {"version": "0", "instance": id, "state": "ok", "targets": targets}
        }))
        .unwrap()
    }

    fn rendered(instances: &[Instance], identity: Option<Identity>) -> String {
        let known: Vec<_> = instances
            .iter()
            .map(|instance| Known {
                instance,
                address: (instance.id == 7).then(|| "203.0.113.9".parse().unwrap()),
            })
            .collect();
        let page = Page {
            name: "account:1 https://keys.example.com".to_owned(),
            identity,
            known_hosts: None,
        };
        page.render(&known)
    }

    #[test]
    fn an_entry_says_where_and_by_what_name_and_who() {
        let identity = Identity {
            private: "/k/id".to_owned(),
            certificate: "/k/id-cert.pub".to_owned(),
        };
        let text = rendered(&[instance(7, "web", &["alice", "root"])], Some(identity));
        assert_eq!(
            text,
            "# sshkeyd ssh-config, account:1 https://keys.example.com: written anew by `sshkeyd \
             ssh-config --write`\n\
             \nMatch originalhost web,instance-7,instance-7.sshkeyd exec \"sshkeyd cert \
             --if-needed --quiet --beside /k/id\"\n\
             \n# instance 7 \"web\"\nHost web instance-7 instance-7.sshkeyd\n    \
             HostName 203.0.113.9\n    HostKeyAlias instance-7.sshkeyd\n    User root\n    \
             IdentityFile /k/id\n    CertificateFile /k/id-cert.pub\n"
        );
    }

    #[test]
    fn nothing_that_others_say_becomes_a_directive_or_another_hosts_name() {
        for label in [
            "a b",
            "*",
            "we?",
            "!web",
            "-oProxyCommand=x",
            "web\n    ProxyCommand evil",
            "web\r\nHost *",
            "a,b",
            "\"web",
            "#web",
            "github.com",
            "localhost",
            "instance-3",
            "Instance-3.sshkeyd",
            "127",
            "0x7f000001",
            "",
            "ä",
            "%h",
            "${HOME}",
        ] {
            let text = rendered(&[instance(7, label, &["root"])], None);
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                let known = [
                    "",
                    "Match originalhost instance-7,instance-7.sshkeyd exec \"sshkeyd cert \
                     --if-needed --quiet\"",
                    "Host instance-7 instance-7.sshkeyd",
                    "    HostName 203.0.113.9",
                    "    HostKeyAlias instance-7.sshkeyd",
                    "    User root",
                ];
                assert!(known.contains(&line), "{label:?}: {line:?}");
            }
        }
        for user in ["ro ot", "root\nProxyCommand x", "-l", "%r", "", "a\"b"] {
            let text = rendered(&[instance(7, "web", &[user])], None);
            assert!(!text.contains("User ") && !text.contains("Proxy"), "{text}");
        }
    }

    #[test]
    fn a_label_that_two_have_names_neither_and_one_of_several_users_is_root_or_nobody() {
        let text = rendered(
            &[
                instance(1, "web", &["alice", "bob"]),
                instance(2, "web", &["alice"]),
            ],
            None,
        );
        assert!(
            text.contains("\nHost instance-1 instance-1.sshkeyd\n"),
            "{text}"
        );
        assert!(
            text.contains("\nHost instance-2 instance-2.sshkeyd\n"),
            "{text}"
        );
        assert_eq!(text.matches("User ").count(), 1, "{text}");
        assert_eq!(text.matches("add HostName").count(), 2, "{text}");
    }

    #[test]
    fn many_names_stand_in_lines_that_every_ssh_reads() {
        let names: Vec<String> = (0..500).map(|n| format!("instance-{n}.sshkeyd")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let lines = in_lines(&names);
        assert!(lines.iter().all(|line| line.len() <= MAX_NAMES));
        assert_eq!(lines.join(",").split(',').count(), 500);
        assert!(in_lines(&[]).is_empty());
    }
}
