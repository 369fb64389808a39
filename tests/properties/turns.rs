//! Turns of the agent among everything that others do to the file.

use super::config;
use super::making::{Bytes, any_file, desired, foreign_line, joined, list, some_keys};
use super::world::{Step, World, left_over, outside, split};
use proptest::collection::vec;
use proptest::prelude::*;
use sshkeyd::keys::{AuthorizedKeys, Block, KeyList, Line, LineKind, read_line};
use sshkeyd::sync::{HoldReason, Owned, plan, render, unplan};
use std::path::Path;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (list(), any::<bool>(), any::<bool>()).prop_map(|(list, only_add, adopt)| Step::Turn {
            list,
            only_add,
            adopt
        }),
        2 => (foreign_line(), any::<bool>()).prop_map(|(line, ends)| Step::Append { line, ends }),
        1 => (any::<usize>(), foreign_line()).prop_map(|(at, line)| Step::Insert { at, line }),
        1 => any::<usize>().prop_map(|at| Step::Delete { at }),
    ]
}

fn world(lines: &[Bytes], ends: bool) -> World {
    let bytes = joined(lines, ends);
    World {
        others: outside(&bytes),
        bytes,
        owned: Owned::default(),
    }
}

/// What must hold of one turn on any file at all.
fn one_turn(bytes: &[u8], list: &KeyList, owned: &Owned, only_add: bool, adopt: bool) {
    let current = AuthorizedKeys::parse(bytes.to_vec());
    let wanted = desired(list, only_add);
    let first = match plan(&current, &wanted, owned, adopt) {
        Ok(plan) => plan,
        Err(HoldReason::AnotherAgent { id }) => {
            assert_eq!(current.block(), Block::Another { id });
            return;
        }
        Err(other) => panic!("{other}"),
    };
    let after = render(&current, &first).bytes;
    assert_eq!(first.is_empty(), after == bytes, "empty or written");
    let then = first.owned_after(owned);
    let again = AuthorizedKeys::parse(after.clone());
    let second = plan(&again, &wanted, &then, adopt).unwrap();
    assert!(second.is_empty(), "planning twice");
    // The block holds what is wanted, and what an unknown source may still want.
    let block = match again.block() {
        Block::Whole(span) => span,
        Block::None => 0..0,
        other => panic!("{other:?} after a turn"),
    };
    let held: Vec<_> = again.lines()[block]
        .iter()
        .filter_map(|line| match line.kind {
            LineKind::Entry { fingerprint, .. } => Some(fingerprint),
            _ => None,
        })
        .collect();
    for key in &wanted.keys {
        assert!(held.contains(&key.fingerprint), "a wanted key is missing");
    }
    assert!(only_add || held.len() == wanted.keys.len());
    assert!(
        !only_add || first.remove.is_empty(),
        "taken out while unknown"
    );
    nothing_of_others_is_gone(&current, bytes, &after, owned, &first.adopt);
}

/// What left the file outside the block is ours by the state's word, or was adopted.
fn nothing_of_others_is_gone(
    current: &AuthorizedKeys,
    before: &[u8],
    after: &[u8],
    owned: &Owned,
    adopted: &[sshkeyd::sync::Adopted],
) {
    let kept = outside(after);
    let Some(gone) = left_over(&others(current, before), &kept) else {
        panic!("lines of others changed or moved");
    };
    for line in gone {
        let adopted = adopted
            .iter()
            .any(|adopted| adopted.line.trim_end_matches('\n').as_bytes() == line.0);
        let damaged = current.block() == Block::Damaged;
        let ours = match read_line(&line.0) {
            Line::Entry(entry) => owned.keys.contains(&entry.key.fingerprint()),
            Line::Comment(text) => {
                let words: Vec<_> = text.split(u8::is_ascii_whitespace).collect();
                words.contains(&&b"sshkeyd"[..])
                    || words.iter().any(|word| word.starts_with(b"sshkeyd"))
                    || words.contains(&&b"key"[..])
            }
            _ => false,
        };
        assert!(adopted || (damaged && ours), "{line:?}");
    }
}

