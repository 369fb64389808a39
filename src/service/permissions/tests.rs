//! The table of vast-api.md section 4.

mod any_two;

use super::*;
use serde_json::json;

fn tree(tree: Value) -> Permissions {
    Permissions::parse(&tree).unwrap_or_else(|error| unreachable!("{error}"))
}

fn endpoint(category: Category, name: &'static str) -> Endpoint {
    Endpoint { category, name }
}

/// `GET api.ssh.keys id=5` of a category.
fn may(tree: &Permissions, category: Category, call: &str) -> bool {
    let mut words = call.split(' ');
    let method = words.next().unwrap();
    let name = words.next().unwrap().to_owned().leak();
    let given: Vec<(&str, Value)> = words
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap();
            let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
            (name, value)
        })
        .collect();
    let parameter = |name: &str| {
        let mut found = given.iter().filter(|(known, _)| *known == name);
        found.next().map(|(_, value)| value.clone())
    };
    tree.allows(endpoint(category, name), method, &parameter)
}

#[test]
fn the_tree_says_who_may_what() {
    use Category::{InstanceRead, InstanceWrite, Misc, UserRead, UserWrite};
    let logs = "api.instance.request_logs";
    let one = json!({"api": {"instance_read": {logs: {"constraints": {"id": {"eq": 1227}}}}}});
    let some =
        json!({"api": {"instance_read": {logs: {"constraints": {"id": {"gte": 1, "lte": 100}}}}}});
    let rclone = json!({"api": {"instance_write": {"api.commands.rclone": {"POST": {}}}}});
    let rest = json!({"api": {"user_read": {"api.ssh.keys": {"GET": {}}, "*": {}}}});
    let hidden =
        json!({"api": {"misc": {}, "*": {"api.ssh.keys": {}, "api.auth.apikeys": {"GET": {}}}}});
    let word = json!({"api": {"instance_write": {"constraints": {"label": {"eq": "box"}}}}});
    let table = [
        (json!({}), UserRead, "GET api.ssh.keys", false),
        (json!({"api": {}}), UserRead, "GET api.ssh.keys", true),
        (json!({"api": {}}), InstanceWrite, "DELETE api.x", true),
        (
            json!({"api": {"user_read": {}}}),
            UserRead,
            "GET api.ssh.keys",
            true,
        ),
        (
            json!({"api": {"user_read": {}}}),
            UserWrite,
            "GET api.ssh.keys",
            false,
        ),
        (
            json!({"api": {"team_read": {}, "billing_write": {}}}),
            Misc,
            "GET api.events",
            false,
        ),
        (
            one.clone(),
            InstanceRead,
            "GET api.instance.request_logs id=1227",
            true,
        ),
        (
            one.clone(),
            InstanceRead,
            "POST api.instance.request_logs id=1227",
            true,
        ),
        (
            one.clone(),
            InstanceRead,
            "GET api.instance.request_logs id=\"1227\"",
            true,
        ),
        (
            one.clone(),
            InstanceRead,
            "GET api.instance.request_logs id=1228",
            false,
        ),
        (
            one.clone(),
            InstanceRead,
            "GET api.instance.request_logs id=01227",
            false,
        ),
        (
            one.clone(),
            InstanceRead,
            "GET api.instance.request_logs id=[1227]",
            false,
        ),
        (
            one.clone(),
            InstanceRead,
            "GET api.instance.request_logs id=null",
            false,
        ),
        (
            one.clone(),
            InstanceRead,
            "GET api.instance.request_logs id=1227.0",
            false,
        ),
        (
            one.clone(),
            InstanceRead,
            "GET api.instance.request_logs",
            false,
        ),
        (
            one.clone(),
            InstanceRead,
            "GET api.instances id=1227",
            false,
        ),
        (
            one,
            InstanceWrite,
            "GET api.instance.request_logs id=1227",
            false,
        ),
        (
            some.clone(),
            InstanceRead,
            "GET api.instance.request_logs id=1",
            true,
        ),
        (
            some.clone(),
            InstanceRead,
            "GET api.instance.request_logs id=100",
            true,
        ),
        (
            some.clone(),
            InstanceRead,
            "GET api.instance.request_logs id=0",
            false,
        ),
        (
            some.clone(),
            InstanceRead,
            "GET api.instance.request_logs id=101",
            false,
        ),
        (
            some.clone(),
            InstanceRead,
            "GET api.instance.request_logs id=-5",
            false,
        ),
        (
            some.clone(),
            InstanceRead,
            "GET api.instance.request_logs id=x",
            false,
        ),
        (
            some,
            InstanceRead,
            "GET api.instance.request_logs id=18446744073709551615",
            false,
        ),
        (
            rclone.clone(),
            InstanceWrite,
            "POST api.commands.rclone",
            true,
        ),
        (
            rclone.clone(),
            InstanceWrite,
            "PUT api.commands.rclone",
            false,
        ),
        (rclone, InstanceWrite, "POST api.commands.other", false),
        (rest.clone(), UserRead, "GET api.ssh.keys", true),
        (rest.clone(), UserRead, "POST api.ssh.keys", false),
        (rest.clone(), UserRead, "POST api.auth.sessions", true),
        (rest, UserWrite, "POST api.auth.sessions", false),
        (hidden.clone(), Misc, "GET api.events", true),
        (hidden.clone(), Misc, "GET api.ssh.keys", true),
        (hidden.clone(), UserWrite, "DELETE api.ssh.keys", true),
        (hidden.clone(), UserRead, "GET api.auth.apikeys", true),
        (hidden.clone(), UserWrite, "POST api.auth.apikeys", false),
        (hidden, InstanceRead, "GET api.instances", false),
        (
            word.clone(),
            InstanceWrite,
            "POST api.instances label=box",
            true,
        ),
        (
            word.clone(),
            InstanceWrite,
            "POST api.instances label=Box",
            false,
        ),
        (word, InstanceWrite, "DELETE api.instances id=1", false),
    ];
    for (written, category, call, allowed) in table {
        let read = tree(written.clone());
        assert_eq!(may(&read, category, call), allowed, "{written} {call}");
        assert_eq!(read.to_value(), written);
    }
}

