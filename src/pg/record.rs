//! Plain structs that are read from a row by the names of its columns, and handed to scripts and the journal as a map.
//! One declaration gives both ways, so that a column cannot be read under one name and shown under another.

use crate::{
    base::{Code, Lsn, Map, Result, Value},
    fail,
};

/// A struct that is a map to everybody else.
pub trait Record: Sized {
    /// The map with one entry per field.
    fn to_map(&self) -> Map;

    /// Reads the entries by name; further entries are ignored.
    ///
    /// # Errors
    /// `pg_value` naming the field that is missing or of the wrong type.
    fn from_map(map: &Map) -> Result<Self>;
}

/// A type that can be a field of a [`Record`].
pub(super) trait Field: Sized {
    fn to_value(&self) -> Value;
    /// `None` when the value is of another type.
    fn from_value(value: &Value) -> Option<Self>;
    /// What stands for an absent entry, if anything may.
    fn absent() -> Option<Self> {
        None
    }
}

impl Field for String {
    fn to_value(&self) -> Value {
        Value::Text(self.clone())
    }
    fn from_value(value: &Value) -> Option<Self> {
        value.as_text().map(str::to_owned)
    }
}

impl Field for i64 {
    fn to_value(&self) -> Value {
        Value::Int(*self)
    }
    fn from_value(value: &Value) -> Option<Self> {
        value.as_int()
    }
}

impl Field for bool {
    fn to_value(&self) -> Value {
        Value::Bool(*self)
    }
    fn from_value(value: &Value) -> Option<Self> {
        value.as_bool()
    }
}

impl Field for Lsn {
    fn to_value(&self) -> Value {
        Value::Lsn(*self)
    }
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Lsn(lsn) = value { Some(*lsn) } else { None }
    }
}

impl<T: Field> Field for Option<T> {
    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Null, Field::to_value)
    }
    fn from_value(value: &Value) -> Option<Self> {
        if *value == Value::Null { Some(None) } else { T::from_value(value).map(Some) }
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Field> Field for Vec<T> {
    fn to_value(&self) -> Value {
        Value::List(self.iter().map(Field::to_value).collect())
    }
    fn from_value(value: &Value) -> Option<Self> {
        value.as_list()?.iter().map(T::from_value).collect()
    }
}

/// Reads one field of a map.
pub(super) fn field<T: Field>(map: &Map, name: &str) -> Result<T> {
    let Some(value) = map.get(name) else {
        return T::absent().ok_or_else(|| fail!(Code::PgValue, "the entry `{name}` is missing"));
    };
    T::from_value(value).ok_or_else(|| fail!(Code::PgValue, "the entry `{name}` is of type {}", value.type_name()))
}

/// Declares structs that are [`Record`]s, and can be fields of other records.
macro_rules! record {
    ($($(#[$doc:meta])* $vis:vis struct $name:ident { $($(#[$field_doc:meta])* pub $field:ident: $ty:ty,)* })*) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis struct $name { $($(#[$field_doc])* pub $field: $ty,)* }

        impl $crate::pg::record::Record for $name {
            fn to_map(&self) -> $crate::base::Map {
                $crate::base::Map::from([
                    $((stringify!($field).to_owned(), $crate::pg::record::Field::to_value(&self.$field)),)*
                ])
            }

            fn from_map(map: &$crate::base::Map) -> $crate::base::Result<Self> {
                Ok(Self { $($field: $crate::pg::record::field(map, stringify!($field))?,)* })
            }
        }

        impl $crate::pg::record::Field for $name {
            fn to_value(&self) -> $crate::base::Value {
                $crate::base::Value::Map($crate::pg::record::Record::to_map(self))
            }

            fn from_value(value: &$crate::base::Value) -> Option<Self> {
                $crate::pg::record::Record::from_map(value.as_map()?).ok()
            }
        }
    )* };
}

pub(super) use record;

impl super::Session {
    /// The rows of a statement as records.
    pub(super) async fn records<T: Record>(&self, sql: &str, values: &[Value]) -> Result<Vec<T>> {
        self.query(sql, values).await?.iter().map(T::from_map).collect()
    }

    /// The only value of a statement, of a known type.
    pub(super) async fn scalar<T: Field>(&self, sql: &str, values: &[Value]) -> Result<T> {
        let value = self.value(sql, values).await?;
        T::from_value(&value).ok_or_else(|| fail!(Code::PgValue, "got a value of type {}", value.type_name()))
    }

    /// The only column of a statement as a list of texts.
    pub(super) async fn texts(&self, sql: &str, values: &[Value]) -> Result<Vec<String>> {
        let rows = self.query(sql, values).await?;
        let text = |row: crate::base::Map| match row.into_values().next() {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(fail!(Code::PgValue, "got something else, wanted one column of texts")),
        };
        rows.into_iter().map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Record as _;
    use crate::base::{Lsn, Value};

    record! {
        /// Inner.
        struct Inner {
            /// Name.
            pub name: String,
        }
        /// Outer.
        struct Outer {
            /// Position.
            pub at: Lsn,
            /// Maybe.
            pub maybe: Option<i64>,
            /// Several.
            pub inner: Vec<Inner>,
        }
    }

    #[test]
    fn a_record_survives_being_a_map_and_says_what_is_wrong_with_one() {
        let record = Outer { at: Lsn(7), maybe: None, inner: vec![Inner { name: "é".into() }] };
        let mut map = record.to_map();
        assert_eq!(Outer::from_map(&map).unwrap(), record);
        map.remove("maybe");
        assert_eq!(Outer::from_map(&map).unwrap(), record);
        map.insert("at".into(), Value::Int(7));
        assert_eq!(Outer::from_map(&map).unwrap_err().message(), "the entry `at` is of type int");
        map.remove("at");
        assert_eq!(Outer::from_map(&map).unwrap_err().message(), "the entry `at` is missing");
    }
}
