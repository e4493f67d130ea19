//! The pump's own counters: plain integers, flushed once a batch.
//!
//! A cached handle of the `metrics` facade costs 16 ns and a macro over 100; a local integer 2.
//! At 150 000 rows a second only the last is nothing. So a row is one addition to an array of its
//! table, and [`PumpMetrics::flush`] visits the tables that changed, and only those: ten thousand
//! idle tables cost nothing. Series come to life with their first record.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use metrics::Counter;

use super::activity::{Activity, Totals, Window};
use super::histogram::LocalHistogram;
use super::metrics as names;
use super::shared::{Telemetry, lock};
use super::status::{Snapshot, State};

/// What a record is, as the label `op`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    Create,
    Update,
    Delete,
    Tombstone,
    Truncate,
    Message,
    Outbox,
    /// A row that a snapshot has read.
    Read,
}

impl RecordKind {
    pub const ALL: [RecordKind; 8] = [
        RecordKind::Create,
        RecordKind::Update,
        RecordKind::Delete,
        RecordKind::Tombstone,
        RecordKind::Truncate,
        RecordKind::Message,
        RecordKind::Outbox,
        RecordKind::Read,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RecordKind::Create => "create",
            RecordKind::Update => "update",
            RecordKind::Delete => "delete",
            RecordKind::Tombstone => "tombstone",
            RecordKind::Truncate => "truncate",
            RecordKind::Message => "message",
            RecordKind::Outbox => "outbox",
            RecordKind::Read => "read",
        }
    }

    fn index(self) -> usize {
        match self {
            RecordKind::Create => 0,
            RecordKind::Update => 1,
            RecordKind::Delete => 2,
            RecordKind::Tombstone => 3,
            RecordKind::Truncate => 4,
            RecordKind::Message => 5,
            RecordKind::Outbox => 6,
            RecordKind::Read => 7,
        }
    }
}

/// Why a change became no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// Delivered before: at or before the durable position.
    Delivered,
    /// The whitelist does not have it, although the publication sends it.
    Unlisted,
    /// The configuration leaves it out: `skip`, `truncate = false`, deletes on an outbox.
    Configured,
}

impl Skip {
    pub const ALL: [Skip; 3] = [Skip::Delivered, Skip::Unlisted, Skip::Configured];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Skip::Delivered => "delivered",
            Skip::Unlisted => "unlisted",
            Skip::Configured => "configured",
        }
    }

    fn index(self) -> usize {
        match self {
            Skip::Delivered => 0,
            Skip::Unlisted => 1,
            Skip::Configured => 2,
        }
    }
}

/// A table's place in the counters; valid for the [`PumpMetrics`] that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableIndex(usize);

/// Records and bytes since the last flush.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    records: u64,
    bytes: u64,
}

/// The local counters of one table.
#[derive(Debug)]
struct TableCounters {
    counts: [Count; RecordKind::ALL.len()],
    dirty: bool,
    handles: [Option<(Counter, Counter)>; RecordKind::ALL.len()],
    totals: Arc<TableTotals>,
}

/// What was flushed for one table, for `/status`.
#[derive(Debug)]
pub(super) struct TableTotals {
    pub(super) name: Arc<str>,
    records: [AtomicU64; RecordKind::ALL.len()],
    bytes: [AtomicU64; RecordKind::ALL.len()],
}

/// The counters of the pump thread; owned by it alone.
#[derive(Debug)]
pub struct PumpMetrics {
    telemetry: Arc<Telemetry>,
    tables: Vec<TableCounters>,
    by_name: HashMap<Arc<str>, TableIndex>,
    dirty: Vec<usize>,
    totals: Local,
    handles: Handles,
    latency: LocalHistogram,
    activities: Totals,
    window: Window,
    published: Option<(Instant, State)>,
}

#[derive(Debug, Default)]
struct Local {
    messages: u64,
    bytes: u64,
    acknowledged_records: u64,
    acknowledged_transactions: u64,
    skipped: [u64; Skip::ALL.len()],
}

#[derive(Debug)]
struct Handles {
    messages: Counter,
    bytes: Counter,
    acknowledged_records: Counter,
    acknowledged_transactions: Counter,
    skipped: [Counter; Skip::ALL.len()],
}

impl PumpMetrics {
    /// Snapshots are at least this far apart, unless the state changes.
    const PUBLISH_INTERVAL: Duration = Duration::from_millis(100);

    /// Counters that flush into `telemetry` and into the recorder in force.
    #[must_use]
    pub fn new(telemetry: Arc<Telemetry>) -> PumpMetrics {
        PumpMetrics {
            telemetry,
            tables: Vec::new(),
            by_name: HashMap::new(),
            dirty: Vec::new(),
            totals: Local::default(),
            handles: Handles::new(),
            latency: LocalHistogram::default(),
            activities: Totals::default(),
            window: Window::default(),
            published: None,
        }
    }

    /// The counters of the table `name` (`schema.table`): the same for the same name. Once a
    /// relation, not once a row.
    pub fn table(&mut self, name: &str) -> TableIndex {
        if let Some(index) = self.by_name.get(name) {
            return *index;
        }
        let index = TableIndex(self.tables.len());
        let name: Arc<str> = Arc::from(name);
        // Another pump's life in this process may have counted the table already: go on with it.
        let totals = {
            let mut tables = lock(&self.telemetry.tables);
            let known = tables.iter().find(|totals| totals.name == name).map(Arc::clone);
            known.unwrap_or_else(|| {
                let totals = Arc::new(TableTotals::new(Arc::clone(&name)));
                tables.push(Arc::clone(&totals));
                totals
            })
        };
        self.tables.push(TableCounters {
            counts: Default::default(),
            dirty: false,
            handles: Default::default(),
            totals,
        });
        self.by_name.insert(name, index);
        index
    }

