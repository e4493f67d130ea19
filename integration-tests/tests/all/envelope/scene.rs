//! One walferry on a database of its own, and its records decoded.

use integration_tests::{
    Config, Database, Decoder, Kafka, Postgres, Record, Registry, Walferry, wait,
};
use serde_json::Value as Json;

/// A running walferry and the services around it.
pub struct Scene {
    pub database: Database,
    pub config: Config,
    pub walferry: Walferry,
    pub kafka: &'static Kafka,
    pub registry: &'static Registry,
}

/// A record with its decoded parts.
#[derive(Debug)]
pub struct Seen {
    pub record: Record,
    pub key: Json,
    /// `Null` for a tombstone.
    pub value: Json,
}

impl Scene {
    /// Runs `setup` in a new database, then walferry with what `configure` adds.
    pub async fn new(stem: &str, setup: &str, configure: impl FnOnce(Config) -> Config) -> Self {
        let (postgres, kafka, registry) =
            (Postgres::shared().await, Kafka::shared().await, Registry::shared().await);
        let database = postgres.database(stem).await;
        database.execute(setup).await;
        let config = configure(Config::new(stem, &database, kafka, registry));
        let walferry = Walferry::run(&config).await;
        Self { database, config, walferry, kafka, registry }
    }

    /// Runs the statements, each as its own transaction, and waits until all they changed is
    /// delivered.
    pub async fn change(&self, statements: &[&str]) {
        for statement in statements {
            self.database.execute(statement).await;
        }
        let lsn = self.database.current_lsn().await;
        let confirmed = wait::within(wait::LONG, async || {
            let confirmed = self.database.confirmed_lsn(&self.config.slot()).await;
            confirmed.filter(|confirmed| *confirmed >= lsn)
        });
        assert!(confirmed.await.is_some(), "waited for delivery:\n{}", self.walferry.log());
    }

    /// All records of a topic.
    pub async fn topic(&self, topic: &str) -> Vec<Seen> {
        let decoder = Decoder::new(self.registry);
        let mut seen = Vec::new();
        for record in self.kafka.records(topic).await {
            let event = decoder.event(&record).await;
            seen.push(Seen { record, key: event.key, value: event.value.unwrap_or(Json::Null) });
        }
        seen
    }

    /// All records of a table's topic.
    pub async fn table(&self, table: &str) -> Vec<Seen> {
        self.topic(&self.config.topic(table)).await
    }

    pub async fn stop(self) {
        assert_eq!(self.walferry.stop().await, 0, "{}", self.walferry.log());
    }
}

impl Seen {
    /// `c`, `u`, `d`, `t`, or `-` for a tombstone.
    pub fn op(&self) -> &str {
        self.value["op"].as_str().unwrap_or("-")
    }

    pub fn before(&self) -> &Json {
        &self.value["before"]
    }

    pub fn after(&self) -> &Json {
        &self.value["after"]
    }

    pub fn header(&self, name: &str) -> Option<String> {
        self.record.header(name)
    }
}

/// The operations in order, as one word.
pub fn ops(seen: &[Seen]) -> String {
    seen.iter().map(Seen::op).collect()
}
