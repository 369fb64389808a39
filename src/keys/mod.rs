//! Public keys and authorized_keys text: what a line means to sshd, and what we write back.
//!
//! Owns the line reader, options, the file with our block in it, the index of one user, and lists
//! with what was left out of them. Pure: no I/O, no clock, no async, no logging. Obeys sshd(8), AUTHORIZED_KEYS FILE
//! FORMAT, and OpenSSH's `auth2-pubkeyfile.c`. A key is parsed to bytes and written back by us;
//! text from outside is never pasted.

mod file;
mod fingerprint;
mod index;
mod line;
mod list;
mod options;
mod public_key;
mod set;

pub use file::{AuthorizedKeys, BEGIN, Block, END, FileLine, LineKind};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use index::{IndexError, IndexLine, MAX_INDEX, decode_index, encode_index, find_in_index};
pub use line::{Entry, Line, LineFault, read_line};
pub use list::{KeyList, ListedKey, MAX_KEYS, Rejected};
pub use options::{EXPIRY_SINCE, EXPIRY_TIME, Options, OptionsError, SshdVersion};
pub use public_key::{KeyError, MIN_RSA_BITS, PublicKey, RawKey, printable};
pub use set::KeySet;
