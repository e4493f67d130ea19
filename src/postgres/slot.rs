//! Replication slots: their state in one sentence, creation, removal.
//!
//! A slot is what keeps the WAL that was not delivered yet, so its state decides whether there is
//! a gap. [`read`] tells all states apart on PostgreSQL 14 to 18; what they mean together with the
//! position is for `delivery::startup`. Nothing here ends another session.

use std::fmt;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::query::{self, Answer, identifier, literal};
use super::{Lsn, Oid};
use crate::failure::Failure;

/// A slot by name: there or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotState {
    Missing { name: String },
    Exists(Slot),
}

/// A row of `pg_replication_slots`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub name: String,
    /// `None`: a physical slot.
    pub plugin: Option<String>,
    /// Oid and name of its database; `None`: a physical slot.
    pub database: Option<(Oid, String)>,
    /// Whether it is of the database that the question was asked in.
    pub here: bool,
    pub temporary: bool,
    pub two_phase: bool,
    /// The process that reads it.
    pub active_pid: Option<i32>,
    /// `None`: the slot reserves no WAL (yet).
    pub wal_status: Option<WalStatus>,
    /// Why the server invalidated it (17 and later).
    pub invalidation_reason: Option<String>,
    /// Invalidated by a conflict with recovery (16 and later).
    pub conflicting: bool,
    /// A copy that a standby keeps of its primary's slot (17 and later).
    pub synced: bool,
    /// The oldest WAL that it still needs.
    pub restart_lsn: Option<Lsn>,
    pub confirmed_flush_lsn: Option<Lsn>,
    /// Bytes of WAL from `restart_lsn` to the server's head.
    pub retained: Option<u64>,
    /// Bytes that can still be written before the slot may be lost; negative: any checkpoint can
    /// take it; `None`: without limit, or lost.
    pub safe_wal_size: Option<i64>,
}

/// `wal_status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalStatus {
    Reserved,
    /// More than `max_wal_size` is kept for it.
    Extended,
    /// The next checkpoint may remove WAL that it needs.
    Unreserved,
    Lost,
}

impl WalStatus {
    /// As the server prints it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            WalStatus::Reserved => "reserved",
            WalStatus::Extended => "extended",
            WalStatus::Unreserved => "unreserved",
            WalStatus::Lost => "lost",
        }
    }
}

/// Why a slot can never be read by this deployment again, or not as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    Physical,
    Plugin(String),
    OtherDatabase(String),
    Temporary,
    TwoPhase,
    /// Invalidated; the server's reason where it names one.
    Lost(Option<String>),
    /// A standby's copy, readable only after its promotion.
    Synced,
}

/// A slot could not be read, created or dropped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(transparent)]
    Query(#[from] query::Error),
    #[error("slot {name} exists already")]
    Exists { name: String },
    #[error("slot {name} is being read by another session")]
    Active { name: String, source: query::Error },
    #[error("all replication slots of the server are in use")]
    Exhausted { source: query::Error },
    #[error("wal_level of the server is not logical")]
    WalLevel { source: query::Error },
    #[error("the role {user} may not replicate")]
    Denied { user: String, source: query::Error },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let message = error.to_string();
        match error {
            Error::Query(error) => error.into(),
            Error::Exists { name } => Failure::stop("slot", message).remedy(format!(
                "`walferry slot adopt` to use it, or drop it: {};",
                drop_sql(&name)
            )),
            Error::Active { source, .. } => Failure::retry("slot_active", message).source(source),
            Error::Exhausted { source } => Failure::stop("slot", message)
                .remedy(
                    "drop slots that nobody reads (SELECT slot_name FROM pg_replication_slots \
                     WHERE NOT active), or raise max_replication_slots and restart the server",
                )
                .source(source),
            Error::WalLevel { source } => Failure::stop("slot", message)
                .remedy("ALTER SYSTEM SET wal_level = 'logical'; then restart the server")
                .source(source),
            Error::Denied { user, source } => Failure::stop("slot", message)
                .remedy(format!("ALTER ROLE {} REPLICATION;", identifier(&user)))
                .source(source),
        }
    }
}

/// Reads the state of a slot.
pub async fn read(client: &Client, name: &str) -> Result<SlotState, Error> {
    let rows = query::rows(client, "reading the replication slot", ONE, &[&name]).await?;
    Ok(match rows.first() {
        Some(answer) => SlotState::Exists(slot(answer)?),
        None => SlotState::Missing { name: name.to_owned() },
    })
}

