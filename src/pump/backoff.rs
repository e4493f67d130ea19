//! How long to wait before the next try.

use std::time::Duration;

use crate::failure::Failure;

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

    /// As [`next`](Self::next), and no less than whoever refused has asked for.
    pub(super) fn after(&mut self, failure: &Failure) -> Duration {
        self.next().max(failure.after.unwrap_or_default())
    }

    /// The thing tried has worked.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

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

    #[test]
    fn whoever_asks_to_be_left_alone_is() {
        let overloaded = registry::Error::Retry {
            url: "http://registry".to_owned(),
            reason: "too many requests".to_owned(),
            after: Some(Duration::from_secs(20)),
        };
        let mut backoff = Backoff::default();
        assert_eq!(backoff.after(&overloaded.into()), Duration::from_secs(20));
        assert!(backoff.after(&Failure::retry("registry", "away")) <= 2 * Backoff::FIRST);
    }
}
