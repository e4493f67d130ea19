//! What a comparison found.

use super::Kind;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Formatter, Result};

/// How many changes of each kind were committed; a change of the key counts as one update.
pub type Counts = BTreeMap<Kind, u64>;

/// How many faults the message of a failed assertion shows.
const SHOWN: usize = 20;

/// Something that is not as it should be. Rows are named by their key, events by their id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// In the database, not in the topic.
    Missing { key: String },
    /// In the topic, not in the database.
    Extra { key: String },
    /// In both, with other values in these columns.
    Different { key: String, columns: Vec<String> },
    /// Committed and delivered changes of a kind are not as many.
    Count { kind: Kind, committed: u64, delivered: u64 },
    /// An arrival that is not in its place.
    Order { key: String, partition: i32, offset: i64, why: &'static str },
    /// A change that does not fit the row as the changes before it left it.
    Unfit { key: String, partition: i32, offset: i64, why: &'static str },
}

/// The comparison of a table, or of outboxes, with topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub subject: String,
    /// Rows in the database; of an outbox, events that were committed.
    pub rows: usize,
    /// Distinct changes in the topic, tombstones aside.
    pub changes: u64,
    /// Records that came before already, tombstones included.
    pub repeated: u64,
    /// The transactions with repeated records.
    pub repeated_transactions: BTreeSet<i64>,
    pub faults: Vec<Fault>,
}

impl Report {
    pub fn new(subject: &str) -> Self {
        Self {
            subject: subject.to_owned(),
            rows: 0,
            changes: 0,
            repeated: 0,
            repeated_transactions: BTreeSet::new(),
            faults: Vec::new(),
        }
    }

    /// Takes the findings of another report in.
    pub fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.changes += other.changes;
        self.repeated += other.repeated;
        self.repeated_transactions.extend(other.repeated_transactions);
        self.faults.extend(other.faults);
    }

    /// Rows or events that the topic lacks, and committed changes that never came.
    pub fn missing(&self) -> u64 {
        let missing = |fault: &Fault| match fault {
            Fault::Missing { .. } => 1,
            Fault::Count { committed, delivered, .. } => committed.saturating_sub(*delivered),
            _ => 0,
        };
        self.faults.iter().map(missing).sum()
    }

    /// Panics with the faults, if there are any.
    pub fn assert_right(&self) {
        assert!(self.faults.is_empty(), "{self}");
    }

    /// Panics if anything is wrong or came twice.
    pub fn assert_exact(&self) {
        self.assert_right();
        assert_eq!(self.repeated, 0, "{self}");
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { subject, rows, changes, repeated, faults, .. } = self;
        write!(f, "{subject}: {rows} rows, {changes} changes, {repeated} repeated")?;
        write!(f, ", {} faults", faults.len())?;
        for fault in faults.iter().take(SHOWN) {
            write!(f, "\n  {fault:?}")?;
        }
        Ok(())
    }
}
