//! JSON as a neighbour of another version meets it: what a body is made of, what another one has lost
//! of it, the same body with more in it or with less, and a body with everything that its schema has.

use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What values of one place are made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shape {
    kinds: BTreeSet<&'static str>,
    fields: BTreeMap<String, Shape>,
    items: Option<Box<Shape>>,
}

impl Shape {
    /// Of all of them together.
    pub(super) fn of<'a>(values: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut shape = Self::default();
        for value in values {
            shape.add(value);
        }
        shape
    }

    fn add(&mut self, value: &Value) {
        match value {
            Value::Null => return,
            Value::Bool(_) => self.kinds.insert("a boolean"),
            Value::Number(_) => self.kinds.insert("a number"),
            Value::String(_) => self.kinds.insert("a string"),
            Value::Array(items) => {
                let shape = self.items.get_or_insert_default();
                items.iter().for_each(|item| shape.add(item));
                self.kinds.insert("a list")
            }
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.fields.entry(name.clone()).or_default().add(value);
                }
                self.kinds.insert("an object")
            }
        };
    }

    /// What `now` has not, or has as something else. What is null, or a list without items, is not
    /// known, and lost by nobody.
    pub(super) fn lost(&self, now: &Self, at: &str, lost: &mut Vec<String>) {
        if !now.kinds.is_empty() && !self.kinds.is_subset(&now.kinds) {
            lost.push(format!("{at} was {:?} and is {:?}", self.kinds, now.kinds));
        }
        if let (Some(items), Some(now)) = (&self.items, &now.items) {
            items.lost(now, &format!("{at}[]"), lost);
        }
        if now.kinds.contains("an object") {
            for (name, shape) in &self.fields {
                match now.fields.get(name) {
                    Some(now) => shape.lost(now, &format!("{at}.{name}"), lost),
                    None => lost.push(format!("{at}.{name} is gone")),
                }
            }
        }
    }
}

/// What `now` has lost of `was`, in words.
pub(super) fn lost_of(was: &Value, now: &Value, at: &str) -> Vec<String> {
    let mut lost = Vec::new();
    Shape::of([was]).lost(&Shape::of([now]), at, &mut lost);
    lost
}

/// The body as a newer neighbour sends it: every object has fields that nobody here knows, but for
/// maps by name: in a tree of rights an unknown name is refused, in one of users it is a user.
pub(super) fn with_unknown(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let known = fields.iter().map(|(name, value)| match name.as_str() {
                "permissions" | "principals" => (name.clone(), value.clone()),
                _ => (name.clone(), with_unknown(value)),
            });
            let mut fields: Map<_, _> = known.collect();
            fields.insert(
                "of_a_later_version".to_owned(),
                json!({"a": [1, null, {"b": "c"}]}),
            );
            fields.insert("another".to_owned(), Value::Null);
            fields.into()
        }
        Value::Array(items) => items.iter().map(with_unknown).collect(),
        other => other.clone(),
    }
}

/// JSON schemas of one document, by their names.
pub(super) struct Schemas<'a>(pub(super) &'a Map<String, Value>);

impl<'a> Schemas<'a> {
    /// The schema itself, wherever it stands.
    pub(super) fn resolved(&self, schema: &'a Value) -> &'a Value {
        let name = schema["$ref"]
            .as_str()
            .and_then(|name| name.rsplit('/').next());
        match name {
            Some(name) => &self.0[name],
            None => schema,
        }
    }

    /// The one that counts where a value may be null.
    fn chosen(&self, schema: &'a Value) -> &'a Value {
        let schema = self.resolved(schema);
        for several in ["anyOf", "oneOf"] {
            let is_null = |one: &&Value| one["type"] == "null";
            let all = schema[several].as_array();
            if let Some(one) = all.and_then(|all| all.iter().find(|one| !is_null(one))) {
                return self.chosen(one);
            }
        }
        schema
    }

    /// The body without what its writer might have left out.
    pub(super) fn only_required(&self, schema: &'a Value, value: &Value) -> Value {
        let schema = self.chosen(schema);
        match value {
            Value::Object(fields) if schema["properties"].is_object() => {
                let required = schema["required"].as_array();
                let is_required =
                    |name: &str| required.is_some_and(|all| all.iter().any(|one| one == name));
                fields
                    .iter()
                    .filter(|(name, _)| is_required(name))
                    .map(|(name, value)| {
                        let value = self.only_required(&schema["properties"][name], value);
                        (name.clone(), value)
                    })
                    .collect()
            }
            Value::Array(items) => {
                let items = items.iter();
                items
                    .map(|item| self.only_required(&schema["items"], item))
                    .collect()
            }
            other => other.clone(),
        }
    }

    /// A body with everything that the schema has.
    pub(super) fn whole(&self, schema: &'a Value) -> Value {
        let schema = self.chosen(schema);
        if let Some(one) = schema["enum"].as_array().and_then(|all| all.first()) {
            return one.clone();
        }
        if !schema["const"].is_null() {
            return schema["const"].clone();
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds.iter().find(|kind| *kind != "null").unwrap(),
            kind => kind,
        };
        match kind.as_str() {
            Some("object") => {
                let mut fields = Map::new();
                for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
                    fields.insert(name.clone(), self.whole(schema));
                }
                if schema["additionalProperties"].is_object() {
                    fields.insert(
                        "name".to_owned(),
                        self.whole(&schema["additionalProperties"]),
                    );
                }
                fields.into()
            }
            Some("array") => json!([self.whole(&schema["items"])]),
            Some("integer") => json!(7),
            Some("number") => json!(7.5),
            Some("boolean") => json!(true),
            Some("string") if schema["format"] == "date-time" => json!("2026-11-22T19:00:00Z"),
            Some("string") => json!("words"),
            // Anything may stand there.
            _ => json!({}),
        }
    }
}
