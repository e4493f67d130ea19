//! What the pump and the readers share.
//!
//! Nothing here is touched per row. The pump replaces the snapshot (a short lock, at most ten
//! times a second), adds its local counts to atomics once a batch, and beats the heart once a
//! turn; the control connection reports the server's side; readers copy out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use super::activity::{Activity, Shares, SlowSide, Totals};
use super::counters::{RecordKind, TableTotals};
use super::histogram::Histogram;
use super::metrics;
use super::status::{InFlight, NotReady, Positions, Snapshot, State, lsn};
use crate::failure::{Class, Failure};
use crate::postgres::{Lsn, PgTime};
use crate::snapshot::Progress;

/// Shared by the pump, the control connection, the registry client and the HTTP server.
#[derive(Debug)]
pub struct Telemetry {
    /// Of the deployment: the topic prefix.
    name: String,
    started: Instant,
    started_at: SystemTime,
    /// Milliseconds from `started` to the pump's last sign of life.
    heartbeat: AtomicU64,
    current: Mutex<Current>,
    server: Mutex<ServerHistory>,
    reconnects: Mutex<BTreeMap<&'static str, u64>>,
    last_failure: Mutex<Option<LastFailure>>,
    partition_changes: Mutex<VecDeque<PartitionChange>>,
    snapshot: Mutex<Option<Progress>>,
    pub(super) tables: Mutex<Vec<Arc<TableTotals>>>,
    pub(super) activities: [AtomicU64; Activity::ALL.len()],
    pub(super) commit_to_acknowledge: Histogram,
    pub(super) registry_seconds: Histogram,
}

#[derive(Debug)]
struct Current {
    snapshot: Snapshot,
    shares: Shares,
    since: SystemTime,
    /// States that were entered once: each is a series of `walferry_state`.
    seen: Vec<State>,
}

/// The server's side as the control connection sees it, every few seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ServerView {
    /// `pg_current_wal_flush_lsn()`, or the replay position of a standby.
    #[serde(serialize_with = "lsn")]
    pub head: Lsn,
    /// From the slot's `restart_lsn` to the head.
    pub retained_wal_bytes: Option<u64>,
    /// `safe_wal_size`; none without `max_slot_wal_keep_size`.
    pub safe_wal_bytes: Option<u64>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
}

/// The newest view, and when which head was first seen: the yardstick of the lag in seconds.
#[derive(Debug, Default)]
struct ServerHistory {
    view: Option<(ServerView, Instant)>,
    heads: VecDeque<(Lsn, Instant)>,
}

#[derive(Debug, Clone, Serialize)]
struct LastFailure {
    at: String,
    kind: &'static str,
    message: String,
}

/// A topic whose keys are spread otherwise than before.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PartitionChange {
    pub(crate) topic: String,
    pub(crate) before: i32,
    pub(crate) now: i32,
    at: String,
}

/// Changes remembered for `/status`: the newest.
const MAX_PARTITION_CHANGES: usize = 20;

/// `/status` as JSON.
#[derive(Debug, Serialize)]
pub(super) struct StatusView {
    pub(super) name: String,
    pub(super) version: &'static str,
    pub(super) state: State,
    pub(super) state_since: String,
    pub(super) ready: bool,
    pub(super) not_ready: Option<NotReady>,
    pub(super) started_at: String,
    pub(super) uptime_seconds: f64,
    pub(super) heartbeat_age_seconds: f64,
    pub(super) positions: Positions,
    pub(super) lag_bytes: Option<u64>,
    pub(super) lag_seconds: Option<f64>,
    pub(super) in_flight: InFlight,
    pub(super) slow_side: SlowSide,
    pub(super) time: Shares,
    pub(super) server: Option<ServerView>,
    pub(super) reconnects: BTreeMap<&'static str, u64>,
    last_failure: Option<LastFailure>,
    partition_changes: Vec<PartitionChange>,
    /// The pass under way; none when all tables were read.
    pub(super) snapshot: Option<Progress>,
    pub(super) tables: Vec<TableView>,
    #[serde(skip)]
    pub(super) states: Vec<State>,
}

/// One table's records so far.
#[derive(Debug, Serialize)]
pub(super) struct TableView {
    pub(super) table: String,
    pub(super) records: BTreeMap<&'static str, u64>,
    pub(super) bytes: u64,
}

