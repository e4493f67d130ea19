//! `[snapshot]`.

use super::tables::pattern;
use crate::config::problem::Fault;
use crate::config::reader::Table;
use crate::config::settings::{Engine, SnapshotMode, SnapshotSettings, TablePattern};

pub(in crate::config) fn snapshot(table: &Table<'_>) -> SnapshotSettings {
    let mode = table.choice("mode", SnapshotMode::Initial, MODES);
    let tables = tables(table);
    let parallelism = table.get("parallelism").and_then(|value| value.integer(&(1..=32)));
    let rate = table.get("max_rows_per_second");
    let rate = rate.and_then(|value| value.integer(&(1..=100_000_000)));
    let engine = table.choice("engine", Engine::Auto, ENGINES);
    let frozen_max_bytes = table
        .get("frozen_max_bytes")
        .and_then(|value| value.bytes(&(1 << 20..=1 << 50)))
        .unwrap_or(100_000_000_000);
    table.finish();
    if mode == SnapshotMode::Never {
        for key in ["tables", "engine", "frozen_max_bytes"] {
            if let Some(value) = table.get(key) {
                value.warn(Fault::new("unused").remedy("`mode = \"initial\"`"));
            }
        }
    }
    SnapshotSettings {
        mode,
        tables,
        parallelism: parallelism.and_then(|n| usize::try_from(n).ok()).unwrap_or(4),
        max_rows_per_second: rate.and_then(|rate| u64::try_from(rate).ok()),
        engine,
        frozen_max_bytes,
    }
}

fn tables(table: &Table<'_>) -> Option<Vec<TablePattern>> {
    let value = table.get("tables")?;
    let texts = value.texts()?;
    if value.elements("strings").is_some_and(|elements| elements.is_empty()) {
        value.error(Fault::new("an empty list").remedy("`mode = \"never\"` for no snapshot"));
    }
    Some(texts.iter().filter_map(|text| pattern(table, text)).collect())
}

const MODES: &[(&str, SnapshotMode)] =
    &[("initial", SnapshotMode::Initial), ("never", SnapshotMode::Never)];

const ENGINES: &[(&str, Engine)] =
    &[("auto", Engine::Auto), ("frozen", Engine::Frozen), ("windows", Engine::Windows)];
