//! Questions to the control connection, and what their failures mean.
//!
//! Every query of the control plane goes through here, so that a failure always says what was
//! being done, and is classed once by SQLSTATE: what may pass by itself (a lost connection, a
//! lock, a server that is starting) is tried again, everything else needs an operator.
//!
//! Catalog queries carry no row of a user's table, so the server's message may be shown.

use postgres_protocol::escape;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSqlOwned, ToSql};
use tokio_postgres::{Client, Row};

use crate::failure::Failure;

/// A query of the control plane that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server refused it for want of a privilege (SQLSTATE 42501).
    #[error("the server does not permit {doing}: {}", said(source))]
    Denied { doing: &'static str, source: tokio_postgres::Error },
    #[error("{doing} failed: {}", said(source))]
    Failed { doing: &'static str, source: tokio_postgres::Error },
    /// The answer has not the expected columns: a server this version does not know.
    #[error("{doing} failed: the server's answer has an unexpected `{column}`")]
    Answer { doing: &'static str, column: &'static str, source: Option<tokio_postgres::Error> },
}

impl Error {
    pub(crate) fn of(doing: &'static str, source: tokio_postgres::Error) -> Error {
        match source.code() {
            Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
                Error::Denied { doing, source }
            }
            _ => Error::Failed { doing, source },
        }
    }

    /// The SQLSTATE, when the server sent one.
    pub fn code(&self) -> Option<&SqlState> {
        match self {
            Error::Denied { source, .. } | Error::Failed { source, .. } => source.code(),
            Error::Answer { .. } => None,
        }
    }

    /// Whether the same question may be answered later without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Failed { source, .. } => source.code().is_none_or(is_transient),
            Error::Denied { .. } | Error::Answer { .. } => false,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let message = error.to_string();
        let failure = if error.is_transient() {
            Failure::retry("postgres", message)
        } else {
            Failure::stop("postgres", message)
        };
        let failure = match &error {
            Error::Denied { .. } => failure.remedy(
                "`walferry check` names each missing privilege with the SQL that grants it",
            ),
            _ => failure,
        };
        failure.source(error)
    }
}

/// Whether a SQLSTATE tells of a state that passes.
///
/// No code at all means that the connection broke, which callers count as transient.
fn is_transient(code: &SqlState) -> bool {
    // 08 connection, 40 rollback, 53 resources, 57 operator intervention (shutdown, starting up),
    // 58 system, XX internal. 42P01/42704/42710: an object came or went between two of our own
    // queries. 55006/55P03: in use, locked. 25006: a host that is still a standby.
    // 53400 is a limit of the configuration, which does not pass.
    let class = code.code().get(..2).unwrap_or_default();
    match code.code() {
        "53400" => false,
        "42P01" | "42704" | "42710" | "55006" | "55P03" | "25006" => true,
        _ => matches!(class, "08" | "40" | "53" | "57" | "58" | "XX"),
    }
}

/// The server's own words, or what broke the connection.
fn said(source: &tokio_postgres::Error) -> String {
    match source.as_db_error() {
        Some(answer) => format!("{} (SQLSTATE {})", answer.message(), answer.code().code()),
        None => source.to_string(),
    }
}

/// Asks one question; `doing` completes "… failed".
pub(crate) async fn rows(
    client: &Client,
    doing: &'static str,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Answer>, Error> {
    let rows = client.query(sql, parameters).await.map_err(|source| Error::of(doing, source))?;
    Ok(rows.into_iter().map(|row| Answer { doing, row }).collect())
}

/// Asks a question that has exactly one row as answer.
pub(crate) async fn one(
    client: &Client,
    doing: &'static str,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Answer, Error> {
    let row = client.query_one(sql, parameters).await.map_err(|source| Error::of(doing, source))?;
    Ok(Answer { doing, row })
}

/// Runs statements as one transaction: all of them take effect, or none.
///
/// The server treats the statements of one simple query as one transaction, and ends it on an
/// error; an explicit `BEGIN` would leave the connection in a failed transaction instead.
pub(crate) async fn execute(client: &Client, doing: &'static str, sql: &str) -> Result<(), Error> {
    client.batch_execute(sql).await.map_err(|source| Error::of(doing, source))
}

/// One row of an answer, read by column name.
pub(crate) struct Answer {
    doing: &'static str,
    row: Row,
}

impl Answer {
    pub(crate) fn get<T: FromSqlOwned>(&self, column: &'static str) -> Result<T, Error> {
        self.row.try_get(column).map_err(|source| Error::Answer {
            doing: self.doing,
            column,
            source: Some(source),
        })
    }

    /// A column that holds a number printed as text, such as an LSN or a setting.
    pub(crate) fn parse<T: std::str::FromStr>(&self, column: &'static str) -> Result<T, Error> {
        let text: String = self.get(column)?;
        text.parse().map_err(|_| self.unexpected(column))
    }

    /// As [`Answer::parse`], for a column that can be NULL.
    pub(crate) fn parse_optional<T: std::str::FromStr>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, Error> {
        let text: Option<String> = self.get(column)?;
        text.map(|text| text.parse().map_err(|_| self.unexpected(column))).transpose()
    }

    pub(crate) fn unexpected(&self, column: &'static str) -> Error {
        Error::Answer { doing: self.doing, column, source: None }
    }
}

/// `"schema"."table"`, quoted for SQL.
pub(crate) fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", identifier(schema), identifier(name))
}

/// A name quoted for SQL, whatever is in it.
pub(crate) fn identifier(name: &str) -> String {
    escape::escape_identifier(name)
}

/// A text quoted for SQL, whatever is in it.
pub(crate) fn literal(text: &str) -> String {
    escape::escape_literal(text).trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_classed_by_whether_they_pass() {
        for passing in ["08006", "57P01", "57P03", "53300", "55006", "55P03", "40P01", "42P01"] {
            assert!(is_transient(&SqlState::from_code(passing)), "{passing}");
        }
        for lasting in ["42501", "53400", "55000", "42601", "28000", "3D000", "0A000"] {
            assert!(!is_transient(&SqlState::from_code(lasting)), "{lasting}");
        }
    }

    #[test]
    fn names_are_quoted_whatever_they_hold() {
        assert_eq!(qualified("a\"b", "c.d"), r#""a""b"."c.d""#);
        assert_eq!(literal("o'ne"), "'o''ne'");
        assert_eq!(literal(r"back\slash"), r"E'back\\slash'");
    }
}
