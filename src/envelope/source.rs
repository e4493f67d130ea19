//! The `source` block: where a change came from.
//!
//! Most of it never changes for one table, and nearly all the rest is the same for all rows of a
//! transaction: what a transaction's first event encodes the others copy. Per event only its own
//! LSN is written, twice. The field order is the schema's:
//!
//! ```text
//! before  version, connector, name, ts_ms, snapshot, db
//!         sequence: its length, the last commit (of the transaction), the event's LSN
//! after   ts_us, ts_ns, schema, table, txId
//!         lsn, xmin, origin, origin_lsn
//! ```

use crate::avro::primitive::{write_branch, write_bytes, write_long};
pub use crate::pgoutput::Origin;
use crate::postgres::{Lsn, PgTime, Xid};

/// What an event says of its place in the stream. `'a` is the origin's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventContext<'a> {
    /// The start of the commit record of the event's transaction.
    pub commit_lsn: Lsn,
    /// `None` for a message outside any transaction.
    pub xid: Option<Xid>,
    pub commit_time: PgTime,
    /// The row's own LSN: the start of its WAL data.
    pub lsn: Lsn,
    /// The commit before this transaction; `None` for the first one of a connection.
    pub last_commit_lsn: Option<Lsn>,
    /// Of a transaction that was replicated from elsewhere.
    pub origin: Option<Origin<'a>>,
    /// When the event is processed: nanoseconds since 1970-01-01 UTC.
    pub now_nanos: i64,
}

/// What consumers read in `source.version`. They compare it and branch on it, so it names the
/// Debezium version whose events these are, not walferry's own.
pub const VERSION: &str = "3.6.3.Final";

/// What consumers read in `source.connector`.
pub const CONNECTOR: &str = "postgresql";

/// Writes the source blocks of one table.
#[derive(Debug, Clone)]
pub(super) struct SourceBlock {
    /// The stretches that never change.
    head: Box<[u8]>,
    database: Box<[u8]>,
    tail: Box<[u8]>,
    /// The transaction of the last event.
    transaction: Option<Transaction>,
    shared: Shared,
}

/// All that the shared stretches depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Transaction {
    commit_time: PgTime,
    last_commit_lsn: Option<Lsn>,
    xid: Option<Xid>,
}

/// What the events of one transaction share, encoded.
#[derive(Debug, Clone, Default)]
struct Shared {
    before: Vec<u8>,
    /// The text of `sequence` up to the event's LSN.
    sequence: Vec<u8>,
    /// Begins with the end of `sequence`.
    after: Vec<u8>,
}

impl SourceBlock {
    /// Logical messages have neither schema nor table: both are empty.
    pub(super) fn new(name: &str, database: &str, schema: &str, table: &str) -> SourceBlock {
        let mut head = Vec::new();
        for text in [VERSION, CONNECTOR, name] {
            write_bytes(text.as_bytes(), &mut head);
        }
        let mut encoded_database = Vec::new();
        write_bytes(database.as_bytes(), &mut encoded_database);
        let mut tail = Vec::new();
        write_bytes(schema.as_bytes(), &mut tail);
        write_bytes(table.as_bytes(), &mut tail);
        SourceBlock {
            head: head.into(),
            database: encoded_database.into(),
            tail: tail.into(),
            transaction: None,
            shared: Shared::default(),
        }
    }

    pub(super) fn write(&mut self, context: &EventContext<'_>, out: &mut Vec<u8>) {
        let &EventContext { commit_time, last_commit_lsn, xid, .. } = context;
        let transaction = Transaction { commit_time, last_commit_lsn, xid };
        if self.transaction != Some(transaction) {
            self.share(&transaction);
            self.transaction = Some(transaction);
        }
        let Shared { before, sequence, after } = &self.shared;
        let mut digits = [0; MAX_DIGITS];
        let lsn = decimal(context.lsn.0, &mut digits);
        out.extend_from_slice(before);
        write_long((sequence.len() + lsn.len() + SEQUENCE_END.len()) as i64, out);
        out.extend_from_slice(sequence);
        out.extend_from_slice(lsn);
        out.extend_from_slice(after);
        write_some_long(context.lsn.0.cast_signed(), out);
        write_branch(0, out);
        match context.origin {
            Some(origin) => {
                write_branch(1, out);
                write_bytes(origin.name.as_bytes(), out);
                write_some_long(origin.lsn.0.cast_signed(), out);
            }
            None => {
                write_branch(0, out);
                write_branch(0, out);
            }
        }
    }

    /// Encodes what the events of `transaction` share.
    fn share(&mut self, transaction: &Transaction) {
        let Shared { before, sequence, after } = &mut self.shared;
        let micros = transaction.commit_time.unix_micros();
        before.clear();
        before.extend_from_slice(&self.head);
        write_long(micros.div_euclid(1_000), before);
        write_marker(b"false", before);
        before.extend_from_slice(&self.database);
        write_branch(1, before);
        sequence.clear();
        match transaction.last_commit_lsn {
            Some(last) => {
                sequence.extend_from_slice(b"[\"");
                sequence.extend_from_slice(decimal(last.0, &mut [0; MAX_DIGITS]));
                sequence.extend_from_slice(b"\",\"");
            }
            None => sequence.extend_from_slice(b"[null,\""),
        }
        after.clear();
        after.extend_from_slice(SEQUENCE_END);
        write_some_long(micros, after);
        write_some_long(micros.saturating_mul(1_000), after);
        after.extend_from_slice(&self.tail);
        match transaction.xid {
            Some(xid) => write_some_long(i64::from(xid.0), after),
            None => write_branch(0, after),
        }
    }
}

