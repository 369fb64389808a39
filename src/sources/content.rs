//! What a snapshot says, as one digest: all of its payload but the times of its signing.
//!
//! SHA-256 of the payload as compact JSON with the keys of every object in order. Floors on the
//! disk hold it, so it must never change. A payload of ten thousand keys is never in memory as
//! values: one element of a list at a time is.

use crate::trust::Floor;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// What a second signing of the same revision changes.
const TIMES: [&str; 2] = ["issued_at", "expires_at"];

/// The digest of all that a second signing of the same revision leaves alone.
///
/// # Errors
/// It is no JSON.
pub(super) fn content_digest(payload: &[u8]) -> Result<String, serde_json::Error> {
    let mut hash = Hash::default();
    if payload.trim_ascii_start().first() != Some(&b'{') {
        hash.value(&serde_json::from_slice(payload)?)?;
        return Ok(Floor::digest_of(hash.hash));
    }
    let mut fields: BTreeMap<String, &RawValue> = serde_json::from_slice(payload)?;
    fields.retain(|name, _| !TIMES.contains(&name.as_str()));
    hash.text(b"{");
    for (nth, (name, value)) in fields.into_iter().enumerate() {
        if nth > 0 {
            hash.text(b",");
        }
        hash.value(&Value::String(name))?;
        hash.text(b":");
        if !value.get().starts_with('[') {
            hash.value(&serde_json::from_str(value.get())?)?;
            continue;
        }
        hash.text(b"[");
        let elements: Vec<&RawValue> = serde_json::from_str(value.get())?;
        for (nth, element) in elements.into_iter().enumerate() {
            if nth > 0 {
                hash.text(b",");
            }
            hash.value(&serde_json::from_str(element.get())?)?;
        }
        hash.text(b"]");
    }
    hash.text(b"}");
    Ok(Floor::digest_of(hash.hash))
}

#[derive(Default)]
struct Hash {
    hash: Sha256,
    part: Vec<u8>,
}

impl Hash {
    fn text(&mut self, text: &[u8]) {
        self.hash.update(text);
    }

    fn value(&mut self, value: &Value) -> Result<(), serde_json::Error> {
        self.part.clear();
        serde_json::to_writer(&mut self.part, value)?;
        self.hash.update(&self.part);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same with all of it in memory: what floors on the disk were made by.
    fn by_values(payload: &[u8]) -> Result<String, serde_json::Error> {
        let mut value: Value = serde_json::from_slice(payload)?;
        if let Some(object) = value.as_object_mut() {
            object.remove("issued_at");
            object.remove("expires_at");
        }
        Ok(Floor::digest(&serde_json::to_vec(&value)?))
    }

    /// JSON text of any value: blanks, escapes, numbers of every form, names that stand twice.
    fn json() -> impl Strategy<Value = String> {
        let blank = || prop::sample::select(vec!["", " ", "\n\t"]);
        let string = prop_oneof![
            "[ -~]{0,6}".prop_map(|text| serde_json::to_string(&text).unwrap()),
            prop::sample::select(vec![
                r#""\u0041\/b""#,
                r#""\u00e9\ud83d\ude00""#,
                "\"\u{e9}\"",
                r#""\n\u0000\u001f""#,
            ])
            .prop_map(str::to_owned),
        ];
        let name = prop_oneof![
            prop::sample::select(vec![
                r#""issued_at""#,
                r#""expires_at""#,
                r#""expires_\u0061t""#,
                r#""keys""#,
                r#""a""#,
            ])
            .prop_map(str::to_owned),
            string.clone(),
        ];
        let leaf = prop_oneof![
            prop::sample::select(vec![
                "null",
                "true",
                "-0",
                "0.10",
                "1e2",
                "18446744073709551615",
                "18446744073709551616",
                "-9223372036854775808",
                "1E-7",
            ])
            .prop_map(str::to_owned),
            string,
        ];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            let field = (name.clone(), blank(), inner.clone(), blank());
            let field = field.prop_map(|(name, a, value, b)| format!("{a}{name}{b}:{a}{value}{b}"));
            let element = (blank(), inner).prop_map(|(a, value)| format!("{a}{value}{a}"));
            prop_oneof![
                2 => prop::collection::vec(field, 0..5).prop_map(|f| format!("{{{}}}", f.join(","))),
                1 => prop::collection::vec(element, 0..5).prop_map(|e| format!("[{}]", e.join(","))),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_digest_is_that_of_all_of_it_in_memory(text in json()) {
            let expected = by_values(text.as_bytes()).unwrap();
            prop_assert_eq!(content_digest(text.as_bytes()).unwrap(), expected);
        }
    }

    #[test]
    fn a_digest_that_stands_on_a_disk_is_made_again() {
        let payload = r#" {"v":1,"keys":[{"public_key":"k","id":7}],"issued_at":"x","a":[[],{}]}"#;
        let content = r#"{"a":[[],{}],"keys":[{"id":7,"public_key":"k"}],"v":1}"#;
        let digest = content_digest(payload.as_bytes()).unwrap();
        assert_eq!(digest, Floor::digest(content.as_bytes()));
        assert_eq!(digest, by_values(payload.as_bytes()).unwrap());
    }

    #[test]
    fn what_is_no_json_has_no_digest() {
        for text in [
            "",
            "{",
            "{\"a\":1e999}",
            "{\"a\":[\"\\ud800\"]}",
            "{} x",
            "[1,]",
        ] {
            assert!(by_values(text.as_bytes()).is_err(), "{text}");
            assert!(content_digest(text.as_bytes()).is_err(), "{text}");
        }
    }
}
