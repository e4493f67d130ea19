//! The brake on reading: so many rows a second, over all readers of a pass.

use std::time::{Duration, Instant};

/// Spaces rows evenly. Rows that were not taken in time are not made up for.
#[derive(Debug)]
pub struct Rate {
    per_second: Option<u64>,
    /// When the rows taken so far are paid for.
    free_at: Option<Instant>,
}

impl Rate {
    /// `None`, and 0, are no limit.
    #[must_use]
    pub fn new(per_second: Option<u64>) -> Rate {
        Rate { per_second: per_second.filter(|rate| *rate > 0), free_at: None }
    }

    /// Takes so many rows; how long to wait before they may go on.
    pub fn take(&mut self, rows: u64, now: Instant) -> Duration {
        let Some(per_second) = self.per_second else { return Duration::ZERO };
        let from = self.free_at.map_or(now, |free_at| free_at.max(now));
        let free_at = from + Duration::from_secs_f64(rows as f64 / per_second as f64);
        self.free_at = Some(free_at);
        free_at - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_spaced_and_readers_share() {
        let now = Instant::now();
        let mut rate = Rate::new(Some(1000));
        assert_eq!(rate.take(100, now), Duration::from_millis(100));
        assert_eq!(rate.take(100, now), Duration::from_millis(200), "another reader waits behind");
        let later = now + Duration::from_secs(5);
        assert_eq!(rate.take(100, later), Duration::from_millis(100), "no burst after a pause");
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        for unlimited in [None, Some(0)] {
            assert_eq!(Rate::new(unlimited).take(1 << 40, Instant::now()), Duration::ZERO);
        }
    }
}
