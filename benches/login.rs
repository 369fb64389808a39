//! What a revocation list of 100,000 serials costs a login: certificates of ours, lists of ours, a
//! real sshd for each list and one without, real ssh clients, by turns in one run.
//! `cargo bench --bench login`, as root, with openssh-server and openssh-client. `ROUNDS` (40).
//!
//! To reach: serials in ranges cost no more than 30 ms over none, the median. sshd reads the list
//! twice a login, every serial that stands for itself into a tree of its own: of alternate and of
//! random serials no encoding takes that cost away, so theirs is told and not judged. Nobody is
//! locked out by any of them, and whoever is revoked is refused, or there is no figure.

use jiff::SignedDuration;
use sshkeyd::keys::PublicKey;
use sshkeyd::sys::clock;
use sshkeyd::trust::{Krl, Limits, NewCertificate, Role, Signer, account_principal};
use stage::{Daemon, Outcome, keygen, number, wait, write, write_bytes};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{Times, Work, timed};

#[allow(dead_code, reason = "each bench uses a part of it")]
mod stage;
#[allow(dead_code, reason = "each bench uses a part of it")]
mod support;

/// Milliseconds that a list of ranges may cost.
const GOAL: f64 = 30.0;
/// Whoever logs in; above every revoked serial of all sets.
const GOOD: u64 = 2_000_000_001;
/// Serials in each list.
const SERIALS: u64 = 100_000;

#[expect(clippy::print_stdout, reason = "a bench says what it measured")]
fn main() -> Outcome<()> {
    let work = Work::new()?;
    let rounds = number("ROUNDS", 40)?;
    let ca = Signer::from_seed(&[1; 32]);
    let client = Client::new(work.path())?;
    std::fs::create_dir_all("/run/sshd")?;
    let mut hosts = vec![Host::start(work.path(), "none", &ca, &[])?];
    for (name, serials) in sets() {
        hosts.push(Host::start(work.path(), name, &ca, &serials)?);
    }
    for host in &hosts {
        let Some(revoked) = host.revoked else {
            continue;
        };
        let other = client.certified(&ca, revoked)?;
        if client.logs_in(host, &other)? {
            return Err(format!("{}: a revoked certificate logs in", host.name).into());
        }
    }
    let good = client.certified(&ca, GOOD)?;
    for _ in 0..rounds {
        for host in &mut hosts {
            let (time, got_in) = timed(|| client.logs_in(host, &good));
            if !got_in? {
                return Err(format!("{}: locked out", host.name).into());
            }
            host.times.push(time);
        }
    }
    println!("\na login by certificate: milliseconds  median       p90     least");
    for host in &hosts {
        println!(
            "{:10} {:9} bytes            {}",
            host.name,
            host.bytes,
            host.times.row()
        );
    }
    let over = |host: &Host| host.times.median() - hosts.first().map_or(0.0, |h| h.times.median());
    for host in hosts.iter().skip(1) {
        println!("{:10} over none {:6.1} ms", host.name, over(host));
    }
    let took = hosts
        .iter()
        .find(|host| host.name == "ranges")
        .map_or(f64::NAN, over);
    let verdict = if took < GOAL { "reached" } else { "MISSED" };
    println!("goal: ranges under {GOAL} ms over none: {took:.1} ms, {verdict}");
    Ok(())
}

/// The revoked serials, ten ranges, every second one, and some of a thousand million.
fn sets() -> [(&'static str, Vec<u64>); 3] {
    let ranges = (0..10).flat_map(|n| (0..SERIALS / 10).map(move |m| 1 + n * 1_000_000 + m));
    let alternate = (0..SERIALS).map(|n| 1 + n * 2);
    let random = (0..SERIALS).map(|n| 1 + n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 1_000_000_000);
    [
        ("ranges", ranges.collect()),
        ("alternate", alternate.collect()),
        ("random", random.collect()),
    ]
}

/// An sshd that trusts the CA.
struct Host {
    name: &'static str,
    port: u16,
    /// One of the revoked serials.
    revoked: Option<u64>,
    /// Of the list.
    bytes: usize,
    times: Times,
    _sshd: Daemon,
}

impl Host {
    fn start(work: &Path, name: &'static str, ca: &Signer, serials: &[u64]) -> Outcome<Self> {
        let dir = work.join(name);
        std::fs::create_dir(&dir)?;
        let at = dir.display();
        keygen(&dir.join("host_key"))?;
        write(&dir.join("user_ca.pub"), &format!("{}\n", ca.public()))?;
        write(
            &dir.join("principals"),
            &format!("{}\n", account_principal(1)),
        )?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let mut text = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {at}/host_key\nPidFile none\nUsePAM no\n\
             UseDNS no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nAuthorizedKeysFile none\n\
             TrustedUserCAKeys {at}/user_ca.pub\nAuthorizedPrincipalsFile {at}/principals\n"
        );
        let mut bytes = 0;
        if !serials.is_empty() {
            let mut krl = Krl::default();
            let of_ca = krl.of_ca(&ca.public());
            serials
                .iter()
                .for_each(|serial| of_ca.serials.insert(*serial));
            let encoded = krl.encode();
            bytes = encoded.len();
            write_bytes(&dir.join("revoked.krl"), &encoded)?;
            text.push_str(&format!("RevokedKeys {at}/revoked.krl\n"));
        }
        let config = dir.join("sshd_config");
        write(&config, &text)?;
        let mut sshd = Command::new("/usr/sbin/sshd");
        sshd.arg("-D").arg("-f").arg(&config).stdin(Stdio::null());
        let sshd = Daemon::start(&mut sshd, &dir.join("sshd.log"))?;
        wait("sshd", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        })?;
        Ok(Self {
            name,
            port,
            revoked: serials.get(serials.len() / 2).copied(),
            bytes,
            times: Times::default(),
            _sshd: sshd,
        })
    }
}

/// A key, and certificates over it.
struct Client {
    private: PathBuf,
    public: PublicKey,
}

impl Client {
    fn new(work: &Path) -> Outcome<Self> {
        let private = work.join("key");
        keygen(&private)?;
        let text = std::fs::read_to_string(private.with_extension("pub"))?;
        let (public, _) = PublicKey::parse_text(&text)?;
        Ok(Self { private, public })
    }

    fn certified(&self, ca: &Signer, serial: u64) -> Outcome<PathBuf> {
        let (now, hour) = (clock::now(), SignedDuration::from_hours(1));
        let line = ca.certify(
            &NewCertificate {
                role: Role::User,
                key: &self.public,
                serial,
                key_id: "1/7/12",
                principals: &[account_principal(1)],
                valid_after: now - hour,
                valid_before: now + hour,
                limits: &Limits::none(),
            },
            &rand::random(),
        )?;
        let path = self.private.with_file_name(format!("cert-{serial}.pub"));
        write(&path, &line)?;
        Ok(path)
    }

    /// Whether sshd lets it in: a whole login and a command, start to end.
    fn logs_in(&self, host: &Host, certificate: &Path) -> Outcome<bool> {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-p", &host.port.to_string(), "-i"])
            .arg(&self.private)
            .arg("-o")
            .arg(format!("CertificateFile={}", certificate.display()));
        for option in [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
        ] {
            ssh.args(["-o", option]);
        }
        ssh.args(["root@127.0.0.1", "true"]);
        let ended = ssh.stdin(Stdio::null()).stderr(Stdio::null()).status()?;
        Ok(ended.success())
    }
}
