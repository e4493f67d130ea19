//! Errors by what the operator must do.
//!
//! Every module has error types of its own; where they reach the pump or a command they are
//! classed: [`Retry`](Class::Retry) is handled by reconnecting, [`Stop`](Class::Stop) ends the
//! process with exit code 2. (A row that cannot be delivered is judged before it is enqueued and
//! stops too, until dead letters take it.)

use std::fmt;
use std::time::Duration;

/// What can be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It may pass by itself: try again with backoff.
    Retry,
    /// Only an operator can help: exit code 2.
    Stop,
}

/// A classed error with its whole explanation; never a row value or a secret.
#[derive(Debug)]
pub struct Failure {
    pub class: Class,
    /// A short name for metrics and logs: `postgres`, `kafka`, `registry`, `slot`, `position`, …
    pub kind: &'static str,
    /// What happened, lower case.
    pub message: String,
    /// What to do about it: a setting, a command, SQL. Printed on a line of its own.
    pub remedy: Option<String>,
    /// How long whoever refused asks to be left alone; bounded by where it was heard.
    pub after: Option<Duration>,
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Failure {
    pub fn retry(kind: &'static str, message: impl Into<String>) -> Failure {
        Failure::new(Class::Retry, kind, message.into())
    }

    pub fn stop(kind: &'static str, message: impl Into<String>) -> Failure {
        Failure::new(Class::Stop, kind, message.into())
    }

    fn new(class: Class, kind: &'static str, message: String) -> Failure {
        Failure { class, kind, message, remedy: None, after: None, source: None }
    }

    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Failure {
        self.remedy = Some(remedy.into());
        self
    }

    #[must_use]
    pub fn source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Failure {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
