//! `database`, `database-…`: SQLite's file, or PostgreSQL's address taken apart.
//!
//! Takes what libpq's URLs have (PostgreSQL, "Connection URIs"), but for passwords: those come from
//! a file. Off loopback it wants TLS that is verified, or the words `sslmode=disable`.

use super::check::Check;
use super::raw;
use super::url::is_loopback;
use serde_spanned::Spanned;
use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

const DATABASE: &str = "/var/lib/sshkeyd-server/sshkeyd.db";
const PORT: u16 = 5432;
/// Connections to PostgreSQL, and their threads.
const CONNECTIONS: usize = 4;
const MOST_CONNECTIONS: RangeInclusive<u64> = 1..=64;

/// Where the service keeps what it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// In this file, alone.
    Sqlite(PathBuf),
    /// On a server, beside other replicas.
    Postgres(Postgres),
}

/// PostgreSQL's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postgres {
    /// Hosts and ports, the first first; a host from `/` on is the directory of a Unix socket.
    pub hosts: Vec<(String, u16)>,
    /// The role; `None`: this user's name.
    pub user: Option<String>,
    /// The database.
    pub name: String,
    /// The connection is encrypted, and the server's certificate verified.
    pub tls: bool,
    /// CAs that vouch for the server; `None`: those that the system believes.
    pub ca_file: Option<PathBuf>,
    /// Where the password is.
    pub password_file: Option<PathBuf>,
    /// How many connections.
    pub connections: usize,
}

impl Database {
    /// SQLite's file.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(database) => database.fmt(f),
        }
    }
}

impl fmt::Display for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<String> = self
            .hosts
            .iter()
            .map(|(host, port)| match host.contains(':') {
                true => format!("[{host}]:{port}"),
                false => format!("{host}:{port}"),
            })
            .collect();
        write!(f, "postgres://{}/{}", hosts.join(","), self.name)
    }
}

/// What is wrong with an address, and what to do.
type Wrong = (String, &'static str);

/// An address before files are put to it.
struct Address {
    database: Postgres,
    root_certificate: Option<String>,
}

impl Check<'_> {
    pub(super) fn database(&mut self, raw: &raw::Server) -> Option<Database> {
        let Some(value) = &raw.database else {
            self.only_with_postgres(raw);
            return Some(Database::Sqlite(PathBuf::from(DATABASE)));
        };
        let text = value.get_ref();
        let rest = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme));
        if let Some(rest) = rest {
            return self.postgres(raw, value, rest).map(Database::Postgres);
        }
        self.only_with_postgres(raw);
        let path = text
            .strip_prefix("sqlite:")
            .filter(|path| path.starts_with('/'));
        if path.is_none_or(|path| path.starts_with("//") || path.ends_with('/')) {
            // A database's address may hold a password.
            let todo = "write \"sqlite:/PATH\" or \"postgres://USER@HOST/DATABASE\"";
            self.fault(&value.span(), "not a database", todo);
            return None;
        }
        path.map(|path| Database::Sqlite(PathBuf::from(path)))
    }

    fn postgres(
        &mut self,
        raw: &raw::Server,
        value: &Spanned<String>,
        rest: &str,
    ) -> Option<Postgres> {
        let ca_file = match &raw.database_ca_file {
            Some(value) => self.existing(value).map(Some),
            None => Some(None),
        };
        let password_file = self.path(&raw.database_password_file);
        let connections = self.connections(raw);
        let address = match address(rest) {
            Ok(address) => address,
            Err((what, todo)) => {
                self.fault(&value.span(), what, todo);
                return None;
            }
        };
        let (mut ca_file, at) = (ca_file?, value.span());
        if let Some(path) = address.root_certificate
            && ca_file.is_none()
        {
            ca_file = Some(self.root_certificate(&at, path)?);
        }
        if ca_file.is_some() && !address.database.tls {
            let what = "a CA for a connection without TLS";
            self.fault(&at, what, "add \"?sslmode=verify-full\" to the address");
            return None;
        }
        Some(Postgres {
            ca_file,
            password_file: password_file.ok()?,
            connections: connections?,
            ..address.database
        })
    }

    fn root_certificate(&mut self, at: &Range<usize>, path: String) -> Option<PathBuf> {
        self.existing(&Spanned::new(at.clone(), path))
    }

    fn connections(&mut self, raw: &raw::Server) -> Option<usize> {
        let Some(value) = &raw.database_connections else {
            return Some(CONNECTIONS);
        };
        let number = Some(*value.get_ref()).filter(|number| MOST_CONNECTIONS.contains(number));
        if number.is_none() {
            let what = format!("{} is no number of connections", value.get_ref());
            self.fault(&value.span(), what, "give 1 to 64");
        }
        usize::try_from(number?).ok()
    }

    /// Keys that mean nothing to SQLite are mistakes.
    fn only_with_postgres(&mut self, raw: &raw::Server) {
        let at = |value: &raw::Text| value.as_ref().map(Spanned::span);
        let keys = [
            ("database-password-file", at(&raw.database_password_file)),
            ("database-ca-file", at(&raw.database_ca_file)),
            (
                "database-connections",
                raw.database_connections.as_ref().map(Spanned::span),
            ),
        ];
        for (key, at) in keys {
            if let Some(at) = at {
                let what = format!("{key} is PostgreSQL's, and the database is SQLite");
                self.fault(&at, what, "remove it, or name a postgres:// database");
            }
        }
    }
}

