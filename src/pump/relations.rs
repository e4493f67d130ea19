//! The relations that the stream has announced, and what becomes of their rows.
//!
//! A relation message with the bytes already known changes nothing at once (an ANALYZE repeats
//! them); the catalog may have changed all the same, so the plan is made again in the background
//! and replaced between two messages. Different bytes mean another shape: rows wait for its plan.
//!
//! **Nothing listed is dropped silently.** A relation whose oid the whitelist does not know - a
//! new partition, a table swapped for another of the same name - is looked up in the catalog
//! before its first row is judged; see [`Whitelist::learn`].

use std::collections::HashMap;
use std::sync::Arc;

use super::prepare::{Admitted, ColumnName, Plan, Planned, Preparer, Wanted};
use super::task::Task;
use crate::avro::RowError;
use crate::envelope::debezium::TablePlan;
use crate::failure::Failure;
use crate::outbox::{Destination, Router};
use crate::pgoutput::{Relation, RelationMessage};
use crate::postgres::Oid;
use crate::postgres::whitelist::{self, Listed, Whitelist};
use crate::telemetry::{NotReady, PumpMetrics, Reason, TableIndex};

/// A relation as last announced.
pub(super) struct Known {
    relation: Relation,
    listed: Option<Listed>,
    /// The shape's columns, for errors.
    columns: Vec<ColumnName>,
    /// Columns whose "not null" hint a row has contradicted.
    nullable: Vec<String>,
    pub(super) target: Target,
    refresh: Option<Task<Planned>>,
}

/// What becomes of a relation's rows.
pub(super) enum Target {
    /// Not on the whitelist: nothing.
    Unlisted,
    /// A partition whose rows should leave as its root's: its plan is made if one comes after all.
    Announced,
    /// Its plan is being made.
    Pending(Task<Planned>),
    Table(Box<TablePlan>, TableIndex),
    Outbox(Box<Router>, TableIndex),
}

/// The relations of one connection.
pub(super) struct Relations {
    known: HashMap<Oid, Known>,
    whitelist: Arc<Whitelist>,
    preparer: Arc<Preparer>,
}

impl Relations {
    pub(super) fn new(whitelist: Arc<Whitelist>, preparer: Arc<Preparer>) -> Relations {
        Relations { known: HashMap::new(), whitelist, preparer }
    }

    /// The whitelist was resolved anew: what was not listed is looked up again.
    pub(super) fn set_whitelist(&mut self, whitelist: Arc<Whitelist>) {
        self.whitelist = whitelist;
        for known in self.known.values_mut().filter(|known| known.is_unlisted()) {
            known.look_up(&self.whitelist, &self.preparer);
        }
    }

    /// Takes a relation message: begins to make its plan unless it is known or not listed.
    ///
    /// # Errors
    /// The message is malformed.
    pub(super) fn announce(&mut self, message: &RelationMessage<'_>) -> Result<(), Failure> {
        let relation = message.to_relation().map_err(|error| {
            Failure::stop("protocol", format!("a relation message is malformed: {error}"))
        })?;
        let oid = relation.oid;
        let fresh = self.known.contains_key(&oid);
        if let Some(known) = self.known.get_mut(&oid).filter(|known| known.relation == relation) {
            if known.is_unlisted() {
                // It may have become a partition of a listed table.
                known.look_up(&self.whitelist, &self.preparer);
            } else if known.refresh.is_none()
                && !matches!(known.target, Target::Pending(_) | Target::Announced)
            {
                known.refresh = Some(self.preparer.start(known.wanted(&self.whitelist, true)));
            }
            return Ok(());
        }
        let mut known = Known {
            relation,
            listed: None,
            columns: Vec::new(),
            nullable: Vec::new(),
            target: Target::Unlisted,
            refresh: None,
        };
        known.listed = known.find(&self.whitelist);
        // The server announces a partition beside its root and then sends rows of the root alone:
        // a plan made for the partition would only leave a schema version behind.
        known.target = if known.listed.as_ref().is_some_and(|listed| listed.root.is_some()) {
            Target::Announced
        } else {
            Target::Pending(self.preparer.start(known.wanted(&self.whitelist, fresh)))
        };
        self.known.insert(oid, known);
        Ok(())
    }

    /// The relation of a row. A plan that is ready by now is put in place.
    ///
    /// # Errors
    /// The relation was never announced, or its plan cannot be made.
    pub(super) fn get(
        &mut self,
        oid: Oid,
        metrics: &mut PumpMetrics,
    ) -> Result<&mut Known, Failure> {
        let known = self.known.get_mut(&oid).ok_or_else(|| {
            Failure::stop("protocol", format!("a row belongs to relation {oid}, never announced"))
        })?;
        known.settle(metrics)?;
        Ok(known)
    }

