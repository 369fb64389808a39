//! What a key's options mean for a certificate over it: it opens no more than the key itself.

use crate::keys::{EXPIRY_TIME, Options};
use ipnet::IpNet;

/// Extensions that ssh-keygen(1) gives a user's certificate, each with what switches it off and on
/// in a line (sshd(8), AUTHORIZED_KEYS FILE FORMAT).
const EXTENSIONS: [(&str, &str, &str); 5] = [
    (
        "permit-X11-forwarding",
        "no-X11-forwarding",
        "X11-forwarding",
    ),
    (
        "permit-agent-forwarding",
        "no-agent-forwarding",
        "agent-forwarding",
    ),
    (
        "permit-port-forwarding",
        "no-port-forwarding",
        "port-forwarding",
    ),
    ("permit-pty", "no-pty", "pty"),
    ("permit-user-rc", "no-user-rc", "user-rc"),
];

/// What a user's certificate allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Name and value of each critical option, in order.
    pub(super) critical: Vec<(&'static str, String)>,
    /// Extensions, in order.
    pub(super) extensions: Vec<&'static str>,
}

/// An option that no certificate can say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key's option \"{0}\" cannot stand in a certificate; log in with the key itself")]
pub struct LimitsError(&'static str);

impl Limits {
    /// All that a key without options allows.
    #[must_use]
    pub fn none() -> Self {
        Self {
            critical: Vec::new(),
            extensions: EXTENSIONS.iter().map(|(name, ..)| *name).collect(),
        }
    }

    /// This command and nothing else.
    pub(super) fn command(command: &str) -> Self {
        Self {
            critical: vec![("force-command", command.to_owned())],
            extensions: Vec::new(),
        }
    }

    /// What a key with these options allows; its end is the caller's to keep.
    ///
    /// # Errors
    /// [`LimitsError`] names an option that would be lost.
    pub fn of(options: &Options) -> Result<Self, LimitsError> {
        let mut limits = Self::none();
        for (name, value) in options.iter() {
            let value = value.unwrap_or_default();
            if let Some((extension, off, _)) = EXTENSIONS
                .iter()
                .find(|(_, off, on)| [*off, *on].contains(&name))
            {
                limits.extensions.retain(|has| has != extension);
                if name != *off {
                    limits.extensions.push(extension);
                }
                continue;
            }
            match name {
                "restrict" => limits.extensions.clear(),
                "no-touch-required" => limits.extensions.push(name),
                "verify-required" => limits.critical.push((name, String::new())),
                "command" => limits.critical.push(("force-command", value.to_owned())),
                "from" => {
                    let networks = value.split(',').map(network).collect::<Option<Vec<_>>>();
                    let networks = networks.ok_or(LimitsError("from"))?;
                    limits.critical.push(("source-address", networks.join(",")));
                }
                EXPIRY_TIME => {}
                other => return Err(LimitsError(other)),
            }
        }
        limits.extensions.sort_unstable();
        limits.critical.sort_unstable();
        Ok(limits)
    }
}

/// An address or a network as `source-address` has it: no names, no wildcards, no negation.
fn network(text: &str) -> Option<String> {
    let whole = if text.contains(':') { 128 } else { 32 };
    let address = format!("{text}/{whole}").parse::<IpNet>();
    let address = address.map(|network| network.addr().to_string());
    let network = || {
        text.parse::<IpNet>()
            .map(|network| network.trunc().to_string())
    };
    address.or_else(|_| network()).ok()
}
