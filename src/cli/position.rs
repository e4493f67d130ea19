//! `walferry position`: the durable record of what was delivered, shown and replaced.

use super::args::{GlobalArgs, PositionArgs, PositionCommand, PositionSetArgs};
use super::deployment::{Deployment, Known, admin, without_yes};
use super::output::Output;
use super::{Exit, block_on, load_settings};
use crate::config::Settings;
use crate::delivery::startup::{Decision, Gap};
use crate::delivery::{Position, standing};
use crate::failure::Failure;
use crate::kafka::position_topic;
use crate::snapshot::Record;

pub(super) fn run(global: &GlobalArgs, args: &PositionArgs) -> Result<Exit, Failure> {
    let settings = load_settings(global)?;
    block_on(async {
        match &args.command {
            PositionCommand::Show(args) => show(&settings, args.json).await,
            PositionCommand::Set(args) => set(&settings, args).await,
        }
    })
}

/// Kafka alone is asked.
async fn show(settings: &Settings, as_json: bool) -> Result<Exit, Failure> {
    let admin = admin(settings)?;
    let records =
        position_topic::read(&admin, &settings.name, &settings.kafka, standing::KAFKA_TIMEOUT)
            .await?;
    let record = records.position;
    let topic = position_topic::topic_name(&settings.name);
    let position = record.as_deref().map(Position::from_bytes).transpose();
    let output = Output::stdout();
    match position {
        Ok(_) if as_json => {
            let record = record.unwrap_or_else(|| b"null".to_vec());
            output.line(&String::from_utf8_lossy(&record));
            Ok(Exit::Done)
        }
        Ok(position) => {
            let known = position.map_or(Known::Nothing, Known::Position);
            output.fact("topic", &topic);
            output.fact("position", &known.describe());
            if let Some(record) = records.snapshot {
                output.fact("snapshot", &describe_snapshot(&record));
            }
            Ok(Exit::Done)
        }
        Err(error) => {
            let record = record.unwrap_or_default();
            output.fact("topic", &topic);
            output.fact("record", &record.escape_ascii().to_string());
            Err(Failure::stop("position", error.to_string())
                .remedy("`walferry position set` replaces it"))
        }
    }
}

/// Which tables are still to be read.
fn describe_snapshot(record: &[u8]) -> String {
    let record = match Record::from_bytes(record) {
        Ok(record) => record,
        Err(error) => return error.to_string(),
    };
    let pending: Vec<&str> = record.pending().map(|(_, table)| table.name.as_str()).collect();
    match pending.as_slice() {
        [] => "complete".to_owned(),
        pending => format!("to be read: {}", pending.join(", ")),
    }
}

async fn set(settings: &Settings, args: &PositionSetArgs) -> Result<Exit, Failure> {
    let deployment = Deployment::claim(settings).await?;
    if args.yes {
        // First: while somebody reads the slot, what it has confirmed goes on moving.
        deployment.ensure_idle()?;
    }
    let position = deployment.at(args.lsn);
    if let Decision::Refuse(gap) = deployment.decision_at(Some(&position)) {
        return Err(useless(&gap));
    }
    let output = Output::stdout();
    output.fact("slot", &deployment.postgres.slot.to_string());
    output.fact("before", &deployment.position.describe());
    output.fact("after", &Known::Position(position.clone()).describe());
    output.fact("accepted", &deployment.accepted(args.lsn));
    if !args.yes {
        without_yes();
        return Ok(Exit::Operator);
    }
    deployment.write(&position).await?;
    output.line("The position is set.");
    Ok(Exit::Done)
}

/// A position with which the next start would be refused is not written.
fn useless(gap: &Gap) -> Failure {
    match gap {
        Gap::SlotAhead { slot, confirmed, done } => Failure::stop(
            "position",
            format!(
                "the slot {slot} has confirmed {confirmed}: Postgres cannot send again what comes \
                 after {done}"
            ),
        )
        .remedy(format!("set {confirmed} or a later position")),
        Gap::ServerBehind { flushed, done } => Failure::stop(
            "position",
            format!("{done} is in the future: the server's WAL ends at {flushed}"),
        )
        .remedy(format!("set {flushed} or an earlier position")),
        Gap::SlotMissing { slot, .. } => Failure::stop(
            "position",
            format!("the slot {slot} does not exist, so nothing could be sent from any position"),
        )
        .remedy("`walferry slot create` makes the slot, and the position with it"),
        other => standing::refusal(other),
    }
}
