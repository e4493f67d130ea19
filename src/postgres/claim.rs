//! The right to make or replace a slot and its position: one session at a time.
//!
//! While a slot is being read, the server itself lets nobody else read or drop it. Before that,
//! between the decision to make a slot and its first reader, there is nothing of the kind; this
//! fills the gap with an advisory lock of the session, named after the slot. The server gives it
//! back when the session ends, however it ends, so a claim cannot outlive who has made it.
//!
//! What the claim protects is argued in `delivery::startup`.

use tokio_postgres::Client;

use super::query;
use crate::failure::Failure;

/// Nothing was claimed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(transparent)]
    Query(#[from] query::Error),
    #[error(
        "somebody else is making the slot {slot} and its first position{}",
        .pid.map(|pid| format!(", as the server process {pid}")).unwrap_or_default()
    )]
    Taken { slot: String, pid: Option<i32> },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Query(error) => error.into(),
            Error::Taken { .. } => Failure::retry("slot_active", error.to_string()).remedy(
                "usually another instance that starts for the first time, which waits until the \
                 transactions under way have ended; give this deployment a `name` of its own if \
                 it is not meant to take over",
            ),
        }
    }
}

/// Claims a slot for this session, whether it exists or not. Does not wait.
///
/// # Errors
/// [`Error::Taken`] while another session has it.
pub async fn claim(client: &Client, slot: &str) -> Result<(), Error> {
    let answer = query::one(client, "claiming the replication slot", CLAIM, &[&slot]).await?;
    if answer.get("claimed")? {
        return Ok(());
    }
    let holders = query::rows(client, "looking up who has the claim", HOLDER, &[&slot]).await?;
    let pid = holders.first().map(|holder| holder.get("pid")).transpose()?;
    Err(Error::Taken { slot: slot.to_owned(), pid })
}

/// Gives a claim back, so that the session may go on without it.
///
/// # Errors
/// The session is lost, and the claim with it.
pub async fn release(client: &Client, slot: &str) -> Result<(), Error> {
    query::one(client, "releasing the replication slot", RELEASE, &[&slot]).await?;
    Ok(())
}

/// Advisory locks are numbers that all applications of a database share: a hash of a text that
/// nobody else has is as good as one's own.
macro_rules! key {
    () => {
        "hashtextextended('walferry slot ' || $1::text, 0)"
    };
}

const CLAIM: &str = concat!("SELECT pg_try_advisory_lock(", key!(), ") AS claimed");

const RELEASE: &str = concat!("SELECT pg_advisory_unlock(", key!(), ") AS released");

// A lock with one key of 64 bits has it in two halves, and objsubid 1.
const HOLDER: &str = concat!(
    "SELECT pid FROM pg_locks
     WHERE locktype = 'advisory' AND granted AND objsubid = 1
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND ((classid::bigint << 32) | objid::bigint) = ",
    key!()
);
