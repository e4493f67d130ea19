//! The ledger of what is in flight: turns acknowledgements into the LSN up to which everything is
//! durable.
//!
//! # The guarantee (I1)
//! [`Ledger::durable`] is never past the commit LSN of the oldest transaction that has a record
//! which the brokers did not acknowledge, and it never goes back.
//!
//! # The argument
//! 1. The stream delivers *units* - transactions, and messages outside of them - one after the
//!    other, and each unit's commit LSN is at or past the end of the unit before it, because the
//!    server sends transactions in the order of their commit records. [`Ledger::begin`] checks it.
//! 2. `units` holds every unit that is open or has a record outstanding, and all after it, in that
//!    order: a unit enters at the back and leaves only at the front, and only when its commit was
//!    received and its count of outstanding records is zero.
//! 3. The count is raised by [`Ledger::enqueued`] for every record that the producer took, before
//!    any report of it can be seen (reports are polled by the same thread), and lowered only by a
//!    report that carries this ledger's epoch. A report of an older connection's record carries an
//!    older epoch and changes nothing.
//! 4. `durable` is set in two places: to the end LSN of a unit that leaves the front, which by 1
//!    and 2 is at or before the commit LSN of every unit left; and by [`Ledger::reached`], which
//!    moves it only when no unit is left, and otherwise moves the end of the last unit, so that 1
//!    still holds for units to come.
//!
//! A failed record is never taken out: its unit stays, and nothing after it is confirmed until the
//! stream was rebuilt from the position.

use std::collections::VecDeque;

use crate::postgres::{Lsn, PgTime};

/// Ties a delivery report to what was delivered. Fits the producer's opaque 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ticket {
    /// A record of the unit with this sequence number.
    Unit { epoch: u16, sequence: u64 },
    /// A position record.
    Position { epoch: u16 },
    /// A row that a snapshot has read, of the table with this index.
    Row { epoch: u16, table: u32 },
    /// A snapshot record.
    SnapshotRecord { epoch: u16 },
}

impl Ticket {
    const KIND_SHIFT: u32 = 62;
    const EPOCH_SHIFT: u32 = 46;
    const NUMBER_MASK: u64 = (1 << Self::EPOCH_SHIFT) - 1;

    /// Two bits for the kind, 16 for the epoch, 46 for the number: at a million units a second it
    /// lasts two years, and a connection begins it anew.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        let (kind, epoch, number) = match self {
            Ticket::Unit { epoch, sequence } => (0, epoch, sequence),
            Ticket::Position { epoch } => (1, epoch, 0),
            Ticket::Row { epoch, table } => (2, epoch, u64::from(table)),
            Ticket::SnapshotRecord { epoch } => (3, epoch, 0),
        };
        debug_assert!(number <= Self::NUMBER_MASK, "sequence number out of range");
        kind << Self::KIND_SHIFT
            | u64::from(epoch) << Self::EPOCH_SHIFT
            | (number & Self::NUMBER_MASK)
    }

    /// The ticket that [`to_bits`](Self::to_bits) made.
    #[must_use]
    pub fn from_bits(bits: u64) -> Ticket {
        let epoch = (bits >> Self::EPOCH_SHIFT & 0xFFFF) as u16;
        let number = bits & Self::NUMBER_MASK;
        match bits >> Self::KIND_SHIFT {
            0 => Ticket::Unit { epoch, sequence: number },
            1 => Ticket::Position { epoch },
            2 => Ticket::Row { epoch, table: number as u32 },
            _ => Ticket::SnapshotRecord { epoch },
        }
    }
}

/// A transaction, or a message outside of one, with something not durable before or in it.
#[derive(Debug, Clone, Copy)]
struct Unit {
    commit_lsn: Lsn,
    commit_time: PgTime,
    outstanding: u32,
    /// Of the outstanding records; an estimate until none is left.
    bytes: u64,
    /// Known once the commit was received.
    end: Option<Lsn>,
}

