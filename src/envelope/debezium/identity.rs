//! What Postgres sends of an old row, and what a record needs of it.
//!
//! Under replica identity default and index the old tuple holds the identity's columns alone, and
//! only if the change touched them or one of them is TOASTed. A record key has to lie within them.

use super::PlanError;
use crate::avro::{ColumnShape, RowError, RowErrorKind, TableShape};
use crate::pgoutput::{Cell, ReplicaIdentity, Tuple, TupleBuilder};

/// The roles of a table's cells; those past the end are [`Role::Other`].
#[derive(Debug)]
pub(super) struct Roles(Box<[Role]>);

/// What a cell has to do with the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Other,
    /// An unchanged TOAST value in it is taken from the old tuple before anything is encoded: of
    /// the old row only such columns were sent.
    Identity,
    /// The same, and without a value there is no record. With the column's index in the shape.
    Key(usize),
}

impl Roles {
    /// The roles of cells. Under full the old row was sent whole, and its encoder sees to the identity.
    pub(super) fn of(shape: &TableShape) -> Roles {
        let by_identity = shape.identity != ReplicaIdentity::Full;
        let mut roles = Vec::new();
        for (index, column) in shape.columns.iter().enumerate() {
            let role = match shape.key.contains(&index) {
                true => Role::Key(index),
                false if by_identity && column.identity => Role::Identity,
                false => continue,
            };
            if roles.len() <= column.cell {
                roles.resize(column.cell + 1, Role::Other);
            }
            if let Some(cell) = roles.get_mut(column.cell) {
                *cell = role;
            }
        }
        Roles(roles.into())
    }

    /// The new row with unchanged TOAST values of key and identity taken from the old one; `None`
    /// if it has none of them, which is nearly always. (A key of more than 2 kB is rare enough to
    /// be copied.)
    pub(super) fn complete(
        &self,
        old: Option<&Tuple<'_>>,
        new: &Tuple<'_>,
    ) -> Result<Option<TupleBuilder>, RowError> {
        let unsent =
            |(role, cell): &(&Role, Cell<'_>)| **role != Role::Other && *cell == Cell::Unchanged;
        let mut unsent = self.0.iter().zip(new.iter()).filter(unsent).peekable();
        if unsent.peek().is_none() {
            return Ok(None);
        }
        let Some(old) = old else {
            // The marker for unchanged values in a key would merge all such rows into one.
            return match unsent.find_map(|(role, _)| role.key()) {
                Some(column) => Err(RowError { column, ..NO_OLD_ROW }),
                None => Ok(None),
            };
        };
        let roles = self.0.iter().copied().chain(std::iter::repeat(Role::Other));
        let mut completed = TupleBuilder::default();
        // A shorter old tuple makes a shorter row, which the encoders refuse.
        for ((new, old), role) in new.iter().zip(old.iter()).zip(roles) {
            let unsent = role != Role::Other && new == Cell::Unchanged;
            completed.push(if unsent { old } else { new });
        }
        Ok(Some(completed))
    }
}

impl Role {
    fn key(self) -> Option<usize> {
        match self {
            Role::Key(column) => Some(column),
            Role::Identity | Role::Other => None,
        }
    }
}

/// A change without the old tuple that it needs: not what the relation message announced.
pub(super) const NO_OLD_ROW: RowError = RowError { column: 0, kind: RowErrorKind::CellCount };

/// Refuses a record key that the replica identity does not cover, where there is an identity. A
/// table without one publishes inserts only: Postgres itself refuses its updates and deletes.
pub(super) fn check_identity(shape: &TableShape) -> Result<(), PlanError> {
    match shape.identity {
        ReplicaIdentity::Full | ReplicaIdentity::Nothing => return Ok(()),
        ReplicaIdentity::Default | ReplicaIdentity::Index => {}
    }
    let none = !shape.columns.iter().any(|column| column.identity);
    if shape.identity == ReplicaIdentity::Default && none {
        return Ok(());
    }
    match outside_identity(shape) {
        None => Ok(()),
        Some((_, column)) => Err(PlanError::KeyOutsideIdentity {
            table: super::qualified(shape),
            column: column.name.clone(),
        }),
    }
}

/// The first column of the record key that an old tuple of the identity would lack.
pub(super) fn outside_identity(shape: &TableShape) -> Option<(usize, &ColumnShape)> {
    let key = shape.key.iter().filter_map(|&index| Some((index, shape.columns.get(index)?)));
    key.into_iter().find(|(_, column)| !column.identity)
}