fn address(rest: &str) -> Result<Address, Wrong> {
    let form = || {
        (
            "not an address of PostgreSQL".to_owned(),
            "write postgres://USER@HOST:PORT/DATABASE",
        )
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (server, name) = rest.split_once('/').ok_or_else(form)?;
    let (user, hosts) = match server.rsplit_once('@') {
        Some((user, hosts)) => (Some(user), hosts),
        None => (None, server),
    };
    if user.is_some_and(|user| user.contains(':')) {
        return Err(password());
    }
    let mut asked = Asked {
        user: user.map(plain).transpose().map_err(|()| form())?,
        ..Asked::default()
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or_else(form)?;
        asked.put(key, plain(value).map_err(|()| form())?)?;
    }
    let mut places = Vec::new();
    for host in hosts.split(',').filter(|host| !host.is_empty()) {
        places.push(place(host).ok_or_else(form)?);
    }
    if let Some(host) = asked.host {
        places.push((host, PORT));
    }
    let name = plain(name).map_err(|()| form())?;
    if places.is_empty() || name.is_empty() || name.contains('/') {
        return Err(form());
    }
    let is_near = |host: &str| host.starts_with('/') || is_loopback(host);
    let tls = match asked.sslmode.as_deref() {
        Some("disable") => false,
        // Near, what could listen could do more; elsewhere encrypted means verified.
        None | Some("prefer") => !places.iter().all(|(host, _)| is_near(host)),
        Some("require" | "verify-full") => true,
        Some(other) => {
            return Err((
                format!("sslmode={} is not known", other.escape_debug()),
                "give disable, prefer, require or verify-full",
            ));
        }
    };
    if tls && places.iter().any(|(host, _)| host.starts_with('/')) {
        let what = "TLS on a Unix socket".to_owned();
        return Err((what, "remove sslmode, or name a host"));
    }
    Ok(Address {
        database: Postgres {
            hosts: places,
            user: asked.user,
            name,
            tls,
            ca_file: None,
            password_file: None,
            connections: CONNECTIONS,
        },
        root_certificate: asked.root_certificate,
    })
}

/// What the query says.
#[derive(Default)]
struct Asked {
    user: Option<String>,
    host: Option<String>,
    sslmode: Option<String>,
    root_certificate: Option<String>,
}

impl Asked {
    fn put(&mut self, key: &str, value: String) -> Result<(), Wrong> {
        let place = match key {
            "user" => &mut self.user,
            "host" if value.starts_with('/') => &mut self.host,
            "sslmode" => &mut self.sslmode,
            "sslrootcert" => &mut self.root_certificate,
            "password" | "passfile" => return Err(password()),
            _ => {
                return Err((
                    format!("\"{}\" in the address is not known", key.escape_debug()),
                    "remove it; user, host (of a socket), sslmode and sslrootcert are",
                ));
            }
        };
        *place = Some(value);
        Ok(())
    }
}

fn password() -> Wrong {
    (
        "a password in the address".to_owned(),
        "put it into a file of its own, 0600, and name that: database-password-file = \"/…\"",
    )
}

/// `host`, `host:port`, `[2001:db8::7]:port`, `%2Frun%2Fpostgresql`.
fn place(text: &str) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, port)
        }
        None => match text.find(':') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        },
    };
    let port = match port {
        "" => PORT,
        port => port
            .strip_prefix(':')?
            .parse()
            .ok()
            .filter(|port| *port > 0)?,
    };
    let host = plain(host).ok().filter(|host| !host.is_empty())?;
    let is_odd = |c: char| c.is_control() || c.is_whitespace();
    (!host.contains(is_odd)).then_some((host, port))
}

