//! The `source` block: where a change came from.
//!
//! Most of it never changes for one table: those stretches are encoded once, and per event only
//! times, positions and ids are written between them. The field order is the schema's:
//!
//! ```text
//! head   version, connector, name
//!        ts_ms
//! middle snapshot, db, and the branch of sequence
//!        sequence, ts_us, ts_ns
//! tail   schema, table
//!        txId, lsn, xmin, origin, origin_lsn
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

/// The constant stretches of a source block, encoded.
#[derive(Debug, Clone)]
pub(super) struct SourceBlock {
    head: Box<[u8]>,
    middle: Box<[u8]>,
    tail: Box<[u8]>,
}

impl SourceBlock {
    /// Logical messages have neither schema nor table: both are empty.
    pub(super) fn new(name: &str, database: &str, schema: &str, table: &str) -> SourceBlock {
        let mut head = Vec::new();
        for text in [VERSION, CONNECTOR, name] {
            write_bytes(text.as_bytes(), &mut head);
        }
        let mut middle = Vec::new();
        write_branch(0, &mut middle);
        write_bytes(b"false", &mut middle);
        write_bytes(database.as_bytes(), &mut middle);
        write_branch(1, &mut middle);
        let mut tail = Vec::new();
        write_bytes(schema.as_bytes(), &mut tail);
        write_bytes(table.as_bytes(), &mut tail);
        SourceBlock { head: head.into(), middle: middle.into(), tail: tail.into() }
    }

    pub(super) fn write(&self, context: &EventContext<'_>, out: &mut Vec<u8>) {
        let micros = context.commit_time.unix_micros();
        out.extend_from_slice(&self.head);
        write_long(micros.div_euclid(1_000), out);
        out.extend_from_slice(&self.middle);
        write_sequence(context.last_commit_lsn, context.lsn, out);
        write_some_long(micros, out);
        write_some_long(micros.saturating_mul(1_000), out);
        out.extend_from_slice(&self.tail);
        match context.xid {
            Some(xid) => write_some_long(i64::from(xid.0), out),
            None => write_branch(0, out),
        }
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
}

/// Writes the `["null","long"]` value `value`.
pub(super) fn write_some_long(value: i64, out: &mut Vec<u8>) {
    write_branch(1, out);
    write_long(value, out);
}

/// Writes `ts_ms`, `ts_us` and `ts_ns` of an envelope.
pub(super) fn write_now(nanos: i64, out: &mut Vec<u8>) {
    write_some_long(nanos.div_euclid(1_000_000), out);
    write_some_long(nanos.div_euclid(1_000), out);
    write_some_long(nanos, out);
}

/// Writes `["<last commit>","<lsn>"]`, or `[null,"<lsn>"]`, as an Avro string.
fn write_sequence(last_commit: Option<Lsn>, lsn: Lsn, out: &mut Vec<u8>) {
    let (mut first, mut second) = ([0; MAX_DIGITS], [0; MAX_DIGITS]);
    let second = decimal(lsn.0, &mut second);
    match last_commit {
        Some(last) => {
            let first = decimal(last.0, &mut first);
            write_concatenated(&[b"[\"", first, b"\",\"", second, b"\"]"], out);
        }
        None => write_concatenated(&[b"[null,\"", second, b"\"]"], out),
    }
}

fn write_concatenated(parts: &[&[u8]], out: &mut Vec<u8>) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    write_long(length as i64, out);
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// `u64::MAX` has this many decimal digits.
const MAX_DIGITS: usize = 20;

/// The decimal digits of `value`, at the end of `digits`.
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

    proptest! {
        #[test]
        fn sequences_are_json_of_two_decimals(last: Option<u64>, lsn: u64) {
            let mut out = Vec::new();
            write_sequence(last.map(Lsn), Lsn(lsn), &mut out);
            let text = serde_json::to_string(&[last.map(|l| l.to_string()), Some(lsn.to_string())]);
            let mut expected = Vec::new();
            write_bytes(text.unwrap().as_bytes(), &mut expected);
            prop_assert_eq!(out, expected);
        }
    }

    #[test]
    fn times_before_the_epoch_round_down() {
        let mut out = Vec::new();
        write_now(-1, &mut out);
        let mut expected = Vec::new();
        for time in [-1, -1, -1] {
            write_some_long(time, &mut expected);
        }
        assert_eq!(out, expected);
    }
}
