//! What an API key may do: Vast's permission tree (vast-api.md section 4), evaluated.
//!
//! Below `api` stand categories, below a category endpoints by their dotted names, below an
//! endpoint methods. A name mapped to `{}` allows all below it, a name mapped to names allows
//! those alone, and `"*"` stands for every name that is not beside it. `constraints` limits the
//! parameters of all calls below its place. Pure: a tree, a call and its parameters in, yes or no
//! out; in doubt, no.

mod parse;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

/// Stands for every name that is not beside it.
const REST: &str = "*";

/// The categories of calls. Vast has more, of things that a keys service has not:
/// [`parse::CATEGORIES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Category {
    /// Reads of instances.
    InstanceRead,
    /// Writes of instances.
    InstanceWrite,
    /// Reads of keys and sessions.
    UserRead,
    /// Writes of keys and sessions.
    UserWrite,
    /// The audit log, events.
    Misc,
}

impl Category {
    /// As a tree names it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::InstanceRead => "instance_read",
            Self::InstanceWrite => "instance_write",
            Self::UserRead => "user_read",
            Self::UserWrite => "user_write",
            Self::Misc => "misc",
        }
    }
}

/// A call, as a tree knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Endpoint {
    /// Its category.
    pub(super) category: Category,
    /// Its dotted name, as `api.ssh.keys`.
    pub(super) name: &'static str,
}

/// A tree.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Permissions {
    /// As it was written.
    written: Map<String, Value>,
    /// What `api` is mapped to; a tree without allows nothing.
    api: Option<Node>,
}

/// A place of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Node {
    /// What stands below it, if not all.
    named: Option<BTreeMap<String, Node>>,
    /// What the parameters of every call below it must be.
    limits: BTreeMap<String, Limit>,
}

/// What one parameter must be: there, and all of this.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Limit {
    eq: Option<Scalar>,
    gte: Option<i64>,
    lte: Option<i64>,
}

/// A parameter's value. A path has text only, so that a number and its decimal digits are one.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Scalar {
    Number(i64),
    Text(String),
}

/// A tree that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {fault}")]
pub(super) struct BadPermissions {
    /// Names from the root, with `/` between.
    place: String,
    fault: &'static str,
}

impl Permissions {
    /// Everything.
    pub(super) fn all() -> Self {
        Self {
            written: Map::from_iter([("api".to_owned(), Value::Object(Map::new()))]),
            api: Some(Node::default()),
        }
    }

    /// Reads a tree. `{}` is one that allows nothing.
    ///
    /// # Errors
    /// [`BadPermissions`], which names the place: a category, a method or an operator that there
    /// is none of, a name that is no endpoint's, too large a tree.
    pub(super) fn parse(tree: &Value) -> Result<Self, BadPermissions> {
        parse::tree(tree)
    }

    /// Whether a call with these parameters is allowed: `parameter` gives the value of one by its
    /// name, from path, query or body.
    pub(super) fn allows(
        &self,
        endpoint: Endpoint,
        method: &str,
        parameter: &dyn Fn(&str) -> Option<Value>,
    ) -> bool {
        self.on_the_way(endpoint, method).is_some_and(|nodes| {
            let mut limits = nodes.iter().flat_map(|node| &node.limits);
            limits.all(|(name, limit)| {
                let value = parameter(name).as_ref().and_then(Scalar::of);
                value.is_some_and(|value| limit.admits(&value))
            })
        })
    }

    /// Names of parameters that this call is limited by.
    pub(super) fn constrained(&self, endpoint: Endpoint, method: &str) -> Vec<String> {
        let nodes = self.on_the_way(endpoint, method).unwrap_or_default();
        let limits = nodes.iter().flat_map(|node| node.limits.keys());
        limits.cloned().collect()
    }

    /// Whether whoever has this may do all that whoever has `other` may. Never yes wrongly; no for
    /// some trees that would, as for one that names every category against one that says `{}`.
    pub(super) fn contains(&self, other: &Self) -> bool {
        match (&self.api, &other.api) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(wide), Some(narrow)) => covers(Some(wide), narrow, Claims::default()),
        }
    }

    /// As JSON, as it was written.
    pub(super) fn to_value(&self) -> Value {
        Value::Object(self.written.clone())
    }

    /// The places from `api` to the call, if each lets the next one through.
    fn on_the_way(&self, endpoint: Endpoint, method: &str) -> Option<Vec<&Node>> {
        let mut node = self.api.as_ref()?;
        let mut nodes = vec![node];
        for name in [endpoint.category.word(), endpoint.name, method] {
            let Some(named) = &node.named else {
                break;
            };
            node = named.get(name).or_else(|| named.get(REST))?;
            nodes.push(node);
        }
        Some(nodes)
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_value())
    }
}

