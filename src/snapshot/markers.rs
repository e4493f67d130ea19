//! The marks on the first and the last rows of a snapshot whose tables are read side by side.
//!
//! Debezium marks the very first record of a snapshot `first`, the very last `last`, and in between
//! the first and the last of each table. Which row is the last is known only when no other follows,
//! so the last row of each range is held back:
//!
//! - A range that ends hands its last row over ([`Markers::end_range`]). While other ranges of the
//!   table are open it is kept, in exchange for the one that was kept before, which goes out with
//!   the mark `true`.
//! - The row that is left when the last range of a table has ended is the table's last. It is kept
//!   too until it is known whether the snapshot has a later row: that is when another table has
//!   given one out ([`Markers::first_row`]) or kept one.
//!
//! # What the caller has to do
//! A reader sends the rows of a range before it ends the range, and sends what is released under
//! the same lock as it was released. Then a row marked as last is sent behind every row of its
//! table: those of other ranges were sent before these ended, and it was released by the end of the
//! last of them. The same holds for `last` and all tables.
//!
//! A row that is first and last has the mark of the last, as in Debezium.

use std::collections::HashMap;

use crate::envelope::Marker;
use crate::postgres::Oid;

/// The rows of type `H` that are held back, and what has been marked so far.
#[derive(Debug)]
pub struct Markers<H> {
    tables: HashMap<Oid, Table<H>>,
    /// The last row of a table, until a later row of another is certain.
    last: Option<(Oid, H)>,
    /// Tables with ranges that have not ended.
    open: usize,
    is_begun: bool,
}

#[derive(Debug)]
struct Table<H> {
    open_ranges: usize,
    is_begun: bool,
    kept: Option<H>,
}

/// A row that may go out, with its mark.
#[derive(Debug, PartialEq, Eq)]
pub struct Released<H> {
    pub row: H,
    pub table: Oid,
    pub marker: Marker,
}

impl<H> Markers<H> {
    /// For tables with so many ranges each, at least one.
    pub fn new(tables: impl IntoIterator<Item = (Oid, usize)>) -> Markers<H> {
        let table = |open_ranges| Table { open_ranges, is_begun: false, kept: None };
        let tables: HashMap<_, _> =
            tables.into_iter().map(|(oid, ranges)| (oid, table(ranges))).collect();
        Markers { open: tables.len(), tables, last: None, is_begun: false }
    }

    /// The mark of a row that goes out now because another of its range follows; before it goes the
    /// last row of a table that has ended, if one was kept.
    pub fn first_row(&mut self, table: Oid) -> (Option<Released<H>>, Marker) {
        let begun = self.tables.get_mut(&table).map(|table| &mut table.is_begun);
        let is_first_in_table = begun.is_some_and(|begun| !std::mem::replace(begun, true));
        let finished = self.take_finished();
        let is_first = !std::mem::replace(&mut self.is_begun, true);
        let marker = match (is_first, is_first_in_table) {
            (true, _) => Marker::First,
            (false, true) => Marker::FirstInTable,
            (false, false) => Marker::True,
        };
        (finished, marker)
    }

    /// A range has ended with this row, if it had any. Answers what may go out, in order.
    pub fn end_range(&mut self, oid: Oid, held: Option<H>) -> Vec<Released<H>> {
        let mut released = Vec::new();
        let Some(table) = self.tables.get_mut(&oid) else { return released };
        debug_assert!(table.open_ranges > 0, "a range has ended twice");
        table.open_ranges = table.open_ranges.saturating_sub(1);
        let is_over = table.open_ranges == 0;
        if let Some(held) = held
            && let Some(row) = table.kept.replace(held)
        {
            let (finished, marker) = self.first_row(oid);
            released.extend(finished);
            released.push(Released { row, table: oid, marker });
        }
        if is_over {
            self.open -= 1;
            let kept = self.tables.get_mut(&oid).and_then(|table| table.kept.take());
            if let Some(row) = kept {
                self.end_table(oid, row, &mut released);
            }
        }
        if self.open == 0 {
            self.release_last(Marker::Last, &mut released);
        } else {
            released.extend(self.take_finished());
        }
        released
    }

    fn end_table(&mut self, oid: Oid, row: H, released: &mut Vec<Released<H>>) {
        self.release_last(Marker::LastInTable, released);
        self.last = Some((oid, row));
    }

