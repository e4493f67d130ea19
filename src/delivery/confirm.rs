//! From durable to confirmed: an LSN is reported to Postgres only after a position record that
//! holds it is durable itself.
//!
//! # The guarantee
//! [`Confirmation::confirmed`] is at most the `done` of an acknowledged position record, and never
//! goes back. So whatever the slot forgets, the position topic knows to be delivered, and a slot
//! ahead of the position always means that somebody else moved it.
//!
//! # The argument
//! At most one position record is in flight. `confirmed` changes only in
//! [`Confirmation::stored`], to the `done` of exactly that record; [`Confirmation::due`] offers no
//! LSN at or below the one stored or in flight.

use std::time::{Duration, Instant};

use crate::postgres::Lsn;

/// The way of an LSN to the slot.
#[derive(Debug)]
pub struct Confirmation {
    confirmed: Lsn,
    in_flight: Option<Lsn>,
    last_write: Option<Instant>,
}

/// Between two position records while transactions are delivered. Ten small records a second cost
/// nothing, and a crash repeats a tenth of a second more at the most.
const BUSY_INTERVAL: Duration = Duration::from_millis(100);

/// Between two position records that only follow the server's keepalives.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);

impl Confirmation {
    /// `done` is the position that was read at start.
    #[must_use]
    pub fn new(done: Lsn) -> Confirmation {
        Confirmation { confirmed: done, in_flight: None, last_write: None }
    }

    /// The LSN to write a position record for now, if one is due: `durable` is new, no record is
    /// in flight, and the last one is old enough. `delivered` says that records were delivered
    /// since, `urgent` that waiting is pointless (a stop).
    #[must_use]
    pub fn due(&self, durable: Lsn, delivered: bool, urgent: bool, now: Instant) -> Option<Lsn> {
        if self.in_flight.is_some() || durable <= self.confirmed {
            return None;
        }
        let interval = if delivered { BUSY_INTERVAL } else { IDLE_INTERVAL };
        let old_enough = self.last_write.is_none_or(|last| now.duration_since(last) >= interval);
        (urgent || old_enough).then_some(durable)
    }

    /// A position record with `done` was enqueued.
    pub fn writing(&mut self, done: Lsn, now: Instant) {
        debug_assert!(self.in_flight.is_none(), "two position records in flight");
        debug_assert!(done > self.confirmed, "a position that says nothing new");
        self.in_flight = Some(done);
        self.last_write = Some(now);
    }

    /// The position record in flight was acknowledged.
    pub fn stored(&mut self) {
        debug_assert!(self.in_flight.is_some(), "no position record in flight");
        if let Some(done) = self.in_flight.take() {
            self.confirmed = self.confirmed.max(done);
        }
    }

    /// What may be reported to Postgres as flushed.
    #[must_use]
    pub fn confirmed(&self) -> Lsn {
        self.confirmed
    }

    /// Whether a position record is in flight.
    #[must_use]
    pub fn is_writing(&self) -> bool {
        self.in_flight.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_confirmed_before_the_position_is_stored() {
        let start = Instant::now();
        let mut confirmation = Confirmation::new(Lsn(10));
        assert_eq!(confirmation.due(Lsn(10), true, true, start), None);
        assert_eq!(confirmation.due(Lsn(20), true, false, start), Some(Lsn(20)));
        confirmation.writing(Lsn(20), start);
        assert_eq!(confirmation.confirmed(), Lsn(10));
        assert_eq!(confirmation.due(Lsn(30), true, true, start), None, "two in flight");
        confirmation.stored();
        assert_eq!(confirmation.confirmed(), Lsn(20));
    }

    #[test]
    fn records_are_spaced_by_what_happened() {
        let start = Instant::now();
        let mut confirmation = Confirmation::new(Lsn(10));
        confirmation.writing(Lsn(20), start);
        confirmation.stored();
        let soon = start + BUSY_INTERVAL;
        assert_eq!(confirmation.due(Lsn(30), false, false, soon), None);
        assert_eq!(confirmation.due(Lsn(30), true, false, soon), Some(Lsn(30)));
        assert_eq!(confirmation.due(Lsn(30), false, true, start), Some(Lsn(30)));
        let late = start + IDLE_INTERVAL;
        assert_eq!(confirmation.due(Lsn(30), false, false, late), Some(Lsn(30)));
    }
}
