//! Latency histograms with fixed buckets and constant memory.
//!
//! The `metrics` facade keeps every observation until the exporter next looks, which at tens of
//! thousands of transactions a second is megabytes; here an observation is one addition to an
//! array. [`LocalHistogram`] is plain integers for one thread, [`Histogram`] is what it is flushed
//! into and what is rendered. The sum is exact to the microsecond.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::metrics::{Kind, Metric};

/// Upper bounds of the buckets in microseconds: from the best a local broker can do (under a
/// millisecond) to a stall that leaves replication (half a minute), finest around the target of
/// 4 to 15 ms.
const BOUNDS_MICROS: [u64; 16] = [
    500, 1_000, 2_000, 4_000, 8_000, 15_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// One more than the bounds: the last bucket has none.
const BUCKETS: usize = BOUNDS_MICROS.len() + 1;

/// The observations of one thread since its last flush.
#[derive(Debug, Default)]
pub(super) struct LocalHistogram {
    counts: [u64; BUCKETS],
    sum_micros: u64,
    dirty: bool,
}

impl LocalHistogram {
    pub(super) fn observe(&mut self, value: Duration) {
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket_of(micros)) {
            *count += 1;
        }
        self.sum_micros = self.sum_micros.saturating_add(micros);
        self.dirty = true;
    }

    /// Moves the observations into `shared`.
    pub(super) fn flush(&mut self, shared: &Histogram) {
        if !self.dirty {
            return;
        }
        for (local, shared) in self.counts.iter().zip(&shared.counts) {
            if *local > 0 {
                shared.fetch_add(*local, Ordering::Relaxed);
            }
        }
        shared.sum_micros.fetch_add(self.sum_micros, Ordering::Relaxed);
        *self = LocalHistogram::default();
    }
}

/// The observations of the process.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    counts: [AtomicU64; BUCKETS],
    sum_micros: AtomicU64,
}

impl Histogram {
    /// One observation without a local histogram, for what is rare.
    pub(super) fn observe(&self, value: Duration) {
        let mut local = LocalHistogram::default();
        local.observe(value);
        local.flush(self);
    }

    /// Appends the histogram in the text format. The buckets are read one after the other; the
    /// count is the sum of what was read, so that they always agree.
    pub(super) fn render(&self, metric: &Metric, out: &mut String) {
        let name = metric.name;
        render_head(metric, out);
        let mut cumulative = 0;
        for (i, count) in self.counts.iter().enumerate() {
            cumulative += count.load(Ordering::Relaxed);
            let bound = BOUNDS_MICROS.get(i).map_or_else(
                || String::from("+Inf"),
                |micros| Duration::from_micros(*micros).as_secs_f64().to_string(),
            );
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {cumulative}");
        }
        let sum = Duration::from_micros(self.sum_micros.load(Ordering::Relaxed)).as_secs_f64();
        let _ = writeln!(out, "{name}_sum {sum}\n{name}_count {cumulative}\n");
    }
}

/// Appends `# HELP` and `# TYPE`.
pub(super) fn render_head(metric: &Metric, out: &mut String) {
    let kind: Kind = metric.kind;
    let _ = writeln!(
        out,
        "# HELP {name} {help}\n# TYPE {name} {kind}",
        name = metric.name,
        help = metric.help,
        kind = kind.as_str()
    );
}

/// A value belongs to the first bucket whose bound is not below it.
fn bucket_of(micros: u64) -> usize {
    BOUNDS_MICROS.partition_point(|bound| *bound < micros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::{COMMIT_TO_ACKNOWLEDGE, find};

    #[test]
    fn bounds_are_inclusive_and_the_rest_goes_to_infinity() {
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(500), 0);
        assert_eq!(bucket_of(501), 1);
        assert_eq!(bucket_of(30_000_000), BUCKETS - 2);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_flush_moves_everything_once() {
        let (mut local, shared) = (LocalHistogram::default(), Histogram::default());
        for millis in [1, 3, 3, 60_000] {
            local.observe(Duration::from_millis(millis));
        }
        local.flush(&shared);
        local.flush(&shared);

        let mut text = String::new();
        shared.render(find(COMMIT_TO_ACKNOWLEDGE).unwrap(), &mut text);
        let name = COMMIT_TO_ACKNOWLEDGE;
        for line in [
            format!("# TYPE {name} histogram"),
            format!("{name}_bucket{{le=\"0.0005\"}} 0"),
            format!("{name}_bucket{{le=\"0.001\"}} 1"),
            format!("{name}_bucket{{le=\"0.002\"}} 1"),
            format!("{name}_bucket{{le=\"0.004\"}} 3"),
            format!("{name}_bucket{{le=\"30\"}} 3"),
            format!("{name}_bucket{{le=\"+Inf\"}} 4"),
            format!("{name}_sum 60.007"),
            format!("{name}_count 4"),
        ] {
            assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
        }
    }
}
