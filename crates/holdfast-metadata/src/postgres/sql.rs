//! From this crate's SQL to PostgreSQL's, and values there and back.

use std::error::Error as StdError;

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::operation::{Param, Row, Value};
use crate::{Error, Result};

/// Which lock comments are uncommented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Locks {
    /// All: in a change.
    All,
    /// Those that wait for nobody: in a question.
    Skipping,
}

/// The statement with PostgreSQL's placeholders and locks. `?` stands for nothing else here.
pub(super) fn translated(sql: &str, locks: Locks) -> String {
    let mut statement = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(at) = rest.find("/*") {
        let (before, comment) = rest.split_at(at);
        let end = comment.find("*/").unwrap_or(comment.len());
        let lock = &comment[2..end];
        statement.push_str(before);
        if locks == Locks::All || lock.ends_with("SKIP LOCKED") {
            statement.push_str(lock);
        }
        rest = comment.get(end + 2..).unwrap_or_default();
    }
    statement.push_str(rest);
    statement.replace('?', "$")
}

type BoxedError = Box<dyn StdError + Sync + Send>;

impl ToSql for Param<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxedError> {
        match (self, ty) {
            (Param::Null, _) => Ok(IsNull::Yes),
            (Param::Integer(value), &Type::INT2) => i16::try_from(*value)?.to_sql(ty, out),
            (Param::Integer(value), &Type::INT4) => i32::try_from(*value)?.to_sql(ty, out),
            (Param::Integer(value), &Type::INT8) => value.to_sql(ty, out),
            // PostgreSQL's text has no NUL. Nothing that is stored and compared has control characters, so U+0001 stands
            // where NUL would: below every name, equal to none.
            (Param::Text(value), &Type::TEXT) if value.contains('\0') => {
                value.replace('\0', "\u{1}").to_sql(ty, out)
            }
            (Param::Text(value), &Type::TEXT) => value.to_sql(ty, out),
            (Param::Bytes(value), &Type::BYTEA) => value.to_sql(ty, out),
            (Param::Digest(digest), &Type::BYTEA) => digest.to_bytes().as_slice().to_sql(ty, out),
            (Param::Integer(_) | Param::Text(_) | Param::Bytes(_) | Param::Digest(_), _) => {
                Err(format!("a parameter is taken for {ty}").into())
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// The type a parameter has where the server is not asked.
pub(super) fn type_of(param: &Param<'_>) -> Type {
    match param {
        Param::Null => Type::UNKNOWN,
        Param::Integer(_) => Type::INT8,
        Param::Text(_) => Type::TEXT,
        Param::Bytes(_) | Param::Digest(_) => Type::BYTEA,
    }
}

pub(super) fn row(row: &tokio_postgres::Row) -> Result<Row> {
    values(row).map(Row::new)
}

pub(super) fn values(row: &tokio_postgres::Row) -> Result<Vec<Value>> {
    (0..row.len()).map(|index| value(row, index)).collect()
}

fn value(row: &tokio_postgres::Row, index: usize) -> Result<Value> {
    let ty = row.columns()[index].type_();
    let value = match *ty {
        Type::INT2 => row
            .try_get::<_, Option<i16>>(index)
            .map(|value| value.map(|value| Value::Integer(value.into()))),
        Type::INT4 => row
            .try_get::<_, Option<i32>>(index)
            .map(|value| value.map(|value| Value::Integer(value.into()))),
        Type::INT8 => row
            .try_get::<_, Option<i64>>(index)
            .map(|value| value.map(Value::Integer)),
        Type::TEXT => row
            .try_get::<_, Option<String>>(index)
            .map(|value| value.map(Value::Text)),
        Type::BYTEA => row
            .try_get::<_, Option<Vec<u8>>>(index)
            .map(|value| value.map(Value::Bytes)),
        _ => {
            return Err(Error::internal(format!(
                "a statement returns a column of type {ty}"
            )));
        }
    };
    let value = value.map_err(super::error::failure)?;
    Ok(value.unwrap_or(Value::Null))
}

/// The schema's text in PostgreSQL's words.
pub(crate) fn ddl(sql: &str) -> String {
    sql.replace(" {TABLE}", "")
        .replace(" {CLUSTERED}", "")
        .replace("{BYTE ORDER}", "COLLATE \"C\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_uncommented_where_they_belong() {
        let sql = "SELECT 1 FROM a WHERE b = ?1 AND c = ?12 /*FOR UPDATE*/";
        let plain = "SELECT 1 FROM a WHERE b = $1 AND c = $12 ";
        assert_eq!(translated(sql, Locks::All), format!("{plain}FOR UPDATE"));
        assert_eq!(translated(sql, Locks::Skipping), plain);
        let sql = "(SELECT 1 /*FOR UPDATE SKIP LOCKED*/) x";
        for locks in [Locks::All, Locks::Skipping] {
            assert_eq!(
                translated(sql, locks),
                "(SELECT 1 FOR UPDATE SKIP LOCKED) x"
            );
        }
    }
}
