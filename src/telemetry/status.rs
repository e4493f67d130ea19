//! The state of the pump as others see it: a [`Snapshot`], replaced whole.
//!
//! Ready means that the stream flows: state [`Streaming`](State::Streaming) and no [`NotReady`].
//! Everything else has a reason with a short code (for alerts and the documentation) and a
//! sentence (for people).

use serde::{Serialize, Serializer};

use crate::postgres::{Lsn, PgTime};

/// Where the pump stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Configuration is read, nothing is connected.
    #[default]
    Starting,
    /// Connecting to Postgres, comparing position, slot and server, or waiting before the next try.
    Connecting,
    /// Waiting until the slot is free.
    AcquiringSlot,
    /// Reading tables; the stream is held.
    Snapshot,
    /// Following the slot.
    Streaming,
    /// Kafka or the registry did not answer for `stall_disconnect`: replication was left until it
    /// does.
    Stalled,
    /// Replication was lost, or a delivery failed: what is in flight is awaited before all is
    /// started again.
    Rebuilding,
    /// Stopping: what is in flight is awaited and confirmed.
    Draining,
    Stopped,
}

impl State {
    pub const ALL: [State; 9] = [
        State::Starting,
        State::Connecting,
        State::AcquiringSlot,
        State::Snapshot,
        State::Streaming,
        State::Stalled,
        State::Rebuilding,
        State::Draining,
        State::Stopped,
    ];

    /// The name in `/status`, in logs and in the label `state`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Connecting => "connecting",
            State::AcquiringSlot => "acquiring_slot",
            State::Snapshot => "snapshot",
            State::Streaming => "streaming",
            State::Stalled => "stalled",
            State::Rebuilding => "rebuilding",
            State::Draining => "draining",
            State::Stopped => "stopped",
        }
    }
}

/// Why the stream does not flow, as a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Not there yet; nothing is wrong.
    Starting,
    /// Postgres cannot be reached, or refused.
    Postgres,
    /// Somebody else holds the slot.
    SlotActive,
    /// The brokers cannot be reached, or refused.
    Kafka,
    /// The next row needs a schema and the registry does not give it.
    Registry,
    /// Tables are read first; the stream goes on from there.
    Snapshot,
    /// Nothing was acknowledged for `stall_disconnect`.
    Stalled,
    /// A delivery failed and is being repeated.
    Rebuilding,
    /// The process is stopping.
    Stopping,
    /// An operator is needed; the process exits with code 2.
    Failed,
}

impl Reason {
    pub const ALL: [Reason; 10] = [
        Reason::Starting,
        Reason::Postgres,
        Reason::SlotActive,
        Reason::Kafka,
        Reason::Registry,
        Reason::Snapshot,
        Reason::Stalled,
        Reason::Rebuilding,
        Reason::Stopping,
        Reason::Failed,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Starting => "starting",
            Reason::Postgres => "postgres",
            Reason::SlotActive => "slot_active",
            Reason::Kafka => "kafka",
            Reason::Registry => "registry",
            Reason::Snapshot => "snapshot",
            Reason::Stalled => "stalled",
            Reason::Rebuilding => "rebuilding",
            Reason::Stopping => "stopping",
            Reason::Failed => "failed",
        }
    }
}

/// Why the stream does not flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotReady {
    pub reason: Reason,
    /// For people: what is waited for. Never a row value or a secret.
    pub message: String,
}

impl NotReady {
    pub fn new(reason: Reason, message: impl Into<String>) -> NotReady {
        NotReady { reason, message: message.into() }
    }
}

/// How far the stream has come; each is at most the one before it, but for the moment between a
/// report and the next snapshot. [`Lsn::INVALID`] means not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Positions {
    /// The newest that the server itself told of.
    #[serde(serialize_with = "lsn")]
    pub server: Lsn,
    #[serde(serialize_with = "lsn")]
    pub received: Lsn,
    #[serde(serialize_with = "lsn")]
    pub produced: Lsn,
    /// Everything before it is durable in Kafka.
    #[serde(serialize_with = "lsn")]
    pub acknowledged: Lsn,
    /// What Postgres was told.
    #[serde(serialize_with = "lsn")]
    pub confirmed: Lsn,
}

/// Produced and not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct InFlight {
    pub records: u64,
    pub bytes: u64,
}

/// What the pump says of itself, at most every 100 ms and at each change of state.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub state: State,
    /// Set whenever the stream does not flow; a state other than `Streaming` is unready anyhow.
    pub not_ready: Option<NotReady>,
    pub positions: Positions,
    pub in_flight: InFlight,
    /// Commit time of the oldest transaction received and not acknowledged.
    pub oldest_pending_commit: Option<PgTime>,
}

impl Snapshot {
    /// A state with its reason and nothing else, for before and after the stream.
    #[must_use]
    pub fn unready(state: State, reason: Reason, message: impl Into<String>) -> Snapshot {
        Snapshot { state, not_ready: Some(NotReady::new(reason, message)), ..Snapshot::default() }
    }

    /// `None` when the stream flows.
    #[must_use]
    pub fn readiness(&self) -> Option<NotReady> {
        match (self.state, &self.not_ready) {
            (_, Some(not_ready)) => Some(not_ready.clone()),
            (State::Streaming, None) => None,
            (state, None) => Some(NotReady::new(state.reason(), state.as_str())),
        }
    }
}

impl State {
    /// What a state without a reason of its own means for readiness.
    fn reason(self) -> Reason {
        match self {
            State::Starting | State::Streaming => Reason::Starting,
            State::Connecting => Reason::Postgres,
            State::AcquiringSlot => Reason::SlotActive,
            State::Snapshot => Reason::Snapshot,
            State::Stalled => Reason::Stalled,
            State::Rebuilding => Reason::Rebuilding,
            State::Draining | State::Stopped => Reason::Stopping,
        }
    }
}

/// As Postgres prints it; null when not known.
pub(super) fn lsn<S: Serializer>(lsn: &Lsn, serializer: S) -> Result<S::Ok, S::Error> {
    if *lsn == Lsn::INVALID { serializer.serialize_none() } else { serializer.collect_str(lsn) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_flowing_stream_is_ready() {
        for state in State::ALL {
            let snapshot = Snapshot { state, ..Snapshot::default() };
            assert_eq!(snapshot.readiness().is_none(), state == State::Streaming, "{state:?}");
        }
        let waiting = Snapshot::unready(State::Streaming, Reason::Registry, "registry: timeout");
        assert_eq!(waiting.readiness().unwrap().message, "registry: timeout");
    }

    #[test]
    fn names_are_those_of_the_json() {
        for state in State::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }

    #[test]
    fn the_documentation_explains_every_state_and_reason_and_no_other() {
        let page = include_str!("../../docs/operations.md");
        assert_eq!(rows(page, "### States"), State::ALL.map(State::as_str));
        assert_eq!(rows(page, "### Reasons for not being ready"), Reason::ALL.map(Reason::as_str));
    }

    /// The names in the first column of the table under a heading.
    fn rows<'a>(page: &'a str, heading: &str) -> Vec<&'a str> {
        let (_, section) = page.split_once(&format!("\n{heading}\n")).expect("the heading");
        let section = section.split("\n#").next().expect("a section");
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        rows.filter_map(|row| row.split('`').next()).collect()
    }
}
