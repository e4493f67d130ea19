//! `[[outbox]]`.

use super::{tables, topics};
use crate::config::keys::Section;
use crate::config::problem::Fault;
use crate::config::reader::{Table, Text};
use crate::config::settings::{OutboxRule, TablePattern, TopicSettings};

/// A rule and where its table stands, for the checks across rules.
pub(in crate::config) struct ReadOutbox {
    pub(in crate::config) rule: OutboxRule,
    pub(in crate::config) table: Text,
}

/// `base` is `[topics]`.
pub(in crate::config) fn outbox(table: &Table<'_>, base: &TopicSettings) -> Option<ReadOutbox> {
    let pattern = pattern(table);
    let columns = table.section("columns", Section::OutboxColumns, false);
    let column = |key: &str, default: &str| {
        columns.text(key).map_or_else(|| default.to_owned(), |text| text.value)
    };
    let (id, key) = (column("id", "id"), column("key", "aggregateid"));
    let (payload, route) = (column("payload", "payload"), column("route", "aggregatetype"));
    columns.finish();
    let (topic_regex, topic_replacement) = topic(table);
    let optional = |key: &str| table.text(key).map(|text| text.value);
    let (timestamp, partition) = (optional("timestamp"), optional("partition"));
    let headers = columns_by_name(table, "headers", check_header);
    let envelope = columns_by_name(table, "envelope", check_field);
    let tombstone_on_empty_payload = table.boolean("tombstone_on_empty_payload", false);
    let topics = topics::topics(&table.section("topics", Section::OutboxTopics, false), base);
    table.finish();
    let (pattern, name) = pattern?;
    let rule = OutboxRule {
        table: pattern,
        id,
        key,
        payload,
        route,
        timestamp,
        headers,
        envelope,
        partition,
        topic_regex,
        topic_replacement,
        tombstone_on_empty_payload,
        topics,
    };
    Some(ReadOutbox { rule, table: name })
}

fn pattern(table: &Table<'_>) -> Option<(TablePattern, Text)> {
    let name = match table.get("message_prefix") {
        // Stands in place of `table`; `finish` explains that it is not there yet.
        Some(_) => table.text("table"),
        None => table.required_text("table"),
    }?;
    let pattern = tables::pattern(table, &name)?;
    if pattern.is_exact() {
        return Some((pattern, name));
    }
    let fault = Fault::new(format!("{} has wildcards", name.quoted()))
        .remedy("an `[[outbox]]` for each table, with its full name");
    table.context.error(&name.place, fault);
    None
}

/// `name = "column"`, in the order of the file.
fn columns_by_name(
    table: &Table<'_>,
    key: &str,
    check: fn(&str) -> Result<(), Fault>,
) -> Vec<(String, String)> {
    let mut columns = Vec::new();
    for (name, value) in table.entries(key) {
        value.noted(check(&name));
        match value.text() {
            Some(column) if column.value.is_empty() => value.error(Fault::new("an empty string")),
            Some(column) => columns.push((name, column.value)),
            None => {}
        }
    }
    columns
}

fn check_header(name: &str) -> Result<(), Fault> {
    match name {
        "" => Err(Fault::new("a header without a name")),
        "id" => Err(Fault::new("the header `id` is always written")
            .remedy("`columns = { id = \"…\" }` chooses its column")),
        name if name.contains('\0') => Err(Fault::new("a NUL character in a header's name")),
        _ => Ok(()),
    }
}

/// Fields of the value's Avro record.
fn check_field(name: &str) -> Result<(), Fault> {
    let starts = |c: char| c.is_ascii_alphabetic() || c == '_';
    let goes_on = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name == "payload" {
        return Err(Fault::new("the field `payload` is always there"));
    }
    if name.starts_with(starts) && name.chars().all(goes_on) {
        return Ok(());
    }
    Err(Fault::new("not a name that a field can have in Avro")
        .remedy("a-z, A-Z, 0-9 and `_`, not beginning with a digit"))
}

/// Regex and replacement. Both are taken as they stand: `${…}` in them is a group, not a variable.
fn topic(table: &Table<'_>) -> (String, String) {
    let topic = table.section("topic", Section::OutboxTopic, false);
    let raw = |key: &str, default: &str| {
        let text = topic.get(key).and_then(|value| {
            let text = value.raw_text()?;
            if text.value.is_empty() {
                value.error(Fault::new("an empty string"));
            }
            Some(text.value)
        });
        text.unwrap_or_else(|| default.to_owned())
    };
    let regex = raw("regex", DEFAULT_REGEX);
    let replacement = raw("replacement", DEFAULT_REPLACEMENT);
    let unknown = groups(&replacement).find(|group| !regex.contains(&format!("(?<{group}>")));
    if let Some(group) = unknown
        && let Some(value) = topic.get("replacement").or_else(|| topic.get("regex"))
    {
        value.error(
            Fault::new(format!("the regex has no group named `{group}`"))
                .remedy(format!("`(?<{group}>…)` in the regex")),
        );
    }
    topic.finish();
    (regex, replacement)
}

/// The names in `${…}`; numbers are left out.
fn groups(replacement: &str) -> impl Iterator<Item = &str> {
    replacement
        .split("${")
        .skip(1)
        .filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
        .filter(|name| !name.bytes().all(|byte| byte.is_ascii_digit()))
}

const DEFAULT_REGEX: &str = "(?<routedByValue>.*)";
const DEFAULT_REPLACEMENT: &str = "outbox.event.${routedByValue}";