impl Telemetry {
    /// For the deployment `name`; the heart beats as of now.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Arc<Telemetry> {
        let now = SystemTime::now();
        Arc::new(Telemetry {
            name: name.into(),
            started: Instant::now(),
            started_at: now,
            heartbeat: AtomicU64::new(0),
            current: Mutex::new(Current {
                snapshot: Snapshot::default(),
                shares: Shares::default(),
                since: now,
                seen: vec![State::Starting],
            }),
            server: Mutex::default(),
            reconnects: Mutex::default(),
            last_failure: Mutex::default(),
            partition_changes: Mutex::default(),
            snapshot: Mutex::default(),
            tables: Mutex::default(),
            activities: Default::default(),
            commit_to_acknowledge: Histogram::default(),
            registry_seconds: Histogram::default(),
        })
    }

    /// The pump lives. Called once a turn of its loop, and by nobody else.
    pub fn beat(&self) {
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heartbeat.store(millis, Ordering::Relaxed);
    }

    /// Time since the last [`beat`](Self::beat).
    #[must_use]
    pub fn heartbeat_age(&self) -> Duration {
        let beat = Duration::from_millis(self.heartbeat.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(beat)
    }

    /// Replaces the snapshot at once. The pump goes through
    /// [`PumpMetrics::publish`](super::PumpMetrics::publish), which limits the rate.
    pub fn publish(&self, snapshot: Snapshot) {
        let mut current = lock(&self.current);
        current.replace(snapshot);
    }

    /// The same with the shares of the pump's time.
    pub(super) fn publish_with(&self, snapshot: Snapshot, shares: Shares) {
        let mut current = lock(&self.current);
        current.replace(snapshot);
        current.shares = shares;
    }

    /// Why the stream does not flow; `None` when it does.
    #[must_use]
    pub fn readiness(&self) -> Option<NotReady> {
        lock(&self.current).snapshot.readiness()
    }

    /// Takes what the control connection found out about the server.
    pub fn observe_server(&self, view: ServerView) {
        let acknowledged = lock(&self.current).snapshot.positions.acknowledged;
        lock(&self.server).observe(view, acknowledged, Instant::now());
    }

    /// Replication is started again; `cause` is the kind of the failure, or `stall`, `rebuild`.
    pub fn reconnect(&self, cause: &'static str) {
        metrics::increment(metrics::RECONNECTS, &[("cause", cause)]);
        *lock(&self.reconnects).entry(cause).or_default() += 1;
    }

    /// Counts a failure and shows it as the last one in `/status`.
    pub fn failure(&self, failure: &Failure) {
        let class = match failure.class {
            Class::Retry => "retry",
            Class::Stop => "stop",
        };
        metrics::increment(metrics::ERRORS, &[("kind", failure.kind), ("class", class)]);
        *lock(&self.last_failure) = Some(LastFailure {
            at: rfc3339(SystemTime::now()),
            kind: failure.kind,
            message: failure.message.clone(),
        });
    }

    /// The number of partitions of a topic in use has changed.
    pub(crate) fn partitions_changed(&self, topic: &str, before: i32, now: i32) {
        metrics::counted(metrics::PARTITION_CHANGES, "topic", topic);
        let mut changes = lock(&self.partition_changes);
        if changes.len() == MAX_PARTITION_CHANGES {
            changes.pop_front();
        }
        let at = rfc3339(SystemTime::now());
        changes.push_back(PartitionChange { topic: topic.to_owned(), before, now, at });
    }

    /// The newest changes of that kind, the last one last.
    pub(crate) fn partition_changes(&self) -> Vec<PartitionChange> {
        lock(&self.partition_changes).iter().cloned().collect()
    }

    /// How far the reading of tables is; `None` when nothing is being read.
    pub fn publish_snapshot(&self, progress: Option<Progress>) {
        *lock(&self.snapshot) = progress;
    }

    /// Rows of a table were read again.
    pub fn snapshot_repeated(&self, table: &str, rows: u64) {
        metrics::added(metrics::SNAPSHOT_REPEATED, "table", table, rows);
    }

    /// What the control connection last found out about the server.
    pub(crate) fn server(&self) -> Option<ServerView> {
        lock(&self.server).view.as_ref().map(|(view, _)| view.clone())
    }

    /// One request to the registry: `operation` such as `register`, `outcome` such as `ok`,
    /// `incompatible`, `unavailable`.
    pub fn registry_request(
        &self,
        operation: &'static str,
        outcome: &'static str,
        duration: Duration,
    ) {
        metrics::increment(
            metrics::REGISTRY_REQUESTS,
            &[("operation", operation), ("outcome", outcome)],
        );
        self.registry_seconds.observe(duration);
    }

    pub(super) fn activity_totals(&self) -> Totals {
        let mut totals = Totals::default();
        for (total, shared) in totals.iter_mut().zip(&self.activities) {
            *total = shared.load(Ordering::Relaxed);
        }
        totals
    }

    /// Everything for `/status`, `/metrics` and the index page.
    pub(super) fn view(&self) -> StatusView {
        let (snapshot, shares, since, states) = {
            let current = lock(&self.current);
            (current.snapshot.clone(), current.shares, current.since, current.seen.clone())
        };
        let mut positions = snapshot.positions;
        let (server, lag) = {
            let history = lock(&self.server);
            let server = history.view.as_ref().map(|(view, _)| view.clone());
            (server, history.lag(&snapshot, Instant::now(), pg_now()))
        };
        if let Some(server) = &server {
            positions.server = positions.server.max(server.head);
        }
        let known = positions.server != Lsn::INVALID && positions.confirmed != Lsn::INVALID;
        let behind = snapshot.oldest_pending_commit.is_some()
            || server.as_ref().is_some_and(|server| server.head > positions.acknowledged);
        let not_ready = snapshot.readiness();
        StatusView {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            state: snapshot.state,
            state_since: rfc3339(since),
            ready: not_ready.is_none(),
            not_ready,
            started_at: rfc3339(self.started_at),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            heartbeat_age_seconds: self.heartbeat_age().as_secs_f64(),
            positions,
            lag_bytes: known.then(|| positions.server.distance_from(positions.confirmed)),
            lag_seconds: lag.map(|lag| lag.as_secs_f64()),
            in_flight: snapshot.in_flight,
            slow_side: shares.slow_side(behind),
            time: shares,
            server,
            reconnects: lock(&self.reconnects).clone(),
            last_failure: lock(&self.last_failure).clone(),
            partition_changes: self.partition_changes(),
            snapshot: lock(&self.snapshot).clone(),
            tables: self.table_views(),
            states,
        }
    }

    pub(super) fn started_at_unix(&self) -> f64 {
        self.started_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
    }

    fn table_views(&self) -> Vec<TableView> {
        let tables: Vec<Arc<TableTotals>> = lock(&self.tables).clone();
        let mut views: Vec<TableView> = tables
            .iter()
            .map(|totals| {
                let counts = RecordKind::ALL.map(|kind| (kind, totals.get(kind)));
                let records = counts
                    .iter()
                    .filter(|(_, (records, _))| *records > 0)
                    .map(|(kind, (records, _))| (kind.as_str(), *records))
                    .collect();
                let bytes = counts.iter().map(|(_, (_, bytes))| bytes).sum();
                TableView { table: String::from(&*totals.name), records, bytes }
            })
            .collect();
        views.sort_by(|a, b| a.table.cmp(&b.table));
        views
    }
}

