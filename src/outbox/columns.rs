//! The columns of an outbox table that the settings give a role: found, and of a fitting type.

use super::error::{CompileError, RouteErrorKind};
use super::header::HeaderPlan;
use crate::avro::{ColumnShape, RowError, RowErrorKind, TableShape, schema};
use crate::config::settings::FormatSettings;

/// A column of the table in one of the router's roles.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    /// Index into the shape's columns.
    pub(super) index: usize,
    pub(super) cell: usize,
}

impl Column {
    pub(super) fn malformed(self, kind: RowErrorKind) -> RouteErrorKind {
        RouteErrorKind::Row(RowError { column: self.index, kind })
    }
}

/// Finds the columns that the settings name.
pub(super) struct Roles<'a> {
    pub(super) table: &'a str,
    pub(super) shape: &'a TableShape,
    pub(super) format: &'a FormatSettings,
}

impl<'a> Roles<'a> {
    pub(super) fn column(
        &self,
        name: &str,
        setting: &str,
    ) -> Result<(Column, &'a ColumnShape), CompileError> {
        let mut columns = self.shape.columns.iter().enumerate();
        match columns.find(|(_, column)| column.name == name) {
            Some((index, column)) => Ok((Column { index, cell: column.cell }, column)),
            None => Err(CompileError::MissingColumn {
                table: self.table.to_owned(),
                column: name.to_owned(),
                setting: setting.to_owned(),
            }),
        }
    }

    pub(super) fn header(
        &self,
        name: &str,
        column: &str,
        setting: &str,
    ) -> Result<HeaderPlan, CompileError> {
        let (column, shape) = self.column(column, setting)?;
        Ok(HeaderPlan::compile(name, column.index, self.shape, shape, self.format))
    }

    pub(super) fn partition(&self, name: Option<&str>) -> Result<Option<Column>, CompileError> {
        let integer = |schema: &str| {
            (schema.contains("\"int\"") || schema.contains("\"long\""))
                && !schema.contains("connect.name")
        };
        self.typed(name, "partition", "integer", integer)
    }

    pub(super) fn timestamp(&self, name: Option<&str>) -> Result<Option<Column>, CompileError> {
        let instant = |schema: &str| {
            ["Timestamp", "MicroTimestamp", "ZonedTimestamp"]
                .iter()
                .any(|name| schema.contains(&format!("\"io.debezium.time.{name}\"")))
                && !schema.contains("\"array\"")
        };
        self.typed(name, "timestamp", "timestamp or timestamptz", instant)
    }

    /// A column of the kind that `fits` sees in its schema.
    fn typed(
        &self,
        name: Option<&str>,
        setting: &str,
        expected: &'static str,
        fits: impl Fn(&str) -> bool,
    ) -> Result<Option<Column>, CompileError> {
        let Some(name) = name else { return Ok(None) };
        let (column, shape) = self.column(name, setting)?;
        if fits(&schema::column_type(shape, self.format)) {
            return Ok(Some(column));
        }
        Err(CompileError::ColumnType {
            table: self.table.to_owned(),
            column: name.to_owned(),
            setting: setting.to_owned(),
            expected,
        })
    }
}
