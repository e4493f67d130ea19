//! What an operator asks for while the stream runs.

use std::time::Instant;

use super::targets;
use super::{Snapshots, State};
use crate::admin::protocol::{Engine, Status};
use crate::admin::{Asked, Request, Response};
use crate::postgres::catalog::{IdentityKind, TableFacts};
use crate::postgres::whitelist::{Listed, Role, dotted};
use crate::postgres::{Lsn, Oid};
use crate::snapshot::{FrozenState, TableProgress, TableStage, TableState, WindowState};

/// An answer that waits until what was asked is durable.
pub(super) struct Owed {
    asked: Asked,
    tables: Vec<String>,
}

type Refusal = (String, Option<String>);

impl Snapshots {
    /// Takes a request. What changes the record is answered when that is durable.
    pub(in crate::pump) fn ask(&mut self, asked: Asked, now: Instant) {
        let outcome = match asked.request.clone() {
            Request::Status => {
                asked.answer(Response::Status(self.status()));
                return;
            }
            Request::Pause | Request::Resume => {
                self.is_paused = asked.request == Request::Pause;
                tracing::info!(paused = self.is_paused, "the reading of tables, as asked");
                asked.answer(Response::Accepted { tables: Vec::new() });
                return;
            }
            Request::Stop { tables } => self.stop(&tables, now),
            Request::Snapshot { tables, condition, engine } => {
                self.request(&tables, condition.as_deref(), engine, now)
            }
        };
        match outcome {
            Ok(tables) => {
                self.is_dirty = true;
                self.owed.push(Owed { asked, tables });
            }
            Err((message, remedy)) => asked.answer(Response::Refused { message, remedy }),
        }
    }

    /// The record is durable as it stands.
    pub(super) fn answer_owed(&mut self) {
        for Owed { asked, tables } in self.owed.drain(..) {
            asked.answer(Response::Accepted { tables });
        }
    }

    fn request(
        &mut self,
        names: &[String],
        condition: Option<&str>,
        engine: Engine,
        now: Instant,
    ) -> Result<Vec<String>, Refusal> {
        let found: Vec<(Oid, String)> =
            names.iter().map(|name| self.find(name)).collect::<Result<_, _>>()?;
        for (oid, name) in &found {
            if self.record.pending().any(|(pending, _)| pending == *oid) {
                let remedy = format!("`walferry snapshot --stop {name}` gives it up");
                return Err((format!("{name} is being read already"), Some(remedy)));
            }
            if engine == Engine::Windows {
                self.allows_chunks(*oid, name)?;
            }
        }
        for (oid, name) in &found {
            let condition = condition.map(str::to_owned);
            let state = match engine {
                Engine::Windows => {
                    TableState::Windows(WindowState { condition, ..WindowState::default() })
                }
                Engine::Frozen => TableState::Frozen(FrozenState { condition, windows: false }),
            };
            tracing::info!(table = name, ?engine, "the table is read, as asked");
            self.record.set(*oid, name.clone(), state);
        }
        if matches!(self.state, State::Idle) {
            self.rest(Lsn::INVALID, now);
        }
        Ok(found.into_iter().map(|(_, name)| name).collect())
    }

    fn find(&self, name: &str) -> Result<(Oid, String), Refusal> {
        let is_named = |listed: &&Listed| {
            listed.root.is_none() && dotted(&listed.schema, &listed.name) == *name
        };
        let Some(listed) = self.whitelist.entries.values().find(is_named) else {
            let remedy = "list it as a [[table]]; names are schema.name, as when it was listed";
            return Err((format!("{name} is not listed"), Some(remedy.to_owned())));
        };
        Ok((listed.oid, name.to_owned()))
    }

    /// As far as it was known when the connection was made; the reader looks once more.
    fn allows_chunks(&self, oid: Oid, name: &str) -> Result<(), Refusal> {
        let tables = &self.tools.preparer.prefetched.tables;
        let Some(facts) = tables.iter().find(|facts| facts.oid == oid) else { return Ok(()) };
        let listed = self.whitelist.entries.get(&oid);
        let reason = match listed {
            Some(Listed { role: Role::Outbox { .. }, .. }) => "it is an outbox",
            _ if facts.primary_key.is_empty() => "it has no primary key",
            _ if !is_identified(facts) && !listed.is_some_and(|listed| listed.inserts_only) => {
                "its replica identity is not its primary key"
            }
            _ => return Ok(()),
        };
        Err((
            format!("{name} cannot be read in chunks: {reason}"),
            Some(format!(
                "`walferry snapshot {name} --engine frozen` reads it at one snapshot, while the \
                 stream is held; with a primary key that is its replica identity it can be read \
                 while the stream goes on"
            )),
        ))
    }

    fn stop(&mut self, names: &[String], now: Instant) -> Result<Vec<String>, Refusal> {
        let pending: Vec<(Oid, String)> = self
            .record
            .pending()
            .filter(|(_, table)| names.is_empty() || names.contains(&table.name))
            .map(|(oid, table)| (oid, table.name.clone()))
            .collect();
        let is_missing = |name: &&String| !pending.iter().any(|(_, known)| known == *name);
        if let Some(name) = names.iter().find(is_missing) {
            return Err((format!("{name} is not being read"), None));
        }
        for (oid, name) in &pending {
            tracing::warn!(table = name, "the reading of the table is given up, as asked");
            self.record.set(*oid, name.clone(), TableState::Done);
            if self.windows.as_ref().is_some_and(|windows| windows.oid == *oid) {
                self.windows = None;
            }
        }
        // A pass is given up whole, and what is left of it begins anew.
        if !matches!(self.state, State::Idle) && !pending.is_empty() {
            self.state = State::Idle;
            self.rest(Lsn::INVALID, now);
        }
        self.tools.preparer.telemetry.publish_snapshot(None);
        Ok(pending.into_iter().map(|(_, name)| name).collect())
    }

    fn status(&self) -> Status {
        let mut tables: Vec<TableProgress> = match (&self.state, &self.windows) {
            (State::Reading(pass), _) => pass.tables(),
            (_, Some(windows)) => vec![windows.table()],
            _ => Vec::new(),
        };
        tables.retain(|table| table.state != TableStage::Done);
        for (_, table) in self.record.pending() {
            if !tables.iter().any(|known| known.table == table.name) {
                tables.push(waiting(&table.name));
            }
        }
        Status { paused: self.is_paused, tables }
    }

    /// Whether there is anything to be read at one snapshot, and it may begin.
    pub(super) fn has_pending(&self) -> bool {
        !targets::pending(&self.record, &self.whitelist).is_empty()
    }
}

fn waiting(name: &str) -> TableProgress {
    TableProgress {
        table: name.to_owned(),
        state: TableStage::Waiting,
        rows: 0,
        rows_estimated: None,
        table_bytes: 0,
    }
}

/// Whether the stream tells the primary key of a row that is deleted.
fn is_identified(facts: &TableFacts) -> bool {
    matches!(facts.identity, IdentityKind::Default | IdentityKind::Full | IdentityKind::Index)
}
