//! The tally of a snapshot's rows: which tables have rows that the brokers did not acknowledge.
//!
//! # The guarantee
//! [`Tally::outstanding`] of a table is zero only when every row of it that was enqueued in this
//! epoch was acknowledged.
//!
//! # The argument
//! A count is raised for each row that the producer took, before any report of it can be seen
//! (reports are polled by the same thread), and lowered only by the report of a row of that table
//! that carries this tally's epoch. A row whose delivery failed is never taken out.

use super::Ticket;

/// Rows in flight by table. Tables are numbered by the pass that reads them.
#[derive(Debug, Default)]
pub struct Tally {
    epoch: u16,
    tables: Vec<Count>,
    rows: u64,
    bytes: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    rows: u64,
    /// Of these rows; an estimate until none is left.
    bytes: u64,
}

impl Tally {
    /// Nothing is in flight. `epoch` as of the connection's [`Ledger`](super::Ledger).
    #[must_use]
    pub fn new(epoch: u16) -> Tally {
        Tally { epoch, ..Tally::default() }
    }

    /// The ticket of a row.
    #[must_use]
    pub fn ticket(&self, table: u32) -> Ticket {
        Ticket::Row { epoch: self.epoch, table }
    }

    /// The producer took a row of so many bytes.
    pub fn enqueued(&mut self, table: u32, bytes: u64) {
        let index = table as usize;
        if self.tables.len() <= index {
            self.tables.resize(index + 1, Count::default());
        }
        if let Some(count) = self.tables.get_mut(index) {
            count.rows += 1;
            count.bytes += bytes;
            self.rows += 1;
            self.bytes += bytes;
        }
    }

    /// The brokers acknowledged a row. Returns whether it was one of this tally's.
    pub fn acknowledged(&mut self, epoch: u16, table: u32) -> bool {
        let count = self.tables.get_mut(table as usize).filter(|count| count.rows > 0);
        let Some(count) = count.filter(|_| epoch == self.epoch) else {
            debug_assert!(epoch != self.epoch, "a report for a row that is not outstanding");
            return false;
        };
        // A report does not say how large its row was: each takes an equal share.
        let share = count.bytes / count.rows;
        count.rows -= 1;
        count.bytes -= share;
        self.rows -= 1;
        self.bytes -= share;
        true
    }

    /// Rows of the table that are not acknowledged.
    #[must_use]
    pub fn outstanding(&self, table: u32) -> u64 {
        self.tables.get(table as usize).map_or(0, |count| count.rows)
    }

    /// Rows that are not acknowledged.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.rows
    }

    /// About how many bytes they are.
    #[must_use]
    pub fn in_flight_bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_table_has_nothing_outstanding_only_when_all_its_rows_are_acknowledged(
            steps in proptest::collection::vec((0..3u32, any::<bool>(), 0..100u64), 0..200),
        ) {
            let mut tally = Tally::new(4);
            let mut model = [0u64; 3];
            for (table, enqueues, bytes) in steps {
                let count = &mut model[table as usize];
                if enqueues {
                    tally.enqueued(table, bytes);
                    *count += 1;
                } else if *count > 0 {
                    prop_assert!(tally.acknowledged(4, table));
                    *count -= 1;
                }
                prop_assert!(!tally.acknowledged(3, table), "of an older connection");
                for (table, count) in (0..).zip(model) {
                    prop_assert_eq!(tally.outstanding(table), count);
                }
                prop_assert_eq!(tally.in_flight(), model.iter().sum::<u64>());
                if tally.in_flight() == 0 {
                    prop_assert_eq!(tally.in_flight_bytes(), 0);
                }
            }
        }
    }
}
