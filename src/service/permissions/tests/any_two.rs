//! What holds for any two trees, and for any call.

use super::*;
use proptest::prelude::*;

fn limits() -> impl Strategy<Value = Value> {
    let operators = prop_oneof![
        (0..3_i64).prop_map(|n| json!({ "eq": n })),
        (0..3_i64).prop_map(|n| json!({ "gte": n })),
        (0..3_i64).prop_map(|n| json!({ "lte": n })),
        (0..2_i64, 1..3_i64).prop_map(|(a, b)| json!({"gte": a, "lte": b})),
        Just(json!({"eq": "x"})),
    ];
    prop::collection::btree_map(prop::sample::select(vec!["p", "q"]), operators, 1..3)
        .prop_map(|limits| json!(limits))
}

fn level(names: [&'static str; 3], below: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    let named = prop::collection::btree_map(prop::sample::select(names.to_vec()), below, 0..4);
    (named, prop::option::weighted(0.3, limits()))
        .prop_map(|(named, limits)| {
            let mut node = json!(named);
            if let Some(limits) = limits {
                node["constraints"] = limits;
            }
            node
        })
        .boxed()
}

fn trees() -> impl Strategy<Value = Permissions> {
    let call = level(["", "", ""], Just(json!({})).boxed()).prop_map(|mut node| {
        node.as_object_mut().unwrap().remove("");
        node
    });
    let methods = level(["GET", "POST", "*"], call.boxed());
    let endpoints = level(["api.a", "api.b", "*"], methods);
    let categories = level(["user_read", "misc", "*"], endpoints);
    prop::option::weighted(0.95, categories).prop_map(|api| match api {
        Some(api) => tree(json!({ "api": api })),
        None => tree(json!({})),
    })
}

/// The same tree, with something more: names mapped to all, limits left out.
fn widened(value: &Value, chance: &mut impl FnMut() -> bool) -> Value {
    let Value::Object(names) = value else {
        return value.clone();
    };
    let mut out = Map::new();
    for (name, below) in names {
        match name.as_str() {
            "constraints" if chance() => {}
            "constraints" => drop(out.insert(name.clone(), below.clone())),
            _ if chance() => drop(out.insert(name.clone(), json!({}))),
            _ => drop(out.insert(name.clone(), widened(below, chance))),
        }
    }
    Value::Object(out)
}

fn each_call(mut hold: impl FnMut(Endpoint, &str, &dyn Fn(&str) -> Option<Value>)) {
    let values = [
        None,
        Some(json!(0)),
        Some(json!(1)),
        Some(json!(2)),
        Some(json!("x")),
    ];
    for category in [Category::UserRead, Category::Misc, Category::UserWrite] {
        for name in ["api.a", "api.b", "api.c"] {
            for method in ["GET", "POST", "PUT"] {
                for p in &values {
                    for q in &values {
                        let parameter = |name: &str| match name {
                            "p" => p.clone(),
                            _ => q.clone(),
                        };
                        hold(endpoint(category, name), method, &parameter);
                    }
                }
            }
        }
    }
}

fn all_of_the_narrow_one(wide: &Permissions, narrow: &Permissions) {
    each_call(|endpoint, method, parameter| {
        let allowed = narrow.allows(endpoint, method, parameter);
        assert!(
            !allowed || wide.allows(endpoint, method, parameter),
            "{wide} {narrow} {endpoint:?} {method}"
        );
    });
}

proptest! {
    #[test]
    fn a_tree_that_contains_another_allows_all_that_it_does(a in trees(), b in trees(), seed: u64) {
        let mut bits = seed;
        let wider = widened(&b.to_value(), &mut || {
            bits = bits.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            bits >> 62 == 0
        });
        let wider = if b.api.is_none() { Permissions::all() } else { tree(wider) };
        for (wide, narrow) in [(&a, &b), (&b, &a), (&wider, &b), (&b, &wider), (&a, &wider)] {
            if wide.contains(narrow) {
                all_of_the_narrow_one(wide, narrow);
            }
        }
        prop_assert!(a.contains(&a));
        prop_assert!(Permissions::all().contains(&a));
    }

    #[test]
    fn a_call_that_is_limited_names_what_limits_it(a in trees()) {
        each_call(|endpoint, method, parameter| {
            let known = a.constrained(endpoint, method);
            let none = a.allows(endpoint, method, &|_| None);
            if known.is_empty() {
                assert_eq!(none, a.allows(endpoint, method, parameter), "{a}");
            } else {
                assert!(!none, "{a}");
            }
        });
    }

    #[test]
    fn no_json_breaks_the_reader(text in "[\\[\\]{}\":,a-z*.0-9]{0,64}") {
        if let Ok(value) = serde_json::from_str::<Value>(&text) {
            let _ = Permissions::parse(&value);
        }
    }
}
