//! Which listed tables are to be read: kept in the durable record.

use crate::config::Settings;
use crate::delivery::SlotOrigin;
use crate::postgres::Oid;
use crate::postgres::snapshot::{owners, wanted};
use crate::postgres::whitelist::{Whitelist, dotted};
use crate::snapshot::{FrozenState, Record, TableState};

/// The record of a deployment that begins: with `at_first` tables are read as configured, without
/// it everything that is listed counts as read, because only what happens from now on is wanted.
pub(in crate::pump) fn first_record(
    origin: SlotOrigin,
    settings: &Settings,
    whitelist: &Whitelist,
    at_first: bool,
) -> Record {
    let mut record = Record::new(origin);
    if at_first {
        admit(&mut record, settings, whitelist);
    } else {
        for target in owners(whitelist) {
            record.set(target.oid, dotted(&target.schema, &target.name), TableState::Done);
        }
    }
    record
}

/// Enters the tables that the record does not know; whether there were any.
pub(in crate::pump) fn admit(
    record: &mut Record,
    settings: &Settings,
    whitelist: &Whitelist,
) -> bool {
    let mut is_new = false;
    for target in owners(whitelist) {
        if record.knows(target.oid) {
            continue;
        }
        is_new = true;
        let state = match wanted(settings, target) {
            Some(condition) => TableState::Frozen(FrozenState { condition }),
            None => TableState::Done,
        };
        record.set(target.oid, dotted(&target.schema, &target.name), state);
    }
    is_new
}

/// The tables that a pass has to read, in the order of their names. What is not listed any more is
/// not read.
pub(in crate::pump) fn pending(record: &Record, whitelist: &Whitelist) -> Vec<Oid> {
    let mut pending: Vec<(&str, Oid)> = record
        .pending()
        .filter(|(oid, table)| {
            whitelist.entries.contains_key(oid) && matches!(table.state, TableState::Frozen(_))
        })
        .map(|(oid, table)| (table.name.as_str(), oid))
        .collect();
    pending.sort_unstable();
    pending.into_iter().map(|(_, oid)| oid).collect()
}
