//! Ranges of blocks: what one `COPY` of a table reads.
//!
//! # The argument
//! The ranges of a table follow one another without a hole, from block 0, and the last has no end.
//! So every row that the snapshot sees lies in exactly one, wherever the table ends by then: a row
//! never moves to another block within one snapshot.

/// Blocks `from..to`, or all from `from` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRange {
    pub from: u32,
    pub to: Option<u32>,
}

/// 32 MiB with blocks of 8 KiB: less is not worth a transaction of its own.
const LEAST: u64 = 4096;

/// 512 MiB: a lock is not held, and a snapshot not used, for longer at once.
const MOST: u64 = 65_536;

/// Ranges for each reader, so that none idles for long at the end.
const PER_READER: u64 = 4;

/// The ranges of a table with so many blocks, for so many readers.
#[must_use]
pub fn ranges(pages: u64, parallelism: usize) -> Vec<PageRange> {
    let readers = u64::try_from(parallelism).unwrap_or(1).max(1);
    let size =
        if readers == 1 { MOST } else { (pages / (readers * PER_READER)).clamp(LEAST, MOST) };
    let count = (pages / size).max(1);
    (0..count)
        .map(|index| {
            let start = |index: u64| u32::try_from(index * size).unwrap_or(u32::MAX);
            PageRange { from: start(index), to: (index + 1 < count).then(|| start(index + 1)) }
        })
        .collect()
}

impl PageRange {
    /// The SQL condition of its rows; `None` if it is the whole table.
    #[must_use]
    pub fn condition(&self) -> Option<String> {
        let PageRange { from, to } = self;
        match to {
            None if *from == 0 => None,
            None => Some(format!("ctid >= '({from},0)'::tid")),
            Some(to) => Some(format!("ctid >= '({from},0)'::tid AND ctid < '({to},0)'::tid")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_are_without_a_hole_and_the_last_is_open(
            pages in 0..=u64::from(u32::MAX), parallelism in 0..64usize,
        ) {
            let ranges = ranges(pages, parallelism);
            prop_assert_eq!(ranges[0].from, 0);
            for pair in ranges.windows(2) {
                prop_assert_eq!(pair[0].to, Some(pair[1].from));
                prop_assert!(pair[0].from < pair[1].from);
            }
            prop_assert_eq!(ranges[ranges.len() - 1].to, None);
        }
    }

    #[test]
    fn small_tables_are_read_at_once_and_large_ones_side_by_side() {
        assert_eq!(ranges(0, 4), [PageRange { from: 0, to: None }]);
        assert_eq!(ranges(4096, 4).len(), 1);
        assert_eq!(ranges(16_384, 4).len(), 4);
        assert_eq!(ranges(1 << 20, 4).len(), 16);
        assert_eq!(ranges(100_000, 1).len(), 1, "one reader gains nothing by ranges");
    }

    #[test]
    fn conditions_name_blocks() {
        let condition = |from, to| PageRange { from, to }.condition();
        assert_eq!(condition(0, None), None);
        assert_eq!(condition(7, None).unwrap(), "ctid >= '(7,0)'::tid");
        assert_eq!(condition(0, Some(7)).unwrap(), "ctid >= '(0,0)'::tid AND ctid < '(7,0)'::tid");
    }
}
