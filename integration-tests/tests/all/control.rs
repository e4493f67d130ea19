//! The control plane against real servers: catalog, whitelist, publications, slots, preflight.
//!
//! Every case runs on the oldest and the newest version, where the catalogs differ most.

mod catalog;
mod preflight;
mod publication;
mod slot;
mod snapshot;
mod whitelist;

use integration_tests::{Database, Postgres};
use tokio_postgres::{Client, NoTls};
use walferry::config::{Settings, parse};
use walferry::postgres::Oid;

/// A test on the oldest and on the newest version for each case, which is an `async fn (&Database)`.
macro_rules! on_both_versions {
    ($($case:ident),+ $(,)?) => {
        mod oldest {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let version = integration_tests::Postgres::oldest_version();
                let server = integration_tests::Postgres::shared_version(version).await;
                super::$case(&server.database("control").await).await;
            })+
        }
        mod newest {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let version = integration_tests::Postgres::newest_version();
                let server = integration_tests::Postgres::shared_version(version).await;
                super::$case(&server.database("control").await).await;
            })+
        }
    };
}
pub(crate) use on_both_versions;

/// A connection as walferry's control connection is: with nothing but the system in its path.
async fn control(database: &Database) -> Client {
    let client = database.connect().await;
    client.batch_execute("SET search_path = pg_catalog").await.expect("search_path");
    client
}

/// The same as another role.
async fn control_as(database: &Database, user: &str, password: &str) -> Client {
    let url = format!(
        "postgres://{user}:{password}@127.0.0.1:{}/{}?sslmode=disable",
        database.port(),
        database.name()
    );
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.expect("a connection");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client.batch_execute("SET search_path = pg_catalog").await.expect("search_path");
    client
}

/// Settings with these lines under `[postgres]` and these tables at the end. Slot and publication
/// are called after the database, of which each test has one of its own.
fn settings(database: &Database, postgres: &str, tables: &str) -> Settings {
    let name = database.name();
    let text = format!(
        "name = \"shop\"\n\
         [postgres]\n\
         url = \"{}\"\n\
         slot = \"{name}\"\n\
         publication = \"{name}\"\n\
         {postgres}\n\
         [kafka]\n\
         bootstrap_servers = \"localhost:9092\"\n\
         [registry]\n\
         url = \"http://localhost:8081\"\n\
         [snapshot]\n\
         mode = \"never\"\n\
         {tables}",
        database.url()
    );
    let read = |path: &std::path::Path| std::fs::read_to_string(path);
    let loaded = parse(&text, "test.toml", &|_| None, &read);
    loaded.unwrap_or_else(|errors| panic!("{errors}\n{text}")).settings
}

/// `[[table]]` entries for these names.
fn tables(names: &[&str]) -> String {
    names.iter().map(|name| format!("[[table]]\nname = \"{name}\"\n")).collect()
}

async fn oid(database: &Database, table: &str) -> Oid {
    let sql = format!("SELECT '{table}'::regclass::oid");
    Oid(database.value::<u32>(&sql).await)
}

/// The major version of the server that the database is on.
async fn major(database: &Database) -> i32 {
    database.value::<i32>("SELECT current_setting('server_version_num')::int / 10000").await
}

/// A server of the test's own, for settings that all databases share.
async fn own(version: u16, setting: &str) -> Postgres {
    Postgres::own(version, integration_tests::postgres::Options::default().setting(setting)).await
}
