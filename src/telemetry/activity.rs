//! Where the pump's time goes, and so which side is slow.
//!
//! The pump says after each wait or piece of work how long it was. Totals are counters for
//! `/metrics`; the shares of the last seconds are for `/status`, where a person wants one word:
//! is it Postgres, Kafka, the registry, or walferry itself that everything waits for?

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Serialize;

/// What the pump did, or waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Decoding, encoding, enqueueing.
    Busy,
    /// Nothing to read: the server has no more, or is slower.
    WaitingPostgres,
    /// Reading stood still because too much was in flight.
    QueueFull,
    /// Waiting for Kafka in another way: draining, rebuilding, writing the position.
    WaitingKafka,
    /// A schema has to be registered before the next row.
    WaitingRegistry,
}

impl Activity {
    pub const ALL: [Activity; 5] = [
        Activity::Busy,
        Activity::WaitingPostgres,
        Activity::QueueFull,
        Activity::WaitingKafka,
        Activity::WaitingRegistry,
    ];

    /// The value of the label `activity`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Activity::Busy => "busy",
            Activity::WaitingPostgres => "waiting_postgres",
            Activity::QueueFull => "queue_full",
            Activity::WaitingKafka => "waiting_kafka",
            Activity::WaitingRegistry => "waiting_registry",
        }
    }

    /// Its place in [`ALL`](Self::ALL) and in arrays of totals.
    pub(super) fn index(self) -> usize {
        match self {
            Activity::Busy => 0,
            Activity::WaitingPostgres => 1,
            Activity::QueueFull => 2,
            Activity::WaitingKafka => 3,
            Activity::WaitingRegistry => 4,
        }
    }
}

/// Nanoseconds by activity.
pub(super) type Totals = [u64; Activity::ALL.len()];

/// Shares of the pump's time over the last seconds; together at most about 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Shares {
    /// The time that the shares are of.
    pub window_seconds: f64,
    pub busy: f64,
    pub waiting_postgres: f64,
    pub queue_full: f64,
    pub waiting_kafka: f64,
    pub waiting_registry: f64,
}

/// Who everything waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SlowSide {
    /// Nobody: what was committed has been delivered.
    Nobody,
    Postgres,
    Kafka,
    Registry,
    Walferry,
    /// Not running for long enough to say.
    Unknown,
}

impl Shares {
    /// The side with the largest share. Waiting for Postgres is only slowness while something is
    /// outstanding (`behind`); otherwise there is nothing to do.
    #[must_use]
    pub fn slow_side(&self, behind: bool) -> SlowSide {
        let kafka = self.queue_full + self.waiting_kafka;
        let sides = [
            (self.waiting_postgres, if behind { SlowSide::Postgres } else { SlowSide::Nobody }),
            (kafka, SlowSide::Kafka),
            (self.waiting_registry, SlowSide::Registry),
            (self.busy, SlowSide::Walferry),
        ];
        sides
            .into_iter()
            .filter(|(share, _)| *share > 0.0)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map_or(SlowSide::Unknown, |(_, side)| side)
    }
}

/// The totals as they were at some times of the last seconds.
#[derive(Debug, Default)]
pub(super) struct Window {
    samples: VecDeque<(Instant, Totals)>,
}

impl Window {
    const LENGTH: Duration = Duration::from_secs(10);
    const STEP: Duration = Duration::from_secs(1);

    /// Takes the totals as of `now` and returns the shares since about [`LENGTH`](Self::LENGTH)
    /// ago.
    pub(super) fn shares(&mut self, now: Instant, totals: Totals) -> Shares {
        let last = self.samples.back().map(|(at, _)| *at);
        if last.is_none_or(|last| now.saturating_duration_since(last) >= Self::STEP) {
            self.samples.push_back((now, totals));
        }
        while self.samples.len() > 1
            && self
                .samples
                .front()
                .is_some_and(|(at, _)| now.saturating_duration_since(*at) > Self::LENGTH)
        {
            self.samples.pop_front();
        }
        let Some((since, before)) = self.samples.front() else {
            return Shares::default();
        };
        shares_between(before, &totals, now.saturating_duration_since(*since))
    }
}

fn shares_between(before: &Totals, after: &Totals, elapsed: Duration) -> Shares {
    let seconds = elapsed.as_secs_f64();
    if seconds <= 0.0 {
        return Shares::default();
    }
    let share = |activity: Activity| {
        let at = |totals: &Totals| totals.get(activity.index()).copied().unwrap_or(0);
        Duration::from_nanos(at(after).saturating_sub(at(before))).as_secs_f64() / seconds
    };
    Shares {
        window_seconds: seconds,
        busy: share(Activity::Busy),
        waiting_postgres: share(Activity::WaitingPostgres),
        queue_full: share(Activity::QueueFull),
        waiting_kafka: share(Activity::WaitingKafka),
        waiting_registry: share(Activity::WaitingRegistry),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn indices_are_the_places_in_all() {
        for (i, activity) in Activity::ALL.into_iter().enumerate() {
            assert_eq!(activity.index(), i);
        }
    }

    #[test]
    fn shares_forget_what_is_older_than_the_window() {
        let (mut window, start) = (Window::default(), Instant::now());
        let mut totals = Totals::default();
        assert_eq!(window.shares(start, totals).slow_side(true), SlowSide::Unknown);

        for second in 1..=10 {
            totals[Activity::WaitingPostgres.index()] += SECOND;
            let _ = window.shares(start + Duration::from_secs(second), totals);
        }
        let mut shares = Shares::default();
        for second in 11..=30 {
            totals[Activity::QueueFull.index()] += SECOND * 3 / 4;
            totals[Activity::Busy.index()] += SECOND / 4;
            shares = window.shares(start + Duration::from_secs(second), totals);
        }
        assert!((shares.queue_full - 0.75).abs() < 1e-9, "{shares:?}");
        assert!(shares.waiting_postgres == 0.0, "{shares:?}");
        assert!(shares.window_seconds <= 10.0, "{shares:?}");
        assert_eq!(shares.slow_side(true), SlowSide::Kafka);
        assert!(window.samples.len() <= 11);
    }

    #[test]
    fn an_idle_stream_is_nobodys_fault() {
        let shares = Shares { window_seconds: 10.0, waiting_postgres: 0.99, ..Shares::default() };
        assert_eq!(shares.slow_side(false), SlowSide::Nobody);
        assert_eq!(shares.slow_side(true), SlowSide::Postgres);
    }
}
