//! Chunks of a table between two marks, read while the stream goes on.
//!
//! # The guarantee
//! After [`Window`] has said that a table is done, consumers who keep the last value of each key have
//! what the table has; and no row goes out that is older than what was delivered of its key before.
//!
//! # How a chunk is read
//! A reader writes a *low mark* into the log, a message in a transaction of its own; then it takes
//! the table's lock, asks for the snapshot `S` that new statements have, and reads the next rows in
//! key order; then it writes a *high mark*. When the stream passes the high mark the rows go out,
//! except those whose key the stream has changed since the low mark.
//!
//! # The argument
//! Let `r` be a row of the chunk with key `k`, and `C` a transaction that has changed `k`.
//! 1. `C` commits before the low mark in the log. If the chunk sees `C`, `r` is not older than what
//!    the stream has delivered of it. If it does not, `r` may be: *a commit is in the log, and can be
//!    streamed, before it is visible to others*; with a synchronous standby that does not answer,
//!    for as long as that lasts. So the window remembers the transactions that have changed the
//!    table, and a chunk whose `S` does not see one of them that was streamed before the low mark is
//!    read again. `S` was taken before the rows were read, so what it sees they see. Those that
//!    were streamed before the window began are waited for: see [`Window::settled`].
//! 2. `C` commits between the marks: `k` is among the changed keys, and `r` does not go out. What the
//!    stream has delivered is as new: the chunk sees nothing that commits after the high mark, which
//!    was written after it was read.
//! 3. `C` commits after the high mark: the chunk does not see it, and the stream delivers it later.
//!
//! So whatever goes out is as new as what came before it, and what is left out was delivered.
//! Every row is met: one that was there when the scan began and is not moved lies in one of the
//! chunks, since they follow one another in key order; every other was written meanwhile, and is in
//! the stream.
//!
//! *Values that the stream does not send.* An update that leaves a large value alone is streamed
//! without it. If the row was left out of its chunk for such an update, or had a key behind the scan
//! when it was moved there by one, nobody would ever deliver the value. Such keys are read again, one
//! by one, with the same protocol ([`Window::change`], [`Outcome::Rows`]). [`super::scan`] keeps them.
//!
//! *TRUNCATE* between the marks empties the chunk; and since all that is in the table afterwards
//! comes with the stream, it also ends the scan.

use std::collections::HashMap;

use super::key::Key;
use super::visible::PgSnapshot;
use crate::postgres::Xid;

/// A change of a row of the table, as the stream has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Written; `partial` without the large values that were left alone.
    Set {
        key: Key,
        partial: bool,
    },
    /// Written under another key.
    Moved {
        from: Key,
        to: Key,
        partial: bool,
    },
    Removed {
        key: Key,
    },
    /// Of a row whose key was not sent whole.
    Unknown,
    Truncated,
}

/// What was read between two marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Of both marks.
    pub id: u64,
    /// Taken between the low mark and the reading.
    pub seen: PgSnapshot,
    /// Of each row, in order.
    pub keys: Vec<Key>,
}

/// What becomes of a chunk whose high mark has passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It may be older than what was delivered: to be read again.
    Again,
    /// The rows with `true` go out. The keys are to be read again, also those among them that were
    /// just asked for.
    Rows { keep: Vec<bool>, reread: Vec<Key> },
    /// The table was emptied meanwhile: nothing goes out, and nothing is left to be read.
    Emptied,
    /// More transactions than can be remembered have passed: as [`Again`](Self::Again), and first
    /// they are waited for, as at the beginning.
    Lost,
}

/// The state of one table that is read in chunks. Fed with everything that the stream brings of it.
#[derive(Debug, Default)]
pub struct Window {
    /// Transactions that have changed the table and may be invisible to new snapshots.
    recent: Vec<Xid>,
    is_lost: bool,
    open: Option<Open>,
    was_truncated: bool,
}

