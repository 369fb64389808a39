//! The keys of a JSON answer, where a pointer says that they stand.
//!
//! Read as a stream: what no step leads to is passed over and never held. What the answer must have
//! for its list to be a list (every step up to the first `*`) is a fault of the whole answer when it
//! is missing; what one element of the list lacks costs that element (RFC 6901; RFC 8259).

use super::fault::Fault;
use crate::config::{Pointer, Step};
use crate::keys::{KeyList, Rejected, printable};
use crate::sync::Code;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use std::fmt;

/// Longest name of a member in a message.
const MAX_NAME: usize = 64;

/// Reads the list.
pub(super) fn keys(body: &[u8], pointer: &Pointer) -> Result<KeyList, Fault> {
    let mut found = Found::default();
    let mut json = serde_json::Deserializer::from_slice(body);
    let walk = Walk {
        steps: pointer.steps(),
        in_list: false,
        found: &mut found,
    };
    let fault = |text: String| Err(Fault::here(Code::SourceMalformed, text));
    let read = walk.deserialize(&mut json).and_then(|()| json.end());
    match (read, found.missing) {
        (_, Some(missing)) => fault(format!("{pointer} leads nowhere: {missing}")),
        (Err(error), None) => fault(format!(
            "the answer is not the JSON that was asked for: {error}"
        )),
        (Ok(()), None) => Ok(found.list.without_duplicates()),
    }
}

/// The keys of one text: a line, or lines as in an authorized_keys file. `place` names it.
pub(super) fn keys_in(text: &str, place: &str) -> KeyList {
    // Services keep the text as it was sent to them.
    let text = text.replace('\r', "\n");
    let mut list = KeyList::from_authorized_keys(text.as_bytes(), place);
    if list.accepted.is_empty() && list.rejected.is_empty() {
        list.push(Err(rejected(place, "no key in it")));
    }
    if list.accepted.len() + list.rejected.len() == 1 {
        for key in &mut list.accepted {
            place.clone_into(&mut key.id);
        }
        for rejected in &mut list.rejected {
            place.clone_into(&mut rejected.at);
        }
    }
    list
}

pub(super) fn rejected(at: &str, why: &str) -> Rejected {
    Rejected {
        at: at.to_owned(),
        why: why.to_owned(),
        fingerprint: None,
    }
}

/// What was met, and where the reading stands.
#[derive(Default)]
struct Found {
    list: KeyList,
    /// The way to what is read now, as a pointer.
    at: String,
    /// What the answer lacks.
    missing: Option<String>,
}

impl Found {
    /// Goes into a member or element; gives what [`Found::leave`] wants.
    fn enter(&mut self, name: &str) -> usize {
        let before = self.at.len();
        self.at.push('/');
        let name: String = printable(name).chars().take(MAX_NAME).collect();
        self.at
            .push_str(&name.replace('~', "~0").replace('/', "~1"));
        before
    }

    fn leave(&mut self, before: usize) {
        self.at.truncate(before);
    }
}

/// One value on the way.
struct Walk<'a> {
    steps: &'a [Step],
    /// Whether a `*` lies behind: what is missing from here on costs one element.
    in_list: bool,
    found: &'a mut Found,
}