/// Lines outside a whole block; all lines where there is none.
fn others(current: &AuthorizedKeys, bytes: &[u8]) -> Vec<Bytes> {
    let block = match current.block() {
        Block::Whole(span) => span,
        _ => 0..0,
    };
    let lines = split(bytes).into_iter().enumerate();
    lines
        .filter(|(at, _)| !block.contains(at))
        .map(|(_, line)| line)
        .collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn planning_twice_gives_an_empty_plan(
        bytes in any_file(), list in list(), owned in some_keys(),
        only_add in any::<bool>(), adopt in any::<bool>()
    ) {
        let owned = Owned { keys: owned.into_iter().collect(), adopted: Vec::new() };
        one_turn(&bytes.0, &list, &owned, only_add, adopt);
    }

    #[test]
    fn lines_of_others_never_change(
        lines in vec(foreign_line(), 0..6), ends in any::<bool>(), steps in vec(step(), 1..12)
    ) {
        let mut world = world(&lines, ends);
        for step in steps {
            world.take(step);
        }
    }

    #[test]
    fn a_turn_adds_at_most_a_newline_to_what_others_wrote(
        lines in vec(foreign_line(), 0..6), ends in any::<bool>(), list in list(),
        only_add in any::<bool>()
    ) {
        let before = joined(&lines, ends);
        let current = AuthorizedKeys::parse(before.clone());
        let plan = plan(&current, &desired(&list, only_add), &Owned::default(), false).unwrap();
        let after = render(&current, &plan).bytes;
        let Some(block) = after.strip_prefix(&before[..]) else {
            panic!("others' bytes changed")
        };
        let newline = !before.is_empty() && before.last() != Some(&b'\n');
        let block = block.strip_prefix(b"\n".as_slice()).filter(|_| newline).unwrap_or(block);
        prop_assert!(block.is_empty() || block.starts_with(b"# BEGIN sshkeyd"));
    }

    #[test]
    fn unmanage_gives_back_what_others_wrote(
        lines in vec(foreign_line(), 0..6), ends in any::<bool>(), steps in vec(step(), 1..12)
    ) {
        let mut world = world(&lines, ends);
        for step in steps {
            world.take(step);
        }
        let mut back = world.unmanage();
        let after = split(&world.bytes);
        let Some(mut left) = left_over(&after, &world.others) else {
            panic!("lines of others changed or moved")
        };
        left.sort();
        back.sort();
        prop_assert_eq!(left, back);
        // Once more is nothing more.
        let bytes = world.bytes.clone();
        prop_assert!(world.unmanage().is_empty());
        prop_assert_eq!(&world.bytes, &bytes);
    }

    #[test]
    fn unmanage_puts_adopted_lines_back_where_they_stood(
        lines in vec(foreign_line(), 0..8), ends in any::<bool>(),
        lists in vec((list(), any::<bool>()), 1..5)
    ) {
        let before = joined(&lines, ends);
        let mut world = world(&lines, ends);
        // No key goes: a deleted key takes its adopted lines with it, which is what adoption is for.
        let mut all = KeyList::default();
        for (list, only_add) in lists {
            all.accepted.extend(list.accepted);
            all = all.without_duplicates();
            world.take(Step::Turn { list: all.clone(), only_add, adopt: true });
        }
        world.unmanage();
        prop_assert_eq!(split(&world.bytes), split(&before));
    }

    #[test]
    fn unmanage_of_any_file_leaves_no_block(bytes in any_file(), owned in some_keys()) {
        let current = AuthorizedKeys::parse(bytes.0.clone());
        let bytes = bytes.0;
        let owned = Owned { keys: owned.into_iter().collect(), adopted: Vec::new() };
        let Ok(plan) = unplan(&current, &owned) else { return Ok(()) };
        let after = render(&current, &plan).bytes;
        prop_assert_eq!(plan.is_empty(), after == bytes);
        prop_assert_eq!(AuthorizedKeys::parse(after.clone()).block(), Block::None);
        nothing_of_others_is_gone(&current, &bytes, &after, &owned, &[]);
    }
}

/// Files that once went wrong, or that somebody found in the field: each under a few lists.
#[test]
fn seeds_hold() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/seeds/files");
    let mut seen = 0;
    for file in std::fs::read_dir(directory).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        seen += 1;
        let all = KeyList::from_authorized_keys(&bytes, "seed");
        let mut first = all.clone();
        first.accepted.truncate(1);
        let keys = all.accepted.iter().map(|key| key.key.fingerprint());
        let owned = Owned {
            keys: keys.collect(),
            adopted: Vec::new(),
        };
        for list in [&KeyList::default(), &first, &all] {
            for (only_add, adopt) in [(false, false), (false, true), (true, false), (true, true)] {
                one_turn(&bytes, list, &owned, only_add, adopt);
                one_turn(&bytes, list, &Owned::default(), only_add, adopt);
            }
        }
    }
    assert!(seen > 5, "the seeds are not there");
}
