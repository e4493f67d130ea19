//! A database and the questions that tests ask it.

use crate::wait;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio_postgres::types::{FromSql, ToSql};
use tokio_postgres::{Client, NoTls, Row};

/// A position in the write-ahead log.
pub type Lsn = u64;

/// One database of a server, and a connection to it that is made anew when it has broken.
#[derive(Debug)]
pub struct Database {
    name: String,
    port: u16,
    socket_directory: PathBuf,
    client: Mutex<Option<Arc<Client>>>,
}

impl Database {
    pub(super) fn new(name: String, port: u16, socket_directory: PathBuf) -> Self {
        Self { name, port, socket_directory, client: Mutex::new(None) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// A URL for the super user, without TLS.
    pub fn url(&self) -> String {
        self.url_through(self.port)
    }

    /// The same through another port: a proxy's.
    pub fn url_through(&self, port: u16) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/{}?sslmode=disable", self.name)
    }

    /// A URL for `user` (`name` or `name:password`) with the given parameters, to `localhost`, the
    /// name in the server's certificate.
    pub fn url_as(&self, user: &str, parameters: &str) -> String {
        format!("postgres://{user}@localhost:{}/{}?{parameters}", self.port, self.name)
    }

    /// A URL for the super user through the Unix socket.
    pub fn socket_url(&self) -> String {
        let host = self.socket_directory.display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{host}:{}/{}", self.port, self.name)
    }

    /// A connection of its own, for transactions and for concurrent work.
    pub async fn connect(&self) -> Client {
        self.try_connect()
            .await
            .unwrap_or_else(|error| panic!("connecting to {}: {error:?}", self.name))
    }

    pub async fn try_connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await?;
        tokio::spawn(async move {
            // Its error reaches the caller through the client as well.
            let _ = connection.await;
        });
        Ok(client)
    }

    /// Runs one or more statements.
    pub async fn execute(&self, sql: &str) {
        let client = self.client().await;
        client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    pub async fn query(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Vec<Row> {
        let client = self.client().await;
        client.query(sql, parameters).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// The first column of the only row.
    pub async fn value<T: for<'a> FromSql<'a>>(&self, sql: &str) -> T {
        let rows = self.query(sql, &[]).await;
        assert_eq!(rows.len(), 1, "{sql}: rows");
        rows[0].try_get(0).unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// The first column of all rows, as Postgres prints it; NULL is `None`.
    pub async fn texts(&self, sql: &str) -> Vec<Option<String>> {
        let client = self.client().await;
        let messages =
            client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let row = |message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).map(str::to_owned)),
            _ => None,
        };
        messages.into_iter().filter_map(row).collect()
    }

    /// The server's current end of the log.
    pub async fn current_lsn(&self) -> Lsn {
        self.lsn("SELECT (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::int8").await.expect("an LSN")
    }

    /// What the slot's consumer has confirmed; `None` without such a slot.
    pub async fn confirmed_lsn(&self, slot: &str) -> Option<Lsn> {
        let sql = "SELECT (confirmed_flush_lsn - '0/0'::pg_lsn)::int8 FROM pg_replication_slots";
        self.lsn(&format!("{sql} WHERE slot_name = '{slot}'")).await
    }

    /// Waits until the slot's consumer has confirmed everything up to `lsn`.
    pub async fn wait_confirmed(&self, slot: &str, lsn: Lsn, deadline: Duration) {
        let what = format!("slot {slot} to be confirmed up to {:X}/{:X}", lsn >> 32, lsn as u32);
        wait::until(&what, deadline, async || {
            self.confirmed_lsn(slot).await.filter(|confirmed| *confirmed >= lsn)
        })
        .await;
    }

    /// Waits until a consumer of the slot is connected (or none any more).
    pub async fn wait_slot_active(&self, slot: &str, active: bool, deadline: Duration) {
        let sql = format!("SELECT active FROM pg_replication_slots WHERE slot_name = '{slot}'");
        wait::until(&format!("slot {slot} to have active = {active}"), deadline, async || {
            let rows = self.query(&sql, &[]).await;
            (rows.first()?.get::<_, bool>(0) == active).then_some(())
        })
        .await;
    }

    async fn lsn(&self, sql: &str) -> Option<Lsn> {
        let rows = self.query(sql, &[]).await;
        rows.first()?.get::<_, Option<i64>>(0).map(i64::cast_unsigned)
    }

    async fn client(&self) -> Arc<Client> {
        let mut client = self.client.lock().await;
        match &*client {
            Some(open) if !open.is_closed() => open.clone(),
            _ => client.insert(Arc::new(self.connect().await)).clone(),
        }
    }
}