#[test]
fn limits_on_the_way_hold_together_and_are_named() {
    let both = tree(
        json!({"api": {"constraints": {"a": {"eq": true}}, "user_read": {
        "constraints": {"b": {"gte": 2}}, "api.x": {"GET": {"constraints": {"a": {"eq": "true"}}}}}}}),
    );
    let x = endpoint(Category::UserRead, "api.x");
    assert_eq!(both.constrained(x, "GET"), ["a", "b", "a"]);
    assert!(both.constrained(x, "POST").is_empty());
    assert!(may(&both, Category::UserRead, "GET api.x a=true b=2"));
    assert!(!may(&both, Category::UserRead, "GET api.x a=true b=1"));
    assert!(!may(&both, Category::UserRead, "GET api.x a=true"));
    assert!(!may(&both, Category::UserRead, "POST api.x a=true b=2"));
    assert!(Permissions::all().constrained(x, "GET").is_empty());
}

#[test]
fn what_is_no_tree_is_refused_with_its_place() {
    let deep = json!({"api": {"misc": {"api.a": {"GET": {"x": {}}}}}});
    let limit = |limit: Value| json!({"api": {"misc": {"constraints": {"id": limit}}}});
    let table = [
        (json!([]), "permissions: not an object"),
        (json!("api"), "permissions: not an object"),
        (json!({"api": {}, "x": {}}), "permissions: the one name"),
        (json!({"api2": {}}), "permissions: the one name"),
        (json!({"api": true}), "permissions/api: not an object"),
        (
            json!({"api": {"user_reed": {}}}),
            "permissions/api/user_reed: no such category",
        ),
        (
            json!({"api": {"api.ssh.keys": {}}}),
            "permissions/api/api.ssh.keys: no such category",
        ),
        (
            json!({"api": {"a\u{1b}": {}}}),
            "permissions/api/a\\u{1b}: no such category",
        ),
        (
            json!({"api": {"misc": {"ssh-keys": {}}}}),
            "permissions/api/misc/ssh-keys: no endpoint",
        ),
        (
            json!({"api": {"misc": {"api.A": {}}}}),
            "permissions/api/misc/api.A: no endpoint",
        ),
        (
            json!({"api": {"misc": {"api.a": {"get": {}}}}}),
            "permissions/api/misc/api.a/get: no such m",
        ),
        (
            deep,
            "permissions/api/misc/api.a/GET/x: nothing stands below",
        ),
        (
            json!({"api": {"misc": {"constraints": {}}}}),
            "permissions/api/misc/constraints: it names",
        ),
        (
            limit(json!({})),
            "permissions/api/misc/constraints/id: it has no operator",
        ),
        (
            limit(json!(5)),
            "permissions/api/misc/constraints/id: not an object",
        ),
        (
            limit(json!({"gt": 5})),
            "permissions/api/misc/constraints/id/gt: no such operator",
        ),
        (
            limit(json!({"gte": "5"})),
            "permissions/api/misc/constraints/id/gte: not a whole number",
        ),
        (
            limit(json!({"lte": 1.5})),
            "permissions/api/misc/constraints/id/lte: not a whole number",
        ),
        (
            limit(json!({"eq": [1]})),
            "permissions/api/misc/constraints/id/eq: not a whole",
        ),
        (
            limit(json!({"eq": "x".repeat(129)})),
            "permissions/api/misc/constraints/id/eq: not a",
        ),
    ];
    for (written, begins) in table {
        let error = Permissions::parse(&written).unwrap_err().to_string();
        assert!(error.starts_with(begins), "{error}");
    }
    for category in parse::CATEGORIES {
        tree(json!({"api": {category: {}}}));
    }
}

