//! What a caller wants of a listing of instances: which, in what order, how many, which columns.
//!
//! Pure. The JSON in the query is Vast's: `select_filters` names columns with operators, `order_by`
//! columns with a direction. A column that nobody has is null everywhere. The token of the next
//! page is where this one ended, so that instances that come and go move nobody else's.

use super::super::ApiError;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::cmp::Ordering;

/// Rows of a page, at the most.
const PAGE: usize = 25;

/// The query as it comes.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Query {
    #[serde(default)]
    select_filters: Option<String>,
    #[serde(default)]
    order_by: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default)]
    select_cols: Option<String>,
    #[serde(default)]
    after_token: Option<String>,
}

/// The query, understood.
#[derive(Debug)]
pub(super) struct Listing {
    filters: Vec<(String, Op, Value)>,
    order: Vec<Order>,
    limit: usize,
    columns: Option<Vec<String>>,
    after: Option<Vec<Value>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    In,
    NotIn,
    Eq,
    Neq,
    Lt,
    Lte,
    Gt,
    Gte,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Order {
    col: String,
    #[serde(default)]
    dir: Direction,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Direction {
    #[default]
    Asc,
    Desc,
}

/// One page of rows, as places in the list that was given.
#[derive(Debug, PartialEq)]
pub(super) struct Page {
    /// The rows.
    pub(super) rows: Vec<usize>,
    /// All that fit the filters, on whatever page.
    pub(super) found: Vec<usize>,
    /// Where the next page begins.
    pub(super) next: Option<String>,
}

impl Listing {
    /// Reads a query.
    ///
    /// # Errors
    /// 400 `invalid_request`, which names the parameter.
    pub(super) fn parse(query: &Query) -> Result<Self, ApiError> {
        let mut filters = Vec::new();
        let given: Map<String, Value> = read("select_filters", query.select_filters.as_deref())?;
        for (column, wanted) in given {
            match wanted {
                Value::Object(ops) => {
                    for (op, value) in ops {
                        filters.push((column.clone(), Op::parse(&op, &value)?, value));
                    }
                }
                value => filters.push((column, Op::Eq, value)),
            }
        }
        let mut order: Vec<Order> = read("order_by", query.order_by.as_deref())?;
        // Only so does every row have a place of its own.
        if !order.iter().any(|order| order.col == "id") {
            order.push(Order {
                col: "id".to_owned(),
                dir: Direction::Asc,
            });
        }
        let columns: Option<Vec<String>> = read("select_cols", query.select_cols.as_deref())?;
        Ok(Self {
            filters,
            order,
            limit: query.limit.unwrap_or(PAGE).clamp(1, PAGE),
            columns: columns.filter(|columns| !columns.iter().any(|column| column == "*")),
            after: query.after_token.as_deref().map(token).transpose()?,
        })
    }

    /// Chooses of so many rows; `field` gives a column of one.
    pub(super) fn page(&self, rows: usize, field: &dyn Fn(usize, &str) -> Value) -> Page {
        let fits = |row: &usize| {
            let fits =
                |(column, op, value): &(String, Op, Value)| op.fits(&field(*row, column), value);
            self.filters.iter().all(fits)
        };
        let place = |row: usize| -> Vec<Value> {
            let columns = self.order.iter();
            columns.map(|order| field(row, &order.col)).collect()
        };
        let mut placed: Vec<(Vec<Value>, usize)> = (0..rows)
            .filter(fits)
            .map(|row| (place(row), row))
            .collect();
        placed.sort_by(|(a, _), (b, _)| self.compare(a, b));
        let found = placed.iter().map(|(_, row)| *row).collect();
        if let Some(after) = &self.after {
            placed.retain(|(place, _)| self.compare(place, after) == Ordering::Greater);
        }
        let more = placed.len() > self.limit;
        placed.truncate(self.limit);
        let next = placed.last().filter(|_| more).map(|(place, _)| {
            let json = Value::Array(place.clone()).to_string();
            URL_SAFE_NO_PAD.encode(json)
        });
        Page {
            rows: placed.into_iter().map(|(_, row)| row).collect(),
            found,
            next,
        }
    }

    /// The columns that are wanted; `None`: all.
    pub(super) fn columns(&self) -> Option<&[String]> {
        self.columns.as_deref()
    }

    fn compare(&self, a: &[Value], b: &[Value]) -> Ordering {
        let pairs = a.iter().zip(b).zip(&self.order);
        let mut orders = pairs.map(|((a, b), order)| match order.dir {
            Direction::Asc => compare(a, b),
            Direction::Desc => compare(b, a),
        });
        let decided = orders.find(|order| order.is_ne());
        decided.unwrap_or(Ordering::Equal)
    }
}

impl Op {
    fn parse(word: &str, value: &Value) -> Result<Self, ApiError> {
        let op = match word {
            "in" => Self::In,
            "notin" => Self::NotIn,
            "eq" => Self::Eq,
            "neq" => Self::Neq,
            "lt" => Self::Lt,
            "lte" => Self::Lte,
            "gt" => Self::Gt,
            "gte" => Self::Gte,
            _ => {
                return Err(bad(
                    "select_filters: operators are in, notin, eq, neq, lt, lte, gt, gte",
                ));
            }
        };
        if matches!(op, Self::In | Self::NotIn) && !value.is_array() {
            return Err(bad("select_filters: in and notin take an array"));
        }
        Ok(op)
    }

    fn fits(self, has: &Value, wanted: &Value) -> bool {
        let among = || wanted.as_array().is_some_and(|all| all.contains(has));
        let order = || compare(has, wanted);
        // Nothing is neither less nor more.
        let both = !has.is_null() && !wanted.is_null();
        match self {
            Self::In => among(),
            Self::NotIn => !among(),
            Self::Eq => order().is_eq(),
            Self::Neq => order().is_ne(),
            Self::Lt => both && order().is_lt(),
            Self::Lte => both && order().is_le(),
            Self::Gt => both && order().is_gt(),
            Self::Gte => both && order().is_ge(),
        }
    }
}

/// Null, then booleans, numbers, text; anything else last, and all of it alike.
fn compare(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) | Value::Object(_) => 4,
    };
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a
                .as_f64()
                .partial_cmp(&b.as_f64())
                .unwrap_or(Ordering::Equal),
        },
        (Value::String(a), Value::String(b)) => a.cmp(b),
        _ => rank(a).cmp(&rank(b)),
    }
}

