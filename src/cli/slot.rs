//! `walferry slot`: the slot together with the position, looked at and changed by an operator.
//!
//! A slot and a position must fit, so no command changes the one without the other. Each says
//! what is accepted by it. Broken off between the two, a command leaves a state that the next start
//! refuses and the same command resolves.

use serde_json::{Value, json};

use super::args::{GlobalArgs, SlotArgs, SlotCommand};
use super::deployment::{Deployment, Known, Postgres, without_yes};
use super::output::{Output, Severity};
use super::{Exit, block_on, load_settings};
use crate::delivery::startup::{Decision, Gap, Slot as StartupSlot};
use crate::delivery::{Position, standing};
use crate::failure::Failure;
use crate::kafka::position_topic;
use crate::postgres::slot::{self, Slot, SlotState};
use crate::postgres::{publication, whitelist};

pub(super) fn run(global: &GlobalArgs, args: &SlotArgs) -> Result<Exit, Failure> {
    let settings = load_settings(global)?;
    block_on(async {
        let deployment = match &args.command {
            SlotCommand::Status(_) => Deployment::look(&settings).await?,
            SlotCommand::Create | SlotCommand::Adopt | SlotCommand::Drop(_) => {
                Deployment::claim(&settings).await?
            }
        };
        match &args.command {
            SlotCommand::Status(args) => Ok(status(&deployment, args.json)),
            SlotCommand::Create => create(&deployment).await,
            SlotCommand::Adopt => adopt(&deployment).await,
            SlotCommand::Drop(args) => drop(&deployment, args.yes).await,
        }
    })
}

fn status(deployment: &Deployment<'_>, as_json: bool) -> Exit {
    let decision = deployment.decision();
    let unreadable = matches!(deployment.position, Known::Unreadable(_));
    let exit = match decision {
        Decision::Refuse(_) => Exit::Operator,
        _ if unreadable => Exit::Operator,
        _ => Exit::Done,
    };
    let output = Output::stdout();
    if as_json {
        output.line(&status_json(deployment, &decision).to_string());
        return exit;
    }
    let Postgres { info, server, slot, .. } = &deployment.postgres;
    output.fact(
        "server",
        &format!(
            "PostgreSQL {}, database {}, system {}, timeline {}, WAL up to {}",
            deployment.postgres.version(),
            info.database,
            server.origin.system,
            server.timeline,
            server.flushed
        ),
    );
    output.fact("slot", &slot.to_string());
    output.fact("position", &deployment.position.describe());
    if unreadable {
        let remedy = "`walferry position set` replaces it";
        output.finding(Severity::Error, "the position cannot be read", Some(remedy));
        return exit;
    }
    match &decision {
        Decision::Refuse(gap) => {
            output.finding(Severity::Error, &gap.to_string(), Some(&gap.remedy()));
        }
        other => output.finding(Severity::Ok, &prospect(other), None),
    }
    exit
}

/// What the next start does, in words.
pub(super) fn prospect(decision: &Decision) -> String {
    match decision {
        Decision::FirstStart => {
            "the next start is the first: it makes publication, slot and position".to_owned()
        }
        Decision::RepeatFirstStart => {
            "the next start drops the slot of a first start that did not finish, and does it again"
                .to_owned()
        }
        Decision::Adopt { done } => {
            format!("the next start takes the operator's slot and begins at {done}")
        }
        Decision::Resume { done } => format!("slot and position fit: a start goes on from {done}"),
        Decision::Refuse(gap) => gap.to_string(),
    }
}

fn status_json(deployment: &Deployment<'_>, decision: &Decision) -> Value {
    let Postgres { info, server, slot, .. } = &deployment.postgres;
    let (decision, reason, remedy) = match decision {
        Decision::FirstStart => ("first_start", None, None),
        Decision::RepeatFirstStart => ("repeat_first_start", None, None),
        Decision::Adopt { .. } => ("adopt", None, None),
        Decision::Resume { .. } => ("resume", None, None),
        Decision::Refuse(gap) => ("refuse", Some(gap.to_string()), Some(gap.remedy())),
    };
    json!({
        "server": {
            "version": deployment.postgres.version(),
            "database": info.database,
            "system": server.origin.system.to_string(),
            "timeline": server.timeline.0,
            "flushed_lsn": server.flushed.to_string(),
        },
        "slot": match slot {
            SlotState::Missing { .. } => Value::Null,
            SlotState::Exists(slot) => slot_json(slot),
        },
        "position": deployment.position.json(),
        "decision": decision,
        "reason": reason,
        "remedy": remedy,
    })
}

fn slot_json(slot: &Slot) -> Value {
    json!({
        "name": slot.name,
        "plugin": slot.plugin,
        "active_pid": slot.active_pid,
        "confirmed_lsn": slot.confirmed_flush_lsn.map(|lsn| lsn.to_string()),
        "restart_lsn": slot.restart_lsn.map(|lsn| lsn.to_string()),
        "wal_status": slot.wal_status.map(slot::WalStatus::as_str),
        "retained_wal_bytes": slot.retained,
        "safe_wal_bytes": slot.safe_wal_size,
        "fault": slot.fault().map(|fault| fault.to_string()),
    })
}

