//! Status updates: what Postgres is told, and when.
//!
//! They go out on time whatever the stream does: a server that hears nothing for
//! `wal_sender_timeout` ends the connection, and its own keepalives queue behind a big
//! transaction, so waiting to be asked is not enough. Each asks for a reply, which is how a dead
//! connection is noticed.

use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::postgres::replication::{Status, Stream};
use crate::postgres::{Lsn, PgTime};

use super::sink::unix_micros;

/// The longest time between two status updates.
const INTERVAL: Duration = Duration::from_secs(1);

/// When the next status update is due, and what the last one said.
#[derive(Debug)]
pub(super) struct Feedback {
    interval: Duration,
    next: Instant,
    asked: bool,
    reported: Lsn,
}

impl Feedback {
    /// `wal_sender_timeout` is the server's; `None` for never.
    pub(super) fn new(wal_sender_timeout: Option<Duration>, now: Instant) -> Feedback {
        let interval = wal_sender_timeout.map_or(INTERVAL, |timeout| INTERVAL.min(timeout / 2));
        Feedback { interval, next: now, asked: false, reported: Lsn::INVALID }
    }

    /// The server asked for a status update.
    pub(super) fn asked(&mut self) {
        self.asked = true;
    }

    /// Time until the next status update is due.
    pub(super) fn due_in(&self, now: Instant) -> Duration {
        if self.asked { Duration::ZERO } else { self.next.saturating_duration_since(now) }
    }

    /// Sends a status update if one is due, or `confirmed` is new, and writes what is queued.
    pub(super) fn send(
        &mut self,
        stream: &mut Stream,
        confirmed: Lsn,
        received: Lsn,
        now: Instant,
    ) -> Result<(), Failure> {
        debug_assert!(confirmed >= self.reported, "a smaller LSN confirmed");
        let due = now >= self.next;
        if due || self.asked || confirmed > self.reported {
            stream.queue_status(Status {
                written: received.max(confirmed),
                flushed: confirmed,
                applied: confirmed,
                now: PgTime::from_unix_micros(unix_micros()),
                reply: due,
            });
            self.reported = confirmed;
            self.asked = false;
            self.next = now + self.interval;
        }
        if stream.wants_write() {
            stream.flush()?;
        }
        Ok(())
    }
}
