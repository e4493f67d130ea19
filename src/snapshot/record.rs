//! The snapshot record: which tables have been read, durable beside the position.
//!
//! Self-contained, versioned JSON under a key of its own in the position topic. A table is entered
//! as [`Done`](TableState::Done) only when all its rows were acknowledged; a table that the record
//! does not know was listed later.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::delivery::SlotOrigin;
use crate::postgres::{Oid, SystemId};

/// Which tables of one deployment have been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub origin: SlotOrigin,
    pub tables: BTreeMap<Oid, Table>,
    /// How often the reading of tables was begun.
    pub passes: u32,
}

/// A table, or whatever else owns a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// `schema.name` when it was listed.
    pub name: String,
    #[serde(flatten)]
    pub state: TableState,
}

/// How far a table's rows are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum TableState {
    /// Delivered, or not wanted.
    Done,
    /// To be read whole, at one exported snapshot.
    Frozen(FrozenState),
    /// To be read in chunks, while the stream goes on.
    Windows(WindowState),
}

/// What is left of a table that is read at one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FrozenState {
    /// Only the rows that this SQL condition holds for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// In chunks instead, if the table allows it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub windows: bool,
}

/// How far a table is that is read in chunks. Keys are the texts of the primary key's columns, in
/// key order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WindowState {
    /// Only the rows that this SQL condition holds for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// The rows up to this key were delivered; `None`: none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Vec<String>>,
    /// All rows were delivered, but for those in `reread`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_through: bool,
    /// Keys of rows that the stream has changed without sending all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reread: Vec<Vec<String>>,
    /// Delivered so far.
    #[serde(default)]
    pub rows: u64,
}

/// The record's bytes are none that this version understands.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the snapshot record is not the JSON that walferry writes")]
    Json(#[from] serde_json::Error),
    #[error("the snapshot record has version {0}, this walferry writes version {VERSION}")]
    Version(u32),
    #[error("the snapshot record's {0} is malformed")]
    Field(&'static str),
}

const VERSION: u32 = 1;

/// The record as written. Numbers of 64 bits are text: JSON readers round them.
#[derive(Serialize, Deserialize)]
struct Wire {
    version: u32,
    system: String,
    database: u32,
    slot: String,
    passes: u32,
    tables: BTreeMap<u32, Table>,
}

impl Record {
    /// A record that knows no table.
    #[must_use]
    pub fn new(origin: SlotOrigin) -> Record {
        Record { origin, tables: BTreeMap::new(), passes: 0 }
    }

    /// Enters a table, or what has become of it.
    pub fn set(&mut self, oid: Oid, name: String, state: TableState) {
        self.tables.insert(oid, Table { name, state });
    }

    /// Whether the table was listed when the record was last brought up to date.
    #[must_use]
    pub fn knows(&self, oid: Oid) -> bool {
        self.tables.contains_key(&oid)
    }

    /// The tables that are still to be read.
    pub fn pending(&self) -> impl Iterator<Item = (Oid, &Table)> {
        self.tables
            .iter()
            .filter(|(_, table)| table.state != TableState::Done)
            .map(|(oid, table)| (*oid, table))
    }

    /// The value of the snapshot record.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let wire = Wire {
            version: VERSION,
            system: self.origin.system.to_string(),
            database: self.origin.database.0,
            slot: self.origin.slot.clone(),
            passes: self.passes,
            tables: self.tables.iter().map(|(oid, table)| (oid.0, table.clone())).collect(),
        };
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    /// Reads the value of a snapshot record.
    ///
    /// # Errors
    /// [`Error`] when the bytes are no record of this version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Record, Error> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_slice(bytes)?;
        if version != VERSION {
            return Err(Error::Version(version));
        }
        let wire: Wire = serde_json::from_slice(bytes)?;
        let origin = SlotOrigin {
            system: SystemId(wire.system.parse().map_err(|_| Error::Field("system"))?),
            database: Oid(wire.database),
            slot: wire.slot,
        };
        let tables = wire.tables.into_iter().map(|(oid, table)| (Oid(oid), table)).collect();
        Ok(Record { origin, tables, passes: wire.passes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let origin =
            SlotOrigin { system: SystemId(u64::MAX), database: Oid(5), slot: "s".to_owned() };
        let mut record = Record::new(origin);
        record.set(Oid(7), "public.a".to_owned(), TableState::Done);
        let condition = Some("id > 3".to_owned());
        let frozen = TableState::Frozen(FrozenState { condition, windows: false });
        record.set(Oid(8), "public.b".to_owned(), frozen);
        record.set(Oid(9), "public.c".to_owned(), TableState::Frozen(FrozenState::default()));
        let windows = WindowState {
            after: Some(vec!["1".to_owned()]),
            reread: vec![vec!["2".to_owned()]],
            rows: 7,
            ..WindowState::default()
        };
        record.set(Oid(10), "public.d".to_owned(), TableState::Windows(windows));
        record
    }

    #[test]
    fn records_survive_the_topic() {
        let record = record();
        let bytes = record.to_bytes();
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            "{\"version\":1,\"system\":\"18446744073709551615\",\"database\":5,\"slot\":\"s\",\
             \"passes\":0,\"tables\":{\"7\":{\"name\":\"public.a\",\"state\":\"done\"},\
             \"8\":{\"name\":\"public.b\",\"state\":\"frozen\",\"condition\":\"id > 3\"},\
             \"9\":{\"name\":\"public.c\",\"state\":\"frozen\"},\
             \"10\":{\"name\":\"public.d\",\"state\":\"windows\",\"after\":[\"1\"],\
             \"reread\":[[\"2\"]],\"rows\":7}}}"
        );
        assert_eq!(Record::from_bytes(&bytes).unwrap(), record);
    }

    #[test]
    fn what_is_not_done_is_pending() {
        let record = record();
        let pending: Vec<_> = record.pending().map(|(oid, _)| oid.0).collect();
        assert_eq!(pending, [8, 9, 10]);
        assert!(record.knows(Oid(7)) && !record.knows(Oid(1)));
    }

    #[test]
    fn foreign_bytes_are_refused() {
        assert!(matches!(Record::from_bytes(b"\xff"), Err(Error::Json(_))));
        assert!(matches!(Record::from_bytes(b"{\"version\":2}"), Err(Error::Version(2))));
        assert!(matches!(Record::from_bytes(b"{\"version\":1}"), Err(Error::Json(_))));
    }
}
