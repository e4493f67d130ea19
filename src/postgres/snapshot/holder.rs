//! The session that keeps an exported snapshot alive.

use std::time::Duration;

use tokio_postgres::Client;

use super::Error;
use crate::config::settings::PostgresTarget;
use crate::postgres::control::{self, Driver};
use crate::postgres::{Lsn, PgTime, Xid, query};

/// A read-only transaction at an imported snapshot, which it exports in turn. What its client reads
/// of the catalog is the catalog of that moment. Dropping it ends the snapshot for whoever has not
/// imported it.
pub struct Holder {
    client: Client,
    driver: Driver,
    snapshot: String,
    at: Lsn,
    taken: PgTime,
    xid: Xid,
}

impl Holder {
    /// Imports the snapshot that the creation of a slot has exported; `at` is the slot's
    /// consistent point.
    ///
    /// # Errors
    /// The export has ended, or the connection is lost.
    pub async fn import(
        target: &PostgresTarget,
        timeout: Duration,
        application_name: &str,
        exported: &str,
        at: Lsn,
    ) -> Result<Holder, Error> {
        let control = control::connect(target, timeout, application_name).await?;
        let client = control.client;
        client.batch_execute(&begin(exported)).await.map_err(import_error)?;
        let answer = query::one(&client, "exporting the snapshot again", EXPORT, &[]).await?;
        let taken = PgTime::from_unix_micros(answer.get("taken")?);
        let xmax: i64 = answer.get("xmax")?;
        // The stream has transaction ids without their epoch.
        let xid = Xid((xmax & i64::from(u32::MAX)) as u32);
        let snapshot = answer.get("snapshot")?;
        Ok(Holder { client, driver: control.driver, snapshot, at, taken, xid })
    }

    /// For the catalog as the snapshot sees it.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The snapshot's name, for [`Reader::begin`](super::Reader::begin).
    #[must_use]
    pub fn snapshot(&self) -> &str {
        &self.snapshot
    }

    /// The snapshot sees exactly what committed before this.
    #[must_use]
    pub fn at(&self) -> Lsn {
        self.at
    }

    /// When it was imported.
    #[must_use]
    pub fn taken(&self) -> PgTime {
        self.taken
    }

    /// The first transaction that was not begun when the snapshot was taken.
    #[must_use]
    pub fn xid(&self) -> Xid {
        self.xid
    }

    /// Whether the session is lost, and the snapshot with it.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.driver.is_finished()
    }
}

/// Begins a transaction at an exported snapshot.
pub(super) fn begin(snapshot: &str) -> String {
    format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET TRANSACTION SNAPSHOT {}",
        query::literal(snapshot)
    )
}

/// What an import that is refused means.
pub(super) fn import_error(source: tokio_postgres::Error) -> Error {
    match control::server_error(&source) {
        Some(error) => Error::SnapshotEnded(error),
        None => Error::Lost { table: "the catalog".to_owned(), source },
    }
}

const EXPORT: &str = "
SELECT pg_export_snapshot() AS snapshot,
       (extract(epoch FROM now()) * 1000000)::bigint AS taken,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xmax";
