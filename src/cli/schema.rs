//! `walferry schema`: the Avro schemas that the listed tables get, from the catalog alone.
//!
//! The texts are those that a run registers, because the same functions make them: the table as
//! the server would announce it, its shape, its schemas. Only a publication with column lists of
//! its own (`publication_manage = "never"`) announces fewer columns than the catalog has.

use std::fmt::Write as _;

use tokio_postgres::Client;

use super::args::{GlobalArgs, SchemaArgs};
use super::deployment::control;
use super::output::{Output, Paint, Severity};
use super::{Exit, block_on, load_settings};
use crate::avro::TableShape;
use crate::avro::shape::ShapeRules;
use crate::config::{Settings, glob};
use crate::envelope::{debezium, message};
use crate::failure::Failure;
use crate::outbox::{Router, RouterInput};
use crate::postgres::catalog::{self, RelationKind, TableFacts, announced};
use crate::postgres::whitelist::{self, Listed, Role, Whitelist};
use crate::registry::Subject;

/// What one listed table, or the topic of messages, is registered with.
#[derive(Debug)]
pub(super) struct Entry {
    /// `schema.table`.
    pub(super) table: String,
    /// Topic and subjects depend on the rows; [`ANY_ROUTE`] stands for what they say.
    pub(super) outbox: bool,
    pub(super) key: Half,
    pub(super) value: Half,
}

/// The key or the value.
#[derive(Debug)]
pub(super) enum Half {
    Schema {
        subject: Subject,
        text: String,
    },
    /// There is none, because …
    None(&'static str),
}

/// Stands for the value of an outbox's route column, which the rows decide.
const ANY_ROUTE: &str = "ROUTE";

pub(super) fn run(global: &GlobalArgs, args: &SchemaArgs) -> Result<Exit, Failure> {
    let settings = load_settings(global)?;
    let entries = block_on(async {
        let control = control(&settings).await?;
        let whitelist = whitelist::resolve(&control.client, &settings, None).await?;
        whitelist.ensure()?;
        for pattern in &whitelist.unmatched {
            let what = format!("{pattern} matches no table");
            Output::stderr().finding(Severity::Warning, &what, None);
        }
        entries(&control.client, &settings, &whitelist).await
    })?;
    let mut wanted = Vec::new();
    for (table, entry) in entries {
        if is_wanted(&args.tables, &table) {
            wanted.push(entry?);
        }
    }
    if wanted.is_empty() || !every_name_is_known(&args.tables, &wanted) {
        return Err(unknown(&args.tables, &wanted));
    }
    if args.tables.is_empty() && settings.messages.enabled {
        wanted.push(messages(&settings));
    }
    print(&wanted, args);
    Ok(Exit::Done)
}

/// The schemas of all tables whose rows have a topic of their own, by name.
///
/// # Errors
/// When the catalog cannot be read; what is wrong with a single table is beside its name.
pub(super) async fn entries(
    client: &Client,
    settings: &Settings,
    whitelist: &Whitelist,
) -> Result<Vec<(String, Result<Entry, Failure>)>, Failure> {
    let mut listed: Vec<&Listed> =
        whitelist.entries.values().filter(|listed| has_rows_of_its_own(listed, settings)).collect();
    listed.sort_by_key(|listed| (&listed.schema, &listed.name));
    let oids: Vec<_> = listed.iter().map(|listed| listed.oid).collect();
    let tables = catalog::tables(client, &oids).await?;
    let relations = announced::relations(client, &tables).await?;
    let mut types: Vec<_> = tables.iter().flat_map(types_of).collect();
    types.sort_unstable();
    types.dedup();
    let types = catalog::types(client, &types).await?;

    let mut entries = Vec::with_capacity(listed.len());
    for listed in listed {
        // Absent: dropped a moment ago.
        let Some(facts) = tables.iter().find(|table| table.oid == listed.oid) else { continue };
        let Some(relation) = relations.iter().find(|known| known.oid == listed.oid) else {
            continue;
        };
        let rules = rules(settings, listed);
        let entry = TableShape::resolve(relation, Some(facts), &types, &rules)
            .and_then(|shape| {
                shape.check_names(settings.format.name_adjustment)?;
                Ok(shape)
            })
            .map_err(|error| Failure::stop("schema", error.to_string()))
            .and_then(|shape| entry(settings, listed, &shape));
        entries.push((relation.qualified(), entry));
    }
    Ok(entries)
}

/// Not partitions that leave under the name of their root, nor roots that leave as partitions.
pub(super) fn has_rows_of_its_own(listed: &Listed, settings: &Settings) -> bool {
    let via_root = settings.postgres.publish_via_partition_root;
    listed.root.is_none() && (via_root || listed.kind != RelationKind::Partitioned)
}

fn types_of(table: &TableFacts) -> impl Iterator<Item = crate::postgres::Oid> + '_ {
    table.columns.iter().map(|column| column.type_oid)
}

fn rules(settings: &Settings, listed: &Listed) -> ShapeRules {
    let rule = match listed.role {
        Role::Table { rule } => settings.tables.get(rule),
        Role::Outbox { .. } => None,
    };
    ShapeRules::new(rule, &settings.format)
}

fn entry(settings: &Settings, listed: &Listed, shape: &TableShape) -> Result<Entry, Failure> {
    match listed.role {
        Role::Table { rule } => {
            let rule = settings.tables.get(rule).ok_or_else(|| unlisted(listed))?;
            Ok(table(settings, &settings.topic_for(rule, &listed.schema, &listed.name), shape))
        }
        Role::Outbox { rule } => {
            let rule = settings.outboxes.get(rule).ok_or_else(|| unlisted(listed))?;
            let router = Router::compile(RouterInput {
                name: &settings.name,
                rule,
                shape,
                format: &settings.format,
                context_headers: None,
            })
            .map_err(|error| Failure::stop("outbox", error.to_string()))?;
            Ok(outbox(&router, shape))
        }
    }
}