#[test]
fn a_tree_has_a_size() {
    let names = |count: usize| {
        let of = (0..count).map(|n| (format!("api.n{n}"), json!({})));
        json!({"api": {"misc": Value::Object(of.collect())}})
    };
    tree(names(127));
    let error = Permissions::parse(&names(128)).unwrap_err().to_string();
    assert!(error.contains("at most 128 names"), "{error}");
    let long = format!("api.{}", "x".repeat(1_000_000));
    let error = Permissions::parse(&json!({"api": {"misc": {long: {}}}})).unwrap_err();
    assert!(error.to_string().len() < 400);
    let mut deep = json!({});
    for _ in 0..100 {
        deep = json!({ "*": deep });
    }
    assert!(Permissions::parse(&json!({ "api": deep })).is_err());
}

#[test]
fn one_tree_is_as_wide_as_another() {
    let all = Permissions::all();
    let keys = |below: Value| tree(json!({"api": {"user_read": {"api.ssh.keys": below}}}));
    let id = |limit: Value| keys(json!({"constraints": {"id": limit}}));
    let plain = keys(json!({}));
    let read = tree(json!({"api": {"user_read": {}}}));
    let two = tree(json!({"api": {"user_read": {}, "misc": {}}}));
    let rest = tree(json!({"api": {"*": {}}}));
    let but = tree(json!({"api": {"user_read": {"api.ssh.keys": {"GET": {}}, "*": {}}}}));
    let none = tree(json!({}));
    let yes = [
        (&all, &two),
        (&all, &none),
        (&none, &none),
        (&two, &read),
        (&read, &plain),
        (&read, &but),
        (&rest, &all),
        (&rest, &but),
        (&plain, &id(json!({"eq": 5}))),
        (&id(json!({"eq": 5})), &id(json!({"eq": "5"}))),
        (&id(json!({"gte": 1})), &id(json!({"eq": 5}))),
        (
            &id(json!({"gte": 1, "lte": 9})),
            &id(json!({"gte": 2, "lte": 9})),
        ),
        (&but, &keys(json!({"GET": {}}))),
    ];
    for (wide, narrow) in yes {
        assert!(wide.contains(narrow), "{wide} {narrow}");
    }
    let no = [
        (&none, &read),
        (&two, &all),
        (&read, &two),
        (&plain, &read),
        (&but, &read),
        (&but, &plain),
        (&but, &rest),
        (&id(json!({"eq": 5})), &plain),
        (&id(json!({"eq": 5})), &id(json!({"gte": 5}))),
        (&id(json!({"gte": 2})), &id(json!({"gte": 1}))),
        (&id(json!({"gte": 2})), &id(json!({"lte": 3}))),
        (&id(json!({"gte": 2})), &id(json!({"eq": "x"}))),
        (
            &keys(json!({"constraints": {"a": {"eq": 1}}})),
            &id(json!({"eq": 1})),
        ),
    ];
    for (wide, narrow) in no {
        assert!(!wide.contains(narrow), "{wide} {narrow}");
    }
}
