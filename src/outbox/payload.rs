//! The value of an event: a column's value with the column's schema, a record of several columns,
//! or the bytes of a `bytea` as they are.

use super::columns::{Column, Roles};
use super::error::CompileError;
use crate::avro::plan::ColumnPlan;
use crate::avro::{ColumnShape, RowError, RowErrorKind, TableShape, schema};
use crate::config::settings::{FormatSettings, OutboxRule};
use crate::envelope::names;
use crate::pgoutput::{Cell, ReplicaIdentity, Tuple};

/// Writes payloads.
#[derive(Debug)]
pub(super) struct Payload {
    column: Column,
    form: Form,
    tombstone_on_empty: bool,
}

#[derive(Debug)]
enum Form {
    /// A `bytea`: serialised by the application already, so neither schema nor prefix is added.
    Raw,
    Column {
        plan: ColumnPlan,
        schema: String,
    },
    /// `{payload, alias…}`, because the settings put columns into the envelope.
    Record(Box<Record>),
}

#[derive(Debug)]
struct Record {
    /// In the order of the record.
    fields: Vec<(Column, ColumnPlan)>,
    /// The same as columns, under the fields' names.
    shape: TableShape,
    /// `<name>.<schema>.<table>`: the route value and `Value` come after it.
    prefix: String,
    format: FormatSettings,
}

/// What a row's value will be.
pub(super) enum Written<'a> {
    Tombstone,
    /// The payload's cell.
    Value(Cell<'a>),
}

/// What the payload is called in a record with other columns.
const PAYLOAD_FIELD: &str = "payload";

impl Payload {
    pub(super) fn compile(
        name: &str,
        roles: &Roles<'_>,
        rule: &OutboxRule,
    ) -> Result<Payload, CompileError> {
        let (column, shape) = roles.column(&rule.payload, "columns.payload")?;
        let form = if rule.envelope.is_empty() {
            let schema = schema::column_type(shape, roles.format);
            match schema.as_str() {
                r#""bytes""# | r#"["null","bytes"]"# => Form::Raw,
                _ => Form::Column { plan: ColumnPlan::compile(shape, roles.format), schema },
            }
        } else {
            Form::Record(Box::new(Record::compile(name, roles, rule, (column, shape))?))
        };
        Ok(Payload { column, form, tombstone_on_empty: rule.tombstone_on_empty_payload })
    }

    /// The schema for values of one route; `None` where values have none.
    pub(super) fn schema(&self, route: &str) -> Option<String> {
        match &self.form {
            Form::Raw => None,
            Form::Column { schema, .. } => Some(schema.clone()),
            Form::Record(record) => Some(record.schema(route)),
        }
    }

    /// Decides what the row's value will be: SQL NULL is a null value, but inside a record; an
    /// empty payload is one if the settings say so.
    pub(super) fn plan<'a>(&self, row: &Tuple<'a>) -> Result<Written<'a>, RowError> {
        let cell = row.get(self.column.cell).ok_or_else(|| self.error(RowErrorKind::CellCount))?;
        let in_record = matches!(self.form, Form::Record(_));
        let tombstone = match cell {
            Cell::Null => self.tombstone_on_empty || !in_record,
            Cell::Text(text) => self.tombstone_on_empty && self.is_empty(text),
            Cell::Unchanged | Cell::Binary(_) => false,
        };
        Ok(if tombstone { Written::Tombstone } else { Written::Value(cell) })
    }

    pub(super) fn write(
        &self,
        cell: Cell<'_>,
        row: &Tuple<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), RowError> {
        match &self.form {
            Form::Raw => match cell {
                Cell::Text(text) => {
                    write_unescaped(text, out).ok_or_else(|| self.error(RowErrorKind::Malformed))
                }
                _ => Err(self.error(RowErrorKind::CellCount)),
            },
            Form::Column { plan, .. } => plan.encode(cell, out).map_err(|kind| self.error(kind)),
            Form::Record(record) => record.write(row, out),
        }
    }

    /// Whether the payload is blank as Java's `trim` sees it. A `bytea` is if it has no bytes.
    fn is_empty(&self, text: &[u8]) -> bool {
        match self.form {
            Form::Raw => text == b"\\x",
            Form::Column { .. } | Form::Record(_) => text.iter().all(|&b| b <= b' '),
        }
    }

    fn error(&self, kind: RowErrorKind) -> RowError {
        RowError { column: self.column.index, kind }
    }
}

impl Record {
    fn compile(
        name: &str,
        roles: &Roles<'_>,
        rule: &OutboxRule,
        payload: (Column, &ColumnShape),
    ) -> Result<Record, CompileError> {
        let renamed = |shape: &ColumnShape, name: &str| ColumnShape {
            name: name.to_owned(),
            ..shape.clone()
        };
        let mut columns = vec![renamed(payload.1, PAYLOAD_FIELD)];
        let mut fields = vec![(payload.0, ColumnPlan::compile(payload.1, roles.format))];
        for (field, column) in &rule.envelope {
            let (column, shape) = roles.column(column, &format!("envelope.{field}"))?;
            if columns.iter().any(|other| other.name == *field) {
                return Err(CompileError::EnvelopeField {
                    table: roles.table.to_owned(),
                    field: field.clone(),
                });
            }
            columns.push(renamed(shape, field));
            fields.push((column, ColumnPlan::compile(shape, roles.format)));
        }
        let shape = TableShape {
            schema: roles.shape.schema.clone(),
            name: roles.shape.name.clone(),
            identity: ReplicaIdentity::Nothing,
            columns,
            key: Vec::new(),
            cells: roles.shape.cells,
        };
        Ok(Record {
            fields,
            shape,
            prefix: format!("{name}.{}", roles.table),
            format: roles.format.clone(),
        })
    }

    fn write(&self, row: &Tuple<'_>, out: &mut Vec<u8>) -> Result<(), RowError> {
        for (column, plan) in &self.fields {
            let error = |kind| RowError { column: column.index, kind };
            let cell = row.get(column.cell).ok_or_else(|| error(RowErrorKind::CellCount))?;
            plan.encode(cell, out).map_err(error)?;
        }
        Ok(())
    }

    fn schema(&self, route: &str) -> String {
        let full = format!("{}.{route}", self.prefix);
        let namespace = names::adjust(&full, self.format.name_adjustment);
        let record = schema::value_record(&self.shape, &self.format, &namespace);
        in_namespace(&record, &namespace)
    }
}

/// A record's schema as a schema of its own: inside an envelope the namespace is the envelope's
/// and not written.
fn in_namespace(record: &str, namespace: &str) -> String {
    let name = r#""name":"Value","#;
    let quoted = serde_json::Value::from(namespace).to_string();
    record.replacen(name, &format!(r#"{name}"namespace":{quoted},"#), 1)
}

/// Appends the bytes that `text` shows in hex output, `\x0aff`; `None` for text of another form.
fn write_unescaped(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (pairs, rest) = text.strip_prefix(b"\\x")?.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |b: u8| char::from(b).to_digit(16);
    out.reserve(pairs.len());
    for &[high, low] in pairs {
        out.push(u8::try_from(digit(high)? << 4 | digit(low)?).ok()?);
    }
    Some(())
}