/// Reads all slots of the server, of all databases, by name.
pub async fn all(client: &Client) -> Result<Vec<Slot>, Error> {
    let rows = query::rows(client, "reading the replication slots", ALL, &[]).await?;
    Ok(rows.iter().map(slot).collect::<Result<_, _>>()?)
}

/// Creates the slot and returns its consistent point: the stream starts with the transactions
/// that commit after it.
///
/// Waits until all transactions that write at this moment have ended. Not cancel-safe: the server
/// goes on when the answer is no longer awaited, so that the slot may exist afterwards; the
/// intent record of the position covers that.
pub async fn create(client: &Client, name: &str) -> Result<Lsn, Error> {
    match query::one(client, "creating the replication slot", CREATE, &[&name]).await {
        Ok(answer) => Ok(answer.parse("lsn")?),
        Err(error) => Err(refused(client, name, error).await),
    }
}

/// Drops the slot; `false`: there was none.
pub async fn drop(client: &Client, name: &str) -> Result<bool, Error> {
    match query::rows(client, "dropping the replication slot", DROP, &[&name]).await {
        Ok(_) => Ok(true),
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => Ok(false),
        Err(error) => Err(refused(client, name, error).await),
    }
}

/// The server's head: how far its WAL is flushed, or received where it is a standby.
pub async fn head(client: &Client) -> Result<Lsn, Error> {
    let answer = query::one(client, "reading the server's WAL position", HEAD, &[]).await?;
    Ok(answer.parse("head")?)
}

/// The SQL that creates the slot, for an operator.
#[must_use]
pub fn create_sql(name: &str) -> String {
    format!("SELECT pg_create_logical_replication_slot({}, 'pgoutput')", literal(name))
}

/// The SQL that drops the slot, for an operator.
#[must_use]
pub fn drop_sql(name: &str) -> String {
    format!("SELECT pg_drop_replication_slot({})", literal(name))
}

async fn refused(client: &Client, name: &str, source: query::Error) -> Error {
    let name = name.to_owned();
    match source.code() {
        Some(code) if *code == SqlState::DUPLICATE_OBJECT => Error::Exists { name },
        Some(code) if *code == SqlState::OBJECT_IN_USE => Error::Active { name, source },
        Some(code) if *code == SqlState::CONFIGURATION_LIMIT_EXCEEDED => {
            Error::Exhausted { source }
        }
        Some(code) if *code == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE => {
            Error::WalLevel { source }
        }
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            let user =
                query::one(client, "reading the role", "SELECT current_user AS u", &[]).await;
            match user.and_then(|answer| answer.get("u")) {
                Ok(user) => Error::Denied { user, source },
                Err(_) => source.into(),
            }
        }
        _ => source.into(),
    }
}

fn slot(answer: &Answer) -> Result<Slot, query::Error> {
    let database: Option<u32> = answer.get("datoid")?;
    let name: Option<String> = answer.get("database")?;
    Ok(Slot {
        name: answer.get("slot_name")?,
        plugin: answer.get("plugin")?,
        database: database.map(Oid).zip(name),
        here: answer.get("here")?,
        temporary: answer.get("temporary")?,
        two_phase: answer.get("two_phase")?,
        active_pid: answer.get("active_pid")?,
        wal_status: wal_status(answer)?,
        invalidation_reason: answer.get("invalidation_reason")?,
        conflicting: answer.get("conflicting")?,
        synced: answer.get("synced")?,
        restart_lsn: answer.parse_optional("restart_lsn")?,
        confirmed_flush_lsn: answer.parse_optional("confirmed_flush_lsn")?,
        retained: answer
            .parse_optional::<i64>("retained")?
            .map(|bytes| u64::try_from(bytes).unwrap_or(0)),
        safe_wal_size: answer.get("safe_wal_size")?,
    })
}

fn wal_status(answer: &Answer) -> Result<Option<WalStatus>, query::Error> {
    let status: Option<String> = answer.get("wal_status")?;
    Ok(match status.as_deref() {
        None => None,
        Some("reserved") => Some(WalStatus::Reserved),
        Some("extended") => Some(WalStatus::Extended),
        Some("unreserved") => Some(WalStatus::Unreserved),
        Some("lost") => Some(WalStatus::Lost),
        Some(_) => return Err(answer.unexpected("wal_status")),
    })
}

