//! `[topics]`, and its keys in `[[table]]` and `[[outbox]]`.

use std::collections::BTreeMap;

use crate::config::problem::Fault;
use crate::config::reader::Table;
use crate::config::settings::TopicSettings;

/// What one place says about topics, on top of `base`: a key that is absent changes nothing, and
/// `config` is merged setting by setting.
pub(in crate::config) fn topics(table: &Table<'_>, base: &TopicSettings) -> TopicSettings {
    let read = keys(table, base);
    table.finish();
    read
}

/// The four keys, wherever they stand.
pub(super) fn keys(table: &Table<'_>, base: &TopicSettings) -> TopicSettings {
    let narrowed = |value: i64| i32::try_from(value).ok();
    let partitions = table.integer("partitions", 1..=MAX_PARTITIONS).and_then(narrowed);
    let factor = table.integer("replication_factor", 1..=i64::from(i16::MAX)).and_then(narrowed);
    let mut config = base.config.clone();
    for (name, value) in table.entries("config") {
        let Some(text) = value.scalar() else { continue };
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || !name.chars().all(is_name) {
            value.error(
                Fault::new("not the name of a topic setting")
                    .remedy("in quotes, as Kafka names it: `\"retention.ms\"`"),
            );
        }
        config.insert(name, text.value);
    }
    TopicSettings {
        create: table.boolean("create", base.create),
        partitions: partitions.or(base.partitions),
        replication_factor: factor.or(base.replication_factor),
        config,
    }
}

/// What holds where nothing is said.
pub(in crate::config) const BROKER_DEFAULTS: TopicSettings = TopicSettings {
    create: true,
    partitions: None,
    replication_factor: None,
    config: BTreeMap::new(),
};

/// Far more than a broker carries; a slip of the keyboard must not ask for it.
const MAX_PARTITIONS: i64 = 100_000;
