//! The independent checker: rebuilds tables from their topics and compares them with Postgres.
//!
//! It shares no code with walferry. It reads the records of a topic, decodes them through the
//! registry, and holds against them what the database says: the rows that are there ([`Facts`]) and,
//! where the workload kept count, how many changes of each kind were committed ([`Counts`]).
//!
//! What a [`Report`] without faults means:
//!
//! - every committed change is in the topic, and none that was not committed;
//! - the changes of a key lie in one partition, in commit order. A repeat, as at-least-once allows it,
//!   is a suffix played again in the same order up to its end ([`order`]);
//! - the table rebuilt from the changes is the table, column by column ([`rebuild`]);
//! - under replica identity full, each `before` is the row as it was;
//! - each delete of a keyed row has its tombstone.
//!
//! Partitions have no order between them, and a changed key moves a row from one to another. Rebuilding
//! therefore goes by `source.lsn`, which is right for changes that concern one row: row locks put them
//! in the order of their commits. That the arrivals of each key have that same order is checked before.

mod cell;
mod facts;
pub mod order;
pub mod outbox;
pub mod rebuild;
mod report;

pub use cell::{Cell, Row};
pub use facts::{Column, Facts};
pub use outbox::{Delivered, Promised};
pub use rebuild::{Change, Kind};
pub use report::{Counts, Fault, Report};

use crate::{Database, Decoder, Kafka, Record, Registry};
use serde_json::Value;

/// Compares topics with a database.
#[derive(Debug)]
pub struct Mirror<'a> {
    kafka: &'a Kafka,
    database: &'a Database,
    decoder: Decoder<'a>,
}

impl<'a> Mirror<'a> {
    pub fn new(kafka: &'a Kafka, registry: &'a Registry, database: &'a Database) -> Self {
        Self { kafka, database, decoder: Decoder::new(registry) }
    }

    /// Compares a table (`schema.table`) with its topic as both are now: the caller has ended the
    /// writing, and waited until all of it was confirmed.
    pub async fn table(&self, table: &str, topic: &str, committed: Option<&Counts>) -> Report {
        let facts = Facts::read(self.database, table).await;
        let changes = self.changes(&facts, topic).await;
        rebuild::check(&facts, &changes, committed)
    }

    /// The changes in a topic, partition by partition.
    pub async fn changes(&self, facts: &Facts, topic: &str) -> Vec<Change> {
        let records = self.kafka.records(topic).await;
        let mut changes = Vec::with_capacity(records.len());
        for record in &records {
            changes.push(self.change(facts, record).await);
        }
        changes
    }

    /// Compares outbox topics with the events that were promised to each of them.
    pub async fn outbox(&self, topics: &[(String, Vec<Promised>)]) -> Report {
        let mut report = Report::new("outbox");
        for (topic, promised) in topics {
            let delivered = self.delivered(topic).await;
            report.add(outbox::check(promised, &delivered));
        }
        report
    }

    /// The events in an outbox topic: the payload is JSON text with the number of the event.
    async fn delivered(&self, topic: &str) -> Vec<Delivered> {
        let mut events = Vec::new();
        for record in self.kafka.records(topic).await {
            let event = self.decoder.event(&record).await;
            let text = event.value.as_ref().and_then(Value::as_str).map(str::to_owned);
            let payload: Option<Value> = text.and_then(|text| serde_json::from_str(&text).ok());
            events.push(Delivered {
                partition: record.partition,
                offset: record.offset,
                id: record.header("id").unwrap_or_default(),
                aggregate: event.key.as_str().unwrap_or_default().to_owned(),
                number: payload.and_then(|payload| payload["number"].as_u64()),
            });
        }
        events
    }

    async fn change(&self, facts: &Facts, record: &Record) -> Change {
        let event = self.decoder.event(record).await;
        let moved = |name: &str| {
            let header: Value = serde_json::from_str(&record.header(name)?).ok()?;
            facts.key_of_json(&header)
        };
        let value = event.value.unwrap_or(Value::Null);
        let kind = match (&value, value["op"].as_str()) {
            (Value::Null, _) => Kind::Tombstone,
            (_, Some("c" | "r")) => Kind::Create,
            (_, Some("u")) => Kind::Update,
            (_, Some("d")) => Kind::Delete,
            (_, Some("t")) => Kind::Truncate,
            (_, op) => panic!("{}@{}: op {op:?}", record.topic, record.offset),
        };
        Change {
            partition: record.partition,
            offset: record.offset,
            key: facts.key_of_json(&event.key),
            kind,
            position: value["source"]["lsn"].as_u64().unwrap_or_default(),
            transaction: value["source"]["txId"].as_i64().unwrap_or_default(),
            before: facts.row_of_json(&value["before"]),
            after: facts.row_of_json(&value["after"]),
            moved_to: moved("__debezium.newkey"),
            moved_from: moved("__debezium.oldkey"),
        }
    }
}
