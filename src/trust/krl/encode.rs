//! A list as bytes.
//!
//! For each stretch of single serials the cheapest form is taken: bytes are what sshd reads twice
//! at every login.

use super::{
    BITMAP, CERTIFICATES, EXPLICIT_KEY, FINGERPRINT_SHA1, FINGERPRINT_SHA256, FORMAT, KEY_ID, Krl,
    MAGIC, RevokedCertificates, SERIAL_BITMAP, SERIAL_LIST, SERIAL_RANGE, Serials,
};

/// Bytes of a subsection's head, and of what stands in it whatever it holds.
const HEAD: u64 = 5;
const RANGE: u64 = HEAD + 16;
const BITMAP_HEAD: u64 = HEAD + 8 + 4 + 1;

impl Krl {
    /// The list as sshd reads it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u64(MAGIC);
        out.u32(FORMAT);
        out.u64(self.version);
        out.u64(self.generated_at);
        out.u64(0);
        out.string(b"");
        out.string(self.comment.as_bytes());
        for (ca, revoked) in &self.certificates {
            let body = certificates(ca, revoked);
            out.section(CERTIFICATES, &body);
        }
        out.strings(EXPLICIT_KEY, self.keys.iter().map(Vec::as_slice));
        out.strings(
            FINGERPRINT_SHA1,
            self.sha1.iter().map(|hash| hash.as_slice()),
        );
        let sha256 = self.sha256.iter().map(|hash| hash.digest().as_slice());
        out.strings(FINGERPRINT_SHA256, sha256);
        out.0
    }
}

fn certificates(ca: &[u8], revoked: &RevokedCertificates) -> Vec<u8> {
    let mut out = Writer::default();
    out.string(ca);
    out.string(b"");
    serials(&mut out, &revoked.serials);
    out.strings(KEY_ID, revoked.key_ids.iter().map(Vec::as_slice));
    out.0
}

/// What a range costs by itself: in a list where it is one serial, else as a range.
fn alone(range: (u64, u64)) -> u64 {
    if range.0 == range.1 { 8 } else { RANGE }
}

fn serials(out: &mut Writer, serials: &Serials) {
    let all: Vec<(u64, u64)> = serials.ranges().map(|r| (*r.start(), *r.end())).collect();
    let mut rest = all.as_slice();
    let mut list = Vec::new();
    while let Some((&first, others)) = rest.split_first() {
        let together = stretch(rest);
        if together > 1 {
            let (stretch, after) = rest.split_at(together);
            out.section(SERIAL_BITMAP, &bitmap(stretch));
            rest = after;
            continue;
        }
        if first.0 == first.1 {
            list.push(first.0);
        } else {
            let mut range = Writer::default();
            range.u64(first.0);
            range.u64(first.1);
            out.section(SERIAL_RANGE, &range.0);
        }
        rest = others;
    }
    if !list.is_empty() {
        let mut body = Writer::default();
        list.into_iter().for_each(|serial| body.u64(serial));
        out.section(SERIAL_LIST, &body.0);
    }
}

/// How many of the first ranges one bitmap holds in the fewest bytes; 1: none is better.
fn stretch(ranges: &[(u64, u64)]) -> usize {
    let Some(&(from, _)) = ranges.first() else {
        return 0;
    };
    let (mut apart, mut best, mut most) = (0, 1, 0);
    for (nth, &range) in ranges.iter().enumerate() {
        let span = range.1 - from;
        if span >= BITMAP {
            break;
        }
        apart += alone(range);
        let together = BITMAP_HEAD + span / 8 + 1;
        let saved = apart.saturating_sub(together);
        if saved > most {
            (best, most) = (nth + 1, saved);
        }
    }
    best
}

/// Offset, and an mpint (RFC 4251, section 5) whose bit N stands for offset + N.
fn bitmap(ranges: &[(u64, u64)]) -> Vec<u8> {
    let mut out = Writer::default();
    let (Some(&(from, _)), Some(&(_, to))) = (ranges.first(), ranges.last()) else {
        return out.0;
    };
    out.u64(from);
    let bytes = usize::try_from((to - from) / 8 + 1).unwrap_or(usize::MAX);
    let mut bits = vec![0_u8; bytes];
    for &(first, last) in ranges {
        for serial in first..=last {
            let at = serial - from;
            let byte = usize::try_from(at / 8)
                .ok()
                .and_then(|byte| bits.get_mut(byte));
            byte.into_iter().for_each(|byte| *byte |= 1 << (at % 8));
        }
    }
    // Big-endian; the highest bit would be a sign.
    if bits.last().is_some_and(|high| high & 0x80 != 0) {
        bits.push(0);
    }
    bits.reverse();
    out.string(&bits);
    out.0
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn u32(&mut self, number: u32) {
        self.0.extend(number.to_be_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.0.extend(number.to_be_bytes());
    }

    fn string(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len());
        self.u32(length.expect("a list is far below 4 GiB"));
        self.0.extend(bytes);
    }

    fn section(&mut self, kind: u8, body: &[u8]) {
        self.0.push(kind);
        self.string(body);
    }

    /// A section of strings; none where there is none.
    fn strings<'a>(&mut self, kind: u8, all: impl Iterator<Item = &'a [u8]>) {
        let mut body = Self::default();
        all.for_each(|one| body.string(one));
        if !body.0.is_empty() {
            self.section(kind, &body.0);
        }
    }
}
