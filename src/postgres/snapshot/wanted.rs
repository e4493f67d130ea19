//! Which listed tables the configuration wants to be read.

use crate::config::Settings;
use crate::config::settings::SnapshotMode;
use crate::postgres::catalog::RelationKind;
use crate::postgres::whitelist::{Listed, Role, Whitelist};

/// What owns a topic: a table, a partitioned table whose partitions are published as it, or else
/// each partition.
pub fn owners(whitelist: &Whitelist) -> impl Iterator<Item = &Listed> {
    whitelist.entries.values().filter(|listed| {
        let is_split = listed.kind == RelationKind::Partitioned && !whitelist.is_via_root();
        listed.root.is_none() && !is_split
    })
}

/// Whether the configuration wants the rows of a table, and under which condition.
#[must_use]
pub fn wanted(settings: &Settings, target: &Listed) -> Option<Option<String>> {
    let snapshot = &settings.snapshot;
    let is_named = snapshot.tables.as_ref().map(|patterns| {
        patterns.iter().any(|pattern| pattern.matches(&target.schema, &target.name))
    });
    let is_wanted = is_named.unwrap_or(matches!(target.role, Role::Table { .. }));
    if snapshot.mode == SnapshotMode::Never || !is_wanted {
        return None;
    }
    Some(match target.role {
        Role::Table { rule } => {
            settings.tables.get(rule).and_then(|rule| rule.snapshot_where.clone())
        }
        Role::Outbox { .. } => None,
    })
}