impl Current {
    fn replace(&mut self, snapshot: Snapshot) {
        if snapshot.state != self.snapshot.state {
            self.since = SystemTime::now();
            if !self.seen.contains(&snapshot.state) {
                self.seen.push(snapshot.state);
            }
        }
        self.snapshot = snapshot;
    }
}

impl ServerHistory {
    /// Heads remembered; past that every second one is forgotten, which coarsens the lag.
    const MAX_HEADS: usize = 128;

    fn observe(&mut self, view: ServerView, acknowledged: Lsn, now: Instant) {
        self.heads.retain(|(head, _)| *head > acknowledged);
        if view.head > acknowledged && self.heads.back().is_none_or(|(last, _)| *last < view.head) {
            self.heads.push_back((view.head, now));
        }
        if self.heads.len() > Self::MAX_HEADS {
            let mut keep = false;
            self.heads.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.view = Some((view, now));
    }

    /// How old the oldest thing is that should be in Kafka and is not.
    ///
    /// Two witnesses: the commit time of the oldest transaction received and not acknowledged (by
    /// the server's clock), and the time at which a head of the log was first seen that is not
    /// acknowledged yet (by ours; also right for what was not received). Away from the server
    /// nothing newer is known, so the lag is at least the time since it was last heard.
    fn lag(&self, snapshot: &Snapshot, now: Instant, wall: PgTime) -> Option<Duration> {
        let (_, heard) = self.view.as_ref()?;
        let pending = snapshot.oldest_pending_commit.map_or(Duration::ZERO, |commit| {
            let micros = wall.0.saturating_sub(commit.0);
            Duration::from_micros(u64::try_from(micros).unwrap_or(0))
        });
        let unreached = self
            .heads
            .iter()
            .find(|(head, _)| *head > snapshot.positions.acknowledged)
            .map_or(Duration::ZERO, |(_, seen)| now.saturating_duration_since(*seen));
        let away = match snapshot.state {
            State::Streaming => Duration::ZERO,
            _ => now.saturating_duration_since(*heard),
        };
        Some(pending.max(unreached).max(away))
    }
}

/// A panic elsewhere leaves at worst an old value here, which is no reason to stop reporting.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// This machine's clock as Postgres would write it.
fn pg_now() -> PgTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    PgTime::from_unix_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::status::Reason;

    fn streaming(acknowledged: u64) -> Snapshot {
        Snapshot {
            state: State::Streaming,
            positions: Positions { acknowledged: Lsn(acknowledged), ..Positions::default() },
            ..Snapshot::default()
        }
    }

