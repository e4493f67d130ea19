//! How long to wait before the next try.

use std::time::Duration;

/// Doubles from 100 ms to 10 s, with jitter, so that a fleet does not come back all at once.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const CAP: Duration = Duration::from_secs(10);

    /// The wait after one more failure: between half and the whole of the doubled time.
    pub(super) fn next(&mut self) -> Duration {
        let doubled = Self::FIRST.saturating_mul(1 << self.failures.min(10)).min(Self::CAP);
        self.failures = self.failures.saturating_add(1);
        doubled.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// The thing tried has worked.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_cap_and_starts_over() {
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = (0..40).map(|_| backoff.next()).collect();
        assert!(waits[0] <= Backoff::FIRST);
        assert!(waits[39] >= Backoff::CAP / 2);
        assert!(waits.iter().all(|wait| *wait <= Backoff::CAP));
        backoff.reset();
        assert!(backoff.next() <= Backoff::FIRST);
    }
}
