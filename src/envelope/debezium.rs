//! Debezium 3.6 change events of tables.
//!
//! A [`TablePlan`] is compiled once for a version of a table and turns changes into records:
//!
//! | change | records |
//! |---|---|
//! | insert | `c` |
//! | update, key unchanged | `u` |
//! | update, key changed | `d` of the old key and its tombstone, both with header `__debezium.newkey`; `c` of the new key with header `__debezium.oldkey` |
//! | delete | `d`, tombstone |
//! | truncate | `t` without a key, if `format.truncate` |
//! | a row that a snapshot reads | `r` |
//!
//! `before` is the whole old row under replica identity full. Under default and index only the
//! identity columns were sent: `before` then holds them, with the others null or Debezium's
//! placeholder, and header `walferry.before` = `key` says so; `format.before_delete = "null"` makes
//! it null. Without an old row (an update that left the identity alone) it is null.
//!
//! An unchanged TOAST value is copied from the old row where that was sent, and the configured
//! placeholder elsewhere, but never in a key: Postgres sends the old identity columns whenever one
//! of them is TOASTed, and should it not, the row is an error.
//!
//! `format.skip` is judged by what happened in the table, as in Debezium: an update of the key is
//! an update, whatever records it would become.
//!
//! Either all records of a change are written or none: an error takes the batch back to where it
//! was. Nothing is allocated per row, but for an unchanged TOAST value in the key.

mod identity;

use std::sync::Arc;

use identity::{NO_OLD_ROW, Roles, check_identity, outside_identity};

use super::context::ContextHeaders;
use super::names::namespace;
use super::record::{infallible, whole_or_nothing};
use super::source::{
    self, EventContext, Marker, Now, SnapshotContext, SnapshotSource, SourceBlock,
    TRANSACTION_SCHEMA,
};
use crate::avro::primitive::{write_branch, write_bytes};
use crate::avro::schema;
use crate::avro::{KeyPlan, RowError, RowPlan, TableShape};
use crate::config::settings::{BeforeDelete, FormatSettings, Operation};
use crate::kafka::batch::RecordWriter;
use crate::kafka::{Batch, TopicName};
use crate::pgoutput::{OldTuple, Tuple, TupleBuilder};
use crate::registry::SchemaId;

/// Schema texts as they are registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schemas {
    /// `None` for a table without a key.
    pub key: Option<String>,
    pub value: String,
}

/// The key and envelope schemas of a table, as Debezium's converter registers them.
#[must_use]
pub fn schemas(name: &str, shape: &TableShape, format: &FormatSettings) -> Schemas {
    let namespace = namespace(name, &shape.schema, &shape.name, format.name_adjustment);
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let value = format!(
        concat!(
            r#"{{"type":"record","name":"Envelope","namespace":{namespace},"fields":["#,
            r#"{{"name":"before","type":["null",{row}],"default":null}},"#,
            r#"{{"name":"after","type":["null","Value"],"default":null}},"#,
            r#"{{"name":"source","type":{source}}},"#,
            r#"{{"name":"transaction","type":{transaction},"default":null}},"#,
            r#"{{"name":"op","type":"string"}},"#,
            r#"{{"name":"ts_ms","type":["null","long"],"default":null}},"#,
            r#"{{"name":"ts_us","type":["null","long"],"default":null}},"#,
            r#"{{"name":"ts_ns","type":["null","long"],"default":null}}],"#,
            r#""connect.version":2,"connect.name":{envelope}}}"#,
        ),
        namespace = quoted(&namespace),
        row = schema::value_record(shape, format, &namespace),
        source = source::SCHEMA,
        transaction = TRANSACTION_SCHEMA,
        envelope = quoted(&format!("{namespace}.Envelope")),
    );
    Schemas { key: schema::key(shape, format, &namespace), value }
}

/// What a [`TablePlan`] is compiled from.
#[derive(Debug, Clone)]
pub struct PlanInput<'a> {
    /// The deployment's name.
    pub name: &'a str,
    pub database: &'a str,
    pub shape: &'a TableShape,
    pub format: &'a FormatSettings,
    pub topic: TopicName,
    /// The id of [`Schemas::key`]; `None` for a table without a key.
    pub key_schema: Option<SchemaId>,
    /// The id of [`Schemas::value`].
    pub value_schema: SchemaId,
    /// The table's updates and deletes are not published.
    pub inserts_only: bool,
    /// `Some` with `format.context_headers`.
    pub context_headers: Option<ContextHeaders>,
}

