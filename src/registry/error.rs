//! What a registry can answer that is not an id, and what to do about it.

use std::time::Duration;

use super::{SchemaId, Subject};
use crate::failure::Failure;

/// Why a schema has no id. Texts of the registry are cut and hold schemas at most, never rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The subject's compatibility rule refuses the schema.
    #[error("subject {subject} does not take the new schema: {}", reasons(.differences, .reason))]
    Incompatible {
        subject: Subject,
        /// The registry's own words.
        reason: String,
        /// From the latest registered version to the refused one, in plain words; empty if the
        /// latest version could not be had.
        differences: Vec<String>,
        /// The command that lifts the rule.
        command: String,
    },
    /// The registry does not take it for a schema, or takes no schemas now (read-only mode).
    #[error("the registry refuses the schema of subject {subject}: {reason}")]
    Invalid { subject: Subject, reason: String },
    #[error("the registry at {url} refuses the credentials (HTTP {status})")]
    Unauthorised { url: String, status: u16 },
    /// Look-up only: nobody has registered this schema.
    #[error("subject {subject} does not have this schema, and registry.auto_register is false")]
    Unregistered {
        subject: Subject,
        /// The command that registers it.
        command: String,
    },
    #[error("the registry has no schema with id {0}")]
    UnknownId(SchemaId),
    /// No registry gave a usable answer; it may pass by itself.
    #[error("no usable answer from the registry at {url}: {reason}")]
    Retry {
        url: String,
        reason: String,
        /// How long the registry asked to be left alone.
        after: Option<Duration>,
    },
}

impl Error {
    /// Whether the same request may succeed later without anybody's help.
    #[must_use]
    pub fn is_retry(&self) -> bool {
        matches!(self, Error::Retry { .. })
    }

    /// How long the registry asked to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Retry { after, .. } => *after,
            _ => None,
        }
    }

    fn remedy(&self) -> String {
        match self {
            Error::Incompatible { command, .. } => format!(
                "take the change of the table back, or allow the schema (consumers must cope with \
                 it): {command}"
            ),
            Error::Invalid { .. } => "check that the registry is not in read-only mode, and that \
                                      its rules admit the schema that `walferry schema` prints"
                .to_owned(),
            Error::Unauthorised { .. } => "check user and password, or token, in [registry]: they \
                                           need to read and write subjects"
                .to_owned(),
            Error::Unregistered { command, .. } => {
                format!("set registry.auto_register = true, or register it: {command}")
            }
            Error::UnknownId(_) => {
                "check that registry.url is the registry that the record was written with"
                    .to_owned()
            }
            Error::Retry { .. } => "check registry.url (Apicurio's ends in /apis/ccompat/v7) and \
                                    that the registry is up"
                .to_owned(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let message = error.to_string();
        let mut failure = if error.is_retry() {
            Failure::retry("registry", message)
        } else {
            Failure::stop("registry", message)
        };
        failure.after = error.retry_after();
        failure.remedy(error.remedy())
    }
}

/// Our own words first: the registry's are for machines.
fn reasons(differences: &[String], reason: &str) -> String {
    let mut parts = differences.join("; ");
    if !reason.is_empty() {
        if !parts.is_empty() {
            parts.push_str("; ");
        }
        parts.push_str("the registry says: ");
        parts.push_str(reason);
    }
    parts
}
