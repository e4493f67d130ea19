//! How far a pass is, for people and for alerts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A pass as it stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Progress {
    /// Passes begun so far, this one included.
    pub pass: u32,
    /// Since the snapshot was taken: for so long the database has removed no dead rows.
    pub age_seconds: f64,
    pub rows: u64,
    /// Of all tables; `None` while one has no estimate.
    pub rows_estimated: Option<u64>,
    pub rows_per_second: f64,
    pub seconds_left: Option<f64>,
    pub tables: Vec<TableProgress>,
}

/// A table of the pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableProgress {
    pub table: String,
    pub state: TableStage,
    /// Handed to the producer.
    pub rows: u64,
    /// From the planner's statistics, never less than `rows`; `None` without any.
    pub rows_estimated: Option<u64>,
    /// In the database, with what is stored apart.
    pub table_bytes: u64,
}

/// Where a table of a pass stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableStage {
    Waiting,
    Reading,
    /// Read to its end; acknowledgements are waited for.
    Delivering,
    Done,
    /// It was changed meanwhile, and is read again in the next pass.
    Again,
}

impl Progress {
    /// Adds up the tables of a pass that has taken `elapsed` so far.
    #[must_use]
    pub fn of(pass: u32, age: Duration, elapsed: Duration, tables: Vec<TableProgress>) -> Progress {
        let rows = tables.iter().map(|table| table.rows).sum();
        let rows_estimated = tables.iter().map(TableProgress::total).sum::<Option<u64>>();
        let rows_per_second = rows as f64 / elapsed.as_secs_f64().max(0.001);
        let seconds_left = rows_estimated
            .filter(|_| rows > 0)
            .map(|total| total.saturating_sub(rows) as f64 / rows_per_second);
        Progress {
            pass,
            age_seconds: age.as_secs_f64(),
            rows,
            rows_estimated,
            rows_per_second,
            seconds_left,
            tables,
        }
    }

    /// Tables that have come to their ends.
    #[must_use]
    pub fn tables_done(&self) -> usize {
        let is_over = |table: &&TableProgress| {
            !matches!(table.state, TableStage::Waiting | TableStage::Reading)
        };
        self.tables.iter().filter(is_over).count()
    }
}

impl TableProgress {
    /// What a table has at its end is known.
    fn total(&self) -> Option<u64> {
        match self.state {
            TableStage::Waiting | TableStage::Reading => self.rows_estimated,
            TableStage::Delivering | TableStage::Done | TableStage::Again => Some(self.rows),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(state: TableStage, rows: u64, rows_estimated: Option<u64>) -> TableProgress {
        TableProgress { table: "t".to_owned(), state, rows, rows_estimated, table_bytes: 0 }
    }

    #[test]
    fn what_is_left_follows_from_rate_and_estimates() {
        let tables = vec![
            table(TableStage::Done, 100, Some(1000)),
            table(TableStage::Reading, 100, Some(500)),
            table(TableStage::Waiting, 0, Some(400)),
        ];
        let (age, elapsed) = (Duration::from_secs(20), Duration::from_secs(10));
        let progress = Progress::of(1, age, elapsed, tables);
        assert_eq!((progress.rows, progress.rows_estimated), (200, Some(1000)));
        assert_eq!(progress.rows_per_second, 20.0);
        assert_eq!(progress.seconds_left, Some(40.0));
        assert_eq!(progress.tables_done(), 1);
    }

    #[test]
    fn without_an_estimate_nobody_knows() {
        let tables = vec![table(TableStage::Reading, 100, None)];
        let progress = Progress::of(1, Duration::ZERO, Duration::from_secs(1), tables);
        assert_eq!((progress.rows_estimated, progress.seconds_left), (None, None));
    }
}
