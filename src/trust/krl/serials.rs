//! A set of certificate serials, kept as ranges.
//!
//! Ranges cost sshd nothing however long they are; single serials cost it a tree insertion each,
//! twice at every login. So neighbours become one range as they come.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Serials, never 0: a certificate with serial 0 has none (PROTOCOL.krl, "Certificate serial").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Serials {
    /// First to last, both in; never adjacent to the next.
    ranges: BTreeMap<u64, u64>,
}

impl Serials {
    /// Adds one; 0 is no serial and is left out.
    pub fn insert(&mut self, serial: u64) {
        self.insert_range(serial..=serial);
    }

    /// Adds all from first to last.
    pub fn insert_range(&mut self, range: RangeInclusive<u64>) {
        let (mut first, mut last) = ((*range.start()).max(1), *range.end());
        if first > last {
            return;
        }
        if let Some((&before, &end)) = self.ranges.range(..first).next_back()
            && end >= first - 1
        {
            first = before;
            last = last.max(end);
        }
        while let Some((&next, &end)) = self.ranges.range(first..).next()
            && next <= last.saturating_add(1)
        {
            self.ranges.remove(&next);
            last = last.max(end);
        }
        self.ranges.insert(first, last);
    }

    /// Whether this one is in it.
    #[must_use]
    pub fn contains(&self, serial: u64) -> bool {
        let at = self.ranges.range(..=serial).next_back();
        at.is_some_and(|(_, last)| *last >= serial)
    }

    /// The ranges, the lowest first; there is a gap between one and the next.
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u64>> {
        self.ranges.iter().map(|(first, last)| *first..=*last)
    }

    /// There is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

impl FromIterator<u64> for Serials {
    fn from_iter<T: IntoIterator<Item = u64>>(serials: T) -> Self {
        let mut all = Self::default();
        serials.into_iter().for_each(|serial| all.insert(serial));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(serials: &Serials) -> Vec<(u64, u64)> {
        serials.ranges().map(|r| (*r.start(), *r.end())).collect()
    }

    #[test]
    fn neighbours_become_one_range() {
        let mut all = Serials::from_iter([5, 3, 4, 9, 7]);
        assert_eq!(ranges(&all), [(3, 5), (7, 7), (9, 9)]);
        all.insert(8);
        assert_eq!(ranges(&all), [(3, 5), (7, 9)]);
        all.insert_range(1..=20);
        assert_eq!(ranges(&all), [(1, 20)]);
        all.insert_range(u64::MAX - 1..=u64::MAX);
        all.insert(u64::MAX);
        assert_eq!(ranges(&all), [(1, 20), (u64::MAX - 1, u64::MAX)]);
        assert!(all.contains(20) && !all.contains(21) && all.contains(u64::MAX));
    }

    #[test]
    fn nought_is_no_serial() {
        let mut all = Serials::from_iter([0]);
        assert!(all.is_empty());
        all.insert_range(0..=2);
        assert_eq!(ranges(&all), [(1, 2)]);
        #[expect(clippy::reversed_empty_ranges, reason = "what a caller may get wrong")]
        all.insert_range(9..=8);
        assert_eq!(ranges(&all), [(1, 2)]);
    }
}
