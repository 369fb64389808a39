//! The shapes in which Vast.ai's API lists keys, all seen or documented (vast-api.md, section 2).
//!
//! A bare array, or `{"ssh_keys": …}` with an array or with a text that holds one; a key's text as
//! `public_key`, `ssh_key` or `key`; an id and a time as numbers or text. `success: false` is no
//! list, whatever the status. Read as a stream: what is not ours to know is never held.

use super::super::json::{keys_in, rejected};
use crate::keys::{KeyList, printable};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Reads an answer; `whose` stands behind each key's id.
///
/// # Errors
/// In words: it is not a list of keys.
pub(super) fn keys(body: &[u8], whose: &str) -> Result<KeyList, String> {
    let no_list = |error| format!("the answer is no list of keys: {error}");
    let answer: Answer = serde_json::from_slice(body).map_err(no_list)?;
    let items = match answer {
        Answer::List(items) => items,
        Answer::Failed(words) => return Err(format!("the answer says that it failed: {words}")),
    };
    let mut list = KeyList::default();
    for (at, item) in items.0.into_iter().enumerate() {
        item.push_to(&mut list, at, whose);
    }
    Ok(list)
}

/// A whole answer.
enum Answer {
    List(Items),
    Failed(String),
}

/// The fields of an answer that is an object.
#[derive(Deserialize)]
struct Wrapped {
    #[serde(default)]
    success: Option<bool>,
    #[serde(default)]
    ssh_keys: Option<List>,
    #[serde(default)]
    msg: Scalar,
    #[serde(default)]
    error: Scalar,
}

/// A list, or a text that holds one.
struct List(Items);

/// Keys as they are listed. At most as many as a list of ours may have, and some that are gone.
#[derive(Deserialize)]
#[serde(transparent)]
struct Items(#[serde(deserialize_with = "items")] Vec<Item>);

const MAX_ITEMS: usize = 50_000;

fn items<'de, D: Deserializer<'de>>(value: D) -> Result<Vec<Item>, D::Error> {
    struct Bounded;
    impl<'de> Visitor<'de> for Bounded {
        type Value = Vec<Item>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of keys")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Vec<Item>, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = array.next_element()? {
                if items.len() == MAX_ITEMS {
                    return Err(A::Error::custom("more keys than anybody has"));
                }
                items.push(item);
            }
            Ok(items)
        }
    }
    value.deserialize_seq(Bounded)
}

impl<'de> Deserialize<'de> for Answer {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        struct Shape;
        impl<'de> Visitor<'de> for Shape {
            type Value = Answer;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of keys, or an object with ssh_keys")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<Answer, A::Error> {
                let value = serde::de::value::SeqAccessDeserializer::new(array);
                Items::deserialize(value).map(Answer::List)
            }

            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Answer, A::Error> {
                let answer = Wrapped::deserialize(MapAccessDeserializer::new(object))?;
                match (answer.success, answer.ssh_keys) {
                    (Some(false), _) => {
                        let words = answer.msg.text().or_else(|| answer.error.text());
                        Ok(Answer::Failed(words.unwrap_or_default()))
                    }
                    (_, Some(List(items))) => Ok(Answer::List(items)),
                    (_, None) => Err(A::Error::custom("it has no ssh_keys")),
                }
            }
        }
        value.deserialize_any(Shape)
    }
}

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        struct Shape;
        impl<'de> Visitor<'de> for Shape {
            type Value = List;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of keys, or text with one")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<List, A::Error> {
                let value = serde::de::value::SeqAccessDeserializer::new(array);
                Items::deserialize(value).map(List)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<List, E> {
                let inside = serde_json::from_str(text);
                inside
                    .map(List)
                    .map_err(|error| E::custom(format!("in ssh_keys: {error}")))
            }
        }
        value.deserialize_any(Shape)
    }
}

/// One key.
enum Item {
    Key(Fields),
    Text(String),
    Odd,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    id: Scalar,
    name: Scalar,
    public_key: Scalar,
    ssh_key: Scalar,
    key: Scalar,
    created_at: Scalar,
    deleted_at: Scalar,
}

impl Item {
    fn push_to(self, list: &mut KeyList, at: usize, whose: &str) {
        let fields = match self {
            Self::Key(fields) => fields,
            Self::Text(text) => Fields {
                public_key: Scalar::Text(text),
                ..Fields::default()
            },
            Self::Odd => {
                let at = format!("key at {at}{whose}");
                return list.push(Err(rejected(&at, "is no key")));
            }
        };
        if fields.deleted_at.is_set() {
            return;
        }
        let id = match fields.id.text() {
            Some(id) => format!("{}{whose}", printable(&id)),
            None => format!("at {at}{whose}"),
        };
        let texts = [fields.public_key, fields.ssh_key, fields.key];
        let text = texts.iter().filter_map(Scalar::text).next();
        let mut keys = keys_in(&text.unwrap_or_default(), &format!("key {id}"));
        let (name, saved_at) = (fields.name.text(), fields.created_at.time());
        for key in &mut keys.accepted {
            id.clone_into(&mut key.id);
            key.saved_at = saved_at;
            if let Some(name) = &name {
                key.name = printable(name);
            }
        }
        list.append(keys);
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        struct Shape;
        impl<'de> Visitor<'de> for Shape {
            type Value = Item;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Item, A::Error> {
                Fields::deserialize(MapAccessDeserializer::new(object)).map(Item::Key)
            }

            fn visit_str<E>(self, text: &str) -> Result<Item, E> {
                Ok(Item::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Item, A::Error> {
                while array.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Item::Odd)
            }

            fn visit_unit<E>(self) -> Result<Item, E> {
                Ok(Item::Odd)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Item, E> {
                Ok(Item::Odd)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Item, E> {
                Ok(Item::Odd)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Item, E> {
                Ok(Item::Odd)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Item, E> {
                Ok(Item::Odd)
            }
        }
        value.deserialize_any(Shape)
    }
}

/// A field that comes as text here and as a number there.
#[derive(Default)]
enum Scalar {
    #[default]
    None,
    Text(String),
    Number(f64, String),
    Odd,
}

impl Scalar {
    /// As text, where it says something.
    fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) | Self::Number(_, text) if !text.trim().is_empty() => {
                Some(text.clone())
            }
            _ => None,
        }
    }

    /// Whether a time stands here. Neither nothing, nor zero, nor an empty text is one.
    fn is_set(&self) -> bool {
        match self {
            Self::None => false,
            Self::Text(text) => !text.trim().is_empty(),
            Self::Number(number, _) => *number != 0.0,
            Self::Odd => true,
        }
    }

    /// Seconds since 1970, or RFC 3339.
    fn time(&self) -> Option<Timestamp> {
        match self {
            Self::Text(text) => text.trim().parse().ok(),
            // A fraction of a second says nothing in a comment; what is out of range is no time.
            Self::Number(seconds, _) => Timestamp::from_second(*seconds as i64).ok(),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        struct Shape;
        impl<'de> Visitor<'de> for Shape {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Scalar, E> {
                Ok(Scalar::None)
            }

            fn visit_bool<E>(self, set: bool) -> Result<Scalar, E> {
                Ok(if set { Scalar::Odd } else { Scalar::None })
            }

            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(text.to_owned()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
                Ok(Scalar::Number(number as f64, number.to_string()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar::Number(number as f64, number.to_string()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Scalar, E> {
                Ok(Scalar::Number(number, number.to_string()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Scalar, A::Error> {
                while array.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar::Odd)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Scalar, A::Error> {
                while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar::Odd)
            }
        }
        value.deserialize_any(Shape)
    }
}

#[cfg(test)]
mod tests;
