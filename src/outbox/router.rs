//! One outbox table's rows as records.

use std::collections::HashMap;
use std::sync::Arc;

use super::columns::{Column, Roles};
use super::error::{CompileError, RouteError, RouteErrorKind};
use super::header::HeaderPlan;
use super::instant::unix_millis;
use super::payload::{Payload, Written};
use super::topic::{self, TopicRule};
use crate::avro::plan::ColumnPlan;
use crate::avro::{RowError, RowErrorKind, TableShape, schema};
use crate::config::settings::{FormatSettings, OutboxRule};
use crate::envelope::{ContextHeaders, EventContext};
use crate::kafka::batch::RecordWriter;
use crate::kafka::{Batch, TopicName};
use crate::pgoutput::{Cell, Tuple};
use crate::registry::SchemaId;

/// What a [`Router`] is compiled from.
#[derive(Debug, Clone)]
pub struct RouterInput<'a> {
    /// The deployment's name.
    pub name: &'a str,
    pub shape: &'a TableShape,
    pub rule: &'a OutboxRule,
    pub format: &'a FormatSettings,
    /// `Some` with `format.context_headers`.
    pub context_headers: Option<ContextHeaders>,
}

/// Where rows of one route value go, before topic and schemas are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    pub topic: TopicName,
    pub key_schema: Option<String>,
    /// `None`: the payload's bytes are the value.
    pub value_schema: Option<String>,
}

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routed {
    /// Its record is in the batch.
    Written,
    /// Nothing was written: see to the destination, [`admit`](Router::admit) it, route the row
    /// again.
    Missing(Destination),
}

/// Turns rows of one version of an outbox table into events.
#[derive(Debug)]
pub struct Router {
    table: String,
    /// By index into the shape's columns, for errors.
    columns: Box<[String]>,
    route: Column,
    topics: TopicRule,
    key: Key,
    payload: Payload,
    partition: Option<Column>,
    timestamp: Option<Column>,
    headers: Vec<HeaderPlan>,
    context_headers: Option<ContextHeaders>,
    /// By route value. Bounded by [`MAX_ROUTES`].
    known: HashMap<Box<[u8]>, Known>,
    /// The route value that was last missing, and its topic.
    pending: Option<(Box<[u8]>, TopicName)>,
}

#[derive(Debug)]
struct Key {
    column: Column,
    plan: ColumnPlan,
    schema: String,
}

#[derive(Debug)]
struct Known {
    topic: TopicName,
    key_prefix: Option<[u8; 5]>,
    value_prefix: Option<[u8; 5]>,
}

/// Route values known at a time, some 200 bytes each. When it is reached all are forgotten and
/// asked for anew: the caller's caches of topics and schemas make that cheap, and a table with so
/// many aggregate types does not exist by intention.
const MAX_ROUTES: usize = 10_000;

/// The longest route value, so that the cache is bounded in bytes as well.
const MAX_ROUTE_BYTES: usize = 1_024;

impl Router {
    /// Compiles the router.
    ///
    /// # Errors
    /// The settings of `[[outbox]]` do not fit the table; the message says what to change.
    pub fn compile(input: RouterInput<'_>) -> Result<Router, CompileError> {
        let RouterInput { shape, rule, format, .. } = input;
        let table = format!("{}.{}", shape.schema, shape.name);
        let roles = Roles { table: &table, shape, format };
        let topics = TopicRule::compile(&rule.topic_regex, &rule.topic_replacement)
            .map_err(|source| CompileError::Topic { table: table.clone(), source })?;
        let key = roles.column(&rule.key, "columns.key")?;
        let mut headers = vec![roles.header("id", &rule.id, "columns.id")?];
        for (name, column) in &rule.headers {
            headers.push(roles.header(name, column, &format!("headers.{name}"))?);
        }
        Ok(Router {
            route: roles.column(&rule.route, "columns.route")?.0,
            topics,
            key: Key {
                column: key.0,
                plan: ColumnPlan::compile(key.1, format),
                schema: schema::column_type(key.1, format),
            },
            payload: Payload::compile(input.name, &roles, rule)?,
            partition: roles.partition(rule.partition.as_deref())?,
            timestamp: roles.timestamp(rule.timestamp.as_deref())?,
            headers,
            context_headers: input.context_headers,
            known: HashMap::new(),
            pending: None,
            columns: shape.columns.iter().map(|column| column.name.clone()).collect(),
            table,
        })
    }

    /// Writes the event of an inserted row, if its destination is known.
    ///
    /// # Errors
    /// The row cannot become an event; the batch is as it was.
    pub fn route(
        &mut self,
        context: &EventContext<'_>,
        new: &Tuple<'_>,
        batch: &mut Batch,
    ) -> Result<Routed, RouteError> {
        let route = match new.get(self.route.cell) {
            Some(Cell::Text(text)) if text.len() <= MAX_ROUTE_BYTES => Ok(text),
            Some(Cell::Text(_)) => Err(RouteErrorKind::LongRoute { max: MAX_ROUTE_BYTES }),
            Some(Cell::Null) => Err(RouteErrorKind::NoRoute),
            _ => Err(self.route.malformed(RowErrorKind::CellCount)),
        }
        .map_err(|kind| self.error(self.route.index, kind))?;
        let Some(known) = self.known.get(route) else {
            return self.missing(route).map(Routed::Missing);
        };
        let mark = batch.mark();
        match self.write(known, context, new, batch) {
            Ok(()) => Ok(Routed::Written),
            Err((column, kind)) => {
                batch.rewind(mark);
                Err(self.error(column, kind))
            }
        }
    }

