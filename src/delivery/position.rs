//! The position record: the durable root of truth.
//!
//! One record under one key in `__walferry.<name>.position` says up to where this deployment has
//! delivered and of which stream of which database it speaks. It is self-contained, versioned JSON,
//! so that an operator can read it with any consumer.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::postgres::{Lsn, Oid, SystemId, Timeline};

/// What the position topic holds for one deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// A first start began and did not finish: publication and slot may be half made.
    Intent(SlotOrigin),
    /// Everything that commits before `done` was delivered.
    At { origin: SlotOrigin, timeline: Timeline, done: Lsn, partial: Option<Partial> },
}

/// Which slot of which database a position belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotOrigin {
    pub system: SystemId,
    pub database: Oid,
    pub slot: String,
}

/// For people.
impl fmt::Display for SlotOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SlotOrigin { system, database, slot } = self;
        write!(f, "slot {slot} of database {database} on system {system}")
    }
}

/// How far into one source transaction a Kafka transaction reached (exactly-once only).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial {
    pub commit_lsn: Lsn,
    /// Counts every insert, update, delete, truncate and message as received, before any filter.
    pub ordinal: u64,
}

/// The record's bytes are no position that this version understands.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the position record is not the JSON that walferry writes")]
    Json(#[from] serde_json::Error),
    #[error("the position record has version {0}, this walferry writes version {VERSION}")]
    Version(u32),
    #[error("the position record's {0} is malformed")]
    Field(&'static str),
}

const VERSION: u32 = 1;

/// The record as written. Numbers of 64 bits are text: JSON readers round them.
#[derive(Serialize, Deserialize)]
struct Wire {
    version: u32,
    state: State,
    system: String,
    database: u32,
    slot: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeline: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    done: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partial: Option<WirePartial>,
}

#[derive(Serialize, Deserialize)]
struct WirePartial {
    commit_lsn: String,
    ordinal: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Intent,
    At,
}

impl Position {
    /// The stream that the position belongs to.
    #[must_use]
    pub fn origin(&self) -> &SlotOrigin {
        match self {
            Position::Intent(origin) | Position::At { origin, .. } => origin,
        }
    }

    /// The value of the position record.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let origin = self.origin();
        let mut wire = Wire {
            version: VERSION,
            state: State::Intent,
            system: origin.system.to_string(),
            database: origin.database.0,
            slot: origin.slot.clone(),
            timeline: None,
            done: None,
            partial: None,
        };
        if let Position::At { timeline, done, partial, .. } = self {
            wire.state = State::At;
            wire.timeline = Some(timeline.0);
            wire.done = Some(done.to_string());
            wire.partial = partial.map(|partial| WirePartial {
                commit_lsn: partial.commit_lsn.to_string(),
                ordinal: partial.ordinal,
            });
        }
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    /// Reads the value of a position record.
    ///
    /// # Errors
    /// [`Error`] when the bytes are not a position of this version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Position, Error> {
        let wire: Wire = serde_json::from_slice(bytes)?;
        if wire.version != VERSION {
            return Err(Error::Version(wire.version));
        }
        let origin = SlotOrigin {
            system: SystemId(wire.system.parse().map_err(|_| Error::Field("system"))?),
            database: Oid(wire.database),
            slot: wire.slot,
        };
        if matches!(wire.state, State::Intent) {
            return Ok(Position::Intent(origin));
        }
        let lsn = |text: Option<String>, field| {
            text.and_then(|text| text.parse().ok()).ok_or(Error::Field(field))
        };
        let partial = wire
            .partial
            .map(|partial| {
                let commit_lsn = lsn(Some(partial.commit_lsn), "partial.commit_lsn")?;
                Ok::<_, Error>(Partial { commit_lsn, ordinal: partial.ordinal })
            })
            .transpose()?;
        Ok(Position::At {
            origin,
            timeline: Timeline(wire.timeline.ok_or(Error::Field("timeline"))?),
            done: lsn(wire.done, "done")?,
            partial,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> SlotOrigin {
        SlotOrigin { system: SystemId(u64::MAX), database: Oid(5), slot: "walferry_shop".into() }
    }

    #[test]
    fn positions_survive_the_topic() {
        let at = Position::At {
            origin: origin(),
            timeline: Timeline(3),
            done: Lsn(0x16_B374_D848),
            partial: None,
        };
        assert_eq!(
            String::from_utf8(at.to_bytes()).unwrap(),
            "{\"version\":1,\"state\":\"at\",\"system\":\"18446744073709551615\",\"database\":5,\
             \"slot\":\"walferry_shop\",\"timeline\":3,\"done\":\"16/B374D848\"}"
        );
        let partial = Position::At {
            origin: origin(),
            timeline: Timeline(3),
            done: Lsn(1),
            partial: Some(Partial { commit_lsn: Lsn(2), ordinal: 7 }),
        };
        for position in [at, partial, Position::Intent(origin())] {
            assert_eq!(Position::from_bytes(&position.to_bytes()).unwrap(), position);
        }
    }

    #[test]
    fn foreign_bytes_are_refused() {
        assert!(matches!(Position::from_bytes(b"\xff"), Err(Error::Json(_))));
        let newer = r#"{"version":2,"state":"at","system":"1","database":5,"slot":"s"}"#;
        assert!(matches!(Position::from_bytes(newer.as_bytes()), Err(Error::Version(2))));
        let short = r#"{"version":1,"state":"at","system":"1","database":5,"slot":"s"}"#;
        assert!(matches!(Position::from_bytes(short.as_bytes()), Err(Error::Field("timeline"))));
    }
}