    fn release_last(&mut self, marker: Marker, released: &mut Vec<Released<H>>) {
        if let Some((table, row)) = self.last.take() {
            self.is_begun = true;
            released.push(Released { row, table, marker });
        }
    }

    /// The last row of a table that has ended, if it is certain by now that it is not the very last.
    fn take_finished(&mut self) -> Option<Released<H>> {
        if !self.has_later_row() {
            return None;
        }
        let (table, row) = self.last.take()?;
        self.is_begun = true;
        Some(Released { row, table, marker: Marker::LastInTable })
    }

    /// Whether an open table has a row to come: one that is kept, or the one that its reader holds
    /// since it has given out the one before.
    fn has_later_row(&self) -> bool {
        let has_row = |table: &Table<H>| table.kept.is_some() || table.is_begun;
        self.tables.values().any(|table| table.open_ranges > 0 && has_row(table))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What one reader still has to do with a range: its rows.
    type Range = (u32, Vec<u32>);

    /// Sends the rows of ranges in any interleaving, as readers do.
    fn sent(tables: &[Vec<u32>], order: &[usize]) -> Vec<(u32, Marker)> {
        let counts = tables.iter().enumerate();
        let counts = counts.map(|(index, ranges)| (Oid(index as u32), ranges.len()));
        let mut markers = Markers::new(counts.filter(|(_, ranges)| *ranges > 0));
        let mut ranges: Vec<(Range, Option<u32>)> = Vec::new();
        for (index, rows) in tables.iter().enumerate() {
            for rows in rows {
                ranges.push(((index as u32, (0..*rows).collect()), None));
            }
        }
        let mut sent = Vec::new();
        let mut order = order.iter().cycle();
        while !ranges.is_empty() {
            let at = order.next().copied().unwrap_or(0) % ranges.len();
            let ((table, rows), held) = &mut ranges[at];
            if let Some(row) = rows.pop() {
                if held.replace(row).is_some() {
                    let (finished, marker) = markers.first_row(Oid(*table));
                    sent.extend(finished.map(|finished| (finished.table.0, finished.marker)));
                    sent.push((*table, marker));
                }
                continue;
            }
            let (table, held) = (*table, *held);
            ranges.swap_remove(at);
            let released = markers.end_range(Oid(table), held);
            sent.extend(released.into_iter().map(|released| (released.table.0, released.marker)));
        }
        sent
    }

    proptest! {
        #[test]
        fn each_edge_is_marked_once_and_where_it_is(
            tables in proptest::collection::vec(proptest::collection::vec(0..4u32, 0..4), 0..5),
            order in proptest::collection::vec(0..16usize, 1..64),
        ) {
            let sent = sent(&tables, &order);
            let rows: u32 = tables.iter().flatten().sum();
            prop_assert_eq!(sent.len(), rows as usize);
            let count = |marker| sent.iter().filter(|(_, found)| *found == marker).count();
            prop_assert_eq!(count(Marker::Last), usize::from(rows > 0));
            if let Some((_, marker)) = sent.last() {
                prop_assert_eq!(*marker, Marker::Last);
            }
            // First is first, unless that row was its table's last as well.
            prop_assert!(count(Marker::First) <= 1);
            prop_assert!(sent.iter().skip(1).all(|(_, marker)| *marker != Marker::First));
            if let Some((_, marker)) = sent.first() {
                prop_assert!(!matches!(marker, Marker::True | Marker::FirstInTable));
            }
            for index in 0..tables.len() as u32 {
                let of: Vec<_> = sent.iter().filter(|(table, _)| *table == index).collect();
                let Some((_, last)) = of.last() else { continue };
                prop_assert!(matches!(last, Marker::Last | Marker::LastInTable));
                if of.len() > 1 {
                    prop_assert!(matches!(of[0].1, Marker::First | Marker::FirstInTable));
                }
                let inner = of.get(1..of.len() - 1).unwrap_or_default();
                prop_assert!(inner.iter().all(|(_, marker)| *marker == Marker::True));
            }
        }
    }

    #[test]
    fn a_finished_table_does_not_wait_for_one_that_has_rows_to_come() {
        let mut markers = Markers::new([(Oid(1), 1), (Oid(2), 2)]);
        assert_eq!(markers.end_range(Oid(2), Some("of two")), []);
        let released = markers.end_range(Oid(1), Some("of one"));
        let expected = Released { row: "of one", table: Oid(1), marker: Marker::LastInTable };
        assert_eq!(released, [expected]);
    }
}
