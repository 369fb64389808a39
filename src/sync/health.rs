//! The list of named conditions, and how they come and go.
//!
//! A condition is a code, what it is about, since when, what is wrong and what to do. Those who
//! find trouble say a [`Finding`]; [`Conditions::settle`] keeps the time at which each began, and
//! lets go of what is no longer found. Nothing has to be cleared by hand.

use jiff::Timestamp;

/// How much a condition weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Good to know.
    Notice,
    /// Something needs a look; keys are held as they were.
    Warning,
    /// Something that was asked for is not done.
    Error,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident $text:literal $weight:ident $todo:literal;)*) => {
        /// Every condition there is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// All of them, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name in status, heartbeat and log.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// How much it weighs.
            #[must_use]
            pub fn weight(self) -> Weight {
                match self { $(Self::$name => Weight::$weight,)* }
            }

            /// What to do about it.
            #[must_use]
            pub fn todo(self) -> &'static str {
                match self { $(Self::$name => $todo,)* }
            }
        }
    };
}

codes! {
    /// The source does not answer.
    SourceOffline "source-offline" Warning
        "look at the network and at the source; the agent keeps the last list and keeps asking";
    /// The source refuses our credential.
    SourceUnauthorized "source-unauthorized" Warning
        "give the agent a credential that the source takes";
    /// A credential of the source cannot be read.
    NoCredential "no-credential" Warning
        "put the file where the configuration says, readable by the agent alone; it is read anew at each attempt";
    /// The source asks for fewer questions.
    SourceBusy "source-busy" Warning
        "it is asked again when it wants to be; where this stays, raise poll-interval on the source";
    /// Which instance of Vast.ai this is cannot be told.
    InstanceUnknown "instance-unknown" Warning
        "set vast.instance on the source, or give the agent $CONTAINER_ID; the last list stays in force";
    /// The source is not where the configuration says.
    SourceNotFound "source-not-found" Warning
        "put the file or the address right; the last list stays in force";
    /// The answer is not what it should be.
    SourceMalformed "source-malformed" Warning
        "look at what the source serves; the last list stays in force";
    /// The answer is too large.
    SourceTooLarge "source-too-large" Warning
        "raise max-size on the source if this is right; the last list stays in force";
    /// A source of a target has never answered; keys are only added there.
    SourceUnknown "source-unknown" Warning
        "until it answers once, keys are added and none is taken out";
    /// An unsigned source says that there are no keys.
    HoldEmptyList "hold-empty-list" Warning
        "if the list is meant to be empty, set danger-allow-empty = true on the source";
    /// An unsigned source lost most of its keys at once.
    HoldShrunkList "hold-shrunk-list" Warning
        "if this is meant, wait: two more answers that agree are obeyed";
    /// A snapshot with no good signature of a pinned signer.
    SnapshotSignature "snapshot-signature" Error
        "somebody between here and the service changes what it says; look at what stands between";
    /// A snapshot below the floor.
    SnapshotLowerRevision "snapshot-lower-revision" Error
        "an old list was played back, or the service's database is an old copy; the last list stays";
    /// One revision with two contents.
    SnapshotForked "snapshot-forked" Error
        "two services give out one account's revisions; they must share one database";
    /// A snapshot of another account.
    WrongAccount "wrong-account" Error
        "the service or a proxy mixes accounts up; the last list stays in force";
    /// A snapshot of another instance.
    WrongInstance "wrong-instance" Error
        "the service or a proxy mixes instances up; the last list stays in force";
    /// No fresh word for a day.
    ListStale "list-stale" Warning
        "somebody may be holding back deletions; look at the path to the service";
    /// The clocks differ.
    ClockWrong "clock-wrong" Warning
        "put the clock of this machine, or of the service, right";
    /// No session key, and no way to get one.
    NotEnrolled "not-enrolled" Error
        "make a new token (sshkeyd instances create) and put it into the enroll-token-file";
    /// A signer of lists that is not known here: not the one that the token names, or one that was
    /// replaced without hand-over.
    SignerUnknown "signer-unknown" Error
        "another service, or somebody stands between: check the URL; after a rotation for a compromised signer, take a new token";
    /// Another machine runs with this one's identity.
    Clone "clone" Error
        "give each copy a token of its own; keys stay as they are until then";
    /// The account's owner removed this instance.
    Removed "removed" Notice
        "the agent keeps nothing up to date here any more; stop it, or enrol it again";
    /// The block of another agent stands in the file.
    AnotherAgent "another-agent" Error
        "let one agent keep the file, or give this one a path of its own";
    /// There is no such local user.
    UserMissing "user-missing" Error
        "make the user, or take the target out of the configuration";
    /// The home directory is not there.
    HomeMissing "home-missing" Warning
        "make or mount the home; a home is never made by the agent";
    /// A directory on the way is not safe to write in.
    UnsafePath "unsafe-path" Error
        "see the text: links, owners or modes on the way to the file";
    /// What stands at the path is no file that we would read.
    NotAPlainFile "not-a-plain-file" Error
        "put a regular file of the user there, or nothing";
    /// Somebody writes the file again and again.
    FileBusy "file-busy" Warning
        "find out what rewrites the file; the agent tries again";
    /// Somebody changed what the agent keeps in the file.
    Drift "drift" Notice
        "it was put back; find out what rewrites the file, and have it leave the agent's part alone";
    /// Somebody changes it again and again.
    DriftFight "drift-fight" Warning
        "find the program that rewrites the file and stop it, or give the agent a file of its own";
    /// The file is a mount point.
    BindMounted "bind-mounted" Error
        "mount the directory instead of the file, or set danger-in-place = true on the target";
    /// sshd would not run our executable as AuthorizedKeysCommand.
    CommandUnsafe "command-unsafe" Error
        "see the text; install sshkeyd where only root may write, such as /usr/bin";
    /// There is no user to run AuthorizedKeysCommand as.
    KeysUserMissing "keys-user-missing" Error
        "make the user: useradd --system --no-create-home --shell /usr/sbin/nologin sshkeyd-keys";
    /// A turn at a file does not come back.
    TargetStuck "target-stuck" Error
        "the file system there does not answer; mend or unmount it, the agent goes on by itself";
    /// sshd ignores the file for somebody's owner or mode.
    StrictModes "strict-modes" Error
        "take the write permission of others away, or give it back to its user; the agent does neither";
    /// A file that is to be the agent's own is somebody else's.
    OwnFileTaken "own-file-taken" Error
        "move the file away, or give the target another path";
    /// The file's directory is not there.
    DirectoryMissing "directory-missing" Error
        "make the directory that the text names (root's and 0755 outside a home); the agent makes .ssh only";
    /// sshd's configuration already says otherwise.
    SshdSettingTaken "sshd-setting-taken" Error
        "put what the text names into that setting by hand, or take the setting out";
    /// The drop-in is not in force when it is read by sshd.
    DropInNotRead "drop-in-not-read" Error
        "include the drop-in above everything else in sshd_config; it was put back as it was";
    /// A file that is not the agent's stands where its drop-in would.
    DropInTaken "drop-in-taken" Error
        "move that file away, or set certificates.drop-in to another name";
    /// The drop-in could not be written.
    DropInFailed "drop-in-failed" Error
        "see the text; sshd's configuration is as it was";
    /// sshd did not take the drop-in, or was not itself after the reload.
    SshdRefused "sshd-refused" Error
        "see the text and sshd's log; the old drop-in is back, and it is tried again at the next start, reload or day";
    /// The drop-in stands, and nothing shows that sshd has read it.
    SshdNotReloaded "sshd-not-reloaded" Warning
        "reload sshd by hand, or set certificates.reload to the command that does";
    /// The drop-in may not be written, and its lines are not in force.
    SshdNotManaged "sshd-not-managed" Warning
        "put the lines of the text into sshd_config and reload sshd, or set sshd.manage = true";
    /// CAs of users that sshd is to trust, and does not.
    UserCaNotInForce "user-ca-not-in-force" Error
        "see the text; keys log in as before, certificates of the account do not";
    /// A revocation list that sshd is to go by, and does not.
    KrlNotInForce "krl-not-in-force" Error
        "see the text; until then what was revoked is refused only where its line was taken out";
    /// A list of merge-revoked that cannot be taken over.
    RevokedNotMerged "revoked-not-merged" Error
        "put the file right, or take it out of certificates.merge-revoked; what was read of it before stays revoked";
    /// sshd does not say what is in force.
    SshdUnknown "sshd-unknown" Warning
        "see the text; until sshd -T answers, sshd's configuration is left alone";
    /// The file could not be written.
    WriteFailed "write-failed" Error
        "see the text: no space, a read-only file system, no permission";
    /// The agent's own state could not be written.
    StateFailed "state-failed" Error
        "see the text; nothing is applied that could not be remembered";
    /// A removed key that sshd takes all the same.
    StillAccepted "still-accepted" Error
        "take the line out by hand, or save the key again and revoke it: sshkeyd ssh-keys revoke ID";
    /// A key that is in place and that sshd refuses.
    NotAccepted "not-accepted" Error
        "look at sshd's log and at owners and modes of the file and its directories";
    /// A certificate that was revoked and that sshd takes all the same.
    CertificateStillAccepted "certificate-still-accepted" Error
        "see what sshd -T says of revokedkeys for that user: another list than ours is in force there";
    /// A certificate of a CA that is trusted here and that sshd refuses.
    CertificateNotAccepted "certificate-not-accepted" Error
        "look at sshd's log, and at what sshd -T says of trustedusercakeys and authorizedprincipalsfile for that user";
    /// Whoever listens there does not have sshd's host key.
    ProofWrongHost "proof-wrong-host" Error
        "another program listens where sshd should; see [verify] sshd";
    /// No proof can be had.
    ProofUnknown "proof-unknown" Notice
        "see the text; keys are written and not proved";
    /// Live sessions cannot be told apart by key.
    SessionsNotMapped "sessions-not-mapped" Notice
        "name sshd's log in [sessions] auth-log; sessions of a key are not listed and do not end until then";
    /// Sessions that were told to end are still there.
    SessionsLeft "sessions-left" Error
        "see the text; look at these processes and end them by hand";
    /// A key has an end that only the agent can carry out.
    ExpiryNeedsAgent "expiry-needs-agent" Notice
        "sshd before 7.7 knows no expiry-time: the key ends only while the agent runs";
    /// A target was taken out of the configuration; its file is as it was.
    LeftBehind "left-behind" Notice
        "run sshkeyd unmanage with the old configuration to take the keys out";
    /// A new configuration was refused.
    ConfigRefused "config-refused" Warning
        "run sshkeyd check; the configuration before it is in force";
}