impl Slot {
    /// What makes it unusable for this deployment, the gravest first. A slot that is merely
    /// active elsewhere has none: it can become free.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        let Some(plugin) = &self.plugin else { return Some(Fault::Physical) };
        let database = self.database.as_ref().map(|(_, name)| name.clone());
        if plugin != "pgoutput" {
            Some(Fault::Plugin(plugin.clone()))
        } else if !self.here {
            Some(Fault::OtherDatabase(database.unwrap_or_default()))
        } else if let Some(reason) = &self.invalidation_reason {
            Some(Fault::Lost(Some(reason.clone())))
        } else if self.conflicting {
            Some(Fault::Lost(Some("conflict with recovery".to_owned())))
        } else if self.wal_status == Some(WalStatus::Lost) {
            Some(Fault::Lost(None))
        } else if self.synced {
            Some(Fault::Synced)
        } else if self.temporary {
            Some(Fault::Temporary)
        } else if self.two_phase {
            Some(Fault::TwoPhase)
        } else {
            None
        }
    }
}

/// One sentence for the operator.
impl fmt::Display for SlotState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SlotState::Missing { name } => write!(f, "slot {name} does not exist"),
            SlotState::Exists(slot) => slot.fmt(f),
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {} ", self.name)?;
        if let Some(fault) = self.fault() {
            return fault.fmt(f);
        }
        match self.active_pid {
            Some(pid) => write!(f, "is active for pid {pid}")?,
            None => f.write_str("is free")?,
        }
        match self.confirmed_flush_lsn {
            Some(lsn) => write!(f, ", confirmed up to {lsn}")?,
            None => f.write_str(", has confirmed nothing yet")?,
        }
        if let Some(retained) = self.retained {
            write!(f, " and holds back {} of WAL", Bytes(retained))?;
        }
        if self.wal_status == Some(WalStatus::Unreserved) {
            return f.write_str(": the next checkpoint may invalidate it");
        }
        match self.safe_wal_size.map(u64::try_from) {
            Some(Ok(left)) => write!(f, ", {} before it is invalidated", Bytes(left)),
            Some(Err(_)) => f.write_str(": the next checkpoint may invalidate it"),
            None => Ok(()),
        }
    }
}

/// Completes "slot x …".
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Physical => f.write_str("is a physical slot, not a logical one"),
            Fault::Plugin(plugin) => write!(f, "uses the plugin {plugin} and not pgoutput"),
            Fault::OtherDatabase(name) => write!(f, "belongs to another database, {name}"),
            Fault::Temporary => f.write_str("is temporary and ends with the session that made it"),
            Fault::TwoPhase => {
                f.write_str("has two-phase decoding on, which walferry does not use")
            }
            Fault::Lost(Some(reason)) => {
                write!(f, "was invalidated by the server ({reason}): WAL that it needs is gone")
            }
            Fault::Lost(None) => {
                f.write_str("was invalidated by the server: WAL that it needs is gone")
            }
            Fault::Synced => f.write_str(
                "is a standby's copy of its primary's slot, readable only after a promotion",
            ),
        }
    }
}

/// A size for people.
pub(crate) struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 4] =
            [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match UNITS.iter().find(|(size, _)| self.0 >= *size) {
            Some((size, unit)) => {
                let tenths = u128::from(self.0) * 10 / u128::from(*size);
                write!(f, "{}.{} {unit}", tenths / 10, tenths % 10)
            }
            None => write!(f, "{} bytes", self.0),
        }
    }
}

macro_rules! head {
    () => {
        "CASE WHEN pg_is_in_recovery()
              THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
              ELSE pg_current_wal_flush_lsn() END"
    };
}

/// to_jsonb reads the columns that a version does not have yet as NULL.
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT s.slot_name, s.plugin, s.datoid, s.database, s.temporary, s.two_phase,
                    s.database IS NOT DISTINCT FROM current_database() AS here,
                    s.active_pid, s.wal_status, s.safe_wal_size,
                    s.restart_lsn::text, s.confirmed_flush_lsn::text,
                    to_jsonb(s) ->> 'invalidation_reason' AS invalidation_reason,
                    coalesce((to_jsonb(s) ->> 'conflicting')::bool, false) AS conflicting,
                    coalesce((to_jsonb(s) ->> 'synced')::bool, false) AS synced,
                    trunc(pg_wal_lsn_diff(",
            head!(),
            ", s.restart_lsn))::text AS retained
             FROM pg_replication_slots s WHERE ",
            $condition,
            " ORDER BY s.slot_name"
        )
    };
}

