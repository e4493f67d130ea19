//! How a deployment stands: its position, its slot and its server as they are now, in the terms of
//! the start-up table.
//!
//! Shared by the start of the stream and by the commands with which an operator looks at the same
//! things and decides.

use std::time::Duration;

use super::startup::{self, Decision, Gap, Ownership, Server};
use super::{Position, SlotOrigin};
use crate::config::Settings;
use crate::config::settings::Manage;
use crate::failure::Failure;
use crate::kafka::position_topic::Key;
use crate::kafka::{Admin, position_topic};
use crate::postgres::catalog::ServerInfo;
use crate::postgres::replication::Client;
use crate::postgres::slot::SlotState;
use crate::snapshot::Record;

/// How long one question to Kafka may take.
pub(crate) const KAFKA_TIMEOUT: Duration = Duration::from_secs(10);

/// The name that sessions carry in `pg_stat_activity`. Fixed, so that a wildcard in
/// `synchronous_standby_names` is the only one that can match it by accident.
pub(crate) fn application_name(name: &str) -> String {
    format!("walferry_{name}")
}

/// What the position topic holds for a deployment.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    pub(crate) position: Option<Position>,
    pub(crate) snapshot: Option<Record>,
}

/// Reads the position record and the snapshot record, and their meaning.
pub(crate) async fn read(admin: &Admin, settings: &Settings) -> Result<Standing, Failure> {
    let records =
        position_topic::read(admin, &settings.name, &settings.kafka, KAFKA_TIMEOUT).await?;
    let position = records.position.as_deref().map(Position::from_bytes).transpose();
    let snapshot = records.snapshot.as_deref().map(Record::from_bytes).transpose();
    Ok(Standing {
        position: position.map_err(|error| {
            Failure::stop("position", error.to_string())
                .remedy("`walferry position show` prints it, `walferry position set` replaces it")
        })?,
        snapshot: snapshot.map_err(|error| {
            Failure::stop("position", error.to_string()).remedy(
                "a newer walferry has most likely written it: run that one; `walferry slot drop \
                 --yes` gives position, slot and snapshot up, and the next start is a first start",
            )
        })?,
    })
}

/// Writes a position record and waits for its acknowledgement; with a snapshot record that one
/// first, so that a position never stands without it.
pub(crate) async fn write(
    settings: &Settings,
    position: &Position,
    snapshot: Option<&Record>,
) -> Result<(), Failure> {
    let snapshot = snapshot.map(|record| (Key::Snapshot, Some(record.to_bytes())));
    let records: Vec<_> =
        snapshot.into_iter().chain([(Key::Position, Some(position.to_bytes()))]).collect();
    position_topic::write(&settings.name, &settings.kafka, &records, KAFKA_TIMEOUT).await
}

/// Writes the snapshot record alone.
pub(crate) async fn write_snapshot(settings: &Settings, record: &Record) -> Result<(), Failure> {
    let records = [(Key::Snapshot, Some(record.to_bytes()))];
    position_topic::write(&settings.name, &settings.kafka, &records, KAFKA_TIMEOUT).await
}

/// Takes position and snapshot back: the next start is a first start.
pub(crate) async fn clear(settings: &Settings) -> Result<(), Failure> {
    let records = [(Key::Position, None), (Key::Snapshot, None)];
    position_topic::write(&settings.name, &settings.kafka, &records, KAFKA_TIMEOUT).await
}

/// Who the server is, as the position records it.
pub(crate) async fn server(
    replication: &mut Client,
    info: &ServerInfo,
    settings: &Settings,
) -> Result<Server, Failure> {
    let identity = replication.identify_system().await?;
    let history = replication.timeline_history(identity.timeline).await?;
    Ok(Server {
        origin: SlotOrigin {
            system: identity.system_id,
            database: info.database_oid,
            slot: settings.postgres.slot.clone(),
        },
        timeline: identity.timeline,
        flushed: identity.flushed,
        history: history.iter().map(|ended| (ended.timeline, ended.switch)).collect(),
    })
}

/// The slot as the start-up table sees it.
pub(crate) fn startup_slot(state: &SlotState) -> startup::Slot {
    match state {
        SlotState::Missing { .. } => startup::Slot::Missing,
        SlotState::Exists(slot) => match (slot.fault(), slot.confirmed_flush_lsn) {
            (Some(fault), _) => startup::Slot::Unusable(fault.to_string()),
            (None, Some(confirmed)) => startup::Slot::Ready { confirmed },
            (None, None) => startup::Slot::Unusable("it has no confirmed position".to_owned()),
        },
    }
}

/// What a start does with this position, slot and server.
pub(crate) fn decide(
    settings: &Settings,
    position: Option<&Position>,
    slot: &SlotState,
    server: &Server,
) -> Decision {
    let ownership = match settings.postgres.slot_manage {
        Manage::Auto => Ownership::Walferry,
        Manage::Never => Ownership::Operator,
    };
    startup::decide(position, &startup_slot(slot), server, ownership)
}

/// A gap as the error that ends the process.
pub(crate) fn refusal(gap: &Gap) -> Failure {
    Failure::stop("position", gap.to_string()).remedy(gap.remedy())
}
