//! What the benches share: a prepared backlog, the contenders, figures of processes, and the report.
//!
//! A bench is a program of its own in `benches/`: it measures, prints a table, and replaces its
//! section of `target/bench/report.json` and `target/bench/report.md`. None is part of the tests,
//! and none fails because of a figure.

mod backlog;
mod control;
mod distribution;
mod report;
mod topic;
mod usage;

pub use backlog::{Backlog, Shape};
pub use control::RecvLogical;
pub use distribution::Distribution;
pub use report::{Section, Table, write_readme};
pub use topic::{Arrival, Arrivals, TopicEnd};
pub use usage::{cpu_time, threads_cpu_time};

use crate::postgres::Options;
use crate::{Kafka, Postgres, Registry};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The real servers that a bench works with: its own, so that nothing else is on them.
#[derive(Debug)]
pub struct Servers {
    pub postgres: Postgres,
    pub kafka: Kafka,
    pub registry: Registry,
}

impl Servers {
    pub async fn start() -> Self {
        // Neither a checkpoint nor an ANALYZE in the middle of a measurement.
        let options = Options::default()
            .setting("max_wal_size = '32GB'")
            .setting("checkpoint_timeout = '1h'")
            .setting("autovacuum = off");
        let (postgres, kafka, registry) = tokio::join!(
            Postgres::own(Postgres::default_version(), options),
            Kafka::own(&[]),
            Registry::own()
        );
        Self { postgres, kafka, registry }
    }
}

/// A number from the environment: `BENCH_ROWS` and its like.
pub fn setting<T: FromStr>(name: &str, default: T) -> T {
    match std::env::var(name) {
        Ok(text) => {
            text.replace('_', "").parse().unwrap_or_else(|_| panic!("{name}: not a number: {text}"))
        }
        Err(_) => default,
    }
}

/// The wall clock, in microseconds since 1970.
pub fn unix_micros() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(now.as_micros()).expect("a clock before the year 290000")
}

/// The middle of the values, or the mean of the two in the middle.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// `median (least-greatest)`, with so many digits.
pub fn spread(values: &[f64], digits: usize) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{:.digits$} ({least:.digits$}-{greatest:.digits$})", median(values))
}

pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::{median, spread};

    #[test]
    fn the_median_of_even_and_odd_numbers_of_values() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(spread(&[3.0, 1.0, 2.25], 1), "2.2 (1.0-3.0)");
    }
}
