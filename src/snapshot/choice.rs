//! Which tables the configuration wants to have read.

use crate::config::Settings;
use crate::config::settings::SnapshotMode;
use crate::postgres::whitelist::{Listed, Role};

/// Under which condition the rows of a listed table are read, if any; `None`: they are not wanted.
#[must_use]
pub fn wanted(settings: &Settings, listed: &Listed) -> Option<Option<String>> {
    let snapshot = &settings.snapshot;
    let is_named = snapshot.tables.as_ref().map(|patterns| {
        patterns.iter().any(|pattern| pattern.matches(&listed.schema, &listed.name))
    });
    let is_wanted = is_named.unwrap_or(matches!(listed.role, Role::Table { .. }));
    if snapshot.mode == SnapshotMode::Never || !is_wanted {
        return None;
    }
    Some(match listed.role {
        Role::Table { rule } => {
            settings.tables.get(rule).and_then(|rule| rule.snapshot_where.clone())
        }
        Role::Outbox { .. } => None,
    })
}