    /// A record was handed to the producer; `bytes` are its key and value.
    pub fn record(&mut self, table: TableIndex, kind: RecordKind, bytes: u64) {
        let Some(counters) = self.tables.get_mut(table.0) else {
            debug_assert!(false, "an index of other counters");
            return;
        };
        if let Some(count) = counters.counts.get_mut(kind.index()) {
            count.records += 1;
            count.bytes += bytes;
        }
        if !counters.dirty {
            counters.dirty = true;
            self.dirty.push(table.0);
        }
    }

    /// Messages of the replication stream were read.
    pub fn received(&mut self, messages: u64, bytes: u64) {
        self.totals.messages += messages;
        self.totals.bytes += bytes;
    }

    /// A change became no record.
    pub fn skipped(&mut self, reason: Skip) {
        if let Some(count) = self.totals.skipped.get_mut(reason.index()) {
            *count += 1;
        }
    }

    /// The brokers acknowledged records.
    pub fn acknowledged(&mut self, records: u64) {
        self.totals.acknowledged_records += records;
    }

    /// The last record of a transaction was acknowledged, so long after its commit.
    pub fn transaction_acknowledged(&mut self, since_commit: Duration) {
        self.totals.acknowledged_transactions += 1;
        self.latency.observe(since_commit);
    }

    /// The pump spent its time so.
    pub fn spent(&mut self, activity: Activity, time: Duration) {
        if let Some(nanos) = self.activities.get_mut(activity.index()) {
            *nanos = nanos.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    /// Moves all local counts to where readers see them. Once a batch.
    pub fn flush(&mut self) {
        for index in self.dirty.drain(..) {
            if let Some(table) = self.tables.get_mut(index) {
                table.flush();
            }
        }
        self.handles.add(&std::mem::take(&mut self.totals));
        self.latency.flush(&self.telemetry.commit_to_acknowledge);
        for (local, shared) in self.activities.iter_mut().zip(&self.telemetry.activities) {
            if *local > 0 {
                shared.fetch_add(std::mem::take(local), Ordering::Relaxed);
            }
        }
    }

    /// Flushes and replaces the snapshot, if the last one is old enough or of another state;
    /// `snapshot` is only made then. Cheap to call once a turn of the loop.
    pub fn publish(&mut self, now: Instant, state: State, snapshot: impl FnOnce() -> Snapshot) {
        let due = self.published.is_none_or(|(at, before)| {
            before != state || now.saturating_duration_since(at) >= Self::PUBLISH_INTERVAL
        });
        if !due {
            return;
        }
        self.published = Some((now, state));
        self.flush();
        let shares = self.window.shares(now, self.telemetry.activity_totals());
        self.telemetry.publish_with(snapshot(), shares);
    }

    /// What it is flushed into.
    #[must_use]
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }
}

impl TableCounters {
    fn flush(&mut self) {
        self.dirty = false;
        for kind in RecordKind::ALL {
            let (Some(count), Some(handles)) =
                (self.counts.get_mut(kind.index()), self.handles.get_mut(kind.index()))
            else {
                continue;
            };
            let count = std::mem::take(count);
            if count.records == 0 {
                continue;
            }
            let (records, bytes) = handles.get_or_insert_with(|| {
                let labels = [
                    ("table", String::from(&*self.totals.name)),
                    ("op", String::from(kind.as_str())),
                ];
                (
                    metrics::counter!(names::RECORDS, &labels),
                    metrics::counter!(names::RECORD_BYTES, &labels),
                )
            });
            records.increment(count.records);
            bytes.increment(count.bytes);
            self.totals.add(kind, count);
        }
    }
}

impl TableTotals {
    fn new(name: Arc<str>) -> TableTotals {
        TableTotals { name, records: Default::default(), bytes: Default::default() }
    }

    fn add(&self, kind: RecordKind, count: Count) {
        if let (Some(records), Some(bytes)) =
            (self.records.get(kind.index()), self.bytes.get(kind.index()))
        {
            records.fetch_add(count.records, Ordering::Relaxed);
            bytes.fetch_add(count.bytes, Ordering::Relaxed);
        }
    }

    /// Records and bytes of one kind.
    pub(super) fn get(&self, kind: RecordKind) -> (u64, u64) {
        let load = |of: &[AtomicU64]| of.get(kind.index()).map_or(0, |n| n.load(Ordering::Relaxed));
        (load(&self.records), load(&self.bytes))
    }
}

impl Handles {
    fn new() -> Handles {
        Handles {
            messages: metrics::counter!(names::RECEIVED_MESSAGES),
            bytes: metrics::counter!(names::RECEIVED_BYTES),
            acknowledged_records: metrics::counter!(names::ACKNOWLEDGED_RECORDS),
            acknowledged_transactions: metrics::counter!(names::ACKNOWLEDGED_TRANSACTIONS),
            skipped: Skip::ALL
                .map(|skip| metrics::counter!(names::SKIPPED_CHANGES, "reason" => skip.as_str())),
        }
    }

    fn add(&self, local: &Local) {
        let pairs = [
            (&self.messages, local.messages),
            (&self.bytes, local.bytes),
            (&self.acknowledged_records, local.acknowledged_records),
            (&self.acknowledged_transactions, local.acknowledged_transactions),
        ];
        for (handle, count) in pairs.into_iter().chain(self.skipped.iter().zip(local.skipped)) {
            if count > 0 {
                handle.increment(count);
            }
        }
    }
}
