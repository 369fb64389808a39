//! Plans against texts: what is added, removed and kept, and that foreign bytes stay as they are.

use super::super::policy::{Decision, View, decide};
use super::super::render::{Dialect, render};
use super::super::testing::{key, list};
use super::*;

fn desired(seeds: &[u8]) -> Desired {
    let list = list(seeds);
    let view = View {
        source: "account",
        list: Some(&list),
    };
    match decide(&[view], Timestamp::UNIX_EPOCH, &Dialect::default()) {
        Decision::Apply(desired) => desired,
        Decision::Hold(why) => panic!("{why}"),
    }
}

/// What a file reads after one turn, and what is owned then.
fn turn(text: &str, seeds: &[u8], owned: &Owned, adopt: bool) -> (String, Owned) {
    let current = AuthorizedKeys::parse(text.as_bytes().to_vec());
    let plan = plan(&current, &desired(seeds), owned, adopt).unwrap();
    let after = render(&current, &plan).bytes;
    assert_eq!(plan.is_empty(), after == text.as_bytes());
    let owned = plan.owned_after(owned);
    let again = super::plan(
        &AuthorizedKeys::parse(after.clone()),
        &desired(seeds),
        &owned,
        adopt,
    );
    assert!(again.unwrap().is_empty(), "planning twice");
    (String::from_utf8(after).unwrap(), owned)
}

fn line(seed: u8) -> String {
    format!("{} k{seed}\n", key(seed).key)
}

fn block(seeds: &[u8]) -> String {
    let mut text =
        "# BEGIN sshkeyd - lines up to END are replaced; put your own keys outside\n".to_owned();
    for seed in seeds {
        text += &format!("# account key {seed} \"k{seed}\"\n{}", line(*seed));
    }
    text + "# END sshkeyd\n"
}

#[test]
fn the_block_stands_at_the_end_of_a_new_file_and_none_without_keys() {
    let (text, owned) = turn("", &[1, 2], &Owned::default(), false);
    assert_eq!(text, block(&[1, 2]));
    let (text, owned) = turn(&text, &[], &owned, false);
    assert_eq!((text.as_str(), owned.keys.len()), ("", 0));
}

#[test]
fn a_missing_last_newline_does_not_glue_two_keys_into_one_line() {
    let own = line(9).trim_end().to_owned();
    let (text, _) = turn(&own, &[1], &Owned::default(), false);
    assert_eq!(text, format!("{own}\n{}", block(&[1])));
}

#[test]
fn foreign_bytes_around_the_block_stay_in_place() {
    let above = "\t# mine \r\nno-pty garbage\n";
    let below = format!("{}\n\n# tail", line(9).trim_end());
    let text = format!("{above}{}{below}", block(&[1]));
    let (after, _) = turn(&text, &[2, 3], &Owned::default(), false);
    assert_eq!(after, format!("{above}{}{below}", block(&[2, 3])));
    let (after, _) = turn(&after, &[], &Owned::default(), false);
    assert_eq!(after, format!("{above}{below}"));
}

#[test]
fn a_foreign_line_with_a_key_of_the_list_is_left_unless_adopted() {
    let text = format!("{}{}", line(1), line(9));
    let (kept, _) = turn(&text, &[1], &Owned::default(), false);
    assert!(kept.starts_with(&text));
    let (moved, owned) = turn(&text, &[1], &Owned::default(), true);
    assert_eq!(moved, format!("{}{}", line(9), block(&[1])));
    assert_eq!(owned.adopted.len(), 1);
    let (gone, owned) = turn(&moved, &[], &owned, true);
    assert_eq!(gone, line(9));
    assert!(owned.adopted.is_empty());
}

#[test]
fn a_line_with_options_is_never_adopted() {
    let text = format!("no-pty {}", line(1));
    let (after, owned) = turn(&text, &[1], &Owned::default(), true);
    assert!(after.starts_with(&text));
    assert!(owned.adopted.is_empty());
}

#[test]
fn a_key_that_was_ours_before_is_not_adopted_later() {
    let (text, owned) = turn("", &[1], &Owned::default(), true);
    let (after, _) = turn(&format!("{}{text}", line(1)), &[1], &owned, true);
    assert!(after.starts_with(&line(1)));
}

#[test]
fn unmanage_puts_adopted_lines_back_where_they_stood() {
    let text = format!("# a\n{}# b\n{}{}# c\n", line(1), line(2), line(9));
    let (managed, owned) = turn(&text, &[1, 2, 3], &Owned::default(), true);
    let current = AuthorizedKeys::parse(managed.into_bytes());
    let plan = unplan(&current, &owned).unwrap();
    assert_eq!(render(&current, &plan).bytes, text.as_bytes());
    assert_eq!(plan.remove.len(), 3);
}

