//! What several sections must agree on: what is listed, and where it goes.

use std::collections::HashMap;

use super::listing::{is_topic, topic_name};
use super::problem::Fault;
use super::reader::{Context, Table, Text};
use super::sections::{ReadOutbox, ReadTable};
use super::settings::{MessageSettings, TablePattern};

/// Notes rules that are there twice, that contradict each other, or that are not there at all.
///
/// `name` is the deployment's, `None` if there is no usable one.
pub(super) fn check(
    root: &Table<'_>,
    name: Option<&str>,
    tables: &[ReadTable],
    outboxes: &[ReadOutbox],
    messages: &MessageSettings,
) {
    let context = root.context;
    something_is_listed(root, messages);
    let mut listed: HashMap<(&str, &str), &Text> = HashMap::new();
    for (pattern, name) in patterns(tables, outboxes) {
        let key = (pattern.schema.as_str(), pattern.table.as_str());
        match listed.get(&key) {
            Some(first) => context.error(&name.place, twice(name, first)),
            None => {
                listed.insert(key, name);
            }
        }
    }
    topics_differ(context, name, tables);
}

fn something_is_listed(root: &Table<'_>, messages: &MessageSettings) {
    if root.get("table").is_none() && root.get("outbox").is_none() && !messages.enabled {
        let fault = Fault::new("nothing is listed, so nothing would leave the database");
        root.context.error(
            &root.place,
            fault.remedy("a `[[table]]` with `name = \"public.orders\"`, or an `[[outbox]]`"),
        );
    }
}

fn patterns<'r>(
    tables: &'r [ReadTable],
    outboxes: &'r [ReadOutbox],
) -> impl Iterator<Item = (&'r TablePattern, &'r Text)> {
    let tables = tables.iter().map(|table| (&table.rule.pattern, &table.name));
    tables.chain(outboxes.iter().map(|outbox| (&outbox.rule.table, &outbox.table)))
}

fn twice(name: &Text, first: &Text) -> Fault {
    let kind = |text: &Text| text.place.path().starts_with("outbox");
    if kind(name) == kind(first) {
        return Fault::new(format!(
            "{} is listed already, as {}",
            name.quoted(),
            first.place.path()
        ))
        .remedy("one entry with the keys of both");
    }
    Fault::new(format!("{} is also {}", name.quoted(), first.place.path()))
        .remedy("a table is either delivered as it is or an outbox: keep one entry")
}

/// Two tables in one topic would mix their schemas under one subject.
fn topics_differ(context: &Context<'_>, name: Option<&str>, tables: &[ReadTable]) {
    let mut owners: HashMap<String, &ReadTable> = HashMap::new();
    for table in tables.iter().filter(|table| table.rule.pattern.is_exact()) {
        let pattern = &table.rule.pattern;
        let derived =
            name.map(|name| topic_name(&format!("{name}.{}.{}", pattern.schema, pattern.table)));
        let place = &table.topic.as_ref().unwrap_or(&table.name).place;
        let Some(topic) = table.rule.topic.clone().or(derived) else { continue };
        if !is_topic(&topic) {
            let message = "the topic's name would be longer than Kafka's 249 characters";
            context.error(place, Fault::new(message).remedy("set `topic`"));
        }
        match owners.get(&topic) {
            // That it is listed twice has been said.
            Some(first) if first.rule.pattern == *pattern => {}
            Some(first) => context.error(place, shared(table, first)),
            None => {
                owners.insert(topic, table);
            }
        }
    }
}

fn shared(table: &ReadTable, first: &ReadTable) -> Fault {
    Fault::new(format!(
        "{} would share its topic with {} ({})",
        table.name.quoted(),
        first.name.quoted(),
        first.name.place.path(),
    ))
    .remedy("give one of them another `topic`")
}