/// Without percent signs (RFC 3986, section 2.1).
fn plain(text: &str) -> Result<String, ()> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let pair = digit().zip(digit()).ok_or(())?;
                u8::try_from(pair.0 * 16 + pair.1).map_err(drop)?
            }
            byte => byte,
        });
    }
    let text = String::from_utf8(bytes).map_err(drop)?;
    match text.contains(char::is_control) {
        true => Err(()),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rest: &str) -> Postgres {
        address(rest).map_err(|(what, _)| what).unwrap().database
    }

    #[test]
    fn an_address_is_taken_apart() {
        let one = of("sshkeyd@db.example.com/keys");
        assert_eq!(one.hosts, [("db.example.com".to_owned(), 5432)]);
        assert_eq!((one.user.as_deref(), &*one.name), (Some("sshkeyd"), "keys"));
        let two = of("a%40b@[2001:db8::7]:6000,db:7/k%20s");
        assert_eq!(two.user.as_deref(), Some("a@b"));
        assert_eq!(two.hosts[0], ("2001:db8::7".to_owned(), 6000));
        assert_eq!((two.hosts[1].1, &*two.name), (7, "k s"));
        for socket in ["%2Frun%2Fpostgresql/keys", "/keys?host=/run/postgresql"] {
            assert_eq!(of(socket).hosts, [("/run/postgresql".to_owned(), 5432)]);
        }
    }

    #[test]
    fn off_this_machine_it_is_encrypted_unless_that_is_said() {
        assert!(of("db.example.com/k").tls);
        assert!(of("db.example.com/k?sslmode=prefer").tls);
        assert!(of("127.0.0.1,db.example.com/k").tls);
        assert!(!of("db.example.com/k?sslmode=disable").tls);
        assert!(!of("127.0.0.1/k").tls);
        assert!(!of("[::1]/k").tls);
        assert!(!of("/k?host=/run/postgresql").tls);
        assert!(of("127.0.0.1/k?sslmode=require").tls);
    }

    #[test]
    fn what_is_no_address_or_holds_a_password_is_refused() {
        let wrong = |rest: &str| address(rest).err().map(|(what, _)| what).unwrap();
        for rest in [
            "", "db", "db/", "/k", "db:x/k", "db:0/k", "[::1/k", "a/b/c", "%zz/k", "d b/k",
        ] {
            assert_eq!(wrong(rest), "not an address of PostgreSQL", "{rest}");
        }
        for rest in ["u:hunter2@db/k", "u:@db/k", "db/k?password=hunter2"] {
            assert_eq!(wrong(rest), "a password in the address", "{rest}");
        }
        assert!(wrong("db/k?sslmode=allow").starts_with("sslmode=allow"));
        assert!(wrong("db/k?options=-c").starts_with("\"options\""));
        assert!(wrong("%2Frun/k?sslmode=require").starts_with("TLS"));
    }
}
