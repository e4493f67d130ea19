//! What the tests of everything made from shapes and rows share.

use super::ColumnShape;
use super::types::ColumnType;
use crate::config::settings::FormatSettings;
use crate::pgoutput::{Cell, TupleBuilder};

pub(crate) fn format() -> FormatSettings {
    FormatSettings::default()
}

/// A nullable column.
pub(crate) fn column(name: &str, cell: usize, column_type: ColumnType) -> ColumnShape {
    ColumnShape {
        name: name.to_owned(),
        cell,
        column_type,
        nullable: true,
        default: None,
        auto_increment: false,
        identity: false,
    }
}

pub(crate) fn row(cells: &[Cell<'_>]) -> TupleBuilder {
    cells.iter().copied().collect()
}

/// A row of text cells; `None` is NULL.
pub(crate) fn texts(cells: &[Option<&str>]) -> TupleBuilder {
    cells.iter().map(|cell| cell.map_or(Cell::Null, |text| Cell::Text(text.as_bytes()))).collect()
}