impl Limit {
    fn admits(&self, value: &Scalar) -> bool {
        let bounded = match value {
            Scalar::Number(n) => {
                self.gte.is_none_or(|least| *n >= least) && self.lte.is_none_or(|most| *n <= most)
            }
            Scalar::Text(_) => self.gte.is_none() && self.lte.is_none(),
        };
        bounded && self.eq.as_ref().is_none_or(|eq| eq == value)
    }

    /// Whether what this admits is admitted by `wide` too.
    fn implies(&self, wide: &Self) -> bool {
        let exact = match self.eq {
            Some(Scalar::Number(n)) => Some(n),
            _ => None,
        };
        let least = exact.or(self.gte);
        let most = exact.or(self.lte);
        (wide.eq.is_none() || wide.eq == self.eq)
            && wide.gte.is_none_or(|w| least.is_some_and(|l| l >= w))
            && wide.lte.is_none_or(|w| most.is_some_and(|m| m <= w))
    }
}

impl Scalar {
    /// Decimal digits are the number that they write, if it is written like this only.
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => number.as_i64().map(Self::Number),
            Value::Bool(truth) => Some(Self::Text(truth.to_string())),
            Value::String(text) => {
                let number = text.parse().ok().filter(|n: &i64| n.to_string() == *text);
                Some(number.map_or_else(|| Self::Text(text.clone()), Self::Number))
            }
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

/// Limits on the way down: those that the wider tree sets, and those that the narrower one does.
#[derive(Clone, Default)]
struct Claims<'t> {
    wide: Vec<(&'t str, &'t Limit)>,
    narrow: Vec<(&'t str, &'t Limit)>,
}

impl Claims<'_> {
    /// Whether the narrower tree's limits see to it that the wider one's hold.
    fn hold(&self) -> bool {
        self.wide.iter().all(|(name, wide)| {
            let mut same = self.narrow.iter().filter(|(known, _)| known == name);
            same.any(|(_, narrow)| narrow.implies(wide))
        })
    }
}

/// Whether all that `narrow` allows is allowed by `wide`, where none stands for a place below one
/// that allows everything.
fn covers<'t>(wide: Option<&'t Node>, narrow: &'t Node, mut claims: Claims<'t>) -> bool {
    let limits = |node: &'t Node| node.limits.iter().map(|(name, limit)| (&**name, limit));
    claims.wide.extend(wide.into_iter().flat_map(limits));
    claims.narrow.extend(limits(narrow));
    match (wide.and_then(|wide| wide.named.as_ref()), &narrow.named) {
        (None, None) => claims.hold(),
        (None, Some(narrow)) => narrow
            .values()
            .all(|node| covers(None, node, claims.clone())),
        // Everything below is to be covered, so everything that is named, and the rest.
        (Some(wide), None) => {
            wide.contains_key(REST)
                && wide
                    .values()
                    .all(|node| covers_all_below(node, claims.clone()))
        }
        (Some(wide), Some(narrow)) => {
            let rest = wide.get(REST);
            let of_narrow = narrow.iter().all(|(name, node)| {
                let over = wide.get(name).or(rest);
                over.is_some_and(|over| covers(Some(over), node, claims.clone()))
            });
            // Names that only the wider tree has stand under the narrower one's rest.
            let only_wide = wide.iter().filter(|(name, _)| !narrow.contains_key(*name));
            let under_rest = narrow.get(REST).is_none_or(|node| {
                only_wide
                    .map(|(_, over)| over)
                    .all(|over| covers(Some(over), node, claims.clone()))
            });
            of_narrow && under_rest
        }
    }
}

fn covers_all_below<'t>(wide: &'t Node, mut claims: Claims<'t>) -> bool {
    let limits = wide.limits.iter().map(|(name, limit)| (&**name, limit));
    claims.wide.extend(limits);
    match &wide.named {
        None => claims.hold(),
        Some(named) => {
            named.contains_key(REST)
                && named
                    .values()
                    .all(|node| covers_all_below(node, claims.clone()))
        }
    }
}