/// What a snapshot's records say of their place: all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotContext {
    /// The snapshot sees exactly what committed before this.
    pub lsn: Lsn,
    pub xid: Option<Xid>,
    /// When it was taken.
    pub time: PgTime,
}

/// The place of a row in its snapshot: `source.snapshot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Marker {
    /// The very first of a snapshot.
    First,
    FirstInTable,
    True,
    LastInTable,
    /// The very last of a snapshot.
    Last,
    /// Read while the stream goes on.
    Incremental,
}

impl Marker {
    /// All of them, in the order of their declaration.
    pub const ALL: [Marker; 6] = [
        Marker::First,
        Marker::FirstInTable,
        Marker::True,
        Marker::LastInTable,
        Marker::Last,
        Marker::Incremental,
    ];

    /// As Debezium writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Marker::First => "first",
            Marker::FirstInTable => "first_in_data_collection",
            Marker::True => "true",
            Marker::LastInTable => "last_in_data_collection",
            Marker::Last => "last",
            Marker::Incremental => "incremental",
        }
    }
}

/// The source blocks of one table in one snapshot: one for each [`Marker`], encoded.
#[derive(Debug, Clone)]
pub struct SnapshotSource {
    blocks: [Box<[u8]>; Marker::ALL.len()],
    pub(super) now: Now,
}

impl SnapshotSource {
    pub(super) fn write(&self, marker: Marker, out: &mut Vec<u8>) {
        if let Some(block) = self.blocks.get(marker as usize) {
            out.extend_from_slice(block);
        }
    }
}

impl SourceBlock {
    /// The blocks of the table's rows in a snapshot.
    pub(super) fn snapshot(&self, context: SnapshotContext) -> SnapshotSource {
        let block = |marker: Marker| -> Box<[u8]> {
            let mut out = Vec::new();
            let micros = context.time.unix_micros();
            out.extend_from_slice(&self.head);
            write_long(micros.div_euclid(1_000), &mut out);
            write_marker(marker.as_str().as_bytes(), &mut out);
            out.extend_from_slice(&self.database);
            write_branch(1, &mut out);
            write_bytes(format!("[null,\"{}\"]", context.lsn.0).as_bytes(), &mut out);
            write_some_long(micros, &mut out);
            write_some_long(micros.saturating_mul(1_000), &mut out);
            out.extend_from_slice(&self.tail);
            match context.xid {
                Some(xid) => write_some_long(i64::from(xid.0), &mut out),
                None => write_branch(0, &mut out),
            }
            write_some_long(context.lsn.0.cast_signed(), &mut out);
            // No xmin, origin, or origin_lsn.
            (0..3).for_each(|_| write_branch(0, &mut out));
            out.into()
        };
        SnapshotSource { blocks: Marker::ALL.map(block), now: Now::default() }
    }
}

/// Writes `source.snapshot`, whose union has the text first.
fn write_marker(marker: &[u8], out: &mut Vec<u8>) {
    write_branch(0, out);
    write_bytes(marker, out);
}

/// What ends the JSON of `sequence`, `["<last commit>","<lsn>"]` or `[null,"<lsn>"]`.
const SEQUENCE_END: &[u8] = b"\"]";

/// Writes the `["null","long"]` value `value`.
pub(super) fn write_some_long(value: i64, out: &mut Vec<u8>) {
    write_branch(1, out);
    write_long(value, out);
}

/// Writes `ts_ms`, `ts_us` and `ts_ns` of an envelope. Events that are processed together share a
/// clock reading: it is encoded once.
#[derive(Debug, Clone, Default)]
pub(super) struct Now {
    nanos: i64,
    bytes: Vec<u8>,
}

impl Now {
    pub(super) fn write(&mut self, nanos: i64, out: &mut Vec<u8>) {
        if self.nanos != nanos || self.bytes.is_empty() {
            self.nanos = nanos;
            self.bytes.clear();
            write_some_long(nanos.div_euclid(1_000_000), &mut self.bytes);
            write_some_long(nanos.div_euclid(1_000), &mut self.bytes);
            write_some_long(nanos, &mut self.bytes);
        }
        out.extend_from_slice(&self.bytes);
    }
}

/// `u64::MAX` has this many decimal digits.
const MAX_DIGITS: usize = 20;

/// The decimal digits of `value`, at the end of `digits`.
#[inline]
fn decimal(mut value: u64, digits: &mut [u8; MAX_DIGITS]) -> &[u8] {
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
        used += 1;
        if value == 0 {
            break;
        }
    }
    digits.get(MAX_DIGITS - used..).unwrap_or_default()
}

