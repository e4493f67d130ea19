//! Judgements on the server, its settings, our role and the slots.

use std::time::Duration;

use super::Finding;
use crate::config::settings::{Manage, Settings};
use crate::postgres::catalog::ServerInfo;
use crate::postgres::query::identifier;
use crate::postgres::slot::{self, Bytes, Slot, SlotState, WalStatus};

/// Retained WAL from which on a slot that nobody reads is worth a warning.
const MUCH_WAL: u64 = 1 << 30;

/// The name under which replication connects, which is what `synchronous_standby_names` matches.
pub(super) fn application_name(settings: &Settings) -> String {
    format!("walferry_{}", settings.name)
}

pub(super) fn judge(info: &ServerInfo, application_name: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if info.wal_level != "logical" {
        findings.push(
            Finding::error(format!("wal_level is {}, not logical", info.wal_level))
                .remedy("ALTER SYSTEM SET wal_level = 'logical'; then restart the server"),
        );
    }
    if !info.may_replicate {
        findings.push(
            Finding::error(format!("the role {} may not replicate", info.user))
                .remedy(format!("ALTER ROLE {} REPLICATION;", identifier(&info.user))),
        );
    }
    if info.is_superuser {
        findings.push(
            Finding::warning(format!("the role {} is a superuser", info.user))
                .remedy("config/least-privilege.sql makes a role with what is needed"),
        );
    }
    if info.in_recovery && info.version_num < 160_000 {
        findings.push(
            Finding::error("the server is a standby, which has logical slots from 16 on only")
                .remedy("connect to the primary: target_session_attrs=read-write in the URL"),
        );
    }
    if info.encoding == "SQL_ASCII" {
        findings.push(Finding::warning(
            "the database's encoding is SQL_ASCII: a text that is not UTF-8 stops the stream",
        ));
    }
    if would_be_synchronous(&info.synchronous_standby_names, application_name) {
        findings.push(
            Finding::error(format!(
                "synchronous_standby_names makes {application_name} a synchronous standby: \
                 commits of the application would wait for Kafka"
            ))
            .remedy("name the real standbys in synchronous_standby_names"),
        );
    }
    if info.max_slot_wal_keep_size.is_none() {
        findings.push(
            Finding::warning(
                "max_slot_wal_keep_size is unlimited: a slot that is not read fills the disk",
            )
            .remedy("ALTER SYSTEM SET max_slot_wal_keep_size = '100GB'; SELECT pg_reload_conf();"),
        );
    }
    findings.push(Finding::info(match info.wal_sender_timeout {
        Duration::ZERO => {
            "wal_sender_timeout is off: a lost connection can hold the slot for long".to_owned()
        }
        timeout => format!("wal_sender_timeout is {} ms", timeout.as_millis()),
    }));
    findings
}

pub(super) fn judge_slots(
    info: &ServerInfo,
    settings: &Settings,
    slot: &SlotState,
    all: &[Slot],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    match slot {
        SlotState::Missing { name } => {
            if settings.postgres.slot_manage == Manage::Never {
                findings.push(
                    Finding::error(format!("{slot}, and slot_manage is \"never\""))
                        .remedy(format!("{};", slot::create_sql(name))),
                );
            }
            if info.slots >= info.max_replication_slots {
                findings.push(
                    Finding::error(format!(
                        "all {} replication slots are in use",
                        info.max_replication_slots
                    ))
                    .remedy(
                        "drop one that nobody reads, or raise max_replication_slots and restart \
                         the server",
                    ),
                );
            }
        }
        SlotState::Exists(ours) => findings.push(match ours.fault() {
            Some(_) => Finding::error(slot.to_string())
                .remedy(format!("{}; or set another postgres.slot", slot::drop_sql(&ours.name))),
            None if ours.wal_status == Some(WalStatus::Unreserved) => {
                Finding::warning(slot.to_string())
            }
            None => Finding::info(slot.to_string()),
        }),
    }
    let is_ours_active = matches!(slot, SlotState::Exists(ours) if ours.active_pid.is_some());
    if info.wal_senders >= info.max_wal_senders && !is_ours_active {
        findings.push(
            Finding::error(format!("all {} WAL senders are in use", info.max_wal_senders))
                .remedy("raise max_wal_senders and restart the server"),
        );
    }
    let others = all.iter().filter(|other| other.name != settings.postgres.slot);
    findings.extend(others.filter_map(judge_other));
    findings
}

/// Another slot that nobody reads keeps WAL as ours would.
fn judge_other(other: &Slot) -> Option<Finding> {
    let retained = other.retained?;
    if other.active_pid.is_some() || other.wal_status == Some(WalStatus::Lost) {
        return None;
    }
    let what = format!(
        "slot {} of another reader is inactive and holds back {} of WAL",
        other.name,
        Bytes(retained)
    );
    Some(if retained >= MUCH_WAL {
        Finding::warning(what)
            .remedy(format!("if nobody will read it any more: {};", slot::drop_sql(&other.name)))
    } else {
        Finding::info(what)
    })
}

/// Whether the setting names the application, as the server reads it: names without regard to
/// case, `*` for all, `FIRST n (…)`, `ANY n (…)` or `n (…)` around them.
pub(super) fn would_be_synchronous(names: &str, application_name: &str) -> bool {
    // The server cuts an application name at 63 bytes.
    let mut end = application_name.len().min(63);
    while !application_name.is_char_boundary(end) {
        end -= 1;
    }
    let application_name = application_name.get(..end).unwrap_or(application_name);
    let list = match (names.find('('), names.rfind(')')) {
        (Some(open), Some(close)) => names.get(open + 1..close).unwrap_or(""),
        _ => names,
    };
    list.split(',').map(|name| name.trim().trim_matches('"')).any(|name| {
        name == "*" || (!name.is_empty() && name.eq_ignore_ascii_case(application_name))
    })
}
