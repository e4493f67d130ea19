//! The tables of the shop, how walferry is told of them, and how they are compared with their topics.

use crate::mirror::{Counts, Kind, Mirror, Promised, Report};
use crate::{Config, Database, Kafka, Registry};

const SCHEMA: &str = include_str!("shop.sql");

/// The tables with topics of their own.
pub const TABLES: [&str; 7] = [
    "public.customers",
    "public.orders",
    "public.order_lines",
    "public.documents",
    "public.visits",
    "public.baskets",
    "public.measurements",
];

/// What outbox events are about; each has its topic.
pub const ROUTES: [&str; 2] = ["customer", "order"];

/// A shop in a database of its own.
#[derive(Debug)]
pub struct Shop<'a> {
    database: &'a Database,
}

impl<'a> Shop<'a> {
    /// Creates the tables.
    pub async fn create(database: &'a Database) -> Self {
        database.execute(SCHEMA).await;
        for table in TABLES {
            let trigger = |name: &str, events: &str, level: &str| {
                format!(
                    "CREATE TRIGGER {name} AFTER {events} ON {table}
                     FOR EACH {level} EXECUTE FUNCTION note_change('{table}')"
                )
            };
            database.execute(&trigger("note_rows", "INSERT OR UPDATE OR DELETE", "ROW")).await;
            database.execute(&trigger("note_truncate", "TRUNCATE", "STATEMENT")).await;
        }
        Self { database }
    }

    pub fn database(&self) -> &'a Database {
        self.database
    }

    /// Adds the shop to a configuration: topics of three partitions, but for the table that is
    /// truncated, since a truncate has no order among partitions.
    pub fn configure(config: Config) -> Config {
        let outbox = format!(
            "topic = {{ regex = \"(?<routedByValue>.*)\", replacement = \"{}\" }}",
            outbox_topic(&config, "${routedByValue}")
        );
        let config = config.toml_text("[topics]\npartitions = 3\n\n[format]\ntruncate = true");
        let table = |config: Config, table: &&str| match *table {
            "public.baskets" => config.table_with(table, "[table.topics]\npartitions = 1"),
            _ => config.table(table),
        };
        TABLES.iter().fold(config, table).outbox_with("public.outbox", &outbox)
    }

    /// Waits until all that is committed now is confirmed.
    pub async fn wait_confirmed(&self, config: &Config) {
        // Past everything: walferry confirms up to the end of what it has read.
        let end = self.database.current_lsn().await;
        self.database.wait_confirmed(&config.slot(), end, crate::wait::LONG).await;
    }

    /// Compares all tables and the outbox with their topics: one report each, the outbox's last.
    pub async fn compare(
        &self,
        config: &Config,
        kafka: &Kafka,
        registry: &Registry,
    ) -> Vec<Report> {
        let mirror = Mirror::new(kafka, registry, self.database);
        let mut reports = Vec::new();
        for table in TABLES {
            let committed = self.committed(table).await;
            reports.push(mirror.table(table, &config.topic(table), Some(&committed)).await);
        }
        let mut topics = Vec::new();
        for route in ROUTES {
            topics.push((outbox_topic(config, route), self.promised(route).await));
        }
        reports.push(mirror.outbox(&topics).await);
        reports
    }

    /// How many changes of each kind were committed to a table.
    pub async fn committed(&self, table: &str) -> Counts {
        let sql = "SELECT op, count(*) FROM committed WHERE name = $1 GROUP BY op";
        let kind = |op: &str| match op {
            "INSERT" => Kind::Create,
            "UPDATE" => Kind::Update,
            "DELETE" => Kind::Delete,
            _ => Kind::Truncate,
        };
        let rows = self.database.query(sql, &[&table]).await;
        rows.iter().map(|row| (kind(row.get(0)), row.get::<_, i64>(1).cast_unsigned())).collect()
    }

    async fn promised(&self, route: &str) -> Vec<Promised> {
        let sql = "SELECT id::text, aggregate, number FROM promised WHERE route = $1";
        let rows = self.database.query(sql, &[&route]).await;
        rows.iter()
            .map(|row| Promised {
                id: row.get(0),
                aggregate: row.get(1),
                number: row.get::<_, i64>(2).cast_unsigned(),
            })
            .collect()
    }
}

/// The topic of the outbox events of a route.
pub fn outbox_topic(config: &Config, route: &str) -> String {
    format!("{}.outbox.{route}", config.name())
}