impl Walk<'_> {
    fn lacks(self, what: &str) {
        let Found { list, at, missing } = self.found;
        if self.in_list {
            list.push(Err(rejected(at, what)));
        } else if missing.is_none() {
            *missing = Some(format!("\"{at}\" {what}"));
        }
    }

    /// A value of a kind that no step leads through and that is no text.
    fn met<E>(self, what: &str) -> Result<(), E> {
        let wanted = match self.steps {
            [] => "text",
            [Step::Each, ..] => "a list",
            [Step::Name(_), ..] => "an object",
        };
        self.lacks(&format!("is {what}, not {wanted}"));
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if !self.steps.is_empty() {
            return self.met("text");
        }
        let keys = keys_in(text, &self.found.at);
        self.found.list.append(keys);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.met("null")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.met("true or false")
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.met("a number")
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.met("a number")
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.met("a number")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.steps.split_first() else {
            while array.next_element::<IgnoredAny>()?.is_some() {}
            return self.met("an array");
        };
        let wanted = match step {
            Step::Each => None,
            // An index has no leading zero (RFC 6901, section 4).
            Step::Name(name) => match name.parse::<usize>() {
                Ok(index) if index.to_string() == *name => Some(index),
                _ => {
                    while array.next_element::<IgnoredAny>()?.is_some() {}
                    return self.met("an array");
                }
            },
        };
        let mut index = 0;
        let mut met = false;
        loop {
            let more = if wanted.is_none_or(|wanted| wanted == index) {
                let before = self.found.enter(&index.to_string());
                let more = array.next_element_seed(Walk {
                    steps: rest,
                    in_list: self.in_list || wanted.is_none(),
                    found: self.found,
                })?;
                self.found.leave(before);
                met |= more.is_some();
                more
            } else {
                array.next_element::<IgnoredAny>()?.map(drop)
            };
            if more.is_none() {
                break;
            }
            index += 1;
        }
        if let (Some(wanted), false) = (wanted, met) {
            self.lacks(&format!("has no element {wanted}"));
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.steps.split_first() else {
            while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return self.met("an object");
        };
        let mut met = false;
        while let Some(name) = object.next_key::<String>()? {
            let each = match step {
                Step::Each => true,
                Step::Name(wanted) if *wanted == name => false,
                Step::Name(_) => {
                    object.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if met && !each {
                // Which of them is meant, nobody can say (RFC 8259, section 4).
                return Err(A::Error::custom("a member that stands there twice"));
            }
            met = true;
            let before = self.found.enter(&name);
            object.next_value_seed(Walk {
                steps: rest,
                in_list: self.in_list || each,
                found: self.found,
            })?;
            self.found.leave(before);
        }
        if let (Step::Name(wanted), false) = (step, met) {
            let wanted: String = printable(wanted).chars().take(MAX_NAME).collect();
            self.lacks(&format!("has no member \"{wanted}\""));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g";
    const B: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiI";

    fn read(pointer: &str, json: &str) -> Result<KeyList, String> {
        let json = json.replace("$A", A).replace("$B", B);
        let pointer = Pointer::parse(pointer).unwrap();
        keys(json.as_bytes(), &pointer).map_err(|fault| fault.text())
    }

    /// Places of keys, and places of what was left out.
    fn places(pointer: &str, json: &str) -> (Vec<String>, Vec<String>) {
        let list = read(pointer, json).unwrap();
        (
            list.accepted.into_iter().map(|key| key.id).collect(),
            list.rejected.into_iter().map(|key| key.at).collect(),
        )
    }

    #[test]
    fn a_star_is_every_element_and_every_member() {
        let both = r#"{"n":1,"ssh_keys":[{"id":1,"public_key":"$A a"},{"public_key":"$B b"}]}"#;
        let (keys, left_out) = places("/ssh_keys/*/public_key", both);
        assert_eq!(keys, ["/ssh_keys/0/public_key", "/ssh_keys/1/public_key"]);
        assert!(left_out.is_empty());
        let list = read("/ssh_keys/*/public_key", both).unwrap();
        assert_eq!(list.accepted[1].name, "b");
        let members = r#"{"users":{"al/ice":{"keys":["$A"]},"bob":{"keys":["$B"]}}}"#;
        let (keys, _) = places("/users/*/keys/*", members);
        assert_eq!(keys, ["/users/al~1ice/keys/0", "/users/bob/keys/0"]);
        assert_eq!(places("/*", r#"["$A"]"#).0, ["/0"]);
        assert_eq!(places("/1/k", r#"[{"k":"$A"},{"k":"$B"}]"#).0, ["/1/k"]);
        assert_eq!(places("", r#""$A""#).0, [""]);
    }

    #[test]
    fn a_text_may_hold_options_or_several_lines() {
        let list = read("/keys", r#"{"keys":"no-pty $A a\r\n# note\n$B b\n"}"#).unwrap();
        assert_eq!(list.accepted.len(), 2);
        assert!(list.accepted[0].options.has("no-pty"));
        assert_eq!(list.accepted[1].id, "/keys:4");
    }

    #[test]
    fn one_bad_element_costs_that_element() {
        let json = r#"{"k":[{"p":"$A"},{"p":null},{},{"p":["$B"]},{"p":""},7,{"p":"x y"}]}"#;
        let (keys, left_out) = places("/k/*/p", json);
        assert_eq!(keys, ["/k/0/p"]);
        assert_eq!(
            left_out,
            ["/k/1/p", "/k/2", "/k/3/p", "/k/4/p", "/k/5", "/k/6/p"]
        );
    }

    #[test]
    fn an_answer_without_the_list_is_no_empty_list() {
        for json in [
            r#"{"error":"try later"}"#,
            r#"{"ssh_keys":null}"#,
            r#"{"ssh_keys":"none"}"#,
            r#"{"ssh_keys":0}"#,
            "[]",
            "null",
        ] {
            let fault = read("/ssh_keys/*/public_key", json).unwrap_err();
            assert!(fault.contains("leads nowhere"), "{json}: {fault}");
        }
        let none = read("/ssh_keys/*/public_key", r#"{"ssh_keys":[]}"#).unwrap();
        assert_eq!(none, KeyList::default());
    }

    #[test]
    fn half_an_answer_and_a_member_said_twice_are_refused() {
        for json in [
            r#"{"k":["$A","#,
            r#"{"k":["$A"]"#,
            r#"{"k":["$A"]}x"#,
            r#"{"k":["$A"],"k":[]}"#,
            "",
        ] {
            let fault = read("/k/*", json).unwrap_err();
            assert!(fault.contains("not the JSON"), "{json}: {fault}");
        }
        let deep = "[".repeat(100_000);
        assert!(read("/*", &deep).is_err());
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
            cut in 0usize..500,
        ) {
            let pointer = Pointer::parse("/ssh_keys/*/key").unwrap();
            let _ = keys(&bytes, &pointer);
            let good = format!(r#"{{"ssh_keys":[{{"key":"{A} a"}},{{"key":"{B} b"}}],"n":1}}"#);
            let half = &good.as_bytes()[..cut % good.len()];
            proptest::prop_assert!(keys(half, &pointer).is_err(), "a cut answer is no list");
        }
    }
}
