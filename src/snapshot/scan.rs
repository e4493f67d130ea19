//! The scan of one table in chunks: what is read next, and what of it is durable when.
//!
//! [`Window`] says which rows of a chunk may go out. Around it:
//!
//! - A key that has to be read again ([`Scan::change`]) is part of [`Scan::state`] at once, and has
//!   to be durable *before* a position past the change that made it so: no restart would meet that
//!   change again.
//! - What a chunk has achieved (the scan goes on behind it; its keys were read again) is part of the
//!   state only *after* [`Scan::settled`], when the rows are acknowledged and a position past the
//!   chunk's high mark is durable: a restart from before it delivers older changes again, deletes
//!   among them, and the rows have to follow these once more.
//!
//! One chunk is under way at a time.

use std::collections::BTreeSet;

use super::key::Key;
use super::record::WindowState;
use super::window::{Change, Chunk, Outcome, Window};
use crate::postgres::Xid;

/// The scan of one table.
#[derive(Debug)]
pub struct Scan {
    window: Window,
    condition: Option<String>,
    /// Rows up to here were delivered.
    after: Option<Key>,
    /// All rows were: what is left are keys to be read again.
    is_through: bool,
    reread: BTreeSet<Key>,
    rows: u64,
    /// Asked for and not judged, or judged and not settled.
    asked: Option<Request>,
    achieved: Option<Achieved>,
}

/// What is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The next rows behind this key; `None`: from the beginning.
    After(Option<Key>),
    /// The rows with these keys.
    Keys(BTreeSet<Key>),
}

/// What becomes of a chunk's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// None goes out; the same is asked for again.
    Again,
    /// None goes out; first everything that was committed before now has to become visible.
    Lost,
    /// Those with `true` go out; `settled` is to be called when that is durable.
    Rows(Vec<bool>),
}

/// What is true once a chunk is durable.
#[derive(Debug)]
struct Achieved {
    after: Option<Key>,
    is_through: bool,
    /// Delivered, unless they were changed since.
    reread: BTreeSet<Key>,
    rows: u64,
}

/// Keys read again at once.
const KEYS_AT_ONCE: usize = 500;

impl Scan {
    /// Begins, or goes on with, a scan. Every transaction that was streamed before is visible by
    /// now: see [`Window::settled`].
    #[must_use]
    pub fn resume(state: &WindowState) -> Scan {
        Scan {
            window: Window::settled(),
            condition: state.condition.clone(),
            after: state.after.as_ref().map(|texts| Key::from_texts(texts)),
            is_through: state.is_through,
            reread: state.reread.iter().map(|texts| Key::from_texts(texts)).collect(),
            rows: state.rows,
            asked: None,
            achieved: None,
        }
    }

    /// What is to be read next, if by its keys at most so many rows; `None` while a chunk is under
    /// way, and at the end.
    pub fn next_request(&mut self, limit: usize) -> Option<Request> {
        if self.asked.is_some() || self.is_done() {
            return None;
        }
        let request = if self.is_through || self.reread.len() >= KEYS_AT_ONCE {
            Request::Keys(self.reread.iter().take(KEYS_AT_ONCE.min(limit)).cloned().collect())
        } else {
            Request::After(self.after.clone())
        };
        self.asked = Some(request.clone());
        Some(request)
    }

    /// The stream brings a change of the table. Answers whether the state has to be durable before
    /// a position past this transaction is.
    pub fn change(&mut self, xid: Xid, change: Change) -> bool {
        let Some(key) = self.window.change(xid, change) else { return false };
        if let Some(achieved) = &mut self.achieved {
            achieved.reread.remove(&key);
        }
        self.reread.insert(key)
    }

    /// The stream passes a low mark.
    pub fn low(&mut self, id: u64) {
        self.window.low(id);
    }

    /// The stream passes the high mark of the chunk that was asked for; `is_last`: no row lies
    /// behind it; `is_cut`: rows that were asked for are missing at its end.
    pub fn high(&mut self, chunk: &Chunk, is_last: bool, is_cut: bool) -> Verdict {
        let outcome = self.window.high(chunk);
        if is_cut && matches!(self.asked, Some(Request::Keys(_))) {
            // A key without a row counts as a row that is gone: fewer are asked for at once.
            self.asked = None;
            return Verdict::Again;
        }
        let (keep, reread) = match outcome {
            Outcome::Again | Outcome::Lost => {
                self.asked = None;
                let is_lost = outcome == Outcome::Lost;
                return if is_lost { Verdict::Lost } else { Verdict::Again };
            }
            Outcome::Emptied => {
                let reread = self.reread.clone();
                let (after, rows) = (self.after.clone(), 0);
                self.achieved = Some(Achieved { after, is_through: true, reread, rows });
                return Verdict::Rows(vec![false; chunk.keys.len()]);
            }
            Outcome::Rows { keep, reread } => (keep, reread),
        };
        let (after, is_through, mut delivered) = match &self.asked {
            Some(Request::Keys(keys)) => (self.after.clone(), self.is_through, keys.clone()),
            Some(Request::After(after)) => {
                let after = chunk.keys.last().cloned().or_else(|| after.clone());
                (after, is_last, BTreeSet::new())
            }
            None => (self.after.clone(), self.is_through, BTreeSet::new()),
        };
        for key in reread {
            delivered.remove(&key);
            self.reread.insert(key);
        }
        let rows = keep.iter().filter(|keep| **keep).count() as u64;
        self.achieved = Some(Achieved { after, is_through, reread: delivered, rows });
        Verdict::Rows(keep)
    }

    /// The rows of the last chunk are acknowledged, and a position past its high mark is durable.
    pub fn settled(&mut self) {
        self.asked = None;
        if let Some(Achieved { after, is_through, reread, rows }) = self.achieved.take() {
            (self.after, self.is_through) = (after, is_through);
            self.reread.retain(|key| !reread.contains(key));
            self.rows += rows;
        }
    }

    /// Whether a chunk was judged and is not settled.
    #[must_use]
    pub fn is_settling(&self) -> bool {
        self.achieved.is_some()
    }

    /// Whether everything was delivered.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.is_through && self.reread.is_empty() && self.achieved.is_none()
    }

    /// What has to be durable.
    #[must_use]
    pub fn state(&self) -> WindowState {
        WindowState {
            condition: self.condition.clone(),
            after: self.after.as_ref().map(Key::texts),
            is_through: self.is_through,
            reread: self.reread.iter().map(Key::texts).collect(),
            rows: self.rows,
        }
    }

    /// Rows delivered so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows + self.achieved.as_ref().map_or(0, |achieved| achieved.rows)
    }

    /// Only rows that this SQL condition holds for are read.
    #[must_use]
    pub fn condition(&self) -> Option<&str> {
        self.condition.as_deref()
    }
}

#[cfg(test)]
mod tests;
