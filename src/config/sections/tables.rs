//! `[[table]]`.

use super::topics;
use crate::config::keys::Section;
use crate::config::listing::is_topic;
use crate::config::problem::Fault;
use crate::config::reader::{Table, Text};
use crate::config::settings::{TablePattern, TableRule, TopicSettings};

/// A rule and where its parts stand, for the checks across rules.
pub(in crate::config) struct ReadTable {
    pub(in crate::config) rule: TableRule,
    pub(in crate::config) name: Text,
    pub(in crate::config) topic: Option<Text>,
}

/// `base` is `[topics]`.
pub(in crate::config) fn table(table: &Table<'_>, base: &TopicSettings) -> Option<ReadTable> {
    let name = table.required_text("name");
    let pattern = name.as_ref().and_then(|text| pattern(table, text));
    let topic = topic(table);
    let key_columns = table.texts("key_columns");
    let exclude_columns = table.texts("exclude_columns").unwrap_or_default();
    let inserts_only = table.boolean("inserts_only", false);
    let snapshot_where = table.text("snapshot_where").map(|text| text.value);
    let topics = table_topics(table, base);
    table.finish();
    check_key_columns(table, key_columns.as_deref(), &exclude_columns);
    if pattern.as_ref().is_some_and(|pattern| !pattern.is_exact()) {
        refuse_for_wildcards(table);
    }
    let values = |texts: Vec<Text>| texts.into_iter().map(|text| text.value).collect::<Vec<_>>();
    let rule = TableRule {
        pattern: pattern?,
        topic: topic.as_ref().map(|text| text.value.clone()),
        key_columns: key_columns.map(values),
        exclude_columns: values(exclude_columns),
        inserts_only,
        snapshot_where,
        topics,
    };
    Some(ReadTable { rule, name: name?, topic })
}

fn topic(table: &Table<'_>) -> Option<Text> {
    let text = table.text("topic")?;
    if is_topic(&text.value) {
        return Some(text);
    }
    table.context.error(
        &text.place,
        Fault::new(format!("{} cannot be a topic's name", text.quoted()))
            .remedy("1 to 249 of a-z, A-Z, 0-9, `.`, `_` and `-`"),
    );
    None
}

fn check_key_columns(table: &Table<'_>, key: Option<&[Text]>, excluded: &[Text]) {
    let (Some(value), Some(key)) = (table.get("key_columns"), key) else { return };
    if value.elements("strings").is_some_and(|elements| elements.is_empty()) {
        value.error(Fault::new("an empty list").remedy("leave it out for the primary key"));
    }
    for column in key {
        if excluded.iter().any(|excluded| excluded.value == column.value) {
            let fault = Fault::new(format!("{} is also in exclude_columns", column.quoted()));
            table.context.error(&column.place, fault);
        }
    }
}

/// A topic or a key of its own belongs to one table.
fn refuse_for_wildcards(table: &Table<'_>) {
    for key in ["topic", "key_columns"] {
        if let Some(value) = table.get(key) {
            value.error(
                Fault::new("only for one table, and the name has wildcards")
                    .remedy("a `[[table]]` of its own, with the table's full name"),
            );
        }
    }
}

/// The topic keys may stand in the table or in its `[table.topics]`, but not the same in both.
fn table_topics(table: &Table<'_>, base: &TopicSettings) -> TopicSettings {
    let inner = table.section("topics", Section::TableTopics, false);
    for key in ["create", "partitions", "replication_factor", "config"] {
        if let (Some(value), Some(_)) = (table.get(key), inner.get(key)) {
            value.error(
                Fault::new(format!("given twice: here and in `[table.topics]` as `{key}`"))
                    .remedy("keep one of them"),
            );
        }
    }
    topics::topics(&inner, &topics::keys(table, base))
}

/// `schema.table`, a part in double quotes where it has a dot or a quote in it.
pub(super) fn pattern(table: &Table<'_>, text: &Text) -> Option<TablePattern> {
    match parse_pattern(&text.value) {
        Ok(pattern) => Some(pattern),
        Err(mut fault) => {
            fault.message = format!("{} {}", text.quoted(), fault.message);
            if text.is_interpolated() {
                // It may quote the value.
                fault.remedy = None;
            }
            table.context.error(&text.place, fault);
            None
        }
    }
}

