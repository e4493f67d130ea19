//! Quantiles of measured times.

use serde_json::{Value, json};

/// Times in milliseconds, sorted.
#[derive(Clone, Debug)]
pub struct Distribution {
    sorted: Vec<f64>,
}

impl Distribution {
    pub fn new(mut millis: Vec<f64>) -> Self {
        millis.sort_by(f64::total_cmp);
        Self { sorted: millis }
    }

    /// The smallest value that at least the share `q` of all values does not exceed.
    pub fn quantile(&self, q: f64) -> f64 {
        let rank = (q * self.sorted.len() as f64).ceil() as usize;
        self.sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
    }

    pub fn max(&self) -> f64 {
        self.sorted.last().copied().unwrap_or(f64::NAN)
    }

    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    /// p50, p99, p99.9 and the greatest value, as cells of a table.
    pub fn cells(&self) -> Vec<String> {
        let values = [self.quantile(0.5), self.quantile(0.99), self.quantile(0.999), self.max()];
        values.iter().map(|value| format!("{value:.2}")).collect()
    }

    pub fn json(&self) -> Value {
        json!({
            "count": self.count(),
            "p50_ms": self.quantile(0.5),
            "p90_ms": self.quantile(0.9),
            "p99_ms": self.quantile(0.99),
            "p999_ms": self.quantile(0.999),
            "max_ms": self.max(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Distribution;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let times = Distribution::new((1..=100).rev().map(f64::from).collect());
        assert_eq!(times.quantile(0.5), 50.0);
        assert_eq!(times.quantile(0.99), 99.0);
        assert_eq!(times.quantile(0.999), 100.0);
        assert_eq!(times.quantile(0.0), 1.0);
        assert_eq!(times.max(), 100.0);
    }
}
