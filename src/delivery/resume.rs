//! The resume filter: drops what the server sends again although it was delivered.
//!
//! # The argument
//! `done` of the position means what the slot's `confirmed_flush_lsn` means: everything that
//! commits before it was delivered. The server sends whole transactions, in commit order, from a
//! point at or before `done`; so a transaction was delivered if and only if its commit LSN is
//! before `done`. A slot confirmed at a transaction's commit LSN sends it again, one confirmed at
//! its end LSN does not, and so decides this filter. A message outside of transactions is
//! delivered when its LSN is at or before `done`, since its LSN is where it *ends*.
//!
//! The filter never looks at the LSN of a row: the rows of one COPY share it.

use crate::postgres::Lsn;

/// Decides by commit LSN. See the module's argument.
#[derive(Debug, Clone, Copy)]
pub struct ResumeFilter {
    done: Lsn,
}

impl ResumeFilter {
    /// `done` is the position that was read on this connect.
    #[must_use]
    pub fn new(done: Lsn) -> ResumeFilter {
        ResumeFilter { done }
    }

    /// Whether a transaction was delivered before.
    #[must_use]
    pub fn delivered_transaction(&self, commit_lsn: Lsn) -> bool {
        commit_lsn < self.done
    }

    /// Whether a message outside of transactions was delivered before.
    #[must_use]
    pub fn delivered_message(&self, lsn: Lsn) -> bool {
        lsn <= self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_is_the_servers() {
        let filter = ResumeFilter::new(Lsn(100));
        assert!(filter.delivered_transaction(Lsn(99)));
        assert!(!filter.delivered_transaction(Lsn(100)));
        assert!(filter.delivered_message(Lsn(100)));
        assert!(!filter.delivered_message(Lsn(101)));
    }
}