/// A table whose changes cannot become records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Postgres would send deletes without all columns of the record key, and say nothing of an
    /// update that changes them.
    #[error(
        "the record key of {table} has column {column}, which is not part of its replica identity: \
         deletes and changes of the key would arrive without it; run ALTER TABLE {table} REPLICA \
         IDENTITY FULL, choose key_columns among the columns of the identity, or set \
         inserts_only = true"
    )]
    KeyOutsideIdentity { table: String, column: String },
    /// The shape has a key and no key schema was registered for it, or the other way round.
    #[error("the key schema of {table} does not belong to this version of the table")]
    KeySchema { table: String },
}

/// Writes the changes of one version of one table.
#[derive(Debug)]
pub struct TablePlan {
    topic: TopicName,
    key: Option<Key>,
    value_prefix: [u8; 5],
    row: RowPlan,
    tail: Tail,
    roles: Roles,
    tombstones: bool,
    truncate: bool,
    before_key: bool,
    /// A column of the record key that an old tuple of the identity lacks. Should one come all the
    /// same (the primary key is excluded from the records, say), its key cannot be written.
    key_gap: Option<usize>,
    skip: Skip,
    names: HeaderNames,
    context_headers: Option<ContextHeaders>,
}

#[derive(Debug)]
struct Key {
    plan: KeyPlan,
    prefix: [u8; 5],
}

/// What follows `after` in an event.
#[derive(Debug)]
struct Tail {
    source: SourceBlock,
    now: Now,
}

impl Tail {
    fn write(&mut self, context: &EventContext<'_>, op: &[u8; 1], out: &mut Vec<u8>) {
        self.source.write(context, out);
        write_branch(0, out);
        write_bytes(op, out);
        self.now.write(context.now_nanos, out);
    }
}

#[derive(Debug)]
struct Skip {
    create: bool,
    update: bool,
    delete: bool,
}

#[derive(Debug)]
struct HeaderNames {
    new_key: Arc<str>,
    old_key: Arc<str>,
    before: Arc<str>,
}

/// One event as it will be written.
#[derive(Clone, Copy)]
struct Event<'t> {
    op: &'static [u8; 1],
    before: Before<'t>,
    after: After<'t>,
}

#[derive(Clone, Copy)]
enum Before<'t> {
    Null,
    Row(Tuple<'t>),
    /// Only the identity columns were sent.
    Key(Tuple<'t>),
}

impl Before<'_> {
    fn write(self, row: &RowPlan, out: &mut Vec<u8>) -> Result<(), RowError> {
        match self {
            Before::Null => {
                write_branch(0, out);
                Ok(())
            }
            Before::Row(old) => {
                write_branch(1, out);
                row.encode(&old, None, out)
            }
            Before::Key(key) => {
                write_branch(1, out);
                row.encode_key_image(&key, out)
            }
        }
    }
}

#[derive(Clone, Copy)]
enum After<'t> {
    Null,
    /// The new row, and the whole old one if it was sent.
    Row(Tuple<'t>, Option<Tuple<'t>>),
}

