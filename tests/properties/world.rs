//! A file that the agent and others write by turns, and what others may expect of it.

use super::making::{Bytes, desired, joined};
use sshkeyd::keys::{AuthorizedKeys, KeyList};
use sshkeyd::sync::{Owned, Plan, plan, render, unplan};

/// What happens next.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// The agent's turn.
    Turn {
        list: KeyList,
        only_add: bool,
        adopt: bool,
    },
    /// Somebody appends a line in place, as `ssh-copy-id` does.
    Append { line: Bytes, ends: bool },
    /// Somebody puts a line above one of those that are not ours.
    Insert { at: usize, line: Bytes },
    /// Somebody takes one of those out.
    Delete { at: usize },
}

/// The file, what the agent remembers of it, and what others wrote.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) bytes: Vec<u8>,
    pub(crate) owned: Owned,
    /// Lines of others in their order, without newlines.
    pub(crate) others: Vec<Bytes>,
}

impl World {
    pub(crate) fn take(&mut self, step: Step) {
        match step {
            Step::Turn {
                list,
                only_add,
                adopt,
            } => self.turn(&list, only_add, adopt),
            Step::Append { line, ends } => {
                // An empty line is nothing without its newline.
                let ends = ends || line.0.is_empty();
                let mut lines = self.lines();
                lines.push(line.clone());
                self.others.push(line);
                self.bytes = joined(&lines, ends);
            }
            Step::Insert { at, line } => {
                let places = self.places();
                let mut lines = self.lines();
                let nth = at % (places.len() + 1);
                let place = places.get(nth).copied();
                lines.insert(place.unwrap_or(lines.len()), line.clone());
                self.others.insert(nth, line);
                self.bytes = joined(&lines, true);
            }
            Step::Delete { at } => {
                let places = self.places();
                if places.is_empty() {
                    return;
                }
                let nth = at % places.len();
                let mut lines = self.lines();
                lines.remove(places[nth]);
                self.others.remove(nth);
                self.bytes = joined(&lines, true);
            }
        }
        assert_eq!(outside(&self.bytes), self.others, "lines of others");
    }

    fn turn(&mut self, list: &KeyList, only_add: bool, adopt: bool) {
        let wanted = desired(list, only_add);
        let current = AuthorizedKeys::parse(self.bytes.clone());
        let first = plan(&current, &wanted, &self.owned, adopt).unwrap();
        let after = render(&current, &first).bytes;
        assert_eq!(first.is_empty(), after == self.bytes, "empty or written");
        self.let_go(&first);
        self.owned = first.owned_after(&self.owned);
        let again = AuthorizedKeys::parse(after.clone());
        let second = plan(&again, &wanted, &self.owned, adopt).unwrap();
        assert!(second.is_empty(), "planning twice");
        assert_eq!(second.owned_after(&self.owned), self.owned, "owned twice");
        self.bytes = after;
    }

    /// Adopted lines are no longer others'.
    fn let_go(&mut self, plan: &Plan) {
        for adopted in &plan.adopt {
            let line = adopted.line.trim_end_matches('\n').as_bytes();
            let at = self.others.iter().position(|other| other.0 == line);
            self.others
                .remove(at.expect("only a line that is there is adopted"));
        }
    }

    /// Takes everything of ours out. Gives the lines that came back from the block.
    pub(crate) fn unmanage(&mut self) -> Vec<Bytes> {
        let current = AuthorizedKeys::parse(self.bytes.clone());
        let plan = unplan(&current, &self.owned).unwrap();
        let back = self.owned.adopted.iter();
        let back = back.map(|adopted| adopted.line.trim_end_matches('\n').as_bytes());
        let back = back.map(|line| Bytes(line.to_vec())).collect();
        self.bytes = render(&current, &plan).bytes;
        self.owned = plan.owned_after(&self.owned);
        assert_eq!(self.owned, Owned::default());
        back
    }

    fn lines(&self) -> Vec<Bytes> {
        split(&self.bytes)
    }

    /// Where the lines of others stand in the file.
    fn places(&self) -> Vec<usize> {
        let mut inside = false;
        let mut places = Vec::new();
        for (at, line) in self.lines().iter().enumerate() {
            inside |= line.0.starts_with(b"# BEGIN sshkeyd");
            if !inside {
                places.push(at);
            }
            inside &= !line.0.starts_with(b"# END sshkeyd");
        }
        places
    }
}

/// A file's lines, without newlines.
pub(crate) fn split(bytes: &[u8]) -> Vec<Bytes> {
    let mut lines: Vec<_> = bytes
        .split(|b| *b == b'\n')
        .map(|line| Bytes(line.to_vec()))
        .collect();
    if lines.last().is_some_and(|line| line.0.is_empty()) {
        lines.pop();
    }
    lines
}

/// The lines outside a whole block, found without the code that is tried here.
pub(crate) fn outside(bytes: &[u8]) -> Vec<Bytes> {
    let world = World {
        bytes: bytes.to_vec(),
        ..World::default()
    };
    let lines = world.lines();
    let places = world.places();
    places.into_iter().map(|at| lines[at].clone()).collect()
}

/// Whether all of `part` stands in `whole`, in order; the lines of `whole` that are left over.
pub(crate) fn left_over(whole: &[Bytes], part: &[Bytes]) -> Option<Vec<Bytes>> {
    let mut part = part.iter().peekable();
    let mut left = Vec::new();
    for line in whole {
        if part.next_if(|next| *next == line).is_none() {
            left.push(line.clone());
        }
    }
    part.peek().is_none().then_some(left)
}
