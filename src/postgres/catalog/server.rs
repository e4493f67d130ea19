//! What the server says of itself and of our role.

use std::time::Duration;

use tokio_postgres::Client;

use crate::postgres::Oid;
use crate::postgres::query::{self, Answer, Error};

/// The server, the database and the role of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// `server_version_num`: 140024 is 14.24.
    pub version_num: u32,
    pub wal_level: String,
    /// Zero: the server never gives up on a silent client.
    pub wal_sender_timeout: Duration,
    /// Bytes of WAL that slots may hold back; `None`: without limit.
    pub max_slot_wal_keep_size: Option<u64>,
    pub max_replication_slots: u32,
    pub max_wal_senders: u32,
    pub synchronous_standby_names: String,
    pub in_recovery: bool,
    pub database: String,
    pub database_oid: Oid,
    /// The database's encoding by name, `UTF8`.
    pub encoding: String,
    pub user: String,
    pub is_superuser: bool,
    /// Whether the role may replicate: its attribute, or the group that a cloud offering has in
    /// place of it.
    pub may_replicate: bool,
    /// Replication slots that exist, of all databases.
    pub slots: u32,
    /// WAL senders that run.
    pub wal_senders: u32,
}

/// Reads it all in one query.
pub async fn server_info(client: &Client) -> Result<ServerInfo, Error> {
    let answer = query::one(client, "reading the server's settings", SERVER, &[]).await?;
    Ok(ServerInfo {
        version_num: answer.parse("version_num")?,
        wal_level: answer.get("wal_level")?,
        wal_sender_timeout: Duration::from_millis(answer.parse("wal_sender_timeout_ms")?),
        max_slot_wal_keep_size: keep_size(answer.parse_optional("max_slot_wal_keep_size_mb")?),
        max_replication_slots: answer.parse("max_replication_slots")?,
        max_wal_senders: answer.parse("max_wal_senders")?,
        synchronous_standby_names: answer.get("synchronous_standby_names")?,
        in_recovery: answer.get("in_recovery")?,
        database: answer.get("datname")?,
        database_oid: Oid(answer.get("oid")?),
        encoding: answer.get("encoding")?,
        user: answer.get("rolname")?,
        is_superuser: answer.get("rolsuper")?,
        may_replicate: answer.get("may_replicate")?,
        slots: count(&answer, "slots")?,
        wal_senders: count(&answer, "wal_senders")?,
    })
}

/// Megabytes of the setting in bytes; -1 is its "no limit".
fn keep_size(megabytes: Option<i64>) -> Option<u64> {
    let megabytes = u64::try_from(megabytes?).ok()?;
    Some(megabytes.saturating_mul(1 << 20))
}

fn count(answer: &Answer, column: &'static str) -> Result<u32, Error> {
    u32::try_from(answer.get::<i64>(column)?).map_err(|_| answer.unexpected(column))
}

// pg_settings gives the numbers in the unit of the setting, current_setting('…') with one chosen
// for the eye. rds_replication is what Amazon RDS grants in place of the attribute.
const SERVER: &str = "
SELECT current_setting('server_version_num') AS version_num,
       current_setting('wal_level') AS wal_level,
       (SELECT setting FROM pg_settings WHERE name = 'wal_sender_timeout')
         AS wal_sender_timeout_ms,
       (SELECT setting FROM pg_settings WHERE name = 'max_slot_wal_keep_size')
         AS max_slot_wal_keep_size_mb,
       current_setting('max_replication_slots') AS max_replication_slots,
       current_setting('max_wal_senders') AS max_wal_senders,
       current_setting('synchronous_standby_names') AS synchronous_standby_names,
       pg_is_in_recovery() AS in_recovery,
       d.datname, d.oid, pg_encoding_to_char(d.encoding)::text AS encoding,
       r.rolname, r.rolsuper,
       r.rolsuper OR r.rolreplication OR EXISTS (
         SELECT FROM pg_roles g
         WHERE g.rolname = 'rds_replication' AND pg_has_role(r.oid, g.oid, 'USAGE'))
         AS may_replicate,
       (SELECT count(*) FROM pg_replication_slots) AS slots,
       (SELECT count(*) FROM pg_stat_get_wal_senders()) AS wal_senders
FROM pg_database d, pg_roles r
WHERE d.datname = current_database() AND r.rolname = current_user";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_told_from_a_limit() {
        assert_eq!(keep_size(Some(-1)), None);
        assert_eq!(keep_size(None), None);
        assert_eq!(keep_size(Some(2)), Some(2 << 20));
    }
}
