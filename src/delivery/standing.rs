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
use crate::kafka::{Admin, position_topic};
use crate::postgres::catalog::ServerInfo;
use crate::postgres::replication::Client;
use crate::postgres::slot::SlotState;

/// How long one question to Kafka may take.
pub(crate) const KAFKA_TIMEOUT: Duration = Duration::from_secs(10);

/// The name that sessions carry in `pg_stat_activity`. Fixed, so that a wildcard in
/// `synchronous_standby_names` is the only one that can match it by accident.
pub(crate) fn application_name(name: &str) -> String {
    format!("walferry_{name}")
}

/// Reads the position record and its meaning.
pub(crate) async fn read_position(
    admin: &Admin,
    settings: &Settings,
) -> Result<Option<Position>, Failure> {
    let bytes = position_topic::read(admin, &settings.name, &settings.kafka, KAFKA_TIMEOUT).await?;
    bytes
        .map(|bytes| {
            Position::from_bytes(&bytes).map_err(|error| {
                Failure::stop("position", error.to_string()).remedy(
                    "`walferry position show` prints it, `walferry position set` replaces it",
                )
            })
        })
        .transpose()
}

/// Writes a position record and waits for its acknowledgement.
pub(crate) async fn write_position(
    settings: &Settings,
    position: &Position,
) -> Result<(), Failure> {
    let bytes = position.to_bytes();
    position_topic::write(&settings.name, &settings.kafka, &bytes, KAFKA_TIMEOUT).await
}

/// Takes the position back: the next start is a first start.
pub(crate) async fn clear_position(settings: &Settings) -> Result<(), Failure> {
    position_topic::clear(&settings.name, &settings.kafka, KAFKA_TIMEOUT).await
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
