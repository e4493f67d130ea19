//! `/metrics`: the recorder and what is rendered beside it.
//!
//! Counters live in the recorder of metrics-exporter-prometheus. Gauges are set in it when they
//! are asked for, from the view that `/status` shows. Histograms and times in seconds are rendered
//! here: the recorder's counters are whole numbers, and its histograms keep every observation
//! until they are read.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::activity::Activity;
use super::histogram::render_head;
use super::metrics as names;
use super::shared::{StatusView, Telemetry};
use super::status::State;
use crate::failure::Failure;
use crate::postgres::Lsn;
use crate::snapshot::Progress;

/// Renders the metrics of the process.
#[derive(Clone)]
pub struct Exposition {
    telemetry: Arc<Telemetry>,
    handle: PrometheusHandle,
}

impl std::fmt::Debug for Exposition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exposition").finish_non_exhaustive()
    }
}

impl Exposition {
    /// Puts the recorder in force for the process, once; later calls share it. Handles made
    /// before count into nothing, so this comes before the first
    /// [`PumpMetrics`](super::PumpMetrics).
    pub fn install(telemetry: Arc<Telemetry>) -> Result<Exposition, Failure> {
        static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
        let handle = HANDLE.get_or_init(|| {
            let recorder = PrometheusBuilder::new().build_recorder();
            let handle = recorder.handle();
            metrics::set_global_recorder(recorder).ok()?;
            names::describe();
            Some(handle)
        });
        match handle {
            Some(handle) => Ok(Exposition { telemetry, handle: handle.clone() }),
            None => Err(Failure::stop("metrics", "another metrics recorder is already in force")),
        }
    }

    /// The text format, as of now.
    #[must_use]
    pub fn render(&self) -> String {
        let view = self.telemetry.view();
        self.set_gauges(&view);
        let mut text = self.handle.render();
        self.render_own(&mut text);
        text
    }

    /// The recorder's housekeeping; call it every few seconds.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    fn set_gauges(&self, view: &StatusView) {
        metrics::gauge!(names::BUILD_INFO, "version" => view.version).set(1.0);
        metrics::gauge!(names::START_TIME).set(self.telemetry.started_at_unix());
        metrics::gauge!(names::READY).set(if view.ready { 1.0 } else { 0.0 });
        metrics::gauge!(names::HEARTBEAT_AGE).set(view.heartbeat_age_seconds);
        for state in &view.states {
            let in_it = if *state == view.state { 1.0 } else { 0.0 };
            metrics::gauge!(names::STATE, "state" => State::as_str(*state)).set(in_it);
        }
        let positions = [
            (names::RECEIVED_LSN, view.positions.received),
            (names::PRODUCED_LSN, view.positions.produced),
            (names::ACKNOWLEDGED_LSN, view.positions.acknowledged),
            (names::CONFIRMED_LSN, view.positions.confirmed),
            (names::SERVER_LSN, view.positions.server),
        ];
        for (name, lsn) in positions {
            set_if(name, (lsn != Lsn::INVALID).then_some(lsn.0));
        }
        set_if(names::LAG_BYTES, view.lag_bytes);
        if let Some(seconds) = view.lag_seconds {
            metrics::gauge!(names::LAG_SECONDS).set(seconds);
        }
        set_if(names::IN_FLIGHT_RECORDS, Some(view.in_flight.records));
        set_if(names::IN_FLIGHT_BYTES, Some(view.in_flight.bytes));
        if let Some(server) = &view.server {
            set_if(names::SLOT_RETAINED, server.retained_wal_bytes);
            set_if(names::SLOT_SAFE, server.safe_wal_bytes);
        }
        set_if(names::RESIDENT_MEMORY, resident_bytes());
        set_snapshot(view.snapshot.as_ref());
    }

    fn render_own(&self, out: &mut String) {
        if let Some(metric) = names::find(names::PUMP_TIME) {
            render_head(metric, out);
            let totals = self.telemetry.activity_totals();
            for (activity, nanos) in Activity::ALL.into_iter().zip(totals) {
                let seconds = Duration::from_nanos(nanos).as_secs_f64();
                // Writing to a String cannot fail.
                let _ = writeln!(
                    out,
                    "{}{{activity=\"{}\"}} {seconds}",
                    metric.name,
                    activity.as_str()
                );
            }
            out.push('\n');
        }
        let histograms = [
            (names::COMMIT_TO_ACKNOWLEDGE, &self.telemetry.commit_to_acknowledge),
            (names::REGISTRY_SECONDS, &self.telemetry.registry_seconds),
        ];
        for (name, histogram) in histograms {
            if let Some(metric) = names::find(name) {
                histogram.render(metric, out);
            }
        }
    }
}

