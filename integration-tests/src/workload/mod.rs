//! A random concurrent workload on a small shop, and what it committed.
//!
//! Several connections work on the same tables: inserts, updates, changes of keys (with a cascade),
//! deletes, savepoints with partial rollback, whole rollbacks, large values that later updates leave
//! alone, COPY, truncates, a table without a key, a partitioned one, an outbox. Each writer draws from
//! its own generator, so a seed gives the same transactions; how they meet is up to the server.
//!
//! What was committed is known from the database alone, whatever became of a connection: triggers
//! count each change in its own transaction, and each outbox event is noted beside itself.

mod shop;
mod steps;

pub use shop::{ROUTES, Shop, TABLES, outbox_topic};

use crate::wait;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use steps::Writer;
use tokio::task::JoinSet;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

/// How much is written, and by how many.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    seed: u64,
    writers: u64,
    transactions: u64,
    pause: Duration,
    after: u64,
}

/// Counts of a workload under way, shared with its writers.
#[derive(Debug, Default)]
struct Progress {
    committed: AtomicU64,
    rolled_back: AtomicU64,
    conflicts: AtomicU64,
    stop: AtomicBool,
}

/// How transactions ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    pub committed: u64,
    /// As the workload wanted it.
    pub rolled_back: u64,
    /// As the server wanted it: deadlocks, keys taken by another, lost connections.
    pub conflicts: u64,
}

impl Workload {
    /// Four writers of 100 transactions each, without pauses.
    pub fn new(seed: u64) -> Self {
        Self { seed, writers: 4, transactions: 100, pause: Duration::ZERO, after: 0 }
    }

    pub fn writers(self, writers: u64) -> Self {
        Self { writers, ..self }
    }

    /// Transactions of each writer.
    pub fn transactions(self, transactions: u64) -> Self {
        Self { transactions, ..self }
    }

    /// A pause of each writer after each transaction.
    pub fn pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// Gives new rows numbers above this one: for a shop that another workload has been at.
    pub fn after(self, after: u64) -> Self {
        Self { after, ..self }
    }

    /// Lets the writers begin.
    pub async fn start(self, shop: &Shop<'_>) -> Running {
        let progress = Arc::new(Progress::default());
        let mut writers = JoinSet::new();
        for number in 0..self.writers {
            let url = shop.database().url();
            let progress = progress.clone();
            let client = session(&url).await.expect("a connection of the workload");
            let random = fastrand::Rng::with_seed(self.seed.wrapping_mul(1_000_003) + number);
            let writer = Writer::new(self.after + number, self.writers, random);
            writers.spawn(write(self, writer, client, url, progress));
        }
        Running { progress, writers, planned: self.writers * self.transactions }
    }

    /// Runs to the end.
    pub async fn run(self, shop: &Shop<'_>) -> Tally {
        self.start(shop).await.finish().await
    }
}

/// A workload whose writers are at work; they stop when this is dropped.
#[derive(Debug)]
pub struct Running {
    progress: Arc<Progress>,
    writers: JoinSet<()>,
    planned: u64,
}

impl Running {
    /// Waits until `share` (0.0 to 1.0) of the transactions have ended.
    pub async fn reached(&self, share: f64) {
        let wanted = (self.planned as f64 * share) as u64;
        let what = format!("{wanted} transactions of the workload");
        wait::until(&what, 3 * wait::LONG, async || {
            let Tally { committed, rolled_back, conflicts } = self.tally();
            (committed + rolled_back + conflicts >= wanted).then_some(())
        })
        .await;
    }

    pub fn tally(&self) -> Tally {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Tally {
            committed: of(&self.progress.committed),
            rolled_back: of(&self.progress.rolled_back),
            conflicts: of(&self.progress.conflicts),
        }
    }

    /// Waits for the end of all transactions.
    pub async fn finish(mut self) -> Tally {
        while let Some(ended) = self.writers.join_next().await {
            if let Err(error) = ended {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        self.tally()
    }

    /// Ends each writer after the transaction that it is in.
    pub async fn stop(self) -> Tally {
        self.progress.stop.store(true, Ordering::Relaxed);
        self.finish().await
    }
}

async fn session(url: &str) -> Result<Client, Error> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    tokio::spawn(async move {
        // Its error reaches the caller through the client as well.
        let _ = connection.await;
    });
    // Deadlocks are part of the game, and a second is long.
    client.batch_execute("SET deadlock_timeout = '20ms'").await?;
    Ok(client)
}

async fn write(
    plan: Workload,
    mut writer: Writer,
    mut client: Client,
    url: String,
    progress: Arc<Progress>,
) {
    for _ in 0..plan.transactions {
        if progress.stop.load(Ordering::Relaxed) {
            return;
        }
        let ended = match writer.transaction(&client).await {
            Ok(true) => &progress.committed,
            Ok(false) => &progress.rolled_back,
            Err(error) => {
                client = recover(client, &url, &error).await;
                &progress.conflicts
            }
        };
        ended.fetch_add(1, Ordering::Relaxed);
        if !plan.pause.is_zero() {
            tokio::time::sleep(plan.pause).await;
        }
    }
}

/// A connection outside of any transaction, after an error that concurrency or a restart explains.
async fn recover(client: Client, url: &str, error: &Error) -> Client {
    if client.is_closed() || error.is_closed() {
        let what = "the database of the workload to come back";
        return wait::until(what, wait::LONG, async || session(url).await.ok()).await;
    }
    let expected = [
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::UNIQUE_VIOLATION,
        SqlState::FOREIGN_KEY_VIOLATION,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
    ];
    let known = error.code().is_some_and(|code| expected.contains(code));
    assert!(known, "a statement of the workload: {error:?}");
    match client.batch_execute("ROLLBACK").await {
        Ok(()) => client,
        Err(_) => {
            let what = "the database of the workload to come back";
            wait::until(what, wait::LONG, async || session(url).await.ok()).await
        }
    }
}
