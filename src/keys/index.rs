//! The index of one user's keys, which `sshkeyd authorized-keys` looks a key up in.
//!
//! One key costs some fourteen short reads, however many there are, and each read is checked by a
//! sum of its own: what is damaged is said to be damaged, never taken for "no such key". Pure: the
//! bytes come from whoever asks.
//!
//! Numbers are big-endian. A sum is the first 8 bytes of a SHA-256, and each but the first begins
//! with the seed, so that parts of two indexes never pass for one.
//!
//! ```text
//! header, 64 bytes    "sshkeyd index 1\n"  uid u32  count u32  size of the file u64
//!                     seed [24], from the SHA-256 of all that follows
//!                     sum of the 56 bytes above
//! record, 64 bytes    fingerprint [32]  end i64, seconds since 1970, all ones but the sign: none
//!   × count           offset u32 and length u32 of the line, its newline included
//!                     sum of the line
//!                     sum of the record's number (u32) and the 56 bytes above
//! lines               each as sshd reads it, with a newline, in the order of the list
//! ```
//!
//! Records stand in the order of their fingerprints, none twice.

use super::Fingerprint;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

/// Largest index, in bytes.
pub const MAX_INDEX: u64 = 64 * 1024 * 1024;

const MAGIC: [u8; 16] = *b"sshkeyd index 1\n";
const HEADER: usize = 64;
const RECORD: usize = 64;
/// What a sum of a header or a record is of, in bytes.
const SUMMED: usize = 56;
const NO_END: i64 = i64::MAX;

/// One key of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexLine {
    /// The key's fingerprint.
    pub fingerprint: Fingerprint,
    /// When it ends, in whole seconds: for an sshd that cannot be told.
    pub ends: Option<Timestamp>,
    /// The line, without newline.
    pub line: Vec<u8>,
}

/// Why an index says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// Its bytes are not those that were written.
    #[error("is damaged")]
    Damaged,
    /// It is whole, and of another user.
    #[error("is another user's")]
    AnotherUser,
    /// It would be larger than [`MAX_INDEX`].
    #[error("would be larger than 64 MiB")]
    TooLarge,
}

impl IndexLine {
    /// Whether its time is over.
    #[must_use]
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.ends.is_some_and(|end| end <= now)
    }
}

/// The bytes of an index. Of two lines with one fingerprint the first stands.
///
/// # Errors
/// [`IndexError::TooLarge`].
pub fn encode_index(uid: u32, lines: &[IndexLine]) -> Result<Vec<u8>, IndexError> {
    let mut seen = std::collections::HashSet::new();
    let lines: Vec<_> = lines
        .iter()
        .filter(|line| seen.insert(line.fingerprint))
        .collect();
    let text: usize = lines.iter().map(|line| line.line.len() + 1).sum();
    let size = HEADER + RECORD * lines.len() + text;
    let count = u32::try_from(lines.len()).map_err(|_| IndexError::TooLarge)?;
    if size as u64 > MAX_INDEX {
        return Err(IndexError::TooLarge);
    }
    let mut content = Sha256::new();
    content.update(uid.to_be_bytes());
    for line in &lines {
        content.update(line.fingerprint.digest());
        content.update(end_of(line).to_be_bytes());
        content.update((line.line.len() as u64).to_be_bytes());
        content.update(&line.line);
    }
    let seed: [u8; 24] = first(content);
    let mut header = [MAGIC.as_slice(), &uid.to_be_bytes(), &count.to_be_bytes()].concat();
    header.extend((size as u64).to_be_bytes());
    header.extend(seed);
    header.extend(sum(&[&header]));
    let mut records = Vec::with_capacity(lines.len());
    let mut bytes = Vec::with_capacity(size);
    let mut offset = HEADER + RECORD * lines.len();
    for line in &lines {
        let length = line.line.len() + 1;
        let mut record = line.fingerprint.digest().to_vec();
        record.extend(end_of(line).to_be_bytes());
        for number in [offset, length] {
            // Below MAX_INDEX, which is below 4 GiB.
            record.extend((number as u32).to_be_bytes());
        }
        record.extend(sum(&[&seed, &line.line, b"\n"]));
        records.push(record);
        offset += length;
    }
    records.sort_unstable();
    bytes.extend(header);
    for (at, record) in (0_u32..).zip(&records) {
        bytes.extend(record);
        bytes.extend(sum(&[&seed, &at.to_be_bytes(), record]));
    }
    for line in &lines {
        bytes.extend(&line.line);
        bytes.push(b'\n');
    }
    Ok(bytes)
}

/// Every line of an index, in the order of the list. Every byte of it is looked at.
///
/// # Errors
/// [`IndexError`]; nothing of it may be used then.
pub fn decode_index(bytes: &[u8], uid: u32) -> Result<Vec<IndexLine>, IndexError> {
    let mut reader = Reader::open(bytes.len() as u64, uid, in_bytes(bytes))?;
    let mut placed = Vec::with_capacity(reader.count as usize);
    let mut before: Option<Fingerprint> = None;
    for at in 0..reader.count {
        let record = reader.record(at)?;
        if before.is_some_and(|before| before >= record.fingerprint) {
            return Err(IndexError::Damaged);
        }
        before = Some(record.fingerprint);
        placed.push((record.offset, reader.line(&record)?));
    }
    placed.sort_unstable_by_key(|(offset, _)| *offset);
    Ok(placed.into_iter().map(|(_, line)| line).collect())
}

