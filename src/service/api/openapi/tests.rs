//! The document against the routes, and against itself.

use super::*;
use crate::service::api::routes;
use crate::service::api::tests::Bed;
use std::collections::BTreeSet;

/// Every `$ref` in it.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(to)) = map.get("$ref") {
                found.insert(to.clone());
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(all) => all.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_route_is_in_it_with_its_own_words() {
    let bed = Bed::new().await;
    let (_, calls) = routes().done();
    let reply = bed.call("", "GET /openapi.json", None).await;
    let document: Value = reply.of(200);
    let mut ids = BTreeSet::new();
    for call in &calls {
        let method = call.method.as_str().to_ascii_lowercase();
        let operation = &document["paths"][call.path][&method];
        assert!(operation.is_object(), "{method} {}", call.path);
        assert!(operation["responses"].as_object().unwrap().len() >= 2);
        let id = operation["operationId"].as_str().unwrap().to_owned();
        assert!(ids.insert(id), "{method} {}: an id twice", call.path);
        if call.path.starts_with("/v1/") {
            let about = table::about(&call.method, call.path);
            assert!(
                about.is_some(),
                "openapi/table.rs lacks {method} {}",
                call.path
            );
        }
        let open = operation["security"].as_array().unwrap().is_empty();
        assert_eq!(open, matches!(call.access, Access::Anyone), "{}", call.path);
    }
    let listed: usize = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .map(|path| path.as_object().unwrap().len() - 1)
        .sum();
    assert_eq!(listed, calls.len());
}

#[test]
fn it_names_the_query_that_a_call_reads() {
    let (_, calls) = routes().done();
    let held_to = |call: &&Call| matches!(call.access, Access::Right(_));
    for call in calls.iter().filter(held_to) {
        let Some(about) = table::about(&call.method, call.path) else {
            continue;
        };
        let named: Vec<_> = about.query.iter().map(|(name, ..)| *name).collect();
        let reads = crate::service::api::reads::of(&call.method, call.path);
        assert_eq!(named, reads.query, "{} {}", call.method, call.path);
        let body = about.request.is_some();
        assert_eq!(
            body,
            !reads.body.is_empty(),
            "{} {}",
            call.method,
            call.path
        );
    }
}

#[tokio::test]
async fn whatever_it_refers_to_is_there_and_it_holds_no_secret() {
    let bed = Bed::new().await;
    let document: Value = bed.call("", "GET /openapi.json", None).await.of(200);
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 10, "{found:?}");
    for to in &found {
        let pointer = to.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{to}");
    }
    let key = &document["components"]["schemas"]["SshKey"];
    assert_eq!(key["properties"]["id"]["type"], "integer", "{key}");
    let times = &key["properties"]["created_at"];
    assert_eq!(times["format"], "date-time", "{times}");
    assert!(!document.to_string().contains("skd_api_0"));
}