    /// A row of an announced partition has come: begins to make its plan.
    pub(super) fn need(&mut self, oid: Oid) {
        if let Some(known) = self.known.get_mut(&oid) {
            let wanted = known.wanted(&self.whitelist, true);
            known.target = Target::Pending(self.preparer.start(wanted));
        }
    }

    /// Whether the relation's plan is still being made.
    pub(super) fn is_pending(
        &mut self,
        oid: Oid,
        metrics: &mut PumpMetrics,
    ) -> Result<bool, Failure> {
        Ok(matches!(self.get(oid, metrics)?.target, Target::Pending(_)))
    }

    /// A row holds a NULL where the catalog said there is none: makes a plan without that hint.
    /// `false` if that was done before, and so does not help.
    pub(super) fn widen(&mut self, oid: Oid, column: String) -> bool {
        let Some(known) = self.known.get_mut(&oid) else { return false };
        if known.nullable.contains(&column) {
            return false;
        }
        known.nullable.push(column);
        known.refresh = None;
        known.target = Target::Pending(self.preparer.start(known.wanted(&self.whitelist, true)));
        true
    }

    /// Begins to make a destination of outbox events ready.
    pub(super) fn destination(&self, oid: Oid, destination: Destination) -> Task<Admitted> {
        let listed = self.known.get(&oid).and_then(|known| known.listed.as_ref());
        self.preparer.destination(destination, listed)
    }

    /// A destination is ready.
    pub(super) fn admit(&mut self, oid: Oid, admitted: &Admitted) {
        if let Some(Target::Outbox(router, _)) =
            self.known.get_mut(&oid).map(|known| &mut known.target)
        {
            router.admit(&admitted.topic, admitted.key, admitted.value);
        }
    }

    /// The name of a relation, for people.
    pub(super) fn name(&self, oid: Oid) -> String {
        self.known.get(&oid).map_or_else(|| oid.to_string(), |known| known.relation.qualified())
    }

    /// What a waiting relation waits for. Without a failure so far it is the registry, whose
    /// answers take the longest.
    pub(super) fn describe_wait(&self, oid: Oid) -> NotReady {
        let failure = self.preparer.last_failure();
        let reason = match failure.as_ref().map(|failure| failure.kind) {
            Some("kafka") => Reason::Kafka,
            Some("postgres") => Reason::Postgres,
            _ => Reason::Registry,
        };
        let failure = failure.map(|failure| format!(": {}", failure.message));
        let failure = failure.unwrap_or_default();
        let message = format!("{} waits for its schemas or topic{failure}", self.name(oid));
        NotReady::new(reason, message)
    }
}

impl Known {
    /// As last announced.
    pub(super) fn relation(&self) -> &Relation {
        &self.relation
    }

    /// The column that an error names by its index.
    pub(super) fn column(&self, error: &RowError) -> Option<ColumnName> {
        self.columns.get(error.column).cloned()
    }

    fn is_unlisted(&self) -> bool {
        matches!(self.target, Target::Unlisted)
    }

    /// Asks again whether it is listed; its rows wait for the answer.
    fn look_up(&mut self, whitelist: &Arc<Whitelist>, preparer: &Arc<Preparer>) {
        self.listed = self.find(whitelist);
        self.target = Target::Pending(preparer.start(self.wanted(whitelist, true)));
    }

    /// What the whitelist knows of its oid.
    fn find(&self, whitelist: &Whitelist) -> Option<Listed> {
        let Relation { oid, schema, name, .. } = &self.relation;
        match whitelist.relation(*oid, schema, name) {
            whitelist::Relation::Listed(listed) => Some(listed.clone()),
            whitelist::Relation::Renamed { listed, from, to } => {
                tracing::warn!(%oid, from, to, "a listed table was renamed; its topic stays");
                Some(listed.clone())
            }
            whitelist::Relation::Unknown => None,
        }
    }

    fn wanted(&self, whitelist: &Arc<Whitelist>, fresh: bool) -> Wanted {
        Wanted {
            relation: self.relation.clone(),
            listed: self.listed.clone(),
            whitelist: Arc::clone(whitelist),
            nullable: self.nullable.clone(),
            fresh,
        }
    }

    fn settle(&mut self, metrics: &mut PumpMetrics) -> Result<(), Failure> {
        if let Target::Pending(task) = &mut self.target
            && let Some(planned) = task.poll()
        {
            self.put(planned?, metrics);
        }
        if let Some(planned) = self.refresh.as_mut().and_then(Task::poll) {
            self.refresh = None;
            self.put(planned?, metrics);
        }
        Ok(())
    }

    fn put(&mut self, planned: Planned, metrics: &mut PumpMetrics) {
        let mut index = || metrics.table(&self.relation.qualified());
        self.target = match planned.plan {
            Plan::Unlisted => Target::Unlisted,
            Plan::Table(plan) => Target::Table(plan, index()),
            Plan::Outbox(router) => Target::Outbox(router, index()),
        };
        self.listed = planned.listed;
        self.columns = planned.columns;
    }
}