fn parse_pattern(text: &str) -> Result<TablePattern, Fault> {
    let parts = parts(text)?;
    match <[String; 2]>::try_from(parts) {
        Ok([schema, table]) => {
            let pattern = TablePattern { schema, table };
            let has_wildcard = !pattern.is_exact();
            let too_long = |part: &str| part.len() > MAX_IDENTIFIER && !has_wildcard;
            if too_long(&pattern.schema) || too_long(&pattern.table) {
                return Err(Fault::new("has a part of more than 63 bytes, which no name has"));
            }
            Ok(pattern)
        }
        Err(parts) if parts.len() == 1 => {
            Err(Fault::new("names no schema").remedy(format!("`public.{text}`")))
        }
        Err(_) => Err(Fault::new("has more than two parts").remedy(
            "`schema.table`, without the database; a part with a dot in it goes in double quotes: \
             'public.\"a.b\"'",
        )),
    }
}

fn parts(text: &str) -> Result<Vec<String>, Fault> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let (part, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_part(quoted)?,
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                let (part, behind) = rest.split_at(end);
                if part.contains('"') {
                    return Err(Fault::new("has a quote inside a part")
                        .remedy("quote the whole part, and double a quote inside it"));
                }
                (part.trim().to_owned(), behind)
            }
        };
        if part.is_empty() || part.contains('\0') {
            return Err(Fault::new("has an empty part").remedy("`schema.table`"));
        }
        parts.push(part);
        match behind.trim_start() {
            "" => return Ok(parts),
            behind => match behind.strip_prefix('.') {
                Some(next) => rest = next.trim_start(),
                None => return Err(Fault::new("goes on after a closing quote")),
            },
        }
    }
}

/// A part up to its closing quote, and what stands behind that.
fn quoted_part(text: &str) -> Result<(String, &str), Fault> {
    let mut part = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('"') {
        part.push_str(before);
        match behind.strip_prefix('"') {
            Some(behind) => {
                part.push('"');
                rest = behind;
            }
            None => return Ok((part, behind)),
        }
    }
    Err(Fault::new("has a quote that is not closed"))
}

const MAX_IDENTIFIER: usize = 63;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> (String, String) {
        let pattern = parse_pattern(text).unwrap();
        (pattern.schema, pattern.table)
    }

    fn pair(schema: &str, table: &str) -> (String, String) {
        (schema.to_owned(), table.to_owned())
    }

    #[test]
    fn parts_plain_and_quoted() {
        assert_eq!(parsed("public.orders"), pair("public", "orders"));
        assert_eq!(parsed("public.order_*"), pair("public", "order_*"));
        assert_eq!(parsed("\"my.s\".\"a\"\"b\""), pair("my.s", "a\"b"));
        assert_eq!(parsed(" public . Orders "), pair("public", "Orders"));
        assert_eq!(parsed("public.Große Tabelle"), pair("public", "Große Tabelle"));
    }

    #[test]
    fn what_is_no_table() {
        let fault = |text: &str| parse_pattern(text).unwrap_err();
        assert_eq!(fault("orders").remedy.as_deref(), Some("`public.orders`"));
        assert_eq!(fault("db.public.orders").message, "has more than two parts");
        for bad in
            [".orders", "public.", "public..x", "\"\".x", ".", "public.\"a", "a\"b.c", "\"a\"b.c"]
        {
            fault(bad);
        }
        fault(&format!("public.{}", "x".repeat(64)));
    }

    proptest! {
        #[test]
        fn what_is_displayed_is_parsed_to_the_same(s in "[a-z.\"*? ]{1,10}", t in "\\PC{1,10}") {
            let pattern = TablePattern { schema: s, table: t };
            prop_assert_eq!(parse_pattern(&pattern.to_string()).unwrap(), pattern);
        }
    }
}
