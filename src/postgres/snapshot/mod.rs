//! Reading tables at an exported snapshot: what is to be read, the session that keeps the snapshot
//! alive, and those that read.
//!
//! # Guards
//! - A table that is rewritten after the snapshot was taken has a new file, which the snapshot sees
//!   as empty: [`Reader::begin`] compares the file that the snapshot's catalog names with the
//!   present one, under a lock that keeps it from being replaced until the range was read.
//! - A column's name can be given to another one, and its type changed without a rewrite:
//!   [`Reader::copy`] compares what is read with what the snapshot's catalog says, under that lock.
//! - Row-level security would hide rows without a word: `row_security = off` makes it an error.
//! - All time-outs are off, as on every session ([`connect`]), and no statement
//!   outlives its client: the server looks after it where it can.

mod chunk;
mod holder;
mod reader;
mod selection;
mod target;

pub use chunk::{ChunkReader, Locked, obstacle};
pub use holder::Holder;
pub use reader::{Begun, CopyRows, Reader};
pub use selection::Selection;
pub use target::{Source, Target, targets};

use super::connect;
use super::control;
use super::query;
use super::wire::ServerError;
use crate::failure::Failure;

/// Why tables cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(transparent)]
    Connect(#[from] connect::Error),
    #[error(transparent)]
    Query(#[from] query::Error),
    /// The snapshot has ended: whoever exported it, or keeps it, has gone.
    #[error("the exported snapshot has ended: {0}")]
    SnapshotEnded(ServerError),
    #[error("reading {table} failed: {error}")]
    Refused { table: String, error: ServerError },
    #[error("the connection that was reading {table} is lost: {source}")]
    Lost { table: String, source: tokio_postgres::Error },
    /// A name is not in use any more, or belongs to what was made after the snapshot.
    #[error("{table} was altered after the snapshot was taken")]
    Altered { table: String },
    #[error("the server's answer to {0} has an unexpected form")]
    Answer(&'static str),
}

impl Error {
    /// A statement about `table` that failed. The server's words are left out where they could hold
    /// a row's value.
    fn reading(table: &str, source: tokio_postgres::Error) -> Error {
        let table = table.to_owned();
        match control::server_error(&source) {
            Some(error) => Error::Refused { table, error },
            None => Error::Lost { table, source },
        }
    }

    /// As [`reading`](Self::reading), for a statement whose names are all from the catalog.
    fn naming(table: &str, source: tokio_postgres::Error) -> Error {
        let error = Error::reading(table, source);
        let code = match &error {
            Error::Refused { error, .. } => error.code.as_str(),
            _ => return error,
        };
        // undefined_column, undefined_table, undefined_object (a type).
        if matches!(code, "42703" | "42P01" | "42704") {
            return Error::Altered { table: table.to_owned() };
        }
        error
    }

    /// A table or column that was there when the snapshot was taken is not any more, or is another.
    #[must_use]
    pub fn is_schema_change(&self) -> bool {
        matches!(self, Error::Altered { .. })
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Connect(error) => error.into(),
            Error::Query(error) => error.into(),
            Error::Refused { ref table, error: ref said } if said.code.as_str() == "42501" => {
                let says = |words| said.message().is_some_and(|text| text.contains(words));
                let (hides, is_schema) = (says("row-level security"), says("for schema"));
                let failure = Failure::stop("snapshot", error.to_string());
                if hides {
                    failure.remedy(format!(
                        "row-level security would hide rows of {table} from the snapshot: ALTER \
                         ROLE … BYPASSRLS for the role that walferry connects as, make it the \
                         table's owner, or leave the table out of [snapshot] tables"
                    ))
                } else if is_schema {
                    failure.remedy(format!(
                        "GRANT USAGE ON SCHEMA … TO the role that walferry connects as, for {table}; \
                         `walferry check` names each"
                    ))
                } else {
                    failure.remedy(format!(
                        "GRANT SELECT ON {table} TO the role that walferry connects as, or leave \
                         the table out of [snapshot] tables; `walferry check` names each"
                    ))
                }
            }
            Error::Refused { error: ref said, .. } if is_lasting(said) => {
                Failure::stop("snapshot", error.to_string()).remedy(
                    "see the server's log for the statement; a snapshot_where of the table is part \
                     of it",
                )
            }
            other => Failure::retry("postgres", other.to_string()),
        }
    }
}

/// Whether the same statement would fail again: a mistake in it, or a value that it meets.
fn is_lasting(error: &ServerError) -> bool {
    error.code.in_class("42") || error.code.in_class("22")
}
