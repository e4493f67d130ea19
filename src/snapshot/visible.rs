//! What a snapshot of the database sees: `pg_current_snapshot()`, as text `xmin:xmax:xip,…`.

use std::str::FromStr;

use crate::postgres::Xid;

/// Which transactions a snapshot sees. Ids are of 64 bits, their epoch included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PgSnapshot {
    /// All transactions before are over.
    pub xmin: u64,
    /// No transaction from here on is over.
    pub xmax: u64,
    /// Those between that were running, ascending.
    pub in_progress: Vec<u64>,
}

/// The text is no snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not of the form xmin:xmax:xip,xip")]
pub struct Malformed;

impl FromStr for PgSnapshot {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<PgSnapshot, Malformed> {
        let number = |text: &str| text.parse::<u64>().map_err(|_| Malformed);
        let mut parts = text.split(':');
        let (Some(xmin), Some(xmax), Some(list), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Malformed);
        };
        let list = list.split(',').filter(|xid| !xid.is_empty());
        let mut in_progress = list.map(number).collect::<Result<Vec<_>, _>>()?;
        in_progress.sort_unstable();
        let (xmin, xmax) = (number(xmin)?, number(xmax)?);
        if xmin > xmax || xmin == 0 {
            return Err(Malformed);
        }
        Ok(PgSnapshot { xmin, xmax, in_progress })
    }
}

impl PgSnapshot {
    /// Whether the effects of a committed transaction are seen. The stream has ids without their
    /// epoch: the one meant is the nearest to `xmax`, since ids that are in use together lie less
    /// than 2^31 apart.
    #[must_use]
    pub fn sees(&self, xid: Xid) -> bool {
        let distance = xid.0.wrapping_sub(self.xmax as u32).cast_signed();
        let xid = self.xmax.saturating_add_signed(i64::from(distance));
        xid < self.xmax && self.in_progress.binary_search(&xid).is_err()
    }

    /// Whether every transaction before this one is over.
    #[must_use]
    pub fn is_past(&self, xid: u64) -> bool {
        self.xmin >= xid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(text: &str) -> PgSnapshot {
        text.parse().unwrap()
    }

    #[test]
    fn what_was_running_is_not_seen() {
        let snapshot = snapshot("10:20:10,14,15");
        let seen = |xid| snapshot.sees(Xid(xid));
        assert!(seen(9) && seen(11) && seen(19));
        assert!(!seen(10) && !seen(14) && !seen(15) && !seen(20) && !seen(21));
        assert!(snapshot.is_past(10) && !snapshot.is_past(11));
    }

    #[test]
    fn ids_are_compared_across_an_epoch() {
        let epoch = 7u64 << 32;
        let snapshot = snapshot(&format!("{}:{}:{}", epoch - 2, epoch + 5, epoch - 2));
        assert!(!snapshot.sees(Xid(u32::MAX - 1)), "running since before the wrap");
        assert!(snapshot.sees(Xid(u32::MAX)), "over, before the wrap");
        assert!(snapshot.sees(Xid(4)));
        assert!(!snapshot.sees(Xid(5)), "begun later");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "1", "1:2", "a:2:", "1:2:x", "3:2:", "1:2:3:4", "-1:2:"] {
            assert_eq!(text.parse::<PgSnapshot>(), Err(Malformed), "{text}");
        }
        assert!(snapshot("1:1:").in_progress.is_empty());
    }
}
