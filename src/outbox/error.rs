//! What can be wrong with an outbox table or one of its rows. Column and table names are told,
//! values never.

use super::topic::TopicRuleError;
use crate::avro::RowError;

/// An `[[outbox]]` that does not fit its table.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    #[error(
        "outbox table {table} has no column {column}, which {setting} names: add the column or \
         change {setting}"
    )]
    MissingColumn { table: String, column: String, setting: String },
    #[error(
        "column {column} of outbox table {table} cannot be used for {setting}: it must be of type \
         {expected}"
    )]
    ColumnType { table: String, column: String, setting: String, expected: &'static str },
    #[error("[[outbox]] for {table}: two envelope fields have the name {field}: rename one")]
    EnvelopeField { table: String, field: String },
    #[error("[[outbox]] for {table}: its topic rule cannot be used")]
    Topic {
        table: String,
        #[source]
        source: TopicRuleError,
    },
}

/// A row of an outbox table that cannot become an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a row of outbox table {table} cannot be routed: column {column} {kind}")]
pub struct RouteError {
    pub table: String,
    pub column: String,
    pub kind: RouteErrorKind,
}

/// Why it cannot, and what helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteErrorKind {
    #[error("is null and gives no topic: make it NOT NULL, or choose another column as route")]
    NoRoute,
    #[error(
        "is longer than {max} bytes: topics are chosen by short values; choose another column as \
         route"
    )]
    LongRoute { max: usize },
    #[error(
        "gives a topic that Kafka does not allow (1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-'): \
         correct the application's value, or rewrite it with topic.regex and topic.replacement"
    )]
    InvalidTopic,
    #[error("holds no partition number: it must be an integer from 0 to 2147483647 or null")]
    Partition,
    #[error("holds no finite point in time: the record's timestamp cannot be taken from it")]
    Timestamp,
    /// Its column is an index into the table's shape, as in every [`RowError`].
    #[error("{}", .0.kind)]
    Row(RowError),
}
