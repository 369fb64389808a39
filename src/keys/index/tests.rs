//! What was written is found, and what was damaged is never taken for anything else.

use super::*;

const UID: u32 = 1000;

fn fingerprint(number: u32) -> Fingerprint {
    Fingerprint::of(&number.to_be_bytes())
}

fn line(number: u32) -> IndexLine {
    IndexLine {
        fingerprint: fingerprint(number),
        ends: (number % 3 == 1).then(|| Timestamp::from_second(i64::from(number)).unwrap()),
        line: format!("ssh-ed25519 AAAA{number} person-{number}").into_bytes(),
    }
}

fn lines(count: u32) -> Vec<IndexLine> {
    (0..count).map(line).collect()
}

fn find(bytes: &[u8], number: u32) -> Result<Option<IndexLine>, IndexError> {
    let size = bytes.len() as u64;
    find_in_index(size, UID, fingerprint(number), in_bytes(bytes))
}

#[test]
fn every_line_is_found_and_all_come_back_in_their_order() {
    for count in [0, 1, 2, 3, 7, 64, 1000] {
        let all = lines(count);
        let bytes = encode_index(UID, &all).unwrap();
        assert_eq!(decode_index(&bytes, UID).unwrap(), all);
        for number in 0..count {
            assert_eq!(find(&bytes, number), Ok(Some(line(number))));
        }
        assert_eq!(find(&bytes, count), Ok(None));
    }
}

#[test]
fn one_key_of_many_costs_few_reads() {
    let bytes = encode_index(UID, &lines(10_000)).unwrap();
    let (mut reads, mut read) = (0, 0);
    let mut whole = in_bytes(&bytes);
    let found = find_in_index(
        bytes.len() as u64,
        UID,
        fingerprint(77),
        |at, to: &mut [u8]| {
            reads += 1;
            read += to.len();
            whole(at, to)
        },
    );
    assert_eq!(found, Ok(Some(line(77))));
    assert!(reads <= 16 && read < 2048, "{reads} reads of {read} bytes");
}

#[test]
fn every_damaged_byte_is_damage_and_never_another_answer() {
    let all = lines(9);
    let bytes = encode_index(UID, &all).unwrap();
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            let said = decode_index(&damaged, UID);
            assert_eq!(said, Err(IndexError::Damaged), "byte {at} ^ {flip:02x}");
            for number in 0..10 {
                let said = find(&damaged, number);
                let truth = (number < 9).then(|| line(number));
                let is_true = said == Ok(truth) || said == Err(IndexError::Damaged);
                assert!(is_true, "byte {at} ^ {flip:02x}, key {number}: {said:?}");
            }
        }
    }
}

#[test]
fn an_index_that_was_cut_or_grew_is_damaged() {
    let bytes = encode_index(UID, &lines(5)).unwrap();
    for end in 0..bytes.len() {
        assert_eq!(decode_index(&bytes[..end], UID), Err(IndexError::Damaged));
        assert_eq!(find(&bytes[..end], 0), Err(IndexError::Damaged), "{end}");
    }
    let longer = [&bytes[..], b"\n"].concat();
    assert_eq!(find(&longer, 0), Err(IndexError::Damaged));
}

#[test]
fn parts_of_two_indexes_are_no_index() {
    let (old, new) = (lines(8), {
        let mut lines = lines(8);
        lines[3].line = b"ssh-ed25519 AAAA3 person-X".to_vec();
        lines
    });
    let (old, new) = (
        encode_index(UID, &old).unwrap(),
        encode_index(UID, &new).unwrap(),
    );
    assert_eq!(old.len(), new.len());
    for at in 1..old.len() {
        let mixed = [&new[..at], &old[at..]].concat();
        if mixed != new && mixed != old {
            assert_eq!(decode_index(&mixed, UID), Err(IndexError::Damaged), "{at}");
        }
    }
}

#[test]
fn another_users_index_says_nothing() {
    let bytes = encode_index(UID + 1, &lines(3)).unwrap();
    assert_eq!(find(&bytes, 0), Err(IndexError::AnotherUser));
    assert_eq!(decode_index(&bytes, UID), Err(IndexError::AnotherUser));
}

#[test]
fn a_fingerprint_stands_once_and_an_end_is_an_end() {
    let mut twice = lines(2);
    twice.push(IndexLine {
        line: b"ssh-ed25519 AAAA0 again".to_vec(),
        ..line(0)
    });
    let bytes = encode_index(UID, &twice).unwrap();
    assert_eq!(decode_index(&bytes, UID).unwrap(), lines(2));
    let at = |second| Timestamp::from_second(second).unwrap();
    assert!(line(1).has_ended(at(1)) && !line(1).has_ended(at(0)));
    assert!(!line(2).has_ended(Timestamp::MAX));
}

#[test]
fn an_index_without_bounds_is_not_written() {
    let mut huge = line(0);
    huge.line = vec![b'a'; MAX_INDEX as usize];
    assert_eq!(encode_index(UID, &[huge]), Err(IndexError::TooLarge));
    let read = |_, _: &mut [u8]| panic!("nothing of it is read");
    let said = find_in_index(MAX_INDEX + 1, UID, fingerprint(0), read);
    assert_eq!(said, Err(IndexError::Damaged));
}