const ONE: &str = select!("s.slot_name = $1::text");
const ALL: &str = select!("true");
const CREATE: &str =
    "SELECT lsn::text FROM pg_create_logical_replication_slot($1::text, 'pgoutput', false)";
const DROP: &str = "SELECT pg_drop_replication_slot($1::text)";
const HEAD: &str = concat!("SELECT (", head!(), ")::text AS head");

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> Slot {
        Slot {
            name: "walferry_shop".into(),
            plugin: Some("pgoutput".into()),
            database: Some((Oid(16384), "shop".into())),
            here: true,
            temporary: false,
            two_phase: false,
            active_pid: None,
            wal_status: Some(WalStatus::Reserved),
            invalidation_reason: None,
            conflicting: false,
            synced: false,
            restart_lsn: Some(Lsn(1)),
            confirmed_flush_lsn: Some(Lsn(0x16_B374_D848)),
            retained: Some(5 << 19),
            safe_wal_size: None,
        }
    }

    #[test]
    fn each_state_is_one_sentence() {
        let say = |change: &dyn Fn(&mut Slot)| {
            let mut slot = slot();
            change(&mut slot);
            slot.to_string()
        };
        let start = "slot walferry_shop";
        assert_eq!(
            say(&|_| ()),
            format!("{start} is free, confirmed up to 16/B374D848 and holds back 2.5 MiB of WAL")
        );
        assert!(
            say(&|s| s.active_pid = Some(42))
                .starts_with("slot walferry_shop is active for pid 42,")
        );
        assert!(
            say(&|s| s.safe_wal_size = Some(1 << 30)).ends_with("1.0 GiB before it is invalidated")
        );
        let at_once = "the next checkpoint may invalidate it";
        assert!(say(&|s| s.safe_wal_size = Some(-1)).ends_with(at_once));
        assert!(say(&|s| s.wal_status = Some(WalStatus::Unreserved)).ends_with(at_once));
        assert_eq!(
            SlotState::Missing { name: "walferry_shop".into() }.to_string(),
            format!("{start} does not exist")
        );
    }

    #[test]
    fn each_fault_is_told_from_the_others() {
        let fault = |change: &dyn Fn(&mut Slot)| {
            let mut slot = slot();
            change(&mut slot);
            slot.fault()
        };
        assert_eq!(fault(&|_| ()), None);
        assert_eq!(fault(&|s| s.active_pid = Some(1)), None);
        assert_eq!(fault(&|s| s.wal_status = Some(WalStatus::Extended)), None);
        assert_eq!(fault(&|s| s.plugin = None), Some(Fault::Physical));
        let plugin = Some(Fault::Plugin("wal2json".into()));
        assert_eq!(fault(&|s| s.plugin = Some("wal2json".into())), plugin);
        assert_eq!(fault(&|s| s.here = false), Some(Fault::OtherDatabase("shop".into())));
        assert_eq!(fault(&|s| s.temporary = true), Some(Fault::Temporary));
        assert_eq!(fault(&|s| s.two_phase = true), Some(Fault::TwoPhase));
        assert_eq!(fault(&|s| s.synced = true), Some(Fault::Synced));
        assert_eq!(fault(&|s| s.wal_status = Some(WalStatus::Lost)), Some(Fault::Lost(None)));
        let removed = Some(Fault::Lost(Some("wal_removed".into())));
        assert_eq!(fault(&|s| s.invalidation_reason = Some("wal_removed".into())), removed);
        assert!(matches!(fault(&|s| s.conflicting = true), Some(Fault::Lost(Some(_)))));
    }

    #[test]
    fn sizes_are_for_people() {
        assert_eq!(Bytes(0).to_string(), "0 bytes");
        assert_eq!(Bytes(1023).to_string(), "1023 bytes");
        assert_eq!(Bytes(1536).to_string(), "1.5 KiB");
        assert_eq!(Bytes(u64::MAX).to_string(), "16777215.9 TiB");
    }

    #[test]
    fn sql_for_the_operator_is_quoted() {
        assert_eq!(drop_sql("a'b"), "SELECT pg_drop_replication_slot('a''b')");
    }
}