/// Positions are exact up to 2^53 bytes, which is 8 PiB of log.
fn set_snapshot(progress: Option<&Progress>) {
    let age = progress.map_or(0.0, |progress| progress.age_seconds);
    metrics::gauge!(names::SNAPSHOT_AGE).set(age);
    let left = progress.map_or(0, |progress| progress.tables.len() - progress.tables_done());
    metrics::gauge!(names::SNAPSHOT_TABLES_LEFT).set(left as f64);
    for table in progress.iter().flat_map(|progress| &progress.tables) {
        let name = || table.table.clone();
        metrics::gauge!(names::SNAPSHOT_ROWS, "table" => name()).set(table.rows as f64);
        if let Some(rows) = table.rows_estimated {
            let gauge = metrics::gauge!(names::SNAPSHOT_ROWS_ESTIMATED, "table" => name());
            gauge.set(rows as f64);
        }
    }
}

fn set_if(name: &'static str, value: Option<u64>) {
    if let Some(value) = value {
        metrics::gauge!(name).set(value as f64);
    }
}

/// Resident memory as the kernel counts it; none where there is no `/proc`.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Instant;

    use super::*;
    use crate::snapshot::{TableProgress, TableStage};
    use crate::telemetry::metrics::{ALL, Kind};
    use crate::telemetry::shared::ServerView;
    use crate::telemetry::status::{InFlight, Positions, Reason, Snapshot};
    use crate::telemetry::{PumpMetrics, RecordKind, Skip};

    /// Runs `work` under a recorder of its own and returns what `/metrics` then says.
    fn exposed(work: impl FnOnce(&Arc<Telemetry>)) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            names::describe();
            let telemetry = Telemetry::new("shop");
            work(&telemetry);
            Exposition { telemetry, handle }.render()
        })
    }

    /// Everything that can be counted, counted once.
    fn everything(telemetry: &Arc<Telemetry>) {
        let mut pump = PumpMetrics::new(Arc::clone(telemetry));
        let orders = pump.table("public.orders");
        let quoted = pump.table("public.\"odd\n\"");
        assert_eq!(pump.table("public.orders"), orders);
        for _ in 0..3 {
            pump.record(orders, RecordKind::Create, 100);
        }
        pump.record(orders, RecordKind::Delete, 50);
        pump.record(quoted, RecordKind::Update, 1);
        pump.received(5, 500);
        pump.acknowledged(4);
        pump.skipped(Skip::Unlisted);
        pump.transaction_acknowledged(Duration::from_millis(3));
        pump.spent(Activity::QueueFull, Duration::from_millis(1500));
        let snapshot = Snapshot {
            state: State::Streaming,
            positions: Positions {
                server: Lsn(900),
                received: Lsn(800),
                produced: Lsn(700),
                acknowledged: Lsn(600),
                confirmed: Lsn(500),
            },
            in_flight: InFlight { records: 7, bytes: 77 },
            ..Snapshot::default()
        };
        pump.publish(Instant::now(), State::Streaming, || snapshot);
        telemetry.observe_server(ServerView {
            head: Lsn(1000),
            retained_wal_bytes: Some(4096),
            safe_wal_bytes: Some(8192),
            wal_status: Some("reserved".into()),
        });
        telemetry.reconnect("postgres");
        telemetry.failure(&Failure::stop("slot", "lost"));
        telemetry.registry_request("register", "ok", Duration::from_millis(20));
        telemetry.partitions_changed("orders", 3, 6);
        let table = TableProgress {
            table: "public.orders".to_owned(),
            state: TableStage::Reading,
            rows: 5,
            rows_estimated: Some(9),
            table_bytes: 8192,
        };
        let (age, elapsed) = (Duration::from_secs(60), Duration::from_secs(1));
        telemetry.publish_snapshot(Some(Progress::of(1, age, elapsed, vec![table])));
        telemetry.snapshot_repeated("public.orders", 2);
    }

    #[test]
    fn every_metric_is_rendered_and_no_other() {
        let text = exposed(everything);
        let typed: BTreeMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .filter_map(|line| line.split_once(' '))
            .collect();
        let listed: BTreeMap<&str, &str> =
            ALL.iter().map(|metric| (metric.name, Kind::as_str(metric.kind))).collect();
        assert_eq!(typed, listed, "{text}");
        for metric in ALL {
            assert!(text.contains(&format!("# HELP {} {}", metric.name, metric.help)), "{text}");
        }
    }

    #[test]
    fn labels_are_those_described() {
        let text = exposed(everything);
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let name = line.split(['{', ' ']).next().unwrap();
            let Some(metric) = names::find(name) else { continue };
            for label in metric.labels {
                assert!(line.contains(&format!("{label}=\"")), "{line} lacks {label}");
            }
            assert_eq!(line.contains('{'), !metric.labels.is_empty(), "{line}");
        }
    }

    #[test]
    fn values_are_the_counted_ones() {
        let text = exposed(everything);
        for line in [
            "walferry_records_total{table=\"public.orders\",op=\"create\"} 3",
            "walferry_record_bytes_total{table=\"public.orders\",op=\"create\"} 300",
            "walferry_records_total{table=\"public.orders\",op=\"delete\"} 1",
            "walferry_records_total{table=\"public.\\\"odd\\n\\\"\",op=\"update\"} 1",
            "walferry_snapshot_age_seconds 60",
            "walferry_snapshot_rows{table=\"public.orders\"} 5",
            "walferry_snapshot_rows_estimated{table=\"public.orders\"} 9",
            "walferry_snapshot_tables_left 1",
            "walferry_snapshot_repeated_rows_total{table=\"public.orders\"} 2",
            "walferry_received_bytes_total 500",
            "walferry_acknowledged_records_total 4",
            "walferry_skipped_changes_total{reason=\"unlisted\"} 1",
            "walferry_skipped_changes_total{reason=\"delivered\"} 0",
            "walferry_commit_to_acknowledge_seconds_count 1",
            "walferry_pump_seconds_total{activity=\"queue_full\"} 1.5",
            "walferry_state{state=\"streaming\"} 1",
            "walferry_state{state=\"starting\"} 0",
            "walferry_ready 1",
            "walferry_confirmed_lsn_bytes 500",
            "walferry_server_lsn_bytes 1000",
            "walferry_lag_bytes 500",
            "walferry_in_flight_records 7",
            "walferry_slot_retained_wal_bytes 4096",
            "walferry_reconnects_total{cause=\"postgres\"} 1",
            "walferry_errors_total{kind=\"slot\",class=\"stop\"} 1",
            "walferry_registry_requests_total{operation=\"register\",outcome=\"ok\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
        }
    }

    #[test]
    fn a_flush_does_not_count_twice() {
        let text = exposed(|telemetry| {
            let mut pump = PumpMetrics::new(Arc::clone(telemetry));
            let table = pump.table("public.orders");
            pump.record(table, RecordKind::Create, 10);
            pump.flush();
            pump.flush();
            pump.record(table, RecordKind::Create, 10);
            pump.flush();
            // A pump built anew goes on with the same totals.
            let mut again = PumpMetrics::new(Arc::clone(telemetry));
            let table = again.table("public.orders");
            again.record(table, RecordKind::Create, 10);
            again.flush();
            let view = telemetry.view();
            assert_eq!(view.tables.len(), 1);
            assert_eq!(view.tables[0].records["create"], 3);
            assert_eq!(view.tables[0].bytes, 30);
        });
        assert!(text.contains("walferry_records_total{table=\"public.orders\",op=\"create\"} 3"));
    }

    #[test]
    fn snapshots_are_rare_but_changes_of_state_are_not() {
        let telemetry = Telemetry::new("shop");
        let mut pump = PumpMetrics::new(Arc::clone(&telemetry));
        let start = Instant::now();
        let mut made = 0;
        let mut publish = |millis, state| {
            pump.publish(start + Duration::from_millis(millis), state, || {
                made += 1;
                Snapshot { state, ..Snapshot::default() }
            });
            made
        };
        assert_eq!(publish(0, State::Streaming), 1);
        assert_eq!(publish(99, State::Streaming), 1);
        assert_eq!(publish(99, State::Stalled), 2);
        assert_eq!(publish(150, State::Stalled), 2);
        assert_eq!(publish(199, State::Stalled), 3);
        assert_eq!(telemetry.readiness().unwrap().reason, Reason::Stalled);
    }

    #[test]
    fn unknown_positions_are_absent_not_zero() {
        let text = exposed(|_| {});
        assert!(!text.contains("\nwalferry_confirmed_lsn_bytes "), "{text}");
        assert!(!text.contains("\nwalferry_lag_seconds "), "{text}");
        assert!(text.contains("walferry_ready 0"), "{text}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn memory_is_measured() {
        assert!(resident_bytes().unwrap() > 1024 * 1024);
    }
}
