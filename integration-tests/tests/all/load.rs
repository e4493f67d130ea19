//! A load of numbered rows, and the question whether all of them arrived, in order.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use integration_tests::{Database, Decoder, Kafka, Record, Registry, wait};
use tokio::task::JoinHandle;
use tokio_postgres::NoTls;

/// Rows of one transaction.
const ROWS: i64 = 5;

/// Between two transactions: enough to keep everything busy, few enough to be read back quickly.
const PACE: Duration = Duration::from_millis(10);

/// The table of a load. Made before walferry starts, which delivers what comes after its slot.
pub async fn create(database: &Database, table: &str) {
    database.execute(&format!("CREATE TABLE {table} (id bigint PRIMARY KEY, note text)")).await;
}

/// Transactions of a few rows each, numbered in commit order, over connections that are made anew
/// when they break.
pub struct Load {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicI64>,
    task: JoinHandle<()>,
}

impl Load {
    /// Begins to insert into a `table` of [`create`].
    pub fn on(database: &Database, table: &str) -> Load {
        let (stop, committed) = (Arc::<AtomicBool>::default(), Arc::<AtomicI64>::default());
        let task = insert(database.url(), table.to_owned(), stop.clone(), committed.clone());
        Load { stop, committed, task: tokio::spawn(task) }
    }

    /// Waits until so many more rows are committed.
    pub async fn more(&self, rows: i64) {
        let goal = self.committed.load(Ordering::SeqCst) + rows;
        wait::until(&format!("{rows} more rows"), wait::LONG, async || {
            (self.committed.load(Ordering::SeqCst) >= goal).then_some(())
        })
        .await;
    }

    /// Waits until rows are inserted, delivered and confirmed: whatever comes next, it meets a
    /// stream in full flow.
    pub async fn flows(&self, database: &Database, slot: &str) {
        self.more(50).await;
        let lsn = database.current_lsn().await;
        database.wait_confirmed(slot, lsn, wait::LONG).await;
    }

    /// Ends it; what was begun is committed or not when this returns.
    pub async fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.expect("the load's task");
    }
}

async fn insert(url: String, table: String, stop: Arc<AtomicBool>, committed: Arc<AtomicI64>) {
    let mut next = 1;
    let mut ticks = tokio::time::interval(PACE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !stop.load(Ordering::SeqCst) {
        ticks.tick().await;
        let Ok((client, connection)) = tokio_postgres::connect(&url, NoTls).await else { continue };
        let connection = tokio::spawn(connection);
        while !stop.load(Ordering::SeqCst) {
            ticks.tick().await;
            let last = next + ROWS - 1;
            let sql = format!(
                "INSERT INTO {table} SELECT n, repeat('x', 50) FROM generate_series({next}, {last}) n"
            );
            // A number is used once: whether a broken connection's last commit counts is the
            // server's to say.
            next = last + 1;
            if client.batch_execute(&sql).await.is_err() {
                break;
            }
            committed.fetch_add(ROWS, Ordering::SeqCst);
        }
        drop(client);
        let _ = connection.await;
    }
}

/// Waits until every row of `table` is in `topic`, and checks that nothing else is, and that in
/// each partition repeats are whole runs in the old order: never an older row last. Returns how
/// many records are repeats.
pub async fn all_arrived(
    database: &Database,
    table: &str,
    kafka: &Kafka,
    registry: &Registry,
    topic: &str,
) -> usize {
    let rows = database.query(&format!("SELECT id FROM {table}"), &[]).await;
    let expected: BTreeSet<i64> = rows.iter().map(|row| row.get(0)).collect();
    let (count, mut read, mut keys) = (expected.len(), 0, HashSet::new());
    let what = format!("{count} rows");
    let records = kafka.records_until(topic, &what, wait::LONG, move |records| {
        keys.extend(records[read..].iter().map(|record| record.key.clone()));
        read = records.len();
        keys.len() >= count
    });
    let ids = ids(&records.await, &Decoder::new(registry)).await;
    let arrived: BTreeSet<i64> = ids.values().flatten().copied().collect();
    assert_eq!(arrived, expected, "rows of {topic}");
    for (partition, ids) in &ids {
        let backwards: Vec<i64> = ids.iter().rev().copied().collect();
        let mut last = first_places(&backwards);
        last.reverse();
        assert!(first_places(ids).is_sorted(), "{topic}/{partition}: a row overtook another");
        assert!(last.is_sorted(), "{topic}/{partition}: a repeat ended with an older row");
    }
    ids.values().map(Vec::len).sum::<usize>() - arrived.len()
}

/// The numbers in the records, partition by partition.
async fn ids(records: &[Record], decoder: &Decoder<'_>) -> HashMap<i32, Vec<i64>> {
    let mut known = HashMap::new();
    let mut ids: HashMap<i32, Vec<i64>> = HashMap::new();
    for record in records {
        let key = record.key.as_deref().expect("a key");
        let id = match known.get(key) {
            Some(id) => *id,
            None => decoder.json(key).await["id"].as_i64().expect("a number"),
        };
        known.insert(key, id);
        ids.entry(record.partition).or_default().push(id);
    }
    ids
}

/// Each number once, where it is first.
fn first_places(ids: &[i64]) -> Vec<i64> {
    let mut seen = HashSet::new();
    ids.iter().copied().filter(|id| seen.insert(*id)).collect()
}