#[test]
fn lines_adopted_one_after_the_other_go_back_in_the_order_in_which_they_stood() {
    let text = format!("{}{}# c\n{}", line(2), line(1), line(3));
    let (managed, owned) = turn(&text, &[1], &Owned::default(), true);
    let (managed, owned) = turn(&managed, &[1, 3, 2], &owned, true);
    let current = AuthorizedKeys::parse(managed.into_bytes());
    let plan = unplan(&current, &owned).unwrap();
    assert_eq!(render(&current, &plan).bytes, text.as_bytes());
}

#[test]
fn a_line_that_was_remembered_before_a_cut_off_write_goes_back_once() {
    let text = format!("{}# c\n", line(1));
    let current = AuthorizedKeys::parse(text.clone().into_bytes());
    let cut_off = plan(&current, &desired(&[1]), &Owned::default(), true).unwrap();
    let remembered = Owned::default().joined(&cut_off);
    let (managed, owned) = turn(&text, &[1], &remembered, true);
    let current = AuthorizedKeys::parse(managed.into_bytes());
    let plan = unplan(&current, &owned).unwrap();
    assert_eq!(render(&current, &plan).bytes, text.as_bytes());
}

#[test]
fn of_a_damaged_block_only_what_is_known_to_be_ours_goes() {
    let owned = Owned {
        keys: [key(1).key.fingerprint()].into(),
        adopted: Vec::new(),
    };
    let text = format!("{}{}", line(8), block(&[1])).replace("# END sshkeyd\n", &line(9));
    let (after, _) = turn(&text, &[2], &owned, false);
    assert_eq!(after, format!("{}{}{}", line(8), line(9), block(&[2])));
}

#[test]
fn keys_stay_while_a_source_is_unknown() {
    let text = block(&[1, 2]);
    let current = AuthorizedKeys::parse(text.into_bytes());
    let mut wanted = desired(&[2, 3]);
    wanted.only_add = true;
    let plan = plan(&current, &wanted, &Owned::default(), false).unwrap();
    assert!(plan.remove.is_empty());
    let after = render(&current, &plan).bytes;
    assert_eq!(String::from_utf8(after).unwrap(), block(&[2, 3, 1]));
}

#[test]
fn the_block_of_another_agent_is_left() {
    let text = block(&[1]).replace("sshkeyd -", "sshkeyd id=ab12 -");
    let current = AuthorizedKeys::parse(text.into_bytes());
    assert_eq!(
        plan(&current, &desired(&[2]), &Owned::default(), false).unwrap_err(),
        HoldReason::AnotherAgent { id: "ab12".into() }
    );
}

#[test]
fn a_revoked_key_goes_from_every_line_and_only_those_lines_go() {
    let foreign = format!(
        "# mine\nno-pty {}{}from=\"h\" {}",
        line(1),
        line(2),
        line(1).trim_end()
    );
    let (text, owned) = turn(&foreign, &[1, 3], &Owned::default(), false);
    let mut wanted = desired(&[1, 3]);
    let revoked = key(1).key.fingerprint();
    wanted.revoked.insert(revoked);
    wanted.keys.retain(|key| key.fingerprint != revoked);
    let current = AuthorizedKeys::parse(text.into_bytes());
    let plan = plan(&current, &wanted, &owned, false).unwrap();
    let places: Vec<_> = plan.revoked.iter().map(|line| line.at).collect();
    assert_eq!(places, [2, 4]);
    assert_eq!(
        plan.revoked[0].text,
        format!("no-pty {}", line(1)).into_bytes()
    );
    assert_eq!(
        (plan.remove.as_slice(), plan.gone.len()),
        (&[revoked][..], 1)
    );
    let after = render(&current, &plan).bytes;
    assert_eq!(
        String::from_utf8(after.clone()).unwrap(),
        format!("# mine\n{}{}", line(2), block(&[3]))
    );
    let owned = plan.owned_after(&owned);
    let again = super::plan(&AuthorizedKeys::parse(after), &wanted, &owned, false).unwrap();
    assert!(again.is_empty());

    // Also while a source is unknown, when nothing else is taken out.
    wanted.only_add = true;
    wanted.keys.clear();
    let plan = super::plan(&current, &wanted, &owned, false).unwrap();
    let after = String::from_utf8(render(&current, &plan).bytes).unwrap();
    assert_eq!(after, format!("# mine\n{}{}", line(2), block(&[3])));
}