/// Trouble as whoever found it says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub code: Code,
    /// What it is about: a source, a file, a user.
    pub about: String,
    /// What is wrong, in one sentence.
    pub text: String,
}

impl Finding {
    /// A finding.
    #[must_use]
    pub fn new(code: Code, about: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            code,
            about: about.into(),
            text: text.into(),
        }
    }
}

/// A finding that stands, with the time at which it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The finding, in its latest words.
    pub finding: Finding,
    /// When it was first found, without a break since.
    pub since: Timestamp,
}

/// What changed when findings were settled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct News {
    /// Found now and not before.
    pub come: Vec<Finding>,
    /// Found before and not now.
    pub gone: Vec<Standing>,
}

/// Everything that stands.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    standing: Vec<Standing>,
}

impl Conditions {
    /// Takes all that is found now in place of all that was. Gives what came and what went, each to
    /// be logged once.
    pub fn settle(&mut self, found: Vec<Finding>, now: Timestamp) -> News {
        let mut come = Vec::new();
        let mut standing: Vec<Standing> = Vec::new();
        for finding in found {
            let same =
                |s: &&Standing| s.finding.code == finding.code && s.finding.about == finding.about;
            if standing.iter().any(|s| same(&s)) {
                continue;
            }
            let since = self.standing.iter().find(same).map(|s| s.since);
            if since.is_none() {
                come.push(finding.clone());
            }
            standing.push(Standing {
                finding,
                since: since.unwrap_or(now),
            });
        }
        standing.sort_by_key(|s| std::cmp::Reverse(s.finding.code.weight()));
        let before = std::mem::replace(&mut self.standing, standing);
        let stands = |old: &Standing| {
            let mut now = self.standing.iter().map(|s| &s.finding);
            now.any(|f| f.code == old.finding.code && f.about == old.finding.about)
        };
        let gone = before.into_iter().filter(|old| !stands(old)).collect();
        News { come, gone }
    }

