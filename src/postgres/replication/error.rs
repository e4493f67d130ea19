//! What can go wrong on a replication connection.

use std::io;

use crate::failure::{Class, Failure};
use crate::postgres::connect::{self, Endpoint, sqlstate_class};
use crate::postgres::wire::{self, ServerError};

/// A failure of a command or of the stream. Never a row value or a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(transparent)]
    Connect(#[from] connect::Error),
    #[error("the replication connection to postgres at {endpoint} was lost: {source}")]
    Lost { endpoint: Endpoint, source: io::Error },
    #[error("the replication connection to postgres at {endpoint}: {source}")]
    Protocol { endpoint: Endpoint, source: wire::Error },
    #[error("postgres at {endpoint} refused {command}: {error}")]
    Server { endpoint: Endpoint, command: &'static str, error: ServerError },
    /// SQLSTATE 55006. The server may hold a slot for a client that is gone until
    /// `wal_sender_timeout`.
    #[error("replication slot {slot:?} is in use{}", by_pid(*pid))]
    SlotActive { slot: String, pid: Option<u32> },
    #[error("postgres at {endpoint} answered {command} with something else: {problem}")]
    Answer { endpoint: Endpoint, command: &'static str, problem: &'static str },
    #[error("{name:?} cannot be sent in a replication command: it holds a NUL")]
    Name { name: String },
}

impl Error {
    /// The server's own error, where it is one.
    #[must_use]
    pub fn server_error(&self) -> Option<&ServerError> {
        match self {
            Error::Server { error, .. } | Error::Connect(connect::Error::Server { error, .. }) => {
                Some(error)
            }
            _ => None,
        }
    }

    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Error::Connect(error) => error.class(),
            Error::Server { error, .. } => sqlstate_class(error.code),
            // A message above the maximum comes again at every attempt, as does a wrong name.
            Error::Protocol { source: wire::Error::TooLarge { .. }, .. } | Error::Name { .. } => {
                Class::Stop
            }
            Error::Lost { .. }
            | Error::Protocol { .. }
            | Error::SlotActive { .. }
            | Error::Answer { .. } => Class::Retry,
        }
    }

    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        match self {
            Error::Connect(error) => error.remedy(),
            Error::Server { error, .. } => {
                error.hint.clone().or_else(|| match error.code.as_str() {
                    "53400" => Some("raise max_replication_slots on the server".to_owned()),
                    "42501" => Some("ALTER ROLE … REPLICATION".to_owned()),
                    "55000" => {
                        Some("set wal_level = logical on the server and restart it".to_owned())
                    }
                    _ => None,
                })
            }
            Error::SlotActive { .. } => Some(
                "stop the other client, or wait: a dead one is noticed after wal_sender_timeout"
                    .to_owned(),
            ),
            Error::Protocol { source: wire::Error::TooLarge { .. }, .. } => {
                Some("raise postgres.max_message_bytes".to_owned())
            }
            _ => None,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let kind = match &error {
            Error::SlotActive { .. } => "slot",
            _ => "postgres",
        };
        Failure {
            class: error.class(),
            kind,
            message: error.to_string(),
            remedy: error.remedy(),
            after: None,
            source: Some(Box::new(error)),
        }
    }
}

fn by_pid(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" by the server process {pid}")).unwrap_or_default()
}
