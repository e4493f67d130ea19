//! When to let bytes pile up before reading again.
//!
//! The server flushes its socket after every row. A reader that is always parked turns each row
//! into two wake-ups, one on each side; one that naps for half a millisecond after a short read
//! takes many rows at once, and makes the server cheaper too. A nap costs latency, so it is taken
//! only while messages come fast enough that the stream must be behind.

use std::time::{Duration, Instant};

/// Messages per second from which on the reader naps: at half a millisecond a nap that is ten
/// messages, enough to pay for the wake-ups saved.
const NAP_RATE: u64 = 20_000;

/// The rate is measured over at least this long.
const WINDOW: Duration = Duration::from_millis(2);

/// A read of this many bytes shows that more is waiting: no nap.
const LONG_READ: usize = 64 * 1024;

/// The reader's pace.
#[derive(Debug)]
pub(super) struct Pace {
    nap: Duration,
    window: Instant,
    messages: u64,
    fast: bool,
    short: bool,
}

impl Pace {
    /// Naps of `nap`; zero for never.
    pub(super) fn new(nap: Duration, now: Instant) -> Pace {
        Pace { nap, window: now, messages: 0, fast: false, short: false }
    }

    /// So many messages were handled in a turn that began at `now`.
    pub(super) fn handled(&mut self, messages: u32, now: Instant) {
        self.messages += u64::from(messages);
        let elapsed = now.saturating_duration_since(self.window);
        if elapsed >= WINDOW {
            let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
            self.fast = self.messages.saturating_mul(1_000_000) / micros.max(1) >= NAP_RATE;
            self.messages = 0;
            self.window = now;
        }
    }

    /// A read brought so many bytes.
    pub(super) fn read(&mut self, bytes: usize) {
        self.short = bytes < LONG_READ;
    }

    /// How long to nap before the next read, if at all.
    pub(super) fn nap(&self) -> Option<Duration> {
        (self.fast && self.short && !self.nap.is_zero()).then_some(self.nap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naps_only_while_messages_come_fast_and_reads_are_short() {
        let start = Instant::now();
        let nap = Duration::from_micros(500);
        let mut pace = Pace::new(nap, start);
        pace.read(100);
        assert_eq!(pace.nap(), None, "nothing measured yet");
        pace.handled(100, start + WINDOW);
        assert_eq!(pace.nap(), Some(nap));
        pace.read(LONG_READ);
        assert_eq!(pace.nap(), None, "more is waiting");
        pace.read(100);
        pace.handled(10, start + 2 * WINDOW);
        assert_eq!(pace.nap(), None, "slow again");
        let mut never = Pace::new(Duration::ZERO, start);
        never.read(100);
        never.handled(1000, start + WINDOW);
        assert_eq!(never.nap(), None);
    }
}