/// What is in flight on one connection. See the module's argument.
#[derive(Debug)]
pub struct Ledger {
    epoch: u16,
    /// Oldest first.
    units: VecDeque<Unit>,
    /// Sequence number of `units[0]`.
    first: u64,
    durable: Lsn,
    /// Records enqueued and not acknowledged, and about how many bytes they are.
    in_flight: u64,
    in_flight_bytes: u64,
}

/// A unit whose records are all durable, as is everything before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    pub commit_time: PgTime,
    pub end: Lsn,
}

impl Ledger {
    /// An empty ledger for a new connection whose position is `done`.
    ///
    /// `epoch` must differ from that of every connection whose reports may still come in.
    #[must_use]
    pub fn new(epoch: u16, done: Lsn) -> Ledger {
        let units = VecDeque::new();
        Ledger { epoch, units, first: 0, durable: done, in_flight: 0, in_flight_bytes: 0 }
    }

    /// Opens the unit that commits at `commit_lsn`.
    pub fn begin(&mut self, commit_lsn: Lsn, commit_time: PgTime) {
        debug_assert!(self.units.back().is_none_or(|last| last.end.is_some()), "unit left open");
        debug_assert!(
            self.units.back().and_then(|last| last.end).is_none_or(|end| end <= commit_lsn),
            "units out of commit order"
        );
        let unit = Unit { commit_lsn, commit_time, outstanding: 0, bytes: 0, end: None };
        self.units.push_back(unit);
    }