/// Between two marks.
#[derive(Debug)]
struct Open {
    id: u64,
    /// Streamed before the low mark.
    before: Vec<Xid>,
    changed: HashMap<Key, Fate>,
    /// Moved here without all their values.
    moved: Vec<Key>,
    /// There were more changes than can be remembered, or one that cannot be told.
    is_overflown: bool,
}

/// What the stream has done last to a key between the marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Whole,
    Partial,
    Removed,
}

/// Changes remembered between two marks, and transactions that may be invisible.
const MOST: usize = 100_000;

impl Window {
    /// Every transaction that was streamed before this window began is visible by now: it may go
    /// on with its first chunk. The caller knows that when a snapshot is
    /// [past](PgSnapshot::is_past) an id that was given out after the window began.
    #[must_use]
    pub fn settled() -> Window {
        Window::default()
    }

    /// A transaction that is being streamed changes the table. Answers a key that has to be read
    /// again, and to be durable before a position past this transaction is.
    pub fn change(&mut self, xid: Xid, change: Change) -> Option<Key> {
        if self.recent.last() != Some(&xid) {
            if self.recent.len() < MOST {
                self.recent.push(xid);
            } else {
                self.is_lost = true;
            }
        }
        let moved = match &change {
            Change::Moved { to, partial: true, .. } => Some(to.clone()),
            _ => None,
        };
        if change == Change::Truncated {
            self.was_truncated = true;
        }
        if let Some(open) = &mut self.open {
            open.change(change);
        }
        moved
    }

    /// The stream passes a low mark.
    pub fn low(&mut self, id: u64) {
        self.was_truncated = false;
        self.open = Some(Open {
            id,
            before: self.recent.clone(),
            changed: HashMap::new(),
            moved: Vec::new(),
            is_overflown: false,
        });
    }

    /// The stream passes the high mark of a chunk.
    pub fn high(&mut self, chunk: &Chunk) -> Outcome {
        let open = self.open.take();
        let Some(open) = open.filter(|open| open.id == chunk.id) else { return Outcome::Again };
        self.recent.retain(|xid| !chunk.seen.sees(*xid));
        let is_stale = open.before.iter().any(|xid| !chunk.seen.sees(*xid));
        if self.was_truncated {
            return Outcome::Emptied;
        }
        if self.is_lost {
            return Outcome::Lost;
        }
        if is_stale || open.is_overflown {
            return Outcome::Again;
        }
        let fate = |key: &Key| open.changed.get(key);
        let partial = chunk.keys.iter().filter(|key| fate(key) == Some(&Fate::Partial));
        Outcome::Rows {
            keep: chunk.keys.iter().map(|key| fate(key).is_none()).collect(),
            reread: partial.chain(&open.moved).cloned().collect(),
        }
    }

    /// How many transactions may be invisible.
    #[must_use]
    pub fn unseen(&self) -> usize {
        self.recent.len()
    }
}

impl Open {
    fn change(&mut self, change: Change) {
        if self.changed.len() >= MOST {
            self.is_overflown = true;
            return;
        }
        match change {
            Change::Set { key, partial } => self.set(key, partial),
            Change::Moved { from, to, partial } => {
                self.changed.insert(from, Fate::Removed);
                if partial {
                    self.moved.push(to.clone());
                }
                // If it lacks something it is read again by itself.
                self.changed.insert(to, Fate::Whole);
            }
            Change::Removed { key } => {
                self.changed.insert(key, Fate::Removed);
            }
            Change::Unknown => self.is_overflown = true,
            Change::Truncated => {}
        }
    }

    /// A row that was written whole between the marks stays known whole, whatever later updates
    /// leave out.
    fn set(&mut self, key: Key, partial: bool) {
        let fate = if partial { Fate::Partial } else { Fate::Whole };
        match self.changed.get_mut(&key) {
            Some(Fate::Whole) => {}
            Some(known) => *known = fate,
            None => {
                self.changed.insert(key, fate);
            }
        }
    }
}

#[cfg(test)]
mod tests;
