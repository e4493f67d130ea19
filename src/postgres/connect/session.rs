//! The settings of every session, control and replication alike.
//!
//! pgoutput prints values with the output functions, so a role's or database's settings change
//! what arrives (`24.11.2026`, cut floats, `\000\377`). Settings in the start-up packet's options
//! rank above those of role and database, and hold from the first statement on.

use super::{Endpoint, Error};

/// Name and value; values need no quoting in the options string.
///
/// All are known to PostgreSQL 14 and later.
pub const SESSION_SETTINGS: [(&str, &str); 12] = [
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    ("client_encoding", "UTF8"),
    ("search_path", "pg_catalog"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
];

/// The start-up packet's `options`.
#[must_use]
pub fn session_options() -> String {
    let options: Vec<_> =
        SESSION_SETTINGS.iter().map(|(name, value)| format!("-c {name}={value}")).collect();
    options.join(" ")
}

/// PostgreSQL 17 brought a timeout that also ends the decoding of a large transaction. Older
/// servers refuse a login that names it, so it is set afterwards.
pub(in crate::postgres) const TRANSACTION_TIMEOUT_OFF: (u32, &str) =
    (17, "SET transaction_timeout = 0");

/// Makes sure that the settings hold, as far as the server reports them by itself.
///
/// The options were sent; a pooler in between may have dropped them, and then every date would
/// arrive in the role's own style without any error.
pub(in crate::postgres) fn check_reported<'a>(
    endpoint: &Endpoint,
    reported: impl Fn(&str) -> Option<&'a str>,
) -> Result<(), Error> {
    for (name, wanted) in REPORTED {
        let value = reported(name).unwrap_or("");
        // DateStyle is followed by the order of input, which does not matter.
        if value != wanted && !(name == "DateStyle" && value.starts_with("ISO,")) {
            let value = value.chars().take(64).collect();
            return Err(Error::SettingLost { endpoint: endpoint.clone(), name, value, wanted });
        }
    }
    Ok(())
}

/// `17` of `17.2 (Debian …)` or `17beta1`.
pub(in crate::postgres) fn major_version(server_version: &str) -> Option<u32> {
    let end = server_version.find(|c: char| !c.is_ascii_digit()).unwrap_or(server_version.len());
    server_version.get(..end)?.parse().ok()
}

const REPORTED: [(&str, &str); 5] = [
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("client_encoding", "UTF8"),
    ("integer_datetimes", "on"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_versions() {
        let options = session_options();
        assert!(options.starts_with("-c DateStyle=ISO -c IntervalStyle=postgres -c TimeZone=UTC "));
        assert!(SESSION_SETTINGS.iter().all(|(_, value)| !value.contains([' ', '\\'])));
        assert_eq!(major_version("17.2 (Debian 17.2-1)"), Some(17));
        assert_eq!(major_version("18beta1"), Some(18));
        assert_eq!(major_version(""), None);
    }
}