/// The fields of `Source`: a macro because `concat!` takes literals only.
macro_rules! fields {
    () => {
        concat!(
            r#"{"name":"version","type":"string"},{"name":"connector","type":"string"},"#,
            r#"{"name":"name","type":"string"},{"name":"ts_ms","type":"long"},"#,
            r#"{"name":"snapshot","type":[{"type":"string","connect.version":1,"#,
            r#""connect.parameters":{"allowed":"true,first,first_in_data_collection,"#,
            r#"last_in_data_collection,last,false,incremental"},"connect.default":"false","#,
            r#""connect.name":"io.debezium.data.Enum"},"null"],"default":"false"},"#,
            r#"{"name":"db","type":"string"},"#,
            r#"{"name":"sequence","type":["null","string"],"default":null},"#,
            r#"{"name":"ts_us","type":["null","long"],"default":null},"#,
            r#"{"name":"ts_ns","type":["null","long"],"default":null},"#,
            r#"{"name":"schema","type":"string"},{"name":"table","type":"string"},"#,
            r#"{"name":"txId","type":["null","long"],"default":null},"#,
            r#"{"name":"lsn","type":["null","long"],"default":null},"#,
            r#"{"name":"xmin","type":["null","long"],"default":null},"#,
            r#"{"name":"origin","type":["null","string"],"default":null},"#,
            r#"{"name":"origin_lsn","type":["null","long"],"default":null}"#
        )
    };
}

/// The record `Source` as it stands in a table's envelope.
pub(super) const SCHEMA: &str = concat!(
    r#"{"type":"record","name":"Source","namespace":"io.debezium.connector.postgresql","fields":["#,
    fields!(),
    r#"],"connect.version":1,"connect.name":"io.debezium.connector.postgresql.Source"}"#
);

/// The same inside a record of its own namespace, where Avro leaves the namespace out.
pub(super) const SCHEMA_IN_NAMESPACE: &str = concat!(
    r#"{"type":"record","name":"Source","fields":["#,
    fields!(),
    r#"],"connect.version":1,"connect.name":"io.debezium.connector.postgresql.Source"}"#
);

/// The type of the field `transaction`: null until `format.transactions` exists.
pub(super) const TRANSACTION_SCHEMA: &str = concat!(
    r#"["null",{"type":"record","name":"block","namespace":"event","fields":["#,
    r#"{"name":"id","type":"string"},{"name":"total_order","type":"long"},"#,
    r#"{"name":"data_collection_order","type":"long"}],"#,
    r#""connect.version":1,"connect.name":"event.block"}]"#
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::envelope::fixture::context;

    /// The block as it is written into the stream: one event after the other.
    fn written(block: &mut SourceBlock, context: &EventContext<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        block.write(context, &mut out);
        out
    }

    /// Any event of a few transactions, so that neighbours often share theirs.
    fn event() -> impl Strategy<Value = EventContext<'static>> {
        let last = prop_oneof![Just(None), any::<u64>().prop_map(|lsn| Some(Lsn(lsn)))];
        (0..2i64, prop_oneof![Just(None), Just(Some(Xid(7)))], last, any::<u64>()).prop_map(
            |(second, xid, last_commit_lsn, lsn)| EventContext {
                commit_time: PgTime::from_unix_micros(second * 1_000_000 - 1),
                xid,
                last_commit_lsn,
                lsn: Lsn(lsn),
                ..context()
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_kept_of_a_transaction_changes_no_event(
            events in proptest::collection::vec((event(), 1..3usize), 0..8),
        ) {
            let block = SourceBlock::new("srv", "gt", "public", "t");
            let mut kept = block.clone();
            for (event, repeats) in events {
                for row in 0..repeats as u64 {
                    let event = EventContext { lsn: Lsn(event.lsn.0 ^ row), ..event };
                    let fresh = written(&mut block.clone(), &event);
                    prop_assert_eq!(written(&mut kept, &event), fresh);
                }
            }
        }

        #[test]
        fn sequences_are_json_of_two_decimals(last: Option<u64>, lsn: u64) {
            let context =
                EventContext { last_commit_lsn: last.map(Lsn), lsn: Lsn(lsn), ..context() };
            let text = serde_json::to_string(&[last.map(|l| l.to_string()), Some(lsn.to_string())]);
            let mut expected = Vec::new();
            write_bytes(text.unwrap().as_bytes(), &mut expected);
            let out = written(&mut SourceBlock::new("srv", "gt", "public", "t"), &context);
            prop_assert!(out.windows(expected.len()).any(|window| window == expected));
        }
    }

    #[test]
    fn times_before_the_epoch_round_down_and_are_kept() {
        let mut now = Now::default();
        for (nanos, times) in [(-1, [-1; 3]), (-1, [-1; 3]), (0, [0; 3]), (1_000, [0, 1, 1_000])] {
            let (mut out, mut expected) = (Vec::new(), Vec::new());
            now.write(nanos, &mut out);
            for time in times {
                write_some_long(time, &mut expected);
            }
            assert_eq!(out, expected);
        }
    }
}
