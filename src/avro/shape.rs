//! What a table looks like at one place of the stream: the relation message, completed by the
//! catalog's hints.
//!
//! The stream is the truth. Names, order, types and typmods come from the relation message; the
//! catalog, which describes the table *now*, adds what the message lacks (nullability, defaults,
//! key order). Where both know a column and disagree on its type, the catalog describes another
//! time and none of its hints for the column are taken. A hint that a row contradicts later is
//! withdrawn by [`TableShape::widen`].

use super::defaults;
use super::names;
use super::types::{self, ColumnType};
use crate::config::settings::{FormatSettings, NameAdjustment, TableRule};
use crate::pgoutput::{Relation, RelationColumn, ReplicaIdentity};
use crate::postgres::catalog::{ColumnFacts, TableFacts, Types};

/// A table as its records will show it: excluded columns are gone, types are resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct TableShape {
    pub schema: String,
    pub name: String,
    pub identity: ReplicaIdentity,
    /// The columns that go into records, in relation order.
    pub columns: Vec<ColumnShape>,
    /// Indices into `columns`, in key order; empty for a table without a key.
    pub key: Vec<usize>,
    /// How many cells a tuple of this relation has, those of excluded columns included.
    pub cells: usize,
}

/// One column that goes into records.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnShape {
    pub name: String,
    /// Which cell of a tuple holds it.
    pub cell: usize,
    pub column_type: ColumnType,
    pub nullable: bool,
    /// The catalog's default expression (`pg_get_expr`), if there is one and Debezium carries
    /// defaults of this type into the schema.
    pub default: Option<String>,
    /// `serial` or identity. (A `serial` has the default 0 in the schema, as any default that
    /// calls a function; an identity column, which has no default expression, has none.)
    pub auto_increment: bool,
    /// Part of the replica identity (flag of the relation message).
    pub identity: bool,
}

/// What the configuration says about a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShapeRules {
    /// The record key, in place of the primary key.
    pub key_columns: Option<Vec<String>>,
    pub exclude_columns: Vec<String>,
    /// The schema states no defaults (`format.column_defaults`).
    pub omit_defaults: bool,
}

impl ShapeRules {
    /// Of the tables of a `[[table]]`, or (`None`) of an outbox.
    #[must_use]
    pub fn new(rule: Option<&TableRule>, format: &FormatSettings) -> ShapeRules {
        ShapeRules {
            key_columns: rule.and_then(|rule| rule.key_columns.clone()),
            exclude_columns: rule.map(|rule| rule.exclude_columns.clone()).unwrap_or_default(),
            omit_defaults: !format.column_defaults,
        }
    }
}

/// A table that cannot be shaped as configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeError {
    #[error(
        "{table}: key_columns names {column:?}, which the table does not have or its publication \
         does not send: correct key_columns of this [[table]]"
    )]
    UnknownKeyColumn { table: String, column: String },
    #[error(
        "{table}: {column:?} is both in key_columns and in exclude_columns: take it out of one of \
         them"
    )]
    ExcludedKeyColumn { table: String, column: String },
    #[error("{table}: key_columns names {column:?} twice: name it once")]
    RepeatedKeyColumn { table: String, column: String },
    #[error(
        "{table}: {name:?} is not a name that Avro allows: set name_adjustment = \"avro\" in \
         [format], rename it, or exclude it"
    )]
    IllegalName { table: String, name: String },
    #[error(
        "{table}: the columns {first:?} and {second:?} both become {adjusted:?} in Avro: rename \
         or exclude one of them, or set name_adjustment = \"avro_unicode\" in [format]"
    )]
    NameConflict { table: String, first: String, second: String, adjusted: String },
}

impl TableShape {
    /// Merges what the stream announced with what the catalog says.
    ///
    /// The key is `rules.key_columns`; else the catalog's primary key when the relation message
    /// has all its columns and none is excluded; else, under replica identity default or index,
    /// the columns that the message flags; else the catalog's unique key under the same condition
    /// as the primary key; else none.
    ///
    /// # Errors
    /// [`ShapeError`] when `rules` contradict themselves or the table.
    pub fn resolve(
        relation: &Relation,
        facts: Option<&TableFacts>,
        types: &Types,
        rules: &ShapeRules,
    ) -> Result<TableShape, ShapeError> {
        let columns: Vec<ColumnShape> = relation
            .columns
            .iter()
            .enumerate()
            .filter(|(_, column)| !rules.exclude_columns.contains(&column.name))
            .map(|(cell, column)| resolve_column(cell, column, facts, types, rules))
            .collect();
        let key = match &rules.key_columns {
            Some(names) => configured_key(relation, &columns, names, rules)?,
            None => natural_key(relation.identity, &columns, facts),
        };
        Ok(TableShape {
            schema: relation.schema.clone(),
            name: relation.name.clone(),
            identity: relation.identity,
            columns,
            key,
            cells: relation.columns.len(),
        })
    }

