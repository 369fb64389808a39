//! The login that is kept between two commands: `$XDG_CONFIG_HOME/sshkeyd/login.json`.
//!
//! Owns the file: 0600 in a directory that nobody else can change, whole or not there. It holds one
//! login, and for each service and address the token by which that service knows this device.
//! Refuses a file that others could read or have made. A session key goes to the service that gave
//! it and to no other.

use super::exit::{Exit, Failed};
use crate::client::checked_url;
use crate::sys::{own_dir, private_file};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Most devices' tokens that are kept; the oldest goes first.
const MAX_DEVICES: usize = 16;

/// What the file holds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Saved {
    /// Who is logged in, and where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) login: Option<Login>,
    /// By what services know this device, the latest last.
    #[serde(default)]
    devices: Vec<KnownDevice>,
}

/// A session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Login {
    /// The service's address, as [`service_url`] writes it.
    pub(super) url: String,
    /// Whose account.
    pub(super) email: String,
    /// `skd_ses_…`.
    pub(super) session_key: Hidden,
    /// When it ends.
    pub(super) expires_at: Timestamp,
    /// The CAs that are trusted there, and no others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ca_file: Option<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KnownDevice {
    url: String,
    email: String,
    token: Hidden,
}

/// Secret text: no part of `Debug`, zeroed when it is dropped.
#[derive(Clone)]
pub(super) struct Hidden(pub(super) Zeroizing<String>);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden")
    }
}

impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Zeroizing::new(String::deserialize(deserializer)?)))
    }
}

/// The environment: a variable's value by its name.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