    /// What stands, the heaviest first.
    #[must_use]
    pub fn standing(&self) -> &[Standing] {
        &self.standing
    }

    /// The weight of the heaviest.
    #[must_use]
    pub fn heaviest(&self) -> Option<Weight> {
        self.standing.iter().map(|s| s.finding.code.weight()).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_keeps_its_beginning_and_goes_by_itself() {
        let (early, late) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
        let offline = |text: &str| Finding::new(Code::SourceOffline, "account", text);
        let mut conditions = Conditions::default();
        assert_eq!(conditions.settle(vec![offline("a")], early).come.len(), 1);
        assert_eq!(conditions.settle(vec![offline("b")], late), News::default());
        assert_eq!(conditions.standing()[0].since, early);
        assert_eq!(conditions.standing()[0].finding.text, "b");
        assert_eq!(conditions.heaviest(), Some(Weight::Warning));
        let gone = conditions.settle(vec![], late).gone;
        assert!(gone.len() == 1 && gone[0].since == early);
        assert_eq!(conditions.heaviest(), None);
    }

    #[test]
    fn codes_are_words_and_each_says_what_to_do() {
        let names: std::collections::BTreeSet<_> = Code::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(
                code.as_str()
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'-')
            );
            assert!(!code.todo().is_empty());
        }
    }
}