fn unlisted(listed: &Listed) -> Failure {
    let table = format!("{}.{}", listed.schema, listed.name);
    Failure::stop("internal", format!("{table} is listed under a rule that does not exist"))
}

fn table(settings: &Settings, topic: &str, shape: &TableShape) -> Entry {
    let schemas = debezium::schemas(&settings.name, shape, &settings.format);
    Entry {
        table: format!("{}.{}", shape.schema, shape.name),
        outbox: false,
        key: match schemas.key {
            Some(text) => Half::Schema { subject: Subject::key_of(topic), text },
            None => Half::None("the table has no key"),
        },
        value: Half::Schema { subject: Subject::value_of(topic), text: schemas.value },
    }
}

fn outbox(router: &Router, shape: &TableShape) -> Entry {
    let destination = router.destination(ANY_ROUTE);
    let topic = &destination.topic;
    let half = |subject, text: Option<String>, none| match text {
        Some(text) => Half::Schema { subject, text },
        None => Half::None(none),
    };
    let raw = "the payload's bytes are the value, as they are";
    Entry {
        table: format!("{}.{}", shape.schema, shape.name),
        outbox: true,
        key: half(Subject::key_of(topic), destination.key_schema, "events have no key"),
        value: half(Subject::value_of(topic), destination.value_schema, raw),
    }
}

fn messages(settings: &Settings) -> Entry {
    let topic = message::topic(&settings.name);
    let schemas = message::schemas();
    Entry {
        table: "logical messages".to_owned(),
        outbox: false,
        key: match schemas.key {
            Some(text) => Half::Schema { subject: Subject::key_of(&topic), text },
            None => Half::None("messages have no key"),
        },
        value: Half::Schema { subject: Subject::value_of(&topic), text: schemas.value },
    }
}

fn is_wanted(names: &[String], table: &str) -> bool {
    names.is_empty() || names.iter().any(|name| glob(name, table))
}

fn every_name_is_known(names: &[String], entries: &[Entry]) -> bool {
    names.iter().all(|name| entries.iter().any(|entry| glob(name, &entry.table)))
}

fn unknown(names: &[String], entries: &[Entry]) -> Failure {
    let unknown: Vec<&str> = names
        .iter()
        .filter(|name| !entries.iter().any(|entry| glob(name, &entry.table)))
        .map(String::as_str)
        .collect();
    let what = match unknown.as_slice() {
        [] => "no table is listed that exists".to_owned(),
        unknown => format!("not listed, or not there: {}", unknown.join(", ")),
    };
    Failure::stop("schema", what).remedy(
        "name tables as schema.table that a [[table]] or [[outbox]] lists; `walferry schema` \
         without a name prints all, `walferry check` says what matches no table",
    )
}

fn print(entries: &[Entry], args: &SchemaArgs) {
    let halves = |entry: &Entry| -> usize {
        let wanted = [(!args.value, &entry.key), (!args.key, &entry.value)];
        wanted.iter().filter(|(on, half)| *on && matches!(half, Half::Schema { .. })).count()
    };
    let exact = args.key || args.value;
    let alone = exact && entries.iter().map(halves).sum::<usize>() == 1;
    let output = Output::stdout();
    for entry in entries {
        for (wanted, name, half) in
            [(!args.value, "key", &entry.key), (!args.key, "value", &entry.value)]
        {
            match half {
                _ if !wanted => {}
                Half::Schema { text, .. } if alone => output.line(text),
                Half::Schema { subject, text } => {
                    heading(&output, &format!("{}, {name}: subject {subject}", entry.table));
                    output.line(&if exact { text.clone() } else { pretty(text) });
                }
                Half::None(why) => {
                    let why = format!("{}, {name}: none, {why}", entry.table);
                    if alone { Output::stderr().line(&why) } else { heading(&output, &why) }
                }
            }
        }
    }
}

fn heading(output: &Output, text: &str) {
    output.line(&output.paint(Paint::Bold, &format!("# {text}")));
}

/// JSON with line breaks and indentation, and otherwise as it is: the order of keys and the
/// spelling of every value stay.
fn pretty(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    let mut characters = json.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        let _ = write!(out, "\n{:1$}", "", depth * 2);
    };
    while let Some(character) = characters.next() {
        if in_string {
            out.push(character);
            in_string = character != '"' || escaped;
            escaped = character == '\\' && !escaped;
            continue;
        }
        match character {
            '"' => {
                in_string = true;
                out.push(character);
            }
            '{' | '[' => {
                out.push(character);
                match characters.peek() {
                    Some(&next @ ('}' | ']')) => {
                        out.push(next);
                        characters.next();
                    }
                    _ => {
                        depth += 1;
                        line(&mut out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(character);
            }
            ',' => {
                out.push(character);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pretty_changes_nothing_but_the_space() {
        let text = r#"{"b":1,"a":["x\"{,:","\\",{}],"default":1.50,"e":[]}"#;
        assert_eq!(
            pretty(text),
            "{\n  \"b\": 1,\n  \"a\": [\n    \"x\\\"{,:\",\n    \"\\\\\",\n    {}\n  ],\n  \
             \"default\": 1.50,\n  \"e\": []\n}"
        );
    }
}
