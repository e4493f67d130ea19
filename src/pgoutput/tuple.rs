//! Rows on the wire.

/// One column of a row as pgoutput sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell<'a> {
    Null,
    /// A TOASTed value that the update did not touch and the server did not send.
    Unchanged,
    /// The type's text form in the client encoding.
    Text(&'a [u8]),
    /// The type's binary form; walferry never asks for it.
    Binary(&'a [u8]),
}

/// The cells of one row. All lengths were checked when the tuple was parsed, so iteration cannot
/// fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuple<'a> {
    pub(super) count: u16,
    /// The cells, exactly.
    pub(super) bytes: &'a [u8],
}

/// Iterates the cells of a [`Tuple`] in column order.
#[derive(Debug, Clone)]
pub struct Cells<'a> {
    _rest: &'a [u8],
}