fn read<T: serde::de::DeserializeOwned + Default>(
    name: &str,
    text: Option<&str>,
) -> Result<T, ApiError> {
    match text {
        None | Some("" | "null") => Ok(T::default()),
        Some(text) => serde_json::from_str(text)
            .map_err(|error| ApiError::bad("invalid-request", format!("{name}: {error}"))),
    }
}

fn token(text: &str) -> Result<Vec<Value>, ApiError> {
    let json = URL_SAFE_NO_PAD.decode(text).ok();
    let place = json.and_then(|json| serde_json::from_slice(&json).ok());
    place.ok_or_else(|| bad("after_token: it is next_token of the page before"))
}

fn bad(detail: &'static str) -> ApiError {
    ApiError::bad("invalid-request", detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Ids 0 to 59; every third has a label.
    fn field(row: usize, column: &str) -> Value {
        match column {
            "id" => json!(row),
            "label" if row.is_multiple_of(3) => json!(format!("box {}", row % 2)),
            _ => Value::Null,
        }
    }

    fn listing(filters: &Value, order: &Value, after: Option<String>) -> Listing {
        Listing::parse(&Query {
            select_filters: Some(filters.to_string()),
            order_by: Some(order.to_string()),
            after_token: after,
            ..Query::default()
        })
        .unwrap()
    }

    #[test]
    fn every_row_stands_on_one_page_in_any_order() {
        for order in [
            json!([]),
            json!([{"col": "id", "dir": "desc"}]),
            json!([{"col": "label", "dir": "desc"}]),
            json!([{"col": "nobody", "dir": "asc"}, {"col": "label"}]),
        ] {
            let (mut seen, mut after, mut pages) = (Vec::new(), None, 0);
            loop {
                let page = listing(&json!({}), &order, after).page(60, &field);
                assert_eq!(page.found.len(), 60);
                seen.extend(page.rows);
                pages += 1;
                let Some(next) = page.next else { break };
                after = Some(next);
            }
            assert_eq!(pages, 3, "{order}");
            seen.sort_unstable();
            assert_eq!(seen, (0..60).collect::<Vec<_>>(), "{order}");
        }
    }

    #[test]
    fn filters_choose() {
        let count = |filters: Value| {
            let page = listing(&filters, &json!([]), None).page(60, &field);
            page.found.len()
        };
        assert_eq!(count(json!({"label": {"in": [null]}})), 40);
        assert_eq!(count(json!({"label": {"in": ["box 0", "box 1"]}})), 20);
        assert_eq!(count(json!({"label": {"notin": [null, "box 0"]}})), 10);
        assert_eq!(count(json!({"label": "box 1"})), 10);
        assert_eq!(count(json!({"label": {"neq": null}})), 20);
        assert_eq!(count(json!({"id": {"gte": 10, "lt": 20.5}})), 11);
        assert_eq!(count(json!({"label": {"gt": 5}})), 20);
        assert_eq!(count(json!({"id": {"lte": null}})), 0);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let parse = |name: &str, text: &str| {
            let mut query = json!({});
            query[name] = json!(text);
            Listing::parse(&serde_json::from_value(query).unwrap())
        };
        for (name, text) in [
            ("select_filters", "["),
            ("select_filters", "[]"),
            ("select_filters", r#"{"a": {"like": 1}}"#),
            ("select_filters", r#"{"a": {"in": 1}}"#),
            ("order_by", r#"[{"col": "a", "dir": "up"}]"#),
            ("order_by", "7"),
            ("select_cols", "{}"),
            ("after_token", "%"),
            ("after_token", "e30"),
        ] {
            let error = parse(name, text).unwrap_err();
            assert_eq!(error.code(), "invalid-request", "{name}={text}");
        }
        assert!(
            parse("select_cols", r#"["*"]"#)
                .unwrap()
                .columns()
                .is_none()
        );
        let some = parse("select_cols", r#"["id"]"#).unwrap();
        assert_eq!(some.columns().unwrap(), ["id"]);
    }
}
