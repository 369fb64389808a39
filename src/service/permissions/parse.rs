//! Reads a permission tree, and names the place of what is wrong with it.
//!
//! Owns its limits: a tree is read at every request of its key. Refuses names that nothing could
//! ever have: a key that silently may do nothing, or all, is no use to its owner.

use super::{BadPermissions, Limit, Node, Permissions, REST, Scalar};
use serde_json::{Map, Value};

/// All categories of Vast's (vast-api.md section 4). Those of things that a keys service has not
/// are taken, and allow nothing here.
pub(super) const CATEGORIES: [&str; 11] = [
    "instance_read",
    "instance_write",
    "user_read",
    "user_write",
    "billing_read",
    "billing_write",
    "machine_read",
    "machine_write",
    "misc",
    "team_read",
    "team_write",
];

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
const CONSTRAINTS: &str = "constraints";

/// Names in a tree, in all.
const NAMES: usize = 128;

/// Bytes of a name, or of a value that a parameter must have.
const TEXT: usize = 128;

/// Bytes of a place in an error.
const PLACE: usize = 256;

/// What a place's names are.
#[derive(Clone, Copy)]
enum Level {
    Api,
    Category,
    Endpoint,
    Method,
}

impl Level {
    fn below(self) -> Self {
        match self {
            Self::Api => Self::Category,
            Self::Category => Self::Endpoint,
            Self::Endpoint | Self::Method => Self::Method,
        }
    }

    /// Why no such name may stand here.
    fn fault(self, name: &str) -> Option<&'static str> {
        match self {
            _ if name == REST && !matches!(self, Self::Method) => None,
            Self::Api if CATEGORIES.contains(&name) => None,
            Self::Api => Some(
                "no such category; there are instance_read, instance_write, user_read, \
                 user_write, misc, and Vast's others",
            ),
            Self::Category if is_endpoint(name) => None,
            Self::Category => Some("no endpoint's name; they are like api.ssh.keys"),
            Self::Endpoint if METHODS.contains(&name) => None,
            Self::Endpoint => Some("no such method; there are GET, POST, PUT, PATCH and DELETE"),
            Self::Method => Some("nothing stands below a method but constraints"),
        }
    }
}

fn is_endpoint(name: &str) -> bool {
    let of_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    name.len() <= TEXT && name.starts_with("api.") && name.bytes().all(of_name)
}

/// Reads a tree.
pub(super) fn tree(tree: &Value) -> Result<Permissions, BadPermissions> {
    let mut reading = Reading {
        place: vec!["permissions".to_owned()],
        names: 0,
    };
    let written = reading.object(tree)?;
    let api = match written.get("api") {
        _ if written.is_empty() => None,
        Some(api) if written.len() == 1 => {
            Some(reading.at("api", |reading| reading.node(api, Level::Api))?)
        }
        _ => return Err(reading.bad("the one name at the top is api")),
    };
    Ok(Permissions {
        written: written.clone(),
        api,
    })
}

struct Reading {
    place: Vec<String>,
    names: usize,
}

impl Reading {
    fn node(&mut self, value: &Value, level: Level) -> Result<Node, BadPermissions> {
        let mut node = Node::default();
        for (name, value) in self.object(value)? {
            self.at(name, |reading| {
                reading.names += 1;
                if reading.names > NAMES {
                    return Err(reading.bad("a tree has at most 128 names; this is one more"));
                }
                if name == CONSTRAINTS {
                    return reading.limits(value, &mut node);
                }
                if let Some(fault) = level.fault(name) {
                    return Err(reading.bad(fault));
                }
                let below = reading.node(value, level.below())?;
                let named = node.named.get_or_insert_default();
                named.insert(name.clone(), below);
                Ok(())
            })?;
        }
        Ok(node)
    }

    fn limits(&mut self, value: &Value, node: &mut Node) -> Result<(), BadPermissions> {
        let limits = self.object(value)?;
        if limits.is_empty() {
            return Err(self.bad("it names no parameter; leave it out"));
        }
        for (name, value) in limits {
            self.at(name, |reading| {
                reading.names += 1;
                if reading.names > NAMES || name.len() > TEXT {
                    return Err(reading.bad("too many names, or too long a one"));
                }
                let limit = reading.limit(value)?;
                node.limits.insert(name.clone(), limit);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn limit(&mut self, value: &Value) -> Result<Limit, BadPermissions> {
        let operators = self.object(value)?;
        if operators.is_empty() {
            return Err(self.bad("it has no operator; there are eq, gte and lte"));
        }
        let mut limit = Limit::default();
        for (operator, value) in operators {
            self.at(operator, |reading| {
                let number = || value.as_i64().ok_or_else(|| reading.bad("not a whole number"));
                match operator.as_str() {
                    "eq" => {
                        let scalar = Scalar::of(value).filter(
                            |scalar| !matches!(scalar, Scalar::Text(text) if text.len() > TEXT),
                        );
                        let fault = "not a whole number, nor a truth value, nor a text of at most 128 bytes";
                        limit.eq = Some(scalar.ok_or_else(|| reading.bad(fault))?);
                    }
                    "gte" => limit.gte = Some(number()?),
                    "lte" => limit.lte = Some(number()?),
                    _ => return Err(reading.bad("no such operator; there are eq, gte and lte")),
                }
                Ok(())
            })?;
        }
        Ok(limit)
    }

    fn object<'v>(&self, value: &'v Value) -> Result<&'v Map<String, Value>, BadPermissions> {
        value.as_object().ok_or_else(|| self.bad("not an object"))
    }

    fn at<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Self) -> Result<T, BadPermissions>,
    ) -> Result<T, BadPermissions> {
        self.place.push(name.escape_debug().to_string());
        let read = read(self);
        self.place.pop();
        read
    }

    fn bad(&self, fault: &'static str) -> BadPermissions {
        let mut place = self.place.join("/");
        if place.len() > PLACE {
            let mut end = PLACE;
            while !place.is_char_boundary(end) {
                end -= 1;
            }
            place.truncate(end);
            place.push('…');
        }
        BadPermissions { place, fault }
    }
}