async fn create(deployment: &Deployment<'_>) -> Result<Exit, Failure> {
    let settings = deployment.settings;
    let Postgres { control, server, slot: state, .. } = &deployment.postgres;
    if let SlotState::Exists(_) = state {
        return Err(Failure::stop("slot", format!("{state}; there is nothing to create")).remedy(
            "`walferry slot adopt` goes on from it; `walferry slot drop --yes` gives it up first",
        ));
    }
    let whitelist = whitelist::resolve(&control.client, settings, None).await?;
    whitelist.ensure()?;
    let output = Output::stdout();
    for pattern in &whitelist.unmatched {
        output.finding(Severity::Warning, &format!("{pattern} matches no table"), None);
    }
    let publications = publication::sync(&control.client, settings, &whitelist).await?;
    for change in &publications.changes {
        output.fact("changed", change);
    }
    for notice in &publications.notices {
        output.finding(Severity::Warning, notice, None);
    }
    // Both topics and rights are looked at before there is a slot that holds the log.
    position_topic::ensure(&deployment.admin, &settings.name, &settings.topics).await?;
    let is_first = deployment.position == Known::Nothing;
    if is_first {
        deployment.write(&Position::Intent(server.origin.clone())).await?;
    }
    let done = slot::create(&control.client, &settings.postgres.slot).await?;
    if is_first {
        deployment.write_first(&deployment.at(done)).await?;
    } else {
        deployment.write(&deployment.at(done)).await?;
    }
    output.fact("created", &format!("slot {} at {done}", settings.postgres.slot));
    output.fact("accepted", &deployment.accepted(done));
    Ok(Exit::Done)
}

async fn adopt(deployment: &Deployment<'_>) -> Result<Exit, Failure> {
    let state = &deployment.postgres.slot;
    let confirmed = match standing::startup_slot(state) {
        StartupSlot::Ready { confirmed } => confirmed,
        StartupSlot::Missing => {
            return Err(Failure::stop("slot", format!("{state}: there is nothing to adopt"))
                .remedy("`walferry slot create` makes it"));
        }
        StartupSlot::Unusable(reason) => {
            let slot = deployment.settings.postgres.slot.clone();
            return Err(standing::refusal(&Gap::SlotUnusable { slot, reason }));
        }
    };
    deployment.ensure_idle()?;
    let output = Output::stdout();
    if let decision @ Decision::Resume { .. } = deployment.decision() {
        output.line(&format!("Nothing to adopt: {}.", prospect(&decision)));
        return Ok(Exit::Done);
    }
    deployment.write(&deployment.at(confirmed)).await?;
    output.fact("adopted", &format!("slot {} at {confirmed}", deployment.settings.postgres.slot));
    output.fact("accepted", &deployment.accepted(confirmed));
    Ok(Exit::Done)
}

async fn drop(deployment: &Deployment<'_>, yes: bool) -> Result<Exit, Failure> {
    let settings = deployment.settings;
    let Postgres { control, server, slot: state, .. } = &deployment.postgres;
    ensure_own_position(deployment)?;
    let output = Output::stdout();
    let missing = matches!(state, SlotState::Missing { .. });
    if missing && deployment.position == Known::Nothing {
        output.line(&format!("Nothing to drop: {state}, and there is no position."));
        return Ok(Exit::Done);
    }
    output.fact("slot", &state.to_string());
    output.fact("position", &deployment.position.describe());
    let lost = match deployment.position.position() {
        Some(Position::At { done, .. }) => format!("what commits after {done}"),
        _ => "what the slot holds".to_owned(),
    };
    output.fact("given up", &format!("{lost}, up to {} at least", server.flushed));
    if !yes {
        without_yes();
        return Ok(Exit::Operator);
    }
    deployment.ensure_idle()?;
    if !missing {
        slot::drop(&control.client, &settings.postgres.slot).await?;
        output.fact("dropped", &format!("slot {}", settings.postgres.slot));
    }
    if deployment.position != Known::Nothing {
        standing::clear(settings).await?;
        output.fact("cleared", "the position: the next start is a first start");
    }
    Ok(Exit::Done)
}

/// The position goes with the slot, so it must be the slot's: never the one of another database
/// that happens to have the same name.
fn ensure_own_position(deployment: &Deployment<'_>) -> Result<(), Failure> {
    let ours = &deployment.postgres.server.origin;
    match deployment.position.position() {
        Some(Position::At { origin, .. }) if origin != ours => Err(Failure::stop(
            "position",
            format!("the position belongs to {origin}, but the slot to drop is {ours}"),
        )
        .remedy(format!(
            "check postgres.url, postgres.slot and kafka.bootstrap_servers; if they are right, drop \
             the slot alone: {};",
            slot::drop_sql(&ours.slot)
        ))),
        _ => Ok(()),
    }
}
