//! The compiled plan: one encoder a column, from pgoutput text to Avro bytes, no value tree and no
//! allocation per row.

/// A row that cannot be encoded. It names the column and never the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowError {
    /// Index into [`TableShape::columns`](super::TableShape::columns).
    pub column: usize,
    pub kind: RowErrorKind,
}

/// Why a row cannot be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RowErrorKind {
    /// A NULL in a column that the catalog called NOT NULL: the schema must be widened.
    UnexpectedNull,
    /// The text is not of the type's form.
    Malformed,
    /// The type's Avro image has no place for this value (numeric NaN in a decimal, say).
    Unrepresentable,
    /// Not UTF-8 (a SQL_ASCII database).
    InvalidUtf8,
    /// The tuple has another number of cells than the relation message.
    CellCount,
}

use crate::avro::{ColumnShape, TableShape};
use crate::config::settings::FormatSettings;
use crate::pgoutput::{Cell, Tuple};
#[derive(Debug)]
pub struct RowPlan {
    c: Vec<(usize, ColumnPlan, bool)>,
}
#[derive(Debug)]
pub struct KeyPlan {
    c: Vec<(String, usize, ColumnPlan)>,
}
#[derive(Debug)]
pub struct ColumnPlan {
    nullable: bool,
}
impl ColumnPlan {
    pub fn compile(c: &ColumnShape, _f: &FormatSettings) -> Self {
        ColumnPlan { nullable: c.nullable }
    }
    pub fn encode(&self, cell: Cell<'_>, out: &mut Vec<u8>) -> Result<(), RowErrorKind> {
        match cell {
            Cell::Null => {
                if self.nullable {
                    out.push(0);
                    Ok(())
                } else {
                    Err(RowErrorKind::UnexpectedNull)
                }
            }
            Cell::Text(t) => {
                if self.nullable {
                    out.push(2)
                };
                out.push((t.len() * 2) as u8);
                out.extend_from_slice(t);
                Ok(())
            }
            _ => Err(RowErrorKind::Malformed),
        }
    }
}
impl RowPlan {
    pub fn compile(s: &TableShape, f: &FormatSettings) -> Self {
        RowPlan {
            c: s.columns.iter().map(|c| (c.cell, ColumnPlan::compile(c, f), c.identity)).collect(),
        }
    }
    pub fn encode(
        &self,
        new: &Tuple<'_>,
        old: Option<&Tuple<'_>>,
        out: &mut Vec<u8>,
    ) -> Result<(), RowError> {
        for (i, (c, p, _)) in self.c.iter().enumerate() {
            let mut cell = new.get(*c).unwrap();
            if cell == Cell::Unchanged {
                cell = match old {
                    Some(o) => o.get(*c).unwrap(),
                    None => Cell::Text(b"__debezium_unavailable_value"),
                }
            };
            p.encode(cell, out).map_err(|kind| RowError { column: i, kind })?;
        }
        Ok(())
    }
    pub fn encode_key_image(&self, key: &Tuple<'_>, out: &mut Vec<u8>) -> Result<(), RowError> {
        for (i, (c, p, id)) in self.c.iter().enumerate() {
            let mut cell = key.get(*c).unwrap();
            if !id && !p.nullable {
                cell = Cell::Text(b"")
            };
            p.encode(cell, out).map_err(|kind| RowError { column: i, kind })?;
        }
        Ok(())
    }
}
impl KeyPlan {
    pub fn compile(s: &TableShape, f: &FormatSettings) -> Option<Self> {
        if s.key.is_empty() {
            return None;
        };
        Some(KeyPlan {
            c: s.key
                .iter()
                .map(|&i| {
                    let c = &s.columns[i];
                    (c.name.clone(), c.cell, ColumnPlan::compile(c, f))
                })
                .collect(),
        })
    }
    pub fn encode(&self, t: &Tuple<'_>, out: &mut Vec<u8>) -> Result<(), RowError> {
        for (i, (_, c, p)) in self.c.iter().enumerate() {
            p.encode(t.get(*c).unwrap(), out).map_err(|kind| RowError { column: i, kind })?;
        }
        Ok(())
    }
    pub fn same(&self, a: &Tuple<'_>, b: &Tuple<'_>) -> bool {
        self.c.iter().all(|(_, c, _)| a.get(*c) == b.get(*c))
    }
    pub fn write_json(&self, t: &Tuple<'_>, out: &mut Vec<u8>) -> Result<(), RowError> {
        let m: serde_json::Map<String, serde_json::Value> = self
            .c
            .iter()
            .map(|(n, c, _)| {
                (
                    n.clone(),
                    match t.get(*c) {
                        Some(Cell::Text(x)) => String::from_utf8_lossy(x).into_owned().into(),
                        _ => serde_json::Value::Null,
                    },
                )
            })
            .collect();
        out.extend(serde_json::to_vec(&m).unwrap());
        Ok(())
    }
}

impl std::fmt::Display for RowErrorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}
