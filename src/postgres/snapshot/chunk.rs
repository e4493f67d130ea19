//! A session that reads a table in chunks of its primary key, between marks in the log.

use std::time::Duration;

use tokio_postgres::Client;

use super::reader::{CopyRows, row, session};
use super::{Error, Selection, Target};
use crate::config::settings::PostgresTarget;
use crate::postgres::control::Driver;
use crate::postgres::{Oid, query};
use crate::snapshot::scan::Request;
use crate::snapshot::visible::PgSnapshot;

/// Reads chunks, one after the other. Dropping it closes its socket at once.
pub struct ChunkReader {
    client: Client,
    driver: Driver,
    /// The present name of the table that is locked, quoted.
    locked: String,
}

/// A table that is locked, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// Names and types of its columns: while it is the same, so are they.
    pub fingerprint: String,
    /// Taken with the lock held, and before any row is read.
    pub seen: PgSnapshot,
}

impl ChunkReader {
    /// Opens the session.
    ///
    /// # Errors
    /// As any connection.
    pub async fn connect(
        target: &PostgresTarget,
        timeout: Duration,
        application_name: &str,
    ) -> Result<ChunkReader, Error> {
        let (client, driver) = session(target, timeout, application_name).await?;
        // Marks wait for nobody's standby: the stream has them when they are on disk here.
        let local = client.batch_execute("SET synchronous_commit = local").await;
        local.map_err(|source| Error::reading("the settings", source))?;
        Ok(ChunkReader { client, driver, locked: String::new() })
    }

    /// For questions about the catalog.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A transaction id that is newer than all that were given out before.
    ///
    /// # Errors
    /// The connection is lost, or the server is read-only.
    pub async fn new_transaction_id(&self) -> Result<u64, Error> {
        const SQL: &str = "SELECT pg_current_xact_id()::text AS id";
        let answer = query::one(&self.client, "taking a transaction id", SQL, &[]).await?;
        Ok(answer.parse("id")?)
    }

    /// What a statement sees that begins now.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn current_snapshot(&self) -> Result<PgSnapshot, Error> {
        const SQL: &str = "SELECT pg_current_snapshot()::text AS seen";
        let answer = query::one(&self.client, "asking what is visible", SQL, &[]).await?;
        Ok(answer.parse("seen")?)
    }

    /// Writes a message into the log, in a transaction of its own.
    ///
    /// # Errors
    /// The connection is lost, or the server is read-only.
    pub async fn mark(&self, prefix: &str, content: &str) -> Result<(), Error> {
        const SQL: &str = "SELECT pg_logical_emit_message(true, $1, $2)::text AS lsn";
        query::one(&self.client, "writing a mark into the log", SQL, &[&prefix, &content]).await?;
        Ok(())
    }

    /// Begins a transaction whose statements see what is committed when they begin, and locks the
    /// table, under the name that it has now. `None` if it was dropped; the transaction is to be
    /// ended with [`commit`](Self::commit) either way.
    ///
    /// The lock comes first: a `TRUNCATE` cannot come between a snapshot that does not see it and
    /// the reading, which would find nothing.
    ///
    /// # Errors
    /// The table may not be read, or the connection is lost.
    pub async fn begin(&mut self, oid: Oid, only: bool) -> Result<Option<Locked>, Error> {
        let sql = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED, READ ONLY; SELECT {oid}::regclass::text AS name"
        );
        let failed = |source| Error::reading("the catalog", source);
        let answer = self.client.simple_query(&sql).await.map_err(failed)?;
        let name = row(&answer).and_then(|row| row.get("name"));
        let name = name.ok_or(Error::Answer("the question for a table's name"))?;
        if name == oid.to_string() {
            return Ok(None);
        }
        name.clone_into(&mut self.locked);
        let only = if only { "ONLY " } else { "" };
        let sql = format!(
            "SELECT FROM {only}{name} LIMIT 0;
             SELECT string_agg(concat_ws(' ', attnum, attname, atttypid, atttypmod), ','
                               ORDER BY attnum) AS columns,
                    pg_current_snapshot()::text AS seen
             FROM pg_attribute
             WHERE attrelid = {}::regclass AND attrelid = {oid} AND attnum > 0
               AND NOT attisdropped",
            query::literal(name)
        );
        let answer = match self.client.simple_query(&sql).await {
            Ok(answer) => answer,
            Err(error) => {
                let error = Error::naming(name, error);
                return if error.is_schema_change() { Ok(None) } else { Err(error) };
            }
        };
        let row = row(&answer).ok_or(Error::Answer("the question for a table's columns"))?;
        let seen = row.get("seen").and_then(|seen| seen.parse().ok());
        let seen = seen.ok_or(Error::Answer("the question for what is visible"))?;
        Ok(Some(Locked { fingerprint: row.get("columns").unwrap_or_default().to_owned(), seen }))
    }

    /// Reads rows of the table that is locked, at most `limit` if they are asked for by place.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub async fn copy(
        &mut self,
        selection: &Selection,
        key: &[String],
        request: &Request,
        limit: usize,
    ) -> Result<CopyRows, Error> {
        let sql = selection.chunk(&self.locked, key, request, limit);
        CopyRows::start(&self.client, &sql, selection.table()).await
    }

    /// Ends the transaction, and with it the lock.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn commit(&mut self) -> Result<(), Error> {
        let ended = self.client.batch_execute("COMMIT").await;
        ended.map_err(|source| Error::reading(&self.locked, source))
    }
}

impl Drop for ChunkReader {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Why a table cannot be read in chunks; `None` if it can.
#[must_use]
pub fn obstacle(target: &Target, inserts_only: bool) -> Option<&'static str> {
    if target.outbox {
        return Some("it is an outbox, whose events have no key to go by");
    }
    if target.primary_key.is_empty() {
        return Some("it has no primary key, so that there is no order to read it in");
    }
    let is_sent = |name: &String| {
        let column = target.relation.columns.iter().find(|column| column.name == *name);
        column.is_some_and(|column| column.key || inserts_only)
    };
    if !target.primary_key.iter().all(is_sent) {
        return Some(
            "its replica identity is not its primary key, so that the stream does not say which \
             rows are deleted",
        );
    }
    None
}