impl Saved {
    /// Where the file is; none where there is neither `XDG_CONFIG_HOME` nor `HOME`. One that is
    /// relative counts for nothing (XDG Base Directory Specification).
    pub(super) fn path(env: Env<'_>) -> Option<PathBuf> {
        let variable = |name| env(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let absolute = |path: &PathBuf| path.is_absolute();
        variable("XDG_CONFIG_HOME")
            .filter(absolute)
            .or_else(|| {
                let home = variable("HOME").filter(absolute)?;
                Some(home.join(".config"))
            })
            .map(|directory| directory.join("sshkeyd/login.json"))
    }

    /// What is kept; nothing where there is no file.
    ///
    /// # Errors
    /// 78: others may use the file or have made it, or it is no login.
    pub(super) fn load(env: Env<'_>) -> Result<Self, Failed> {
        let Some(path) = Self::path(env) else {
            return Ok(Self::default());
        };
        let refused = |error: io::Error| {
            let named = error.to_string().contains(&*path.to_string_lossy());
            let place = if named {
                String::new()
            } else {
                format!("{}: ", path.display())
            };
            let todo = "the login in it is not used; mend that, or remove it and log in again";
            Failed::new(Exit::Config, format!("{place}{error}; {todo}"))
        };
        let Some(bytes) = private_file::read(&path).map_err(refused)? else {
            return Ok(Self::default());
        };
        serde_json::from_slice(&bytes).map_err(|error| {
            // Its words name a place and a type, never the text that stands there.
            let (line, column) = (error.line(), error.column());
            let place = path.display();
            let text =
                format!("{place}:{line}:{column}: no login; remove the file and log in again");
            Failed::new(Exit::Config, text)
        })
    }

    /// Makes sure, before anything secret is asked for, that it can be kept.
    ///
    /// # Errors
    /// 78: no place for it, or one that others may change.
    pub(super) fn prepare(env: Env<'_>) -> Result<PathBuf, Failed> {
        let path = Self::path(env).ok_or_else(|| {
            let text = "no place to keep a login; set HOME, or use an API key";
            Failed::new(Exit::Config, text)
        })?;
        let directory = path.parent().unwrap_or_else(|| Path::new("/"));
        own_dir::claim(directory, 0o700).map_err(|error| {
            let text = format!("{error}; a login cannot be kept there");
            Failed::new(Exit::Config, text)
        })?;
        Ok(path)
    }

    /// Puts it in the place of what was there; where nothing is left of it, takes the file away.
    ///
    /// # Errors
    /// 1: what was there stands.
    pub(super) fn store(&self, path: &Path) -> Result<(), Failed> {
        let failed = |error: &dyn fmt::Display| {
            let text = format!("{}: {error}; the login was not kept", path.display());
            Failed::new(Exit::NotDone, text)
        };
        if self.login.is_none() && self.devices.is_empty() {
            return private_file::remove(path).map_err(|error| failed(&error));
        }
        let text = serde_json::to_vec(self).map_err(|error| failed(&error))?;
        let text = Zeroizing::new(text);
        private_file::replace(path, &text).map_err(|error| failed(&error))
    }

    /// By what the service at `url` knows this device, for that account.
    pub(super) fn device_token(&self, url: &str, email: &str) -> Option<String> {
        let known = self.devices.iter().find(|d| d.is_for(url, email))?;
        Some(known.token.0.to_string())
    }

    /// Keeps such a token in the place of an earlier one.
    pub(super) fn set_device_token(&mut self, url: &str, email: &str, token: String) {
        self.devices.retain(|device| !device.is_for(url, email));
        self.devices.push(KnownDevice {
            url: url.to_owned(),
            email: email.to_owned(),
            token: Hidden(Zeroizing::new(token)),
        });
        let over = self.devices.len().saturating_sub(MAX_DEVICES);
        self.devices.drain(..over);
    }
}

impl KnownDevice {
    fn is_for(&self, url: &str, email: &str) -> bool {
        self.url == url && self.email.eq_ignore_ascii_case(email)
    }
}

/// An address in the one spelling in which two of them can be compared.
///
/// # Errors
/// 64: it is none that may be called.
pub(super) fn service_url(text: &str) -> Result<String, Failed> {
    let url = checked_url(text.trim()).map_err(|error| Failed::new(Exit::Usage, error))?;
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::exit::exit_of;
    use super::*;
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    /// An environment whose configuration is in `dir`.
    pub(in crate::cli) fn env_of(dir: &Path) -> impl Fn(&str) -> Option<OsString> + use<> {
        let home = dir.as_os_str().to_owned();
        move |name| (name == "XDG_CONFIG_HOME").then(|| home.clone())
    }

    /// A login at that address.
    pub(in crate::cli) fn login_at(url: &str) -> Login {
        Login {
            url: service_url(url).unwrap(),
            email: "alice@example.com".to_owned(),
            session_key: Hidden(Zeroizing::new("skd_ses_secret".to_owned())),
            expires_at: "2026-11-29T19:00:00Z".parse().unwrap(),
            ca_file: None,
        }
    }

    /// Keeps a login there; gives its file.
    pub(in crate::cli) fn keep(dir: &Path, login: Login) -> PathBuf {
        let path = Saved::prepare(&env_of(dir)).unwrap();
        let mut saved = Saved {
            login: Some(login),
            devices: Vec::new(),
        };
        saved.set_device_token("https://a.example", "alice@example.com", "dev".to_owned());
        saved.store(&path).unwrap();
        path
    }

    #[test]
    fn a_login_is_kept_for_its_owner_alone_and_read_again() {
        let home = tempfile::tempdir().unwrap();
        let path = keep(home.path(), login_at("https://a.example/"));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        let mut saved = Saved::load(&env_of(home.path())).unwrap();
        assert!(!format!("{saved:?}").contains("secret"));
        let login = saved.login.take().unwrap();
        assert_eq!(login.url, "https://a.example");
        assert_eq!(login.session_key.0.as_str(), "skd_ses_secret");
        let token = |url, email| saved.device_token(url, email);
        assert_eq!(
            token("https://a.example", "Alice@example.com").as_deref(),
            Some("dev")
        );
        assert_eq!(token("https://b.example", "alice@example.com"), None);
        // Without a login the tokens stay; without both there is no file.
        saved.store(&path).unwrap();
        assert!(!std::fs::read_to_string(&path).unwrap().contains("skd_ses_"));
        Saved::default().store(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_others_could_read_is_refused_with_what_to_do() {
        let home = tempfile::tempdir().unwrap();
        let path = keep(home.path(), login_at("https://a.example"));
        let refusal = || {
            let error = Saved::load(&env_of(home.path())).unwrap_err();
            let text = error.to_string();
            assert_eq!(exit_of(&error.into()), Exit::Config, "{text}");
            assert_eq!(text.matches("login.json").count(), 1, "{text}");
            text
        };
        set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let text = refusal();
        assert!(text.contains("0640") && text.contains("0600"), "{text}");
        set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        private_file::replace(&path, b"{\"login\": \"skd_ses_secret\"}").unwrap();
        let text = refusal();
        assert!(
            text.contains("log in again") && !text.contains("secret"),
            "{text}"
        );
    }

    #[test]
    fn a_directory_that_others_could_change_keeps_no_login() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("sshkeyd");
        std::fs::create_dir(&directory).unwrap();
        set_permissions(&directory, Permissions::from_mode(0o777)).unwrap();
        let text = Saved::prepare(&env_of(home.path()))
            .unwrap_err()
            .to_string();
        assert!(text.contains("0777"), "{text}");
        assert!(Saved::prepare(&|_| None).is_err());
        let relative = |name: &str| (name == "XDG_CONFIG_HOME").then(|| OsString::from("x"));
        assert_eq!(Saved::path(&relative), None);
    }

    #[test]
    fn tokens_of_devices_do_not_grow_without_end() {
        let mut saved = Saved::default();
        for n in 0..40 {
            saved.set_device_token("https://a.example", &format!("u{n}"), n.to_string());
        }
        assert_eq!(saved.devices.len(), MAX_DEVICES);
        assert_eq!(
            saved.device_token("https://a.example", "u39").as_deref(),
            Some("39")
        );
    }

    #[test]
    fn two_spellings_of_one_address_are_one() {
        let same = |text| service_url(text).unwrap();
        assert_eq!(same("https://A.example:443/ "), "https://a.example");
        assert_eq!(same("https://a.example/keys/"), "https://a.example/keys");
        assert!(service_url("http://a.example").is_err());
    }
}