/// One line of an index of `size` bytes. `read` fills its buffer with what stands at an offset, and
/// is false where it cannot.
///
/// # Errors
/// [`IndexError`]; whether the key is there is not known then.
pub fn find_in_index(
    size: u64,
    uid: u32,
    wanted: Fingerprint,
    read: impl FnMut(u64, &mut [u8]) -> bool,
) -> Result<Option<IndexLine>, IndexError> {
    let mut reader = Reader::open(size, uid, read)?;
    let (mut from, mut to) = (0, reader.count);
    while from < to {
        let middle = from + (to - from) / 2;
        let record = reader.record(middle)?;
        match record.fingerprint.cmp(&wanted) {
            std::cmp::Ordering::Less => from = middle + 1,
            std::cmp::Ordering::Greater => to = middle,
            std::cmp::Ordering::Equal => return reader.line(&record).map(Some),
        }
    }
    Ok(None)
}

struct Reader<R> {
    read: R,
    seed: [u8; 24],
    count: u32,
    size: u64,
}

struct Record {
    fingerprint: Fingerprint,
    ends: Option<Timestamp>,
    offset: u32,
    length: u32,
    sum: [u8; 8],
}

impl<R: FnMut(u64, &mut [u8]) -> bool> Reader<R> {
    fn open(size: u64, uid: u32, mut read: R) -> Result<Self, IndexError> {
        let mut bytes = [0; HEADER];
        if size > MAX_INDEX || !read(0, &mut bytes) {
            return Err(IndexError::Damaged);
        }
        let (summed, said) = bytes.split_at(SUMMED);
        let mut fields = Fields(summed);
        let magic: [u8; 16] = fields.take()?;
        let whose = u32::from_be_bytes(fields.take()?);
        let count = u32::from_be_bytes(fields.take()?);
        let whole = u64::from_be_bytes(fields.take()?);
        let seed = fields.take()?;
        let fits = HEADER as u64 + RECORD as u64 * u64::from(count) <= size;
        if said != sum(&[summed]) || magic != MAGIC || whole != size || !fits {
            return Err(IndexError::Damaged);
        }
        if whose != uid {
            return Err(IndexError::AnotherUser);
        }
        Ok(Self {
            read,
            seed,
            count,
            size,
        })
    }

    fn record(&mut self, at: u32) -> Result<Record, IndexError> {
        let mut bytes = [0; RECORD];
        let place = HEADER as u64 + RECORD as u64 * u64::from(at);
        if !(self.read)(place, &mut bytes) {
            return Err(IndexError::Damaged);
        }
        let (summed, said) = bytes.split_at(SUMMED);
        if said != sum(&[&self.seed, &at.to_be_bytes(), summed]) {
            return Err(IndexError::Damaged);
        }
        let mut fields = Fields(summed);
        let fingerprint = Fingerprint::from_digest(fields.take()?);
        let ends = match i64::from_be_bytes(fields.take()?) {
            NO_END => None,
            end => Some(Timestamp::from_second(end).map_err(|_| IndexError::Damaged)?),
        };
        Ok(Record {
            fingerprint,
            ends,
            offset: u32::from_be_bytes(fields.take()?),
            length: u32::from_be_bytes(fields.take()?),
            sum: fields.take()?,
        })
    }

    fn line(&mut self, record: &Record) -> Result<IndexLine, IndexError> {
        if u64::from(record.offset) + u64::from(record.length) > self.size {
            return Err(IndexError::Damaged);
        }
        let mut line = vec![0; record.length as usize];
        let is_read = (self.read)(u64::from(record.offset), &mut line);
        if !is_read || record.sum != sum(&[&self.seed, &line]) || line.pop() != Some(b'\n') {
            return Err(IndexError::Damaged);
        }
        Ok(IndexLine {
            fingerprint: record.fingerprint,
            ends: record.ends,
            line,
        })
    }
}

/// What is left of a header or a record.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], IndexError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(IndexError::Damaged)?;
        self.0 = rest;
        Ok(*field)
    }
}

fn in_bytes(bytes: &[u8]) -> impl FnMut(u64, &mut [u8]) -> bool {
    |at, to| {
        let from = usize::try_from(at).unwrap_or(usize::MAX);
        let part = bytes.get(from..).and_then(|rest| rest.get(..to.len()));
        part.is_some_and(|part| {
            to.copy_from_slice(part);
            true
        })
    }
}

fn end_of(line: &IndexLine) -> i64 {
    line.ends.map_or(NO_END, Timestamp::as_second)
}

fn sum(parts: &[&[u8]]) -> [u8; 8] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    first(hash)
}

fn first<const N: usize>(hash: Sha256) -> [u8; N] {
    let all: [u8; 32] = hash.finalize().into();
    *all.first_chunk()
        .expect("a sum is no longer than a SHA-256")
}

#[cfg(test)]
mod tests;
