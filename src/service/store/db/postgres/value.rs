//! Our SQL and our values as PostgreSQL has them.

use super::super::Value;
use std::error::Error;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

/// `?1` as `$1`; what stands in quotes is left alone.
pub(super) fn translated(sql: &str) -> String {
    let mut quoted = false;
    sql.chars()
        .map(|c| match c {
            '\'' => {
                quoted = !quoted;
                c
            }
            '?' if !quoted => '$',
            c => c,
        })
        .collect()
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            // The server has said what it takes here.
            Self::Integer(number) => match *kind {
                Type::BOOL => (*number != 0).to_sql(kind, out),
                Type::INT2 => i16::try_from(*number)?.to_sql(kind, out),
                Type::INT4 => i32::try_from(*number)?.to_sql(kind, out),
                Type::INT8 => number.to_sql(kind, out),
                Type::TEXT => number.to_string().to_sql(kind, out),
                _ => Err(format!("a number is no {kind}").into()),
            },
            // PostgreSQL's text has no NUL.
            Self::Text(text) if text.contains('\0') => {
                text.replace('\0', "\u{fffd}").to_sql(kind, out)
            }
            Self::Text(text) => text.to_sql(kind, out),
            Self::Blob(bytes) => bytes.to_sql(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Value<'a> {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(match *kind {
            Type::BOOL => Self::Integer(i64::from(bool::from_sql(kind, raw)?)),
            Type::INT2 => Self::Integer(i64::from(i16::from_sql(kind, raw)?)),
            Type::INT4 => Self::Integer(i64::from(i32::from_sql(kind, raw)?)),
            Type::INT8 => Self::Integer(i64::from_sql(kind, raw)?),
            Type::BYTEA => Self::Blob(raw),
            Type::TEXT | Type::VARCHAR | Type::NAME => Self::Text(std::str::from_utf8(raw)?),
            _ => return Err(format!("{kind} is no kind of ours").into()),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_translated_and_text_is_not() {
        let sql = "SELECT '?1', a FROM b WHERE c = ?1 AND d IS NOT DISTINCT FROM ?12";
        let theirs = "SELECT '?1', a FROM b WHERE c = $1 AND d IS NOT DISTINCT FROM $12";
        assert_eq!(translated(sql), theirs);
    }

    #[test]
    fn a_value_is_written_as_the_server_takes_it() {
        let bytes = |value: Value<'_>, kind: Type| {
            let mut out = BytesMut::new();
            let done = value.to_sql(&kind, &mut out);
            done.ok().map(|_| out.to_vec())
        };
        assert_eq!(bytes(Value::Integer(1), Type::BOOL), Some(vec![1]));
        assert_eq!(bytes(Value::Integer(7), Type::INT4), Some(vec![0, 0, 0, 7]));
        assert_eq!(bytes(Value::Integer(i64::MAX), Type::INT4), None);
        assert_eq!(bytes(Value::Integer(7), Type::BYTEA), None);
        assert_eq!(
            bytes(Value::Text("a\0"), Type::TEXT),
            Some("a\u{fffd}".into())
        );
    }
}
