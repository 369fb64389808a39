//! The real `vastai` client, which tests/run fetches, with a home of its own on loopback.
//!
//! It ends with 0 on nearly every failure, so what it prints is what counts; a Python traceback
//! fails the test whatever else is printed.

use crate::support::process::Ran;
use crate::support::service::Service;
use crate::support::sshd::{WorkDir, put};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The version that is current.
pub(crate) const NOW: &str = "1.9.1";
/// One that puts the key into the query.
pub(crate) const OLD: &str = "0.5.0";

/// The client of one person.
#[derive(Debug)]
pub(crate) struct Vast {
    place: PathBuf,
    url: String,
    dir: WorkDir,
}

impl Vast {
    /// The client of this version, with nothing configured but the service's address.
    pub(crate) fn new(version: &str, service: &Service) -> Self {
        let named = std::env::var_os("SSHKEYD_VASTAI").map(PathBuf::from);
        let named = named.expect("no SSHKEYD_VASTAI; tests/run fetches vastai and names its place");
        let place = named.join(version);
        let program = place.join("bin/vastai");
        assert!(program.exists(), "{}: nothing there", program.display());
        let dir = WorkDir::new();
        for name in ["config", "cache", "state", "data"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self {
            place,
            url: format!("http://{}", service.address),
            dir,
        }
    }

    /// The same, with this key saved by the client's own command.
    pub(crate) fn with_key(version: &str, service: &Service, key: &str) -> Self {
        let vast = Self::new(version, service);
        let set = vast.ok(&["set", "api-key", key]);
        assert!(set.contains("Your api key has been saved in"), "{set}");
        vast
    }

    /// Python with the client's modules, in its home.
    fn python(&self) -> Command {
        let mut command = Command::new("python3");
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path);
        for (name, directory) in [
            ("HOME", ""),
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_DATA_HOME", "data"),
        ] {
            command.env(name, self.dir.path().join(directory));
        }
        command
            .env("PYTHONPATH", &self.place)
            .env("PYTHONNOUSERSITE", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("LANG", "C.UTF-8")
            .env("COLUMNS", "200")
            .env("VASTAI_NO_UPDATE_CHECK", "1")
            .env("VAST_URL", &self.url)
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// One of its commands.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        let mut command = self.python();
        command.arg(self.place.join("bin/vastai")).args(args);
        command.args(["--url", &self.url]);
        let ran = Ran::of(&mut command);
        assert!(!ran.err.contains("Traceback"), "{args:?}: {ran:?}");
        ran
    }

    /// One that goes well; what it prints.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args).done();
        let said = format!("{}{}", ran.out, ran.err);
        assert!(!said.to_lowercase().contains("failed"), "{args:?}: {ran:?}");
        ran.out
    }

    /// One that prints JSON.
    #[track_caller]
    pub(crate) fn raw(&self, args: &[&str]) -> serde_json::Value {
        let mut args = args.to_vec();
        args.push("--raw");
        serde_json::from_str(&self.ok(&args)).unwrap()
    }

    /// One that the service refuses with this status: what it says of that.
    #[track_caller]
    pub(crate) fn no(&self, status: u16, args: &[&str]) -> String {
        let ran = self.run(args);
        let said = format!("{}{}", ran.out, ran.err);
        let begin = format!("failed with error {status}: ");
        let at = said.to_lowercase().find(&begin);
        let at = at.unwrap_or_else(|| panic!("{args:?}: {ran:?}"));
        let said = said[at + begin.len()..].to_owned();
        assert!(
            !said.starts_with("None") && !said.starts_with('('),
            "{said}"
        );
        said
    }

    /// A few lines of Python with its SDK: `vast` is the client.
    #[track_caller]
    pub(crate) fn sdk(&self, key: &str, script: &str) -> Ran {
        let whole = format!(
            "from vastai import VastAI\nvast = VastAI(api_key={key:?}, server_url={:?})\n{script}",
            self.url
        );
        Ran::of(self.python().args(["-c", &whole]))
    }

    /// The code of the step that is so many after this one (RFC 6238), as an authenticator has it.
    pub(crate) fn totp(&self, secret: &str, steps: i64) -> String {
        let script = format!(
            "import base64, hmac, struct, time
step = int(time.time()) // 30 + {steps}
mac = hmac.new(base64.b32decode('{secret}'), struct.pack('>q', step), 'sha1').digest()
at = mac[-1] & 15
print('%06d' % ((struct.unpack('>I', mac[at:at + 4])[0] & 0x7fffffff) % 1000000))"
        );
        let ran = Ran::of(self.python().args(["-c", &script])).done();
        ran.out.trim().to_owned()
    }

    /// The session key that it has saved.
    pub(crate) fn saved_session(&self) -> String {
        let path = self.dir.path().join("config/vastai/vast_tfa_key");
        std::fs::read_to_string(path).unwrap()
    }

    /// A file in its home.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        put(&path, text, 0o600);
        path.to_str().unwrap().to_owned()
    }

    /// Its home.
    pub(crate) fn home(&self) -> &Path {
        self.dir.path()
    }
}

/// The number behind `'id': ` in what it printed, which is how programs find it.
#[track_caller]
pub(crate) fn id_in(printed: &str) -> i64 {
    let (_, rest) = printed.split_once("'id': ").expect(printed);
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap();
    rest[..end].parse().unwrap()
}
