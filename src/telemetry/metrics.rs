//! The metrics: every name, label and description, in one place.
//!
//! Names follow the conventions of Prometheus: the prefix `walferry_`, base units as suffixes
//! (`_seconds`, `_bytes`), `_total` on counters. A position in the log is a number of bytes since
//! its start, so it is a gauge in bytes, and two of them can be subtracted.
//!
//! [`ALL`] is what `/metrics` describes and what `docs/operations.md` lists; a test compares the
//! two, and another one that nothing outside the list is ever rendered.

/// The kind of a metric, as `# TYPE` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    /// The word of the exposition format.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// One metric as it is described.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

pub const BUILD_INFO: &str = "walferry_build_info";
pub const START_TIME: &str = "walferry_start_time_seconds";
pub const RESIDENT_MEMORY: &str = "walferry_resident_memory_bytes";
pub const STATE: &str = "walferry_state";
pub const READY: &str = "walferry_ready";
pub const HEARTBEAT_AGE: &str = "walferry_heartbeat_age_seconds";
pub const RECEIVED_LSN: &str = "walferry_received_lsn_bytes";
pub const PRODUCED_LSN: &str = "walferry_produced_lsn_bytes";
pub const ACKNOWLEDGED_LSN: &str = "walferry_acknowledged_lsn_bytes";
pub const CONFIRMED_LSN: &str = "walferry_confirmed_lsn_bytes";
pub const SERVER_LSN: &str = "walferry_server_lsn_bytes";
pub const LAG_BYTES: &str = "walferry_lag_bytes";
pub const LAG_SECONDS: &str = "walferry_lag_seconds";
pub const SLOT_RETAINED: &str = "walferry_slot_retained_wal_bytes";
pub const SLOT_SAFE: &str = "walferry_slot_safe_wal_bytes";
pub const IN_FLIGHT_RECORDS: &str = "walferry_in_flight_records";
pub const IN_FLIGHT_BYTES: &str = "walferry_in_flight_bytes";
pub const RECEIVED_MESSAGES: &str = "walferry_received_messages_total";
pub const RECEIVED_BYTES: &str = "walferry_received_bytes_total";
pub const RECORDS: &str = "walferry_records_total";
pub const RECORD_BYTES: &str = "walferry_record_bytes_total";
pub const ACKNOWLEDGED_RECORDS: &str = "walferry_acknowledged_records_total";
pub const ACKNOWLEDGED_TRANSACTIONS: &str = "walferry_acknowledged_transactions_total";
pub const SKIPPED_CHANGES: &str = "walferry_skipped_changes_total";
pub const COMMIT_TO_ACKNOWLEDGE: &str = "walferry_commit_to_acknowledge_seconds";
pub const PUMP_TIME: &str = "walferry_pump_seconds_total";
pub const RECONNECTS: &str = "walferry_reconnects_total";
pub const ERRORS: &str = "walferry_errors_total";
pub const PARTITION_CHANGES: &str = "walferry_partition_changes_total";
pub const SNAPSHOT_AGE: &str = "walferry_snapshot_age_seconds";
pub const SNAPSHOT_ROWS: &str = "walferry_snapshot_rows";
pub const SNAPSHOT_ROWS_ESTIMATED: &str = "walferry_snapshot_rows_estimated";
pub const SNAPSHOT_TABLES_LEFT: &str = "walferry_snapshot_tables_left";
pub const SNAPSHOT_REPEATED: &str = "walferry_snapshot_repeated_rows_total";
pub const REGISTRY_REQUESTS: &str = "walferry_registry_requests_total";
pub const REGISTRY_SECONDS: &str = "walferry_registry_request_seconds";

