//! Snapshots from one end to the other: what is in the tables comes first, whatever happens
//! meanwhile.

mod changes;
mod demand;
mod frozen;
mod restarts;
mod rights;
mod windows;

use integration_tests::{Config, Database, Decoder, Kafka, Postgres, Registry, wait};
use serde_json::Value;

/// A database with its configuration, which asks for a snapshot.
struct Scene {
    database: Database,
    kafka: &'static Kafka,
    registry: &'static Registry,
}

impl Scene {
    async fn new(stem: &str, version: u16, tables: &str) -> Self {
        let (postgres, kafka, registry) =
            tokio::join!(Postgres::shared_version(version), Kafka::shared(), Registry::shared());
        let database = postgres.database(stem).await;
        database.execute(tables).await;
        Self { database, kafka, registry }
    }

    async fn newest(stem: &str, tables: &str) -> Self {
        Self::new(stem, Postgres::default_version(), tables).await
    }

    fn config(&self, stem: &str) -> Config {
        Config::new(stem, &self.database, self.kafka, self.registry).snapshot("mode = \"initial\"")
    }

    /// The first `count` values of a topic, and no assertion that there are no more.
    async fn values(&self, topic: &str, count: usize) -> Vec<Value> {
        let records = self.kafka.first_records(topic, count, wait::LONG).await;
        let events = Decoder::new(self.registry).events(&records).await;
        events.into_iter().map(|event| event.value.unwrap_or(Value::Null)).collect()
    }

    /// All values of a topic as it is now, tombstones as null.
    async fn all_values(&self, topic: &str) -> Vec<Value> {
        let records = self.kafka.records(topic).await;
        let events = Decoder::new(self.registry).events(&records).await;
        events.into_iter().map(|event| event.value.unwrap_or(Value::Null)).collect()
    }

    /// Waits until everything that is committed now is delivered and confirmed.
    async fn caught_up(&self, config: &Config) {
        let lsn = self.database.current_lsn().await;
        self.database.wait_confirmed(&config.slot(), lsn, wait::LONG).await;
    }
}

/// `op`, marker of the snapshot, and the column `id` after the change.
fn brief(value: &Value) -> (String, String, Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&value["op"]), text(&value["source"]["snapshot"]), value["after"]["id"].clone())
}

/// What consumers hold who keep the last value of each key.
fn replayed(values: &[Value], key: &str) -> std::collections::BTreeMap<String, Value> {
    let mut rows = std::collections::BTreeMap::new();
    for value in values.iter().filter(|value| !value.is_null()) {
        match value["op"].as_str() {
            Some("d") => {
                rows.remove(&value["before"][key].to_string());
            }
            Some("t") => rows.clear(),
            _ => {
                rows.insert(value["after"][key].to_string(), value["after"].clone());
            }
        }
    }
    rows
}