    /// The ticket for the open unit's next record.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        debug_assert!(self.is_open(), "a record outside a unit");
        let last = (self.units.len() as u64).saturating_sub(1);
        Ticket::Unit { epoch: self.epoch, sequence: self.first + last }
    }

    /// The producer took a record of so many bytes with the current [`ticket`](Self::ticket).
    pub fn enqueued(&mut self, bytes: u64) {
        debug_assert!(self.is_open(), "a record outside a unit");
        if let Some(unit) = self.units.back_mut() {
            unit.outstanding += 1;
            unit.bytes += bytes;
            self.in_flight += 1;
            self.in_flight_bytes += bytes;
        }
    }

    /// The open unit is complete; `end` is just past its commit record.
    pub fn commit(&mut self, end: Lsn, settled: &mut impl FnMut(Settled)) {
        if let Some(unit) = self.units.back_mut() {
            debug_assert!(unit.end.is_none(), "committed twice");
            debug_assert!(end >= unit.commit_lsn, "a unit ends before its commit record");
            unit.end = Some(end);
        }
        self.settle(settled);
    }

    /// The brokers acknowledged a record. Returns whether it was one of this ledger's.
    pub fn acknowledged(&mut self, ticket: Ticket, settled: &mut impl FnMut(Settled)) -> bool {
        let Ticket::Unit { epoch, sequence } = ticket else { return false };
        let index = sequence.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        let unit = index.and_then(|index| self.units.get_mut(index));
        let Some(unit) = unit.filter(|unit| epoch == self.epoch && unit.outstanding > 0) else {
            debug_assert!(epoch != self.epoch, "a report for a record that is not outstanding");
            return false;
        };
        // A report does not say how large its record was: it takes an equal share along, and the
        // last one all that is left.
        let share = unit.bytes / u64::from(unit.outstanding);
        unit.outstanding -= 1;
        unit.bytes -= share;
        self.in_flight -= 1;
        self.in_flight_bytes -= share;
        if sequence == self.first {
            self.settle(settled);
        }
        true
    }

    /// The server has sent everything before `lsn`, and what it sent was received (a keepalive).
    /// Ignored inside a unit.
    pub fn reached(&mut self, lsn: Lsn) {
        match self.units.back_mut() {
            None => self.durable = self.durable.max(lsn),
            Some(Unit { end: Some(end), .. }) => *end = (*end).max(lsn),
            Some(Unit { end: None, .. }) => {}
        }
    }

    /// Everything that commits before this LSN is durable at the brokers.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// Records enqueued and not acknowledged.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// About how many bytes are enqueued and not acknowledged.
    #[must_use]
    pub fn in_flight_bytes(&self) -> u64 {
        self.in_flight_bytes
    }

    /// Whether a unit was begun and its commit not received.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.units.back().is_some_and(|unit| unit.end.is_none())
    }

    /// Whether every unit that was received is durable.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.units.is_empty()
    }

    /// The commit LSN and time of the oldest unit that is not durable.
    #[must_use]
    pub fn oldest(&self) -> Option<(Lsn, PgTime)> {
        self.units.front().map(|unit| (unit.commit_lsn, unit.commit_time))
    }

    /// The epoch that its tickets carry.
    #[must_use]
    pub fn epoch(&self) -> u16 {
        self.epoch
    }

    fn settle(&mut self, settled: &mut impl FnMut(Settled)) {
        while let Some(&Unit { outstanding: 0, end: Some(end), commit_time, .. }) =
            self.units.front()
        {
            self.units.pop_front();
            self.first += 1;
            self.durable = self.durable.max(end);
            settled(Settled { commit_time, end });
        }
        debug_assert!(
            self.units.front().is_none_or(|oldest| self.durable <= oldest.commit_lsn),
            "durable is past a transaction in flight"
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ignore(_: Settled) {}

    #[test]
    fn tickets_survive_the_opaque() {
        for ticket in [
            Ticket::Unit { epoch: 0, sequence: 0 },
            Ticket::Unit { epoch: u16::MAX, sequence: Ticket::NUMBER_MASK },
            Ticket::Position { epoch: 7 },
            Ticket::Position { epoch: u16::MAX },
            Ticket::Row { epoch: 0, table: 0 },
            Ticket::Row { epoch: u16::MAX, table: u32::MAX },
            Ticket::SnapshotRecord { epoch: 7 },
        ] {
            assert_eq!(Ticket::from_bits(ticket.to_bits()), ticket);
        }
    }

    #[test]
    fn a_later_transaction_waits_for_an_earlier_one() {
        let mut ledger = Ledger::new(1, Lsn(10));
        ledger.begin(Lsn(20), PgTime(0));
        let first = ledger.ticket();
        ledger.enqueued(7);
        ledger.commit(Lsn(25), &mut ignore);
        ledger.begin(Lsn(30), PgTime(0));
        let second = ledger.ticket();
        ledger.enqueued(7);
        ledger.commit(Lsn(35), &mut ignore);

        assert!(ledger.acknowledged(second, &mut ignore));
        assert_eq!(ledger.durable(), Lsn(10));
        assert!(ledger.acknowledged(first, &mut ignore));
        assert_eq!(ledger.durable(), Lsn(35));
        assert!(ledger.is_settled());
    }

    #[test]
    fn an_open_transaction_is_not_durable_although_its_records_are() {
        let mut ledger = Ledger::new(1, Lsn(10));
        ledger.begin(Lsn(20), PgTime(0));
        let ticket = ledger.ticket();
        ledger.enqueued(7);
        ledger.acknowledged(ticket, &mut ignore);
        ledger.reached(Lsn(22));
        assert_eq!(ledger.durable(), Lsn(10));
        ledger.commit(Lsn(25), &mut ignore);
        assert_eq!(ledger.durable(), Lsn(25));
    }

    #[test]
    fn a_keepalive_waits_for_what_is_in_flight() {
        let mut ledger = Ledger::new(1, Lsn(10));
        ledger.reached(Lsn(15));
        assert_eq!(ledger.durable(), Lsn(15));
        ledger.reached(Lsn(12));
        assert_eq!(ledger.durable(), Lsn(15), "went back");
        ledger.begin(Lsn(20), PgTime(0));
        let ticket = ledger.ticket();
        ledger.enqueued(7);
        ledger.commit(Lsn(25), &mut ignore);
        ledger.reached(Lsn(90));
        assert_eq!(ledger.durable(), Lsn(15));
        ledger.acknowledged(ticket, &mut ignore);
        assert_eq!(ledger.durable(), Lsn(90));
    }

    #[test]
    fn reports_of_an_older_connection_move_nothing() {
        let mut ledger = Ledger::new(2, Lsn(10));
        ledger.begin(Lsn(20), PgTime(0));
        ledger.enqueued(7);
        ledger.commit(Lsn(25), &mut ignore);
        assert!(!ledger.acknowledged(Ticket::Unit { epoch: 1, sequence: 0 }, &mut ignore));
        assert!(!ledger.acknowledged(Ticket::Position { epoch: 2 }, &mut ignore));
        assert_eq!(ledger.durable(), Lsn(10));
        assert_eq!(ledger.in_flight(), 1);
    }

    /// One step of a connection's life.
    #[derive(Debug, Clone)]
    enum Step {
        /// A transaction so many bytes after the last, with so many records.
        Transaction {
            gap: u64,
            records: usize,
            length: u64,
        },
        /// A report for one of the outstanding records.
        Report(prop::sample::Index),
        /// A report with another epoch.
        StaleReport(u64),
        Keepalive {
            gap: u64,
        },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..50u64, 0..6usize, 1..50u64)
                .prop_map(|(gap, records, length)| Step::Transaction { gap, records, length }),
            8 => any::<prop::sample::Index>().prop_map(Step::Report),
            1 => (0..20u64).prop_map(Step::StaleReport),
            1 => (0..50u64).prop_map(|gap| Step::Keepalive { gap }),
        ]
    }

    proptest! {
        /// Random interleavings against the plain statement of I1 and I6.
        #[test]
        fn durable_is_never_past_what_is_outstanding(
            steps in proptest::collection::vec(step(), 0..200),
        ) {
            let mut ledger = Ledger::new(3, Lsn(100));
            let mut head = 100;
            // (ticket, commit LSN) of every record without a report.
            let mut outstanding: Vec<(Ticket, Lsn)> = Vec::new();
            let mut last_durable = ledger.durable();
            for step in steps {
                match step {
                    Step::Transaction { gap, records, length } => {
                        let commit = Lsn(head + gap);
                        ledger.begin(commit, PgTime(0));
                        for _ in 0..records {
                            outstanding.push((ledger.ticket(), commit));
                            ledger.enqueued(7);
                        }
                        head = commit.0 + length;
                        ledger.commit(Lsn(head), &mut ignore);
                    }
                    Step::Report(index) if !outstanding.is_empty() => {
                        let (ticket, _) = outstanding.swap_remove(index.index(outstanding.len()));
                        prop_assert!(ledger.acknowledged(ticket, &mut ignore));
                    }
                    Step::Report(_) => {}
                    Step::StaleReport(sequence) => {
                        let stale = Ticket::Unit { epoch: 2, sequence };
                        prop_assert!(!ledger.acknowledged(stale, &mut ignore));
                    }
                    Step::Keepalive { gap } => {
                        head += gap;
                        ledger.reached(Lsn(head));
                    }
                }
                let oldest = outstanding.iter().map(|&(_, commit)| commit).min();
                match oldest {
                    Some(oldest) => prop_assert!(ledger.durable() <= oldest),
                    None => prop_assert_eq!(ledger.durable(), Lsn(head)),
                }
                prop_assert!(ledger.durable() >= last_durable);
                prop_assert_eq!(ledger.in_flight(), outstanding.len() as u64);
                prop_assert_eq!(ledger.in_flight_bytes(), 7 * outstanding.len() as u64);
                last_durable = ledger.durable();
            }
        }
    }
}