    /// Columns whose default Avro allows and some registries refuse: a text that reads as JSON (to
    /// Apicurio it is JSON, and no text), a float that is no finite number.
    #[must_use]
    pub fn contested_defaults(&self) -> Vec<&str> {
        let contested = self.columns.iter().filter(|column| defaults::is_contested(column));
        contested.map(|column| column.name.as_str()).collect()
    }

    /// Makes a column nullable, because a row brought a NULL that the catalog called impossible.
    /// Elements of an array become nullable too. Out of range it does nothing.
    pub fn widen(&mut self, column: usize) {
        let Some(column) = self.columns.get_mut(column) else { return };
        column.nullable = true;
        if let ColumnType::Array { nullable_elements, .. } = &mut column.column_type {
            *nullable_elements = true;
        }
    }

    /// Checks that every column has a name in Avro, and one of its own.
    ///
    /// # Errors
    /// [`ShapeError::IllegalName`] and [`ShapeError::NameConflict`].
    pub fn check_names(&self, adjustment: NameAdjustment) -> Result<(), ShapeError> {
        let table = || format!("{}.{}", self.schema, self.name);
        let mut seen = std::collections::HashMap::with_capacity(self.columns.len());
        for column in &self.columns {
            let adjusted = names::field(&column.name, adjustment);
            if !names::is_legal(&adjusted) {
                return Err(ShapeError::IllegalName { table: table(), name: column.name.clone() });
            }
            if let Some(first) = seen.insert(adjusted.clone(), column.name.clone()) {
                return Err(ShapeError::NameConflict {
                    table: table(),
                    first,
                    second: column.name.clone(),
                    adjusted: adjusted.into_owned(),
                });
            }
        }
        Ok(())
    }
}

fn resolve_column(
    cell: usize,
    column: &RelationColumn,
    facts: Option<&TableFacts>,
    types: &Types,
    rules: &ShapeRules,
) -> ColumnShape {
    let resolved = types::resolve(column.type_oid, column.typmod, types);
    let hint = facts.and_then(|facts| hint_for(column, facts));
    ColumnShape {
        name: column.name.clone(),
        cell,
        nullable: !hint.is_some_and(|hint| hint.not_null || resolved.not_null_domain),
        default: hint
            .and_then(|hint| hint.default.clone())
            .filter(|_| resolved.carries_default && !rules.omit_defaults),
        auto_increment: hint.is_some_and(is_auto_increment),
        column_type: resolved.column_type,
        identity: column.key,
    }
}

/// The catalog's description of the very column that the message describes.
fn hint_for<'a>(column: &RelationColumn, facts: &'a TableFacts) -> Option<&'a ColumnFacts> {
    facts.columns.iter().find(|hint| {
        hint.name == column.name && hint.type_oid == column.type_oid && hint.typmod == column.typmod
    })
}

fn is_auto_increment(hint: &ColumnFacts) -> bool {
    hint.identity || hint.default.as_deref().is_some_and(|text| text.starts_with("nextval("))
}

fn configured_key(
    relation: &Relation,
    columns: &[ColumnShape],
    names: &[String],
    rules: &ShapeRules,
) -> Result<Vec<usize>, ShapeError> {
    let table = || format!("{}.{}", relation.schema, relation.name);
    let mut key = Vec::with_capacity(names.len());
    for name in names {
        let column = name.clone();
        match columns.iter().position(|column| column.name == *name) {
            Some(index) if key.contains(&index) => {
                return Err(ShapeError::RepeatedKeyColumn { table: table(), column });
            }
            Some(index) => key.push(index),
            None if rules.exclude_columns.contains(name) => {
                return Err(ShapeError::ExcludedKeyColumn { table: table(), column });
            }
            None => return Err(ShapeError::UnknownKeyColumn { table: table(), column }),
        }
    }
    Ok(key)
}

fn natural_key(
    identity: ReplicaIdentity,
    columns: &[ColumnShape],
    facts: Option<&TableFacts>,
) -> Vec<usize> {
    let by_names = |names: &[String]| -> Option<Vec<usize>> {
        let position = |name: &String| columns.iter().position(|column| column.name == *name);
        names.iter().map(position).collect::<Option<Vec<_>>>().filter(|key| !key.is_empty())
    };
    let flagged = || -> Option<Vec<usize>> {
        // Full flags every column, nothing flags none: neither tells a key.
        if !matches!(identity, ReplicaIdentity::Default | ReplicaIdentity::Index) {
            return None;
        }
        let flagged: Vec<usize> = columns
            .iter()
            .enumerate()
            .filter(|(_, c)| c.identity)
            .map(|(index, _)| index)
            .collect();
        (!flagged.is_empty()).then_some(flagged)
    };
    facts
        .and_then(|facts| by_names(&facts.primary_key))
        .or_else(flagged)
        .or_else(|| facts.and_then(|facts| by_names(&facts.unique_key)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
