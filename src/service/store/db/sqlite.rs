//! SQLite's half of the face: its values as ours.

use super::Value;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Params, params_from_iter};

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// Parameters.
pub(super) fn bound<'a>(values: &'a [Value<'a>]) -> impl Params + 'a {
    params_from_iter(values)
}

/// A column; `None`: it is no kind of ours.
pub(super) fn value(value: ValueRef<'_>) -> Option<Value<'_>> {
    Some(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Text(text) => Value::Text(std::str::from_utf8(text).ok()?),
        ValueRef::Blob(bytes) => Value::Blob(bytes),
        ValueRef::Real(_) => return None,
    })
}
