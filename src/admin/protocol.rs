//! Requests and responses.

use serde::{Deserialize, Serialize};

use crate::snapshot::TableProgress;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Reads listed tables (`schema.name`) and delivers their rows.
    Snapshot {
        tables: Vec<String>,
        /// SQL: only the rows that it holds for.
        #[serde(default)]
        condition: Option<String>,
        #[serde(default)]
        engine: Engine,
    },
    /// Begins nothing more until [`Resume`](Self::Resume); a chunk under way is finished.
    Pause,
    Resume,
    /// Gives the reading of tables up; all of them if none is named.
    Stop {
        tables: Vec<String>,
    },
    Status,
}

/// How tables are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// While the stream goes on; refused for tables that do not allow it.
    #[default]
    Windows,
    /// At one exported snapshot; the stream is held meanwhile.
    Frozen,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "snake_case")]
pub enum Response {
    /// Durable: a restart goes on with it.
    Accepted {
        tables: Vec<String>,
    },
    Status(Status),
    Refused {
        message: String,
        remedy: Option<String>,
    },
}

/// What is being read, and what is still to be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub paused: bool,
    /// That are not wholly delivered.
    pub tables: Vec<TableProgress>,
}

impl Response {
    pub(crate) fn refused(message: impl Into<String>) -> Response {
        Response::Refused { message: message.into(), remedy: None }
    }
}
