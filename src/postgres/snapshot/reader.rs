//! A session that reads ranges of tables at an exported snapshot.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use tokio_postgres::{Client, CopyOutStream, SimpleQueryMessage, SimpleQueryRow};

use super::holder::{begin, import_error};
use super::{Error, Selection, Source};
use crate::config::settings::PostgresTarget;
use crate::postgres::control::{self, Driver};

/// Reads one range after the other, each in a transaction of its own. Dropping it closes its socket
/// at once, which ends its statement.
pub struct Reader {
    client: Client,
    driver: Driver,
    /// The present name of the source that is locked, quoted.
    locked: String,
}

/// Whether a source can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// It is locked, and holds what the snapshot sees.
    Ready,
    /// Its rows were written anew since the snapshot was taken, which does not see them.
    Rewritten,
    /// It was dropped.
    Gone,
}

impl Reader {
    /// Opens the session.
    ///
    /// # Errors
    /// As any connection.
    pub async fn connect(
        target: &PostgresTarget,
        timeout: Duration,
        application_name: &str,
    ) -> Result<Reader, Error> {
        let (client, driver) = session(target, timeout, application_name).await?;
        Ok(Reader { client, driver, locked: String::new() })
    }

    /// Begins a transaction at the snapshot and locks the source, under the name that it has now.
    /// Unless the answer is [`Begun::Ready`] the transaction is to be ended with
    /// [`commit`](Self::commit).
    ///
    /// # Errors
    /// The snapshot has ended, the source may not be read, or the connection is lost.
    pub async fn begin(&mut self, snapshot: &str, source: &Source) -> Result<Begun, Error> {
        let oid = source.oid.0;
        let sql = format!("{}; SELECT {oid}::regclass::text AS name", begin(snapshot));
        let answer = self.client.simple_query(&sql).await.map_err(import_error)?;
        let name = row(&answer).and_then(|row| row.get("name"));
        let name = name.ok_or(Error::Answer("the question for a table's name"))?;
        if name == oid.to_string() {
            return Ok(Begun::Gone);
        }
        name.clone_into(&mut self.locked);
        self.lock(name, source).await
    }

    /// Takes the lock with a query, since that needs a right to some column only, and compares the
    /// file that the snapshot's catalog names with the present one.
    async fn lock(&self, name: &str, source: &Source) -> Result<Begun, Error> {
        let oid = source.oid.0;
        let sql = format!(
            "SELECT FROM ONLY {name} LIMIT 0;
             SELECT c.relfilenode::oid = pg_relation_filenode(c.oid) AND c.oid = {}::regclass AS same
             FROM pg_class c WHERE c.oid = {oid}",
            crate::postgres::query::literal(name)
        );
        let answer = match self.client.simple_query(&sql).await {
            Ok(answer) => answer,
            Err(error) => {
                let error = Error::naming(name, error);
                return if error.is_schema_change() { Ok(Begun::Rewritten) } else { Err(error) };
            }
        };
        match row(&answer).and_then(|row| row.get("same")) {
            Some("t") => Ok(Begun::Ready),
            Some(_) | None => Ok(Begun::Rewritten),
        }
    }

    /// Reads the rows of a range of the source that is locked.
    ///
    /// # Errors
    /// A column has gone or changed ([`Error::is_schema_change`]), or as [`begin`](Self::begin).
    pub async fn copy(
        &mut self,
        selection: &Selection,
        range: Option<&str>,
    ) -> Result<CopyRows, Error> {
        let table = selection.table();
        if let Some(sql) = selection.is_unchanged(&self.locked) {
            let answer = self.client.simple_query(&sql).await;
            let answer = answer.map_err(|error| Error::naming(table, error))?;
            if row(&answer).and_then(|row| row.get("same")) != Some("t") {
                return Err(Error::Altered { table: table.to_owned() });
            }
        }
        let sql = selection.copy(&self.locked, range);
        CopyRows::start(&self.client, &sql, table).await
    }

    /// Ends the transaction, a failed one as well, and with it the lock.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn commit(&mut self) -> Result<(), Error> {
        let ended = self.client.batch_execute("COMMIT").await;
        ended.map_err(|source| Error::reading(&self.locked, source))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Without this the driver would first read the rest of a COPY.
        self.driver.abort();
    }
}

/// A session whose statements neither lose rows in silence nor outlive their client.
pub(super) async fn session(
    target: &PostgresTarget,
    timeout: Duration,
    application_name: &str,
) -> Result<(Client, Driver), Error> {
    let control = control::connect(target, timeout, application_name).await?;
    let (client, driver) = (control.client, control.driver);
    let failed = |source| Error::reading("the settings", source);
    client.batch_execute("SET row_security = off").await.map_err(failed)?;
    // Not every platform can watch a socket: then a statement ends when it next sends.
    const WATCH: &str = "SET client_connection_check_interval = '1s'";
    if let Err(error) = client.batch_execute(WATCH).await {
        tracing::debug!(%error, "the server does not look after its clients");
    }
    Ok((client, driver))
}

/// The first row of an answer.
pub(super) fn row(answer: &[SimpleQueryMessage]) -> Option<&SimpleQueryRow> {
    answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    })
}

/// The rows of a COPY, as lines of its text form.
pub struct CopyRows {
    stream: Pin<Box<CopyOutStream>>,
    table: String,
}

impl CopyRows {
    pub(super) async fn start(client: &Client, sql: &str, table: &str) -> Result<CopyRows, Error> {
        match client.copy_out(sql).await {
            Ok(stream) => Ok(CopyRows { stream: Box::pin(stream), table: table.to_owned() }),
            Err(error) => Err(Error::reading(table, error)),
        }
    }

    /// The next line, with its line end.
    ///
    /// # Errors
    /// As [`Reader::copy`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let line = std::future::poll_fn(|context| self.stream.as_mut().poll_next(context)).await;
        line.transpose().map_err(|source| Error::reading(&self.table, source))
    }
}
