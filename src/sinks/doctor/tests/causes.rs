//! What spoils a machine where all is well: the check that names it, words of what mends it (of what
//! is so, for a notice), and how.

use super::*;

pub(super) type Spoil = fn(&mut Facts);

const LINES: &str =
    "AuthorizedKeysCommand /s authorized-keys %u %t %k\nAuthorizedKeysCommandUser k\n";

pub(super) const PROBLEMS: [(&str, &str, Spoil); 49] = [
    ("user", "useradd", |f| f.account = None),
    ("home", "mkhomedir_helper", |f| account(f).has_home = false),
    ("shell", "chsh", |f| account(f).shell.1 = Shell::Missing),
    ("shell", "chmod a+x", |f| {
        account(f).shell.1 = Shell::NotExecutable;
    }),
    ("shell", "chsh", |f| account(f).shell.1 = Shell::TurnsAway),
    ("nologin", "rm /etc/nologin", |f| {
        f.nologin = Some("/etc/nologin".into());
    }),
    ("locked", "usermod -p", |f| {
        account(f).shadow.as_mut().unwrap().locked = true;
    }),
    ("account-expired", "chage -E -1", |f| {
        account(f).shadow.as_mut().unwrap().expires = Some(100);
    }),
    ("allow-users", "add ann to AllowUsers", |f| {
        say(f, "allowusers bob\nallowusers carl");
    }),
    ("deny-users", "take ann out", |f| say(f, "denyusers a*")),
    ("allow-groups", "usermod -aG", |f| {
        say(f, "allowgroups wheel");
    }),
    ("deny-groups", "gpasswd -d ann staff", |f| {
        say(f, "denygroups staff");
    }),
    ("root-login", "prohibit-password", |f| {
        account(f).uid = 0;
        say(f, "permitrootlogin no");
    }),
    ("root-login", "prohibit-password", |f| {
        account(f).uid = 0;
        say(f, "permitrootlogin forced-commands-only");
    }),
    ("pubkey-authentication", "PubkeyAuthentication yes", |f| {
        say(f, "pubkeyauthentication no");
    }),
    ("authentication-methods", "AuthenticationMethods any", |f| {
        say(f, "authenticationmethods publickey,password password");
    }),
    ("max-auth-tries", "MaxAuthTries 6", |f| {
        say(f, "maxauthtries 0");
    }),
    (
        "keys-file-named",
        "`AuthorizedKeysFile %h/.ssh/authorized_keys`",
        |f| {
            say(f, "authorizedkeysfile none");
            f.sshd.keys_files.clear();
        },
    ),
    // What others have keys in stays in the list.
    (
        "keys-file-named",
        "`AuthorizedKeysFile /etc/ssh/keys/%u %h/.ssh/authorized_keys`",
        |f| {
            say(f, "authorizedkeysfile /etc/ssh/keys/%u");
            f.sshd.keys_files = vec!["/etc/ssh/keys/ann".into()];
        },
    ),
    (
        "keys-file-named",
        "`AuthorizedKeysFile .ssh/authorized_keys /k/%u /l/%u`",
        |f| {
            f.sshd.lines = "AuthorizedKeysFile .ssh/authorized_keys /k/%u /l/%u\n".into();
            f.target.as_mut().unwrap().1 = Method::OwnFile;
            f.sshd.keys_files.clear();
        },
    ),
    ("keys-command", "sshkeyd status", |f| {
        f.target.as_mut().unwrap().1 = Method::Command;
    }),
    (
        "keys-command",
        "`AuthorizedKeysCommand /s authorized-keys %u %t %k` and `AuthorizedKeysCommandUser k`",
        |f| {
            f.sshd.lines = LINES.into();
            f.target.as_mut().unwrap().1 = Method::Command;
        },
    ),
    ("keys-command", "%k --chain /usr/bin/other %u`", |f| {
        f.sshd.lines = LINES.into();
        say(f, "authorizedkeyscommand /usr/bin/other");
        f.target.as_mut().unwrap().1 = Method::Command;
    }),
    ("revoked-keys", "ssh-keygen -k", |f| {
        let why = Revoked::Unusable("No such file".into());
        f.revoked = Some(("/etc/ssh/krl".into(), why));
    }),
    ("revoked-keys", "save a new key", |f| {
        f.revoked = Some(("/etc/ssh/krl".into(), Revoked::Holds(vec![print()])));
    }),
    ("privilege-separation", "mkdir -m 0755 /run/sshd", |f| {
        f.sshd.settings = Err("Missing privilege separation directory: /run/sshd".into());
    }),
    ("sshd-config", "sshd -t -f", |f| {
        f.sshd.settings = Err("/etc/ssh/sshd_config: line 7: Bad configuration option: Foo".into());
    }),
    ("listening", "systemctl start ssh", |f| {
        f.listener = Listener::Silent("127.0.0.1:22".parse().unwrap());
    }),
    ("keys-file", "sshkeyd status", |f| {
        file(f).state = FileState::Missing;
    }),
    ("keys-file", "plain file", |f| {
        file(f).state = FileState::Refused("is a fifo".into());
    }),
    ("strict-modes", "chmod go-w /home/ann", |f| {
        file(f).strict.push(Refusal::Mode {
            path: "/home/ann".into(),
            mode: 0o775,
        });
    }),
    ("strict-modes", "chown ann: /home/ann/.ssh", |f| {
        file(f).strict.push(Refusal::Owner {
            path: "/home/ann/.ssh".into(),
            uid: 7,
        });
    }),
    ("strict-modes", "move", |f| {
        file(f).strict.push(Refusal::NotRegular {
            path: "/home/ann/.ssh/authorized_keys".into(),
        });
    }),
    ("readable", "chown ann:", |f| file(f).way[0].uid = 0),
    ("readable", "chmod a+x", |f| file(f).way[1].mode = 0o600),
    ("immutable", "chattr -i", |f| {
        file(f).immutable.push("/home/ann/.ssh".into());
    }),
    ("selinux", "restorecon", |f| {
        file(f).label = Some("unconfined_u:object_r:user_home_t:s0".into());
    }),
    ("target", "[[target]]", |f| f.target = None),
    ("keys", "ssh-keys add", |f| f.keys.clear()),
    ("keys", "sshkeyd sync", |f| {
        f.agent
            .as_mut()
            .unwrap()
            .managed
            .push("SHA256:other".into());
    }),
    ("key-type", "PubkeyAcceptedAlgorithms +", |f| {
        f.keys[0].key_type = "ssh-dss".into();
    }),
    ("key-type", "PubkeyAcceptedAlgorithms +", |f| {
        say(f, "pubkeyacceptedalgorithms rsa-sha2-256");
    }),
    ("rsa-size", "ed25519", |f| {
        say(f, "requiredrsasize 4096");
        f.keys[0].key_type = "ssh-rsa".into();
        f.keys[0].rsa_bits = Some(2048);
    }),
    ("expired", "--expires", |f| f.keys[0].expires = Some(f.now)),
    ("proof", "journalctl", |f| unknown(f, "not-accepted")),
    ("proof", "journalctl", |f| unknown(f, "user-cannot-log-in")),
    ("proof", "PubkeyAuthentication", |f| {
        unknown(f, "publickey-not-offered");
    }),
    ("wrong-host", "[verify]", |f| unknown(f, "wrong-host")),
    ("write-failed", "make room", |f| {
        condition(f, Severity::Error);
    }),
];