    fn head(lsn: u64) -> ServerView {
        ServerView { head: Lsn(lsn), ..ServerView::default() }
    }

    #[test]
    fn lag_is_the_time_since_the_oldest_unreached_head() {
        let (mut history, start) = (ServerHistory::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let lag = |history: &ServerHistory, acknowledged, now| {
            history.lag(&streaming(acknowledged), at(now), PgTime(0)).map(|lag| lag.as_secs())
        };
        assert_eq!(lag(&history, 0, 0), None, "nothing known yet");
        history.observe(head(100), Lsn(100), at(0));
        assert_eq!(lag(&history, 100, 50), Some(0), "an idle database does not lag");
        history.observe(head(200), Lsn(100), at(60));
        history.observe(head(300), Lsn(100), at(70));
        assert_eq!(lag(&history, 150, 75), Some(15));
        assert_eq!(lag(&history, 200, 75), Some(5));
        assert_eq!(lag(&history, 300, 75), Some(0));
    }

    #[test]
    fn lag_counts_pending_commits_and_time_away() {
        let (mut history, start) = (ServerHistory::default(), Instant::now());
        history.observe(head(100), Lsn(100), start);
        let pending = Snapshot { oldest_pending_commit: Some(PgTime(2_000_000)), ..streaming(100) };
        let lag = history.lag(&pending, start, PgTime(9_000_000));
        assert_eq!(lag, Some(Duration::from_secs(7)));
        let skewed = history.lag(&pending, start, PgTime(1_000_000));
        assert_eq!(skewed, Some(Duration::ZERO), "a commit from the future is no lag");
        let away = Snapshot { state: State::Connecting, ..streaming(100) };
        let lag = history.lag(&away, start + Duration::from_secs(30), PgTime(0));
        assert_eq!(lag, Some(Duration::from_secs(30)));
    }

    #[test]
    fn remembered_heads_are_bounded_and_keep_the_oldest() {
        let (mut history, start) = (ServerHistory::default(), Instant::now());
        for i in 1..=10_000 {
            history.observe(head(i), Lsn(0), start + Duration::from_secs(i));
        }
        assert!(history.heads.len() <= ServerHistory::MAX_HEADS);
        assert_eq!(history.heads.front().unwrap().0, Lsn(1));
        let now = start + Duration::from_secs(10_000);
        assert_eq!(history.lag(&streaming(0), now, PgTime(0)), Some(Duration::from_secs(9_999)));
    }

    #[test]
    fn the_status_is_complete_json() {
        let telemetry = Telemetry::new("shop");
        telemetry.publish(Snapshot {
            state: State::Streaming,
            positions: Positions {
                received: Lsn(0x16_B374_D848),
                confirmed: Lsn(0x16_B374_D800),
                ..Positions::default()
            },
            ..Snapshot::default()
        });
        telemetry.observe_server(ServerView {
            head: Lsn(0x16_B374_D900),
            retained_wal_bytes: Some(4096),
            ..ServerView::default()
        });
        telemetry.reconnect("postgres");
        telemetry.reconnect("postgres");
        telemetry.failure(&Failure::retry("kafka", "no broker answers").remedy("look"));
        let json = serde_json::to_value(telemetry.view()).unwrap();
        assert_eq!(json["name"], "shop");
        assert_eq!(json["ready"], true);
        assert_eq!(json["positions"]["received"], "16/B374D848");
        assert_eq!(json["positions"]["produced"], serde_json::Value::Null);
        assert_eq!(json["positions"]["server"], "16/B374D900");
        assert_eq!(json["lag_bytes"], 256);
        assert_eq!(json["server"]["retained_wal_bytes"], 4096);
        assert_eq!(json["reconnects"]["postgres"], 2);
        assert_eq!(json["last_failure"]["message"], "no broker answers");
    }

    #[test]
    fn since_changes_with_the_state_only() {
        let telemetry = Telemetry::new("shop");
        telemetry.publish(Snapshot::unready(State::Connecting, Reason::Postgres, "one"));
        let since = telemetry.view().state_since;
        std::thread::sleep(Duration::from_millis(3));
        telemetry.publish(Snapshot::unready(State::Connecting, Reason::Postgres, "two"));
        assert_eq!(telemetry.view().state_since, since);
        telemetry.publish(streaming(0));
        assert_ne!(telemetry.view().state_since, since);
        assert_eq!(telemetry.view().states.len(), 3);
    }

    #[test]
    fn the_heartbeat_is_not_a_constant() {
        let telemetry = Telemetry::new("shop");
        std::thread::sleep(Duration::from_millis(20));
        assert!(telemetry.heartbeat_age() >= Duration::from_millis(20));
        telemetry.beat();
        assert!(telemetry.heartbeat_age() < Duration::from_millis(20));
    }
}