/// Every metric there is, in the order of the documentation.
pub const ALL: &[Metric] = &[
    gauge(BUILD_INFO, &["version"], "Always 1; the version is the label."),
    gauge(START_TIME, &[], "When the process started, in Unix time."),
    gauge(RESIDENT_MEMORY, &[], "Memory that the process holds (Linux only)."),
    gauge(STATE, &["state"], "1 for the state the pump is in, 0 for the others it was in."),
    gauge(READY, &[], "1 while the stream flows, as /readyz says."),
    gauge(HEARTBEAT_AGE, &[], "Time since the pump last gave a sign of life."),
    gauge(RECEIVED_LSN, &[], "Position up to which the server has sent."),
    gauge(PRODUCED_LSN, &[], "Position up to which records were handed to the producer."),
    gauge(ACKNOWLEDGED_LSN, &[], "Position up to which the brokers acknowledged every record."),
    gauge(CONFIRMED_LSN, &[], "Position confirmed to Postgres, from which it would send again."),
    gauge(SERVER_LSN, &[], "Newest known position of the server's log."),
    gauge(LAG_BYTES, &[], "Log between the confirmed position and the server's newest one."),
    gauge(
        LAG_SECONDS,
        &[],
        "Age of the oldest commit not acknowledged; while disconnected, at least the time since \
         the server was last heard.",
    ),
    gauge(SLOT_RETAINED, &[], "Log that the server keeps because of the slot."),
    gauge(
        SLOT_SAFE,
        &[],
        "Log that can still be written before the slot is in danger (max_slot_wal_keep_size); \
         absent without that limit.",
    ),
    gauge(IN_FLIGHT_RECORDS, &[], "Records produced and not acknowledged."),
    gauge(IN_FLIGHT_BYTES, &[], "Bytes of the records produced and not acknowledged."),
    counter(RECEIVED_MESSAGES, &[], "Replication messages received."),
    counter(RECEIVED_BYTES, &[], "Bytes of the replication messages received."),
    counter(RECORDS, &["table", "op"], "Records handed to the producer, repeats included."),
    counter(RECORD_BYTES, &["table", "op"], "Keys and values of those records, encoded."),
    counter(ACKNOWLEDGED_RECORDS, &[], "Records that the brokers acknowledged."),
    counter(ACKNOWLEDGED_TRANSACTIONS, &[], "Source transactions acknowledged as a whole."),
    counter(SKIPPED_CHANGES, &["reason"], "Changes received that became no record."),
    histogram(
        COMMIT_TO_ACKNOWLEDGE,
        &[],
        "From a transaction's commit in Postgres to the acknowledgement of its last record.",
    ),
    counter(
        PUMP_TIME,
        &["activity"],
        "Time of the pump by what it did or waited for; queue_full: too much in flight to read on.",
    ),
    counter(RECONNECTS, &["cause"], "Times that replication was started again."),
    counter(ERRORS, &["kind", "class"], "Failures, by where and by what can be done."),
    counter(
        PARTITION_CHANGES,
        &["topic"],
        "Times that the number of partitions of a topic in use was found changed.",
    ),
    gauge(
        SNAPSHOT_AGE,
        &[],
        "Age of the snapshot that tables are read at, which holds back vacuum; 0 when none is.",
    ),
    gauge(SNAPSHOT_ROWS, &["table"], "Rows read in the pass under way, or the last one."),
    gauge(
        SNAPSHOT_ROWS_ESTIMATED,
        &["table"],
        "Rows that the table is estimated to have; absent without statistics.",
    ),
    gauge(SNAPSHOT_TABLES_LEFT, &[], "Tables of the pass under way that are not read to the end."),
    counter(
        SNAPSHOT_REPEATED,
        &["table"],
        "Rows read again because an earlier reading of the table was not finished.",
    ),
    counter(REGISTRY_REQUESTS, &["operation", "outcome"], "Requests to the schema registry."),
    histogram(REGISTRY_SECONDS, &[], "Duration of requests to the schema registry."),
];

/// The metric of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Metric> {
    ALL.iter().find(|metric| metric.name == name)
}

/// Adds one to a counter that is too rare to keep a handle of.
pub(super) fn increment(name: &'static str, labels: &[(&'static str, &'static str)]) {
    metrics::counter!(name, labels).increment(1);
}

/// The same with a value of the label that is not known before.
pub(super) fn counted(name: &'static str, label: &'static str, value: &str) {
    added(name, label, value, 1);
}

/// As [`counted`], for many at once.
pub(super) fn added(name: &'static str, label: &'static str, value: &str, count: u64) {
    metrics::counter!(name, label => value.to_owned()).increment(count);
}

/// Gives every description to the recorder that is in force.
pub fn describe() {
    for metric in ALL {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            // Rendered by `telemetry::histogram`, which brings the description along.
            Kind::Histogram => {}
        }
    }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help }
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Histogram, labels, help }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        let mut seen = BTreeSet::new();
        for metric in ALL {
            let name = metric.name;
            assert!(seen.insert(name), "{name} twice");
            assert!(name.starts_with("walferry_"), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            assert!(!name.contains("milli") && !name.contains("micro"), "{name}: base units only");
            assert!(metric.help.ends_with('.'), "{name}: {}", metric.help);
        }
    }

    /// The table of the documentation is generated from the list: paste it from the failure.
    #[test]
    fn the_documentation_lists_them_all() {
        let mut table = String::from("| metric | type | labels | meaning |\n|---|---|---|---|\n");
        for metric in ALL {
            let labels: Vec<String> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
            let (name, kind) = (metric.name, metric.kind.as_str());
            writeln!(table, "| `{name}` | {kind} | {} | {} |", labels.join(", "), metric.help)
                .unwrap();
        }
        let page = include_str!("../../docs/operations.md");
        assert!(page.contains(&table), "docs/operations.md should contain:\n\n{table}");
    }

    #[test]
    fn the_documentation_speaks_of_no_other() {
        let page = include_str!("../../docs/operations.md");
        let words = page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in words.filter(|word| word.starts_with("walferry_")) {
            assert!(find(name).is_some(), "{name} is in docs/operations.md and does not exist");
        }
    }
}