    /// Where events of this route value go. Whether Kafka takes the topic is not judged.
    #[must_use]
    pub fn destination(&self, route: &str) -> Destination {
        Destination {
            topic: TopicName::from(self.topics.topic(route)),
            key_schema: Some(self.key.schema.clone()),
            value_schema: self.payload.schema(route),
        }
    }

    /// Makes a destination known: the topic exists and the schemas are registered under these ids.
    /// It must be the one that [`route`](Self::route) last called missing; another is ignored.
    pub fn admit(
        &mut self,
        topic: &TopicName,
        key_schema: Option<SchemaId>,
        value_schema: Option<SchemaId>,
    ) {
        match self.pending.take() {
            Some((route, pending)) if pending == *topic => {
                if self.known.len() >= MAX_ROUTES {
                    self.known.clear();
                }
                let known = Known {
                    topic: pending,
                    key_prefix: key_schema.map(SchemaId::prefix),
                    value_prefix: value_schema.map(SchemaId::prefix),
                };
                self.known.insert(route, known);
            }
            _ => debug_assert!(false, "admitted a destination that was not missing"),
        }
    }

    fn missing(&mut self, route: &[u8]) -> Result<Destination, RouteError> {
        let error = |router: &Router, kind| Err(router.error(router.route.index, kind));
        let Ok(text) = std::str::from_utf8(route) else {
            return error(self, self.route.malformed(RowErrorKind::InvalidUtf8));
        };
        let destination = self.destination(text);
        if !topic::is_valid(&destination.topic) {
            return error(self, RouteErrorKind::InvalidTopic);
        }
        self.pending = Some((route.into(), Arc::clone(&destination.topic)));
        Ok(destination)
    }

    fn write(
        &self,
        known: &Known,
        context: &EventContext<'_>,
        new: &Tuple<'_>,
        batch: &mut Batch,
    ) -> Result<(), (usize, RouteErrorKind)> {
        let row = |error: RowError| (error.column, RouteErrorKind::Row(error));
        let mut record = batch.record(&known.topic);
        self.write_key(known, new, &mut record).map_err(row)?;
        match self.payload.plan(new).map_err(row)? {
            Written::Tombstone => {}
            Written::Value(value) => record
                .value(|out| {
                    out.extend_from_slice(known.value_prefix.as_ref().map_or(&[], |p| &p[..]));
                    self.payload.write(value, new, out)
                })
                .map_err(row)?,
        }
        if let Some(headers) = &self.context_headers {
            headers.write(&mut record);
        }
        for header in &self.headers {
            header.write(new, &mut record).map_err(row)?;
        }
        if let Some(partition) = self.chosen_partition(new)? {
            record.partition(partition);
        }
        record.timestamp_millis(self.time(context, new)?);
        record.finish();
        Ok(())
    }

    fn write_key(
        &self,
        known: &Known,
        new: &Tuple<'_>,
        record: &mut RecordWriter<'_>,
    ) -> Result<(), RowError> {
        let column = self.key.column;
        match new.get(column.cell) {
            None => Err(RowError { column: column.index, kind: RowErrorKind::CellCount }),
            Some(Cell::Null) => Ok(()),
            Some(cell) => record.key(|out| {
                out.extend_from_slice(known.key_prefix.as_ref().map_or(&[], |p| &p[..]));
                let encoded = self.key.plan.encode(cell, out);
                encoded.map_err(|kind| RowError { column: column.index, kind })
            }),
        }
    }

    fn chosen_partition(&self, new: &Tuple<'_>) -> Result<Option<i32>, (usize, RouteErrorKind)> {
        let Some(column) = self.partition else { return Ok(None) };
        let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<i32>().ok();
        match new.get(column.cell) {
            Some(Cell::Null) => Ok(None),
            Some(Cell::Text(text)) => match number(text) {
                Some(partition) if partition >= 0 => Ok(Some(partition)),
                _ => Err((column.index, RouteErrorKind::Partition)),
            },
            _ => Err((column.index, column.malformed(RowErrorKind::CellCount))),
        }
    }

    /// The record's time; where the column is null it is the commit's.
    fn time(
        &self,
        context: &EventContext<'_>,
        new: &Tuple<'_>,
    ) -> Result<i64, (usize, RouteErrorKind)> {
        let commit = context.commit_time.unix_micros().div_euclid(1_000);
        let Some(column) = self.timestamp else { return Ok(commit) };
        match new.get(column.cell) {
            Some(Cell::Null) => Ok(commit),
            // Kafka takes no negative timestamp but -1, which means "none".
            Some(Cell::Text(text)) => match unix_millis(text) {
                Some(millis) if millis >= 0 => Ok(millis),
                _ => Err((column.index, RouteErrorKind::Timestamp)),
            },
            _ => Err((column.index, column.malformed(RowErrorKind::CellCount))),
        }
    }

    fn error(&self, column: usize, kind: RouteErrorKind) -> RouteError {
        let column = self.columns.get(column).cloned().unwrap_or_default();
        RouteError { table: self.table.clone(), column, kind }
    }
}

#[cfg(test)]
mod tests;
