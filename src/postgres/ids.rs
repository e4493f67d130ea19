//! Newtypes for the numbers of Postgres, so that no two of them can be mixed up.

use std::fmt;
use std::str::FromStr;

/// A position in the write-ahead log, in bytes since its start.
///
/// Printed as Postgres prints it: two hexadecimal halves, `16/B374D848`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The invalid LSN, `0/0`: "no position" on the wire.
    pub const INVALID: Lsn = Lsn(0);

    /// Bytes from `earlier` to `self`; zero when `earlier` is ahead.
    #[must_use]
    pub fn distance_from(self, earlier: Lsn) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not of the form `16/B374D848`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an LSN is two hexadecimal numbers with a slash between, such as 16/B374D848")]
pub struct ParseLsnError;

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Lsn, ParseLsnError> {
        let (high, low) = text.split_once('/').ok_or(ParseLsnError)?;
        let half = |digits: &str| {
            let plain = !digits.is_empty()
                && digits.len() <= 8
                && digits.bytes().all(|b| b.is_ascii_hexdigit());
            plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten().ok_or(ParseLsnError)
        };
        Ok(Lsn(half(high)? << 32 | half(low)?))
    }
}

/// An object identifier of the catalog (`pg_class.oid`, `pg_type.oid`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Oid(pub u32);

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A transaction id as the WAL carries it (32 bits, wraps around).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Xid(pub u32);

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The identifier that `initdb` gives a cluster (`IDENTIFY_SYSTEM`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SystemId(pub u64);

impl fmt::Display for SystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The timeline of a cluster: grows by one at each promotion.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timeline(pub u32);

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A time of the server: microseconds since 2000-01-01 00:00:00 UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PgTime(pub i64);

impl PgTime {
    /// Microseconds from the Unix epoch to the Postgres epoch.
    const EPOCH_OFFSET_MICROS: i64 = 946_684_800_000_000;

    /// Microseconds since 1970-01-01 UTC, saturating at the ends of `i64`.
    #[must_use]
    pub fn unix_micros(self) -> i64 {
        self.0.saturating_add(Self::EPOCH_OFFSET_MICROS)
    }

    /// The Postgres time of a Unix time in microseconds, saturating.
    #[must_use]
    pub fn from_unix_micros(micros: i64) -> PgTime {
        PgTime(micros.saturating_sub(Self::EPOCH_OFFSET_MICROS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lsn_prints_and_parses_like_postgres() {
        assert_eq!(Lsn(0x16_B374_D848).to_string(), "16/B374D848");
        assert_eq!("16/B374D848".parse(), Ok(Lsn(0x16_B374_D848)));
        assert_eq!("0/0".parse(), Ok(Lsn::INVALID));
        for wrong in ["", "/", "1", "1/", "/1", "g/1", "123456789/0", "+1/1", "1/2/3"] {
            assert_eq!(wrong.parse::<Lsn>(), Err(ParseLsnError), "{wrong:?}");
        }
    }

    #[test]
    fn times_cross_the_epochs() {
        assert_eq!(PgTime(0).unix_micros(), 946_684_800_000_000);
        assert_eq!(PgTime::from_unix_micros(PgTime(5).unix_micros()), PgTime(5));
    }
}