pub(super) const NOTICES: [(&str, &str, Spoil); 18] = [
    ("strict-modes", "the user's alone", |f| {
        let address = "127.0.0.1:22".parse().unwrap();
        f.listener = Listener::Speaks(address, "SSH-2.0-OpenSSH_9.2p1 Debian-2".into());
        file(f).way[2].mode = 0o775;
        file(f).strict.push(Refusal::Mode {
            path: "/home/ann".into(),
            mode: 0o775,
        });
    }),
    ("listening", "[verify]", |f| f.listener = Listener::Off),
    ("allow-users", "10.0.0.0/8 only", |f| {
        say(f, "allowusers ann@10.0.0.0/8");
    }),
    ("deny-users", "10.0.0.0/8", |f| {
        say(f, "denyusers ann@10.0.0.0/8");
    }),
    ("max-auth-tries", "MaxAuthTries is 1", |f| {
        say(f, "maxauthtries 1");
    }),
    ("keys-command", "/usr/bin/other", |f| {
        say(f, "authorizedkeyscommand /usr/bin/other %u");
    }),
    ("user-ca", "no certificate", |f| {
        f.user_ca = Some(CaFile {
            path: "/etc/ssh/ca".into(),
            types: Err("No such file".into()),
        });
    }),
    ("user-ca", "takes no ssh-rsa", |f| {
        f.user_ca = Some(CaFile {
            path: "/etc/ssh/ca".into(),
            types: Ok(vec!["ssh-rsa".into(), "ssh-ed25519".into()]),
        });
    }),
    ("revoked-keys", "could not be looked into", |f| {
        let why = Revoked::NotAsked("no ssh-keygen".into());
        f.revoked = Some(("/etc/ssh/krl".into(), why));
    }),
    ("line", "authorized_keys:9", |f| {
        f.unreadable.push((9, "no key".into()));
    }),
    ("from", "10.0.0.1", |f| {
        f.keys[0].options = Some("no-pty,from=\"10.0.0.1\"".into());
    }),
    ("expired", "expiry-time", |f| {
        let mut other = f.keys[0].clone();
        (other.ours, other.expires) = (false, Some(f.now));
        f.keys.push(other);
    }),
    ("proof", "from-option", |f| unknown(f, "from-option")),
    ("proof", "still takes", |f| {
        f.proof
            .as_mut()
            .unwrap()
            .still_accepted
            .push("SHA256:x".into());
    }),
    ("agent", "no agent runs", |f| f.agent = None),
    ("write-failed", "no space", |f| {
        condition(f, Severity::Warning);
    }),
    ("write-failed", "no space", |f| {
        condition(f, Severity::Notice);
    }),
    ("key-type", "takes no ssh-dss", |f| {
        let mut other = f.keys[0].clone();
        (other.ours, other.key_type) = (false, "ssh-dss".into());
        f.keys.push(other);
    }),
];
