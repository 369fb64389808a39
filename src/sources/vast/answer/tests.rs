//! Every shape that was seen, and those that must not be taken for a list.

use super::*;
use proptest::prelude::*;

const A: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g";
const B: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiI";

fn read(json: &str) -> Result<KeyList, String> {
    keys(json.replace("$A", A).replace("$B", B).as_bytes(), "")
}

/// Id and name of each key.
fn names(json: &str) -> Vec<(String, String)> {
    let list = read(json).unwrap_or_else(|why| panic!("{json}: {why}"));
    assert_eq!(list.rejected, [], "{json}");
    list.accepted.into_iter().map(|k| (k.id, k.name)).collect()
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
        .collect()
}

#[test]
fn each_shape_of_a_list_is_read() {
    let bare =
        r#"[{"id":7,"user_id":3,"public_key":"$A a","created_at":1763800000.5,"deleted_at":null}]"#;
    assert_eq!(names(bare), pairs(&[("7", "a")]));
    let saved = read(bare).unwrap().accepted[0].saved_at.unwrap();
    assert_eq!(saved.to_string(), "2025-11-22T08:26:40Z");
    let wrapped = r#"{"ssh_keys":[{"id":"k-8","key":"$A a","created_at":"2026-11-22T08:00:00Z"}]}"#;
    assert_eq!(names(wrapped), pairs(&[("k-8", "a")]));
    assert!(read(wrapped).unwrap().accepted[0].saved_at.is_some());
    // JSON inside JSON, as the instance's list is documented.
    let inside =
        r#"{"success":true,"ssh_keys":"[{\"id\":9,\"name\":\"work\",\"public_key\":\"$B b\"}]"}"#;
    assert_eq!(names(inside), pairs(&[("9", "work")]));
    assert_eq!(names(r#"["$A a"]"#), pairs(&[("at 0", "a")]));
    for none in [
        "[]",
        r#"{"ssh_keys":[]}"#,
        r#"{"success":true,"ssh_keys":"[]"}"#,
    ] {
        assert_eq!(names(none), [], "{none}");
    }
}

#[test]
fn the_first_field_with_a_text_is_the_key() {
    let item = r#"[{"id":1,"public_key":"","ssh_key":null,"key":"$A a"},{"id":2,"ssh_key":"$B"}]"#;
    assert_eq!(names(item), pairs(&[("1", "a"), ("2", "")]));
}

#[test]
fn a_key_that_was_deleted_is_gone() {
    let json = r#"[{"id":1,"public_key":"$A","deleted_at":1763800000.0},
                   {"id":2,"public_key":"$B","deleted_at":"2026-01-01T00:00:00Z"}]"#;
    assert_eq!(names(json), []);
    for alive in ["null", "0", "\"\"", "false"] {
        let json = format!(r#"[{{"id":1,"public_key":"$A a","deleted_at":{alive}}}]"#);
        assert_eq!(names(&json), pairs(&[("1", "a")]), "{alive}");
    }
}

#[test]
fn one_bad_key_costs_one_key() {
    // What the public client really sends: a file's name; two keys in one text; line breaks.
    let json = r#"[{"id":1,"public_key":"/Users/me/.ssh/id_ed25519.pub"},{"id":2,"public_key":null},
                   7,null,{"id":3,"public_key":{"x":[1]}},
                   {"id":4,"public_key":"  $A a\r\n"},{"id":5,"public_key":"$A x\n$B b\n"}]"#;
    let list = read(json).unwrap();
    let accepted: Vec<_> = list.accepted.iter().map(|k| (&*k.id, &*k.name)).collect();
    assert_eq!(accepted, [("4", "a"), ("5", "x"), ("5", "b")]);
    let left_out: Vec<_> = list.rejected.iter().map(|r| &*r.at).collect();
    assert_eq!(
        left_out,
        ["key 1", "key 2", "key at 2", "key at 3", "key 3"]
    );
}

#[test]
fn options_are_kept_and_ids_cannot_leave_their_line() {
    let json = r#"[{"id":"1\nx","public_key":"no-pty $A a"}]"#;
    let list = read(json).unwrap();
    assert!(list.accepted[0].options.has("no-pty"));
    assert!(!list.accepted[0].id.contains('\n'));
}

#[test]
fn what_is_no_list_is_never_an_empty_one() {
    for json in [
        "",
        "null",
        "{}",
        "7",
        r#""[]""#,
        r#"{"success":true}"#,
        r#"{"success":true,"ssh_keys":null}"#,
        r#"{"success":true,"ssh_keys":""}"#,
        r#"{"success":true,"ssh_keys":"none"}"#,
        r#"{"success":true,"ssh_keys":"\"[]\""}"#,
        r#"{"success":true,"ssh_keys":{}}"#,
        r#"{"success":"no","ssh_keys":[]}"#,
        r#"[{"id":1,"public_key":"$A"}"#,
        r#"{"ssh_keys":"[{\"id\":1,"}"#,
        "<html></html>",
    ] {
        assert!(read(json).is_err(), "{json}");
    }
    let failed = r#"{"success":false,"ssh_keys":[],"error":"x","msg":"try again later"}"#;
    assert!(read(failed).unwrap_err().contains("try again later"));
    assert!(read(&"[".repeat(100_000)).is_err());
    let many = format!("[{}7]", "7,".repeat(60_000));
    assert!(read(&many).unwrap_err().contains("more keys"));
}

proptest! {
    #[test]
    fn whatever_comes_is_read_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        at in 0usize..200, put in any::<u8>(),
    ) {
        let _ = keys(&bytes, "");
        let good = format!(r#"{{"ssh_keys":[{{"id":7,"public_key":"{A} a","deleted_at":null}}]}}"#);
        let mut bent = good.into_bytes();
        let at = at % bent.len();
        bent[at] = put;
        // A byte that changes makes no second key of one.
        prop_assert!(keys(&bent, "").map_or(0, |list| list.accepted.len()) <= 1);
        bent.truncate(at);
        prop_assert!(keys(&bent, "").is_err(), "a cut answer is no list");
    }
}
