//! What stands in a column, and what Rust reads it as.

use super::{FromSql, ToSql, Value};

impl ToSql for i64 {
    fn value(&self) -> Value<'_> {
        Value::Integer(*self)
    }
}

impl ToSql for u32 {
    fn value(&self) -> Value<'_> {
        Value::Integer(i64::from(*self))
    }
}

impl ToSql for bool {
    fn value(&self) -> Value<'_> {
        Value::Integer(i64::from(*self))
    }
}

impl ToSql for str {
    fn value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl ToSql for String {
    fn value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl ToSql for Vec<u8> {
    fn value(&self) -> Value<'_> {
        Value::Blob(self)
    }
}

impl<const N: usize> ToSql for [u8; N] {
    fn value(&self) -> Value<'_> {
        Value::Blob(self)
    }
}

impl<T: ToSql> ToSql for Option<T> {
    fn value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Null, ToSql::value)
    }
}

impl<T: ToSql + ?Sized> ToSql for &T {
    fn value(&self) -> Value<'_> {
        T::value(self)
    }
}

impl FromSql for i64 {
    fn of(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Integer(number) => Some(number),
            _ => None,
        }
    }
}

impl FromSql for u32 {
    fn of(value: Value<'_>) -> Option<Self> {
        i64::of(value)?.try_into().ok()
    }
}

impl FromSql for bool {
    fn of(value: Value<'_>) -> Option<Self> {
        Some(i64::of(value)? != 0)
    }
}

impl FromSql for String {
    fn of(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.to_owned()),
            _ => None,
        }
    }
}

impl FromSql for Vec<u8> {
    fn of(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Blob(bytes) => Some(bytes.to_vec()),
            _ => None,
        }
    }
}

impl<const N: usize> FromSql for [u8; N] {
    fn of(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Blob(bytes) => bytes.try_into().ok(),
            _ => None,
        }
    }
}

impl<T: FromSql> FromSql for Option<T> {
    fn of(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::of(value).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_another_kind_is_none() {
        assert_eq!(i64::of(Value::Text("1")), None);
        assert_eq!(i64::of(Value::Null), None);
        assert_eq!(<Option<i64>>::of(Value::Null), Some(None));
        assert_eq!(<Option<i64>>::of(Value::Blob(b"1")), None);
        assert_eq!(<[u8; 2]>::of(Value::Blob(b"123")), None);
        assert_eq!(u32::of(Value::Integer(-1)), None);
        assert_eq!(bool::of(Value::Integer(1)), Some(true));
        assert_eq!(Some("a").value(), Value::Text("a"));
        assert_eq!(None::<i64>.value(), Value::Null);
    }
}
