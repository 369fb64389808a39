//! The calls as they are described, then and now: OpenAPI's own word for every field, also for those
//! that did not come up in a recording.

use super::assert_none;
use super::making::{Calls, done};
use super::recording::{Recording, json_of};
use super::shape::{Schemas, lost_of};
use crate::support::service::Service;
use serde_json::{Map, Value};
use sshkeyd::wire::{HandoverPayload, Payload};

/// Who reads what is described.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    Client,
    Service,
}

/// What a reader of the version before misses in what is written by this one, by their schemas.
fn missed(
    (was, old): (&Schemas<'_>, &Value),
    (now, new): (&Schemas<'_>, &Value),
    reader: Reader,
    at: &str,
) -> Vec<String> {
    let mut missed = lost_of(&was.whole(old), &now.whole(new), at);
    let (old, new) = (was.resolved(old), now.resolved(new));
    let required = |schema: &Value| -> Vec<String> {
        let names = schema["required"].as_array().cloned().unwrap_or_default();
        names
            .iter()
            .map(|name| name.as_str().unwrap().to_owned())
            .collect()
    };
    let (more, fewer) = match reader {
        // It may count on what was always there.
        Reader::Client => (required(old), required(new)),
        // It may ask for no more than was asked for.
        Reader::Service => (required(new), required(old)),
    };
    let not = more.iter().filter(|name| !fewer.contains(name));
    missed.extend(not.map(|name| format!("{at}.{name} is required by one of the two only")));
    for (name, schema) in old["properties"].as_object().into_iter().flatten() {
        let new = &new["properties"][name];
        if new.is_object() {
            let at = format!("{at}.{name}");
            missed.extend(missed_of_part((was, schema), (now, new), reader, &at));
        }
    }
    missed
}

/// The same of a field, whatever stands around its own schema.
fn missed_of_part(
    (was, old): (&Schemas<'_>, &Value),
    (now, new): (&Schemas<'_>, &Value),
    reader: Reader,
    at: &str,
) -> Vec<String> {
    let inner = |schema: &Value| -> Value {
        let several = ["anyOf", "oneOf"]
            .iter()
            .find_map(|name| schema[*name].as_array());
        let one = several.and_then(|all| all.iter().find(|one| one["type"] != "null"));
        one.cloned()
            .unwrap_or_else(|| match schema["items"].is_object() {
                true => schema["items"].clone(),
                false => schema.clone(),
            })
    };
    missed((was, &inner(old)), (now, &inner(new)), reader, at)
}

#[test]
fn no_call_and_no_field_of_an_earlier_version_is_described_as_something_else() {
    let service = Service::start();
    let api = done(service.address, "", "GET /openapi.json", &Value::Null);
    let schema_of = |name: &str| match name {
        "Payload" => schemars::schema_for!(Payload).to_value(),
        _ => schemars::schema_for!(HandoverPayload).to_value(),
    };
    for was in Recording::all() {
        let now = Recording {
            dir: was.dir.clone(),
            calls: Calls::new(),
            api: api.clone(),
        };
        let (old, new) = (was.schemas(), now.schemas());
        let mut lost = Vec::new();
        for (path, operations) in was.api["paths"].as_object().unwrap() {
            let methods = operations.as_object().unwrap();
            for (method, operation) in methods.iter().filter(|(name, _)| *name != "parameters") {
                let at = format!("{} {path}", method.to_uppercase());
                if now.api["paths"][path][method].is_null() {
                    lost.push(format!("{at} is gone"));
                    continue;
                }
                for status in operation["responses"].as_object().unwrap().keys() {
                    let Ok(number) = status.parse() else { continue };
                    let (asks, says) = was.described(&at, number);
                    let (asks_now, says_now) = now.described(&at, number);
                    if asks.is_object() {
                        lost.extend(missed((&old, asks), (&new, asks_now), Reader::Service, &at));
                    }
                    if says.is_object() {
                        lost.extend(missed((&old, says), (&new, says_now), Reader::Client, &at));
                    }
                }
            }
        }
        for name in ["Payload", "HandoverPayload"] {
            let (old, new) = (
                json_of(&was.dir.join(format!("schemas/{name}.json"))),
                schema_of(name),
            );
            let none = Map::new();
            let defs = |schema: &Value| {
                schema["$defs"]
                    .as_object()
                    .cloned()
                    .unwrap_or_else(|| none.clone())
            };
            let (old_defs, new_defs) = (defs(&old), defs(&new));
            let sides = ((&Schemas(&old_defs), &old), (&Schemas(&new_defs), &new));
            lost.extend(missed(sides.0, sides.1, Reader::Client, name));
        }
        assert_none(&lost, &was.dir);
    }
}
