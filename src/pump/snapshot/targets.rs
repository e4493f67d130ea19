//! Which listed tables are to be read: kept in the durable record.

use crate::config::Settings;
use crate::config::settings::Engine;
use crate::delivery::SlotOrigin;
use crate::postgres::Oid;
use crate::postgres::whitelist::{Whitelist, dotted};
use crate::snapshot::{self, FrozenState, Record, TableState, WindowState};

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
        admit(&mut record, settings, whitelist, false);
    } else {
        for target in whitelist.targets() {
            record.set(target.oid, dotted(&target.schema, &target.name), TableState::Done);
        }
    }
    record
}

/// Enters the tables that the record does not know; whether there were any. Those that are listed
/// `later` need not hold up the stream.
pub(in crate::pump) fn admit(
    record: &mut Record,
    settings: &Settings,
    whitelist: &Whitelist,
    later: bool,
) -> bool {
    let mut is_new = false;
    for target in whitelist.targets() {
        if record.knows(target.oid) {
            continue;
        }
        is_new = true;
        let state = match snapshot::wanted(settings, target) {
            Some(condition) => TableState::Frozen(FrozenState {
                condition,
                windows: match settings.snapshot.engine {
                    Engine::Auto => later,
                    Engine::Frozen => false,
                    Engine::Windows => true,
                },
            }),
            None => TableState::Done,
        };
        record.set(target.oid, dotted(&target.schema, &target.name), state);
    }
    is_new
}

/// The tables that a pass has to read, in the order of their names, with whether chunks are
/// preferred. What is not listed any more is not read.
pub(in crate::pump) fn pending(record: &Record, whitelist: &Whitelist) -> Vec<(Oid, bool)> {
    let mut pending: Vec<(&str, Oid, bool)> = record
        .pending()
        .filter(|(oid, _)| whitelist.entries.contains_key(oid))
        .filter_map(|(oid, table)| match &table.state {
            TableState::Frozen(frozen) => Some((table.name.as_str(), oid, frozen.windows)),
            TableState::Done | TableState::Windows(_) => None,
        })
        .collect();
    pending.sort_unstable();
    pending.into_iter().map(|(_, oid, windows)| (oid, windows)).collect()
}

/// These tables are read in chunks from now on.
pub(in crate::pump) fn turn_to_chunks(record: &mut Record, oids: &[Oid]) {
    for oid in oids {
        if let Some(table) = record.tables.get_mut(oid)
            && let TableState::Frozen(frozen) = &mut table.state
        {
            let condition = frozen.condition.take();
            table.state = TableState::Windows(WindowState { condition, ..WindowState::default() });
        }
    }
}

/// The tables that are being read in chunks, the first by name.
pub(super) fn in_chunks(
    record: &Record,
    whitelist: &Whitelist,
) -> Option<(Oid, String, WindowState)> {
    let chunked = record.pending().filter_map(|(oid, table)| match &table.state {
        TableState::Windows(state) if whitelist.entries.contains_key(&oid) => {
            Some((oid, table.name.clone(), state.clone()))
        }
        _ => None,
    });
    chunked.min_by(|a, b| a.1.cmp(&b.1))
}
