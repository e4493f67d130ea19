//! Publications: kept in step with the whitelist, or verified.
//!
//! [`sync`] is to be run before the slot is created and at every start. With
//! `publication_manage = "auto"` walferry owns `<publication>` and `<publication>_inserts` and
//! changes only what differs, all of it in one transaction; with `"never"` it changes nothing and
//! says what SQL is needed. What is decided and why is in the pure functions [`plan()`] and [`verify`]; this module asks and
//! executes.
//!
//! A publication that is dropped and made again while running has another oid ([`oids`]): what
//! was committed in between was not published, so the caller stops.

mod plan;
mod state;
#[cfg(test)]
mod tests;

use tokio_postgres::Client;

pub use plan::{Desired, Missing, Plan, Refusal, plan, verify};
pub use state::{Existing, Member, Operations, ReadOnly, State, Wanted, oids};

use super::Oid;
use super::query;
use super::whitelist::{Whitelist, dotted};
use crate::config::settings::{Manage, Settings};
use crate::failure::{Class, Failure};

/// What the stream is to name, and what was done for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publications {
    /// The publications to start replication with, with the oids to watch, ordered by name.
    pub oids: Vec<(String, Oid)>,
    /// What was changed, in words, for the log.
    pub changes: Vec<String>,
    /// What an operator should know.
    pub notices: Vec<String>,
}

impl Publications {
    /// Their names, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.oids.iter().map(|(name, _)| name.clone()).collect()
    }
}

/// The publications cannot be brought to cover the whitelist.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(transparent)]
    Query(#[from] query::Error),
    #[error("{}", joined(.0))]
    Refused(Vec<Refusal>),
    /// The role lacks what the statements need.
    #[error(
        "the publications cannot be changed: the role lacks {}",
        .missing.iter().map(|missing| missing.what.as_str()).collect::<Vec<_>>().join(", ")
    )]
    Privileges { missing: Vec<Missing>, statements: Vec<String> },
    /// `publication_manage = "never"` and they do not cover the whitelist.
    #[error("the publications do not cover the whitelist, and publication_manage is \"never\"")]
    Incomplete { statements: Vec<String> },
    /// The server is a standby.
    #[error("the publications must be changed, which a standby cannot do")]
    Standby { statements: Vec<String> },
    /// The session's transactions are read-only.
    #[error(
        "the publications must be changed, and default_transaction_read_only is on for {}",
        match .whose {
            ReadOnly::Ours => "the role or the database",
            ReadOnly::Servers => "the whole server",
        }
    )]
    ReadOnly {
        whose: ReadOnly,
        /// The statement that makes an exception of us.
        exception: String,
        statements: Vec<String>,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let failure =
            |remedy: String| Failure::stop("publication", error.to_string()).remedy(remedy);
        match &error {
            Error::Refused(refusals) => {
                failure(refusals.iter().map(Refusal::remedy).collect::<Vec<_>>().join("\n"))
            }
            Error::Privileges { missing, statements } => {
                let mut grants: Vec<_> = missing.iter().map(|m| m.grant.clone()).collect();
                grants.sort();
                grants.dedup();
                failure(format!(
                    "grant it:\n{}\nor let the owner run this and set publication_manage = \
                     \"never\":\n{}",
                    script(&grants),
                    script(statements)
                ))
            }
            Error::Incomplete { statements } => {
                failure(format!("run as the owner of the tables:\n{}", script(statements)))
            }
            Error::Standby { statements } => {
                failure(format!("run on the primary:\n{}", script(statements)))
            }
            Error::ReadOnly { whose, exception, statements } => {
                let mut failure = failure(format!(
                    "{exception};\nor run this as somebody who may write and set \
                     publication_manage = \"never\":\n{}",
                    script(statements)
                ));
                if *whose == ReadOnly::Servers {
                    failure.class = Class::Retry;
                }
                failure
            }
            Error::Query(_) => match error {
                Error::Query(error) => error.into(),
                other => Failure::stop("publication", other.to_string()),
            },
        }
    }
}

/// Brings the publications in step with the whitelist, or verifies that they cover it.
///
/// Nothing is changed when anything is refused. Dropped in the middle, the one transaction takes
/// effect as a whole or not at all, and the next call sees which.
pub async fn sync(
    client: &Client,
    settings: &Settings,
    whitelist: &Whitelist,
) -> Result<Publications, Error> {
    let (plan, state) = outlook(client, settings, whitelist).await?;
    let never = settings.postgres.publication_manage == Manage::Never;
    if !plan.refusals.is_empty() {
        return Err(Error::Refused(plan.refusals));
    }
    if !plan.statements.is_empty() {
        if never {
            return Err(Error::Incomplete { statements: plan.statements });
        }
        if state.in_recovery {
            return Err(Error::Standby { statements: plan.statements });
        }
        if let Some(whose) = state.read_only {
            let exception = exception(&state);
            return Err(Error::ReadOnly { whose, exception, statements: plan.statements });
        }
        if !plan.missing.is_empty() {
            return Err(Error::Privileges { missing: plan.missing, statements: plan.statements });
        }
        query::execute(client, "changing the publications", &transaction(&plan.statements)).await?;
    }
    let desired = desired(settings, whitelist);
    let oids = oids(client, &[desired.main, desired.inserts]).await?;
    Ok(Publications { oids, changes: plan.changes, notices: plan.notices })
}

/// What [`sync`] would do, without doing it.
pub async fn outlook(
    client: &Client,
    settings: &Settings,
    whitelist: &Whitelist,
) -> Result<(Plan, State), query::Error> {
    let desired = desired(settings, whitelist);
    let state = state::read(client, &[&desired.main, &desired.inserts], whitelist).await?;
    let plan = match settings.postgres.publication_manage {
        Manage::Auto => plan(&desired, &state),
        Manage::Never => verify(&desired, &state),
    };
    Ok((plan, state))
}

/// The statement that lets our sessions write again: it ranks above the settings of the server, the
/// database and the role.
pub(crate) fn exception(state: &State) -> String {
    format!(
        "ALTER ROLE {} IN DATABASE {} SET default_transaction_read_only = off",
        query::identifier(&state.user),
        query::identifier(&state.database)
    )
}

/// The name of the publication that carries inserts alone.
#[must_use]
pub fn inserts_name(publication: &str) -> String {
    format!("{publication}_inserts")
}

/// Statements as a text to run: one a line, each closed.
pub(crate) fn script(statements: &[String]) -> String {
    statements.iter().map(|statement| format!("{statement};")).collect::<Vec<_>>().join("\n")
}

fn desired(settings: &Settings, whitelist: &Whitelist) -> Desired {
    let exact = whitelist.unmatched.iter().filter(|pattern| pattern.is_exact());
    Desired {
        main: settings.postgres.publication.clone(),
        inserts: inserts_name(&settings.postgres.publication),
        via_root: settings.postgres.publish_via_partition_root,
        unmatched: exact.map(|pattern| dotted(&pattern.schema, &pattern.table)).collect(),
    }
}

/// One simple query, which the server runs as one transaction.
///
/// Adding a table waits for whoever vacuums or alters it. Five seconds outlast a short ALTER; a
/// vacuum takes longer, but then it is better to start again with backoff than to stand in the
/// table's lock queue.
fn transaction(statements: &[String]) -> String {
    format!("SET LOCAL lock_timeout = '5s';\n{}", script(statements))
}

fn joined(refusals: &[Refusal]) -> String {
    refusals.iter().map(Refusal::to_string).collect::<Vec<_>>().join("; ")
}