/// The header of an event that is half of a changed key: the other key.
#[derive(Clone, Copy)]
enum OtherKey<'t> {
    None,
    New(Tuple<'t>),
    Old(Tuple<'t>),
}

impl TablePlan {
    /// Compiles the plan.
    ///
    /// # Errors
    /// See [`PlanError`]; both concern the whole table.
    pub fn compile(input: PlanInput<'_>) -> Result<TablePlan, PlanError> {
        let PlanInput { shape, format, .. } = input;
        if !input.inserts_only {
            check_identity(shape)?;
        }
        let key = match (KeyPlan::compile(shape, format), input.key_schema) {
            (Some(plan), Some(id)) => Some(Key { plan, prefix: id.prefix() }),
            (None, None) => None,
            _ => return Err(PlanError::KeySchema { table: qualified(shape) }),
        };
        Ok(TablePlan {
            topic: input.topic,
            key,
            value_prefix: input.value_schema.prefix(),
            row: RowPlan::compile(shape, format),
            tail: Tail {
                source: SourceBlock::new(input.name, input.database, &shape.schema, &shape.name),
                now: Now::default(),
            },
            roles: Roles::of(shape),
            tombstones: format.tombstones,
            truncate: format.truncate && !format.skip.contains(&Operation::Truncate),
            before_key: format.before_delete == BeforeDelete::Key,
            key_gap: outside_identity(shape).map(|(index, _)| index),
            skip: Skip {
                create: format.skip.contains(&Operation::Create),
                update: format.skip.contains(&Operation::Update),
                delete: format.skip.contains(&Operation::Delete),
            },
            names: HeaderNames {
                new_key: Arc::from("__debezium.newkey"),
                old_key: Arc::from("__debezium.oldkey"),
                before: Arc::from("walferry.before"),
            },
            context_headers: input.context_headers,
        })
    }

    /// The topic of the table's records.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// Writes an inserted row.
    ///
    /// # Errors
    /// The row cannot be encoded; the batch is as it was.
    pub fn insert(
        &mut self,
        context: &EventContext<'_>,
        new: &Tuple<'_>,
        batch: &mut Batch,
    ) -> Result<(), RowError> {
        if self.skip.create {
            return Ok(());
        }
        let event = Event { op: b"c", before: Before::Null, after: After::Row(*new, None) };
        whole_or_nothing(batch, |batch| {
            self.write(context, Some(*new), event, OtherKey::None, batch).map(drop)
        })
    }

    /// Writes an updated row: one record, or three if its key changed.
    ///
    /// # Errors
    /// The row cannot be encoded; the batch is as it was.
    pub fn update(
        &mut self,
        context: &EventContext<'_>,
        old: OldTuple<'_>,
        new: &Tuple<'_>,
        batch: &mut Batch,
    ) -> Result<(), RowError> {
        if self.skip.update {
            return Ok(());
        }
        let sent = self.sent(old)?;
        let completed = self.roles.complete(sent.as_ref(), new)?;
        let new = completed.as_ref().map_or(*new, TupleBuilder::tuple);
        whole_or_nothing(batch, |batch| match (sent, &self.key) {
            (Some(sent), Some(key)) if !key.plan.same(&sent, &new) => {
                self.change_key(context, old, sent, new, batch)
            }
            _ => {
                let after = After::Row(new, whole_row(old));
                let event = Event { op: b"u", before: self.before(old), after };
                self.write(context, Some(new), event, OtherKey::None, batch).map(drop)
            }
        })
    }

    /// Writes a deleted row and its tombstone.
    ///
    /// # Errors
    /// The row cannot be encoded; the batch is as it was.
    pub fn delete(
        &mut self,
        context: &EventContext<'_>,
        old: OldTuple<'_>,
        batch: &mut Batch,
    ) -> Result<(), RowError> {
        if self.skip.delete {
            return Ok(());
        }
        let sent = self.sent(old)?.ok_or(NO_OLD_ROW)?;
        whole_or_nothing(batch, |batch| {
            self.write_delete(context, old, sent, OtherKey::None, batch)
        })
    }

    /// The source blocks for [`read`](Self::read), of one snapshot.
    #[must_use]
    pub fn snapshot_source(&self, context: SnapshotContext) -> SnapshotSource {
        self.tail.source.snapshot(context)
    }

    /// Writes a row that was there when a snapshot was taken. Several readers can share the plan.
    ///
    /// # Errors
    /// The row cannot be encoded; the batch is as it was.
    pub fn read(
        &self,
        source: &mut SnapshotSource,
        marker: Marker,
        now_nanos: i64,
        row: &Tuple<'_>,
        batch: &mut Batch,
    ) -> Result<(), RowError> {
        whole_or_nothing(batch, |batch| {
            let mut record = batch.record(&self.topic);
            if let Some(key) = &self.key {
                record.key(|out| {
                    out.extend_from_slice(&key.prefix);
                    key.plan.encode(row, out)
                })?;
            }
            record.value(|out| {
                out.extend_from_slice(&self.value_prefix);
                write_branch(0, out);
                write_branch(1, out);
                self.row.encode(row, None, out)?;
                source.write(marker, out);
                write_branch(0, out);
                write_bytes(b"r", out);
                source.now.write(now_nanos, out);
                Ok(())
            })?;
            self.write_context_headers(&mut record);
            record.finish();
            Ok(())
        })
    }

    /// Writes that the table was truncated, if such events are wanted.
    pub fn truncate(&mut self, context: &EventContext<'_>, batch: &mut Batch) {
        if !self.truncate {
            return;
        }
        let mut record = batch.record(&self.topic);
        infallible(record.value(|out| {
            out.extend_from_slice(&self.value_prefix);
            write_branch(0, out);
            write_branch(0, out);
            self.tail.write(context, b"t", out);
            Ok(())
        }));
        self.write_context_headers(&mut record);
        record.finish();
    }

    fn change_key(
        &mut self,
        context: &EventContext<'_>,
        old: OldTuple<'_>,
        sent: Tuple<'_>,
        new: Tuple<'_>,
        batch: &mut Batch,
    ) -> Result<(), RowError> {
        self.write_delete(context, old, sent, OtherKey::New(new), batch)?;
        let after = After::Row(new, whole_row(old));
        let event = Event { op: b"c", before: Before::Null, after };
        self.write(context, Some(new), event, OtherKey::Old(sent), batch).map(drop)
    }

    fn write_delete(
        &mut self,
        context: &EventContext<'_>,
        old: OldTuple<'_>,
        sent: Tuple<'_>,
        other_key: OtherKey<'_>,
        batch: &mut Batch,
    ) -> Result<(), RowError> {
        let event = Event { op: b"d", before: self.before(old), after: After::Null };
        let index = self.write(context, Some(sent), event, other_key, batch)?;
        if self.tombstones {
            let mut tombstone = batch.record(&self.topic);
            tombstone.key_of(index);
            self.write_other_key(other_key, &mut tombstone)?;
            self.write_context_headers(&mut tombstone);
            tombstone.finish();
        }
        Ok(())
    }

    /// Writes one record with a value and returns its index in the batch.
    #[inline]
    fn write(
        &mut self,
        context: &EventContext<'_>,
        keyed_by: Option<Tuple<'_>>,
        event: Event<'_>,
        other_key: OtherKey<'_>,
        batch: &mut Batch,
    ) -> Result<usize, RowError> {
        let mut record = batch.record(&self.topic);
        if let (Some(key), Some(tuple)) = (&self.key, keyed_by) {
            record.key(|out| {
                out.extend_from_slice(&key.prefix);
                key.plan.encode(&tuple, out)
            })?;
        }
        record.value(|out| {
            out.extend_from_slice(&self.value_prefix);
            event.before.write(&self.row, out)?;
            match event.after {
                After::Null => write_branch(0, out),
                After::Row(new, old) => {
                    write_branch(1, out);
                    self.row.encode(&new, old.as_ref(), out)?;
                }
            }
            self.tail.write(context, event.op, out);
            Ok(())
        })?;
        self.write_other_key(other_key, &mut record)?;
        self.write_context_headers(&mut record);
        if let Before::Key(_) = event.before {
            infallible(record.header(&self.names.before, |out| {
                out.extend_from_slice(b"key");
                Ok(())
            }));
        }
        Ok(record.finish())
    }

    fn write_other_key(
        &self,
        other_key: OtherKey<'_>,
        record: &mut RecordWriter<'_>,
    ) -> Result<(), RowError> {
        let (name, tuple) = match other_key {
            OtherKey::None => return Ok(()),
            OtherKey::New(tuple) => (&self.names.new_key, tuple),
            OtherKey::Old(tuple) => (&self.names.old_key, tuple),
        };
        match &self.key {
            Some(key) => record.header(name, |out| key.plan.write_json(&tuple, out)),
            None => Ok(()),
        }
    }

    fn write_context_headers(&self, record: &mut RecordWriter<'_>) {
        if let Some(headers) = &self.context_headers {
            headers.write(record);
        }
    }

    /// The old tuple, fit to make a key of.
    fn sent<'t>(&self, old: OldTuple<'t>) -> Result<Option<Tuple<'t>>, RowError> {
        match (old, self.key_gap) {
            (OldTuple::None, _) => Ok(None),
            (OldTuple::Key(_), Some(column)) => Err(RowError { column, ..NO_OLD_ROW }),
            (OldTuple::Key(tuple) | OldTuple::Full(tuple), _) => Ok(Some(tuple)),
        }
    }

    fn before<'t>(&self, old: OldTuple<'t>) -> Before<'t> {
        match old {
            OldTuple::Full(tuple) => Before::Row(tuple),
            OldTuple::Key(tuple) if self.before_key => Before::Key(tuple),
            OldTuple::Key(_) | OldTuple::None => Before::Null,
        }
    }
}

/// The old row where all of it was sent.
fn whole_row(old: OldTuple<'_>) -> Option<Tuple<'_>> {
    match old {
        OldTuple::Full(tuple) => Some(tuple),
        OldTuple::Key(_) | OldTuple::None => None,
    }
}

fn qualified(shape: &TableShape) -> String {
    format!("{}.{}", shape.schema, shape.name)
}

#[cfg(test)]
mod tests;
