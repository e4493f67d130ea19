//! What the patterns did not do, in words, with the way out.

use std::fmt;

use super::{Kind, dotted};
use crate::config::settings::TablePattern;
use crate::postgres::query::qualified;

/// A pattern that does not do what it seems to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// Named exactly, but of a kind that logical replication does not carry.
    NotReplicated { pattern: TablePattern, kind: Kind },
    /// Named exactly, but one of the system's own.
    System { pattern: TablePattern },
    /// Matched by wildcards, or a partition of a listed table, and passed over: its changes are not
    /// in the WAL.
    Unsent { table: String, kind: Kind },
    /// A partition with a rule of its own that cannot apply, since its rows leave as its root's.
    Shadowed { table: String, root: String },
    /// Their schemas would be versions of one another, and their keys could collide.
    SharedTopic { topic: String, tables: Vec<String> },
}

impl Problem {
    /// Whether the rule cannot be carried out at all.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Problem::Unsent { .. } | Problem::Shadowed { .. })
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Problem::NotReplicated { pattern, kind: Kind::Unlogged } => {
                let table = qualified(&pattern.schema, &pattern.table);
                format!("ALTER TABLE {table} SET LOGGED; or remove it from the configuration")
            }
            Problem::NotReplicated { .. } => {
                "list the tables that it is made of, or remove it from the configuration".into()
            }
            Problem::System { .. } => "remove it from the configuration".into(),
            Problem::Unsent { kind: Kind::Unlogged, table } => {
                format!("ALTER TABLE {table} SET LOGGED; or make the pattern narrower")
            }
            Problem::Unsent { .. } => "make the pattern narrower, or detach the partition".into(),
            Problem::SharedTopic { .. } => "give each a [[table]] of its own with a `topic`".into(),
            Problem::Shadowed { root, .. } => format!(
                "remove its rule, or set publish_via_partition_root = false, or list the \
                 partitions in place of {root}"
            ),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::NotReplicated { pattern, kind } => write!(
                f,
                "{} is {kind}, which logical replication does not carry",
                dotted(&pattern.schema, &pattern.table)
            ),
            Problem::System { pattern } => write!(
                f,
                "{} belongs to the system and is not replicated",
                dotted(&pattern.schema, &pattern.table)
            ),
            Problem::Unsent { table, kind } => {
                write!(f, "{table} is listed but is {kind}: its changes are not sent")
            }
            Problem::SharedTopic { topic, tables } => {
                write!(f, "{} map to one topic, {topic}", tables.join(" and "))
            }
            Problem::Shadowed { table, root } => {
                write!(f, "the rule of {table} does not apply: its rows leave as rows of {root}")
            }
        }
    }
}
