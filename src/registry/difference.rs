//! What changed between two Avro schemas, in plain words.
//!
//! For the message about a schema that the registry refuses. It names every change, compatible or
//! not: which of them breaks the rule depends on the subject's level, and the registry's own words
//! come with it. Pure; schemas that do not parse have no differences.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value};

/// The changes from `old` to `new`, one sentence each, at most twenty.
#[must_use]
pub fn differences(old: &str, new: &str) -> Vec<String> {
    let (Ok(old), Ok(new)) = (serde_json::from_str(old), serde_json::from_str(new)) else {
        return Vec::new();
    };
    let mut comparison = Comparison {
        old: names(&old),
        new: names(&new),
        compared: HashSet::new(),
        found: Vec::new(),
    };
    comparison.types("the schema", &old, &new);
    let more = comparison.found.len().saturating_sub(MAX_DIFFERENCES);
    if more > 0 {
        comparison.found.truncate(MAX_DIFFERENCES);
        comparison.found.push(format!("and {more} more changes"));
    }
    comparison.found
}

/// Named types by full name.
type Names<'a> = HashMap<String, &'a Value>;

struct Comparison<'a> {
    old: Names<'a>,
    new: Names<'a>,
    /// Pairs of records already compared: the envelope uses its value's record twice.
    compared: HashSet<(String, String)>,
    found: Vec<String>,
}

impl<'a> Comparison<'a> {
    fn types(&mut self, what: &str, old: &'a Value, new: &'a Value) {
        let (old_null, old) = nullable(old);
        let (new_null, new) = nullable(new);
        match (old_null, new_null) {
            (false, true) => self.found.push(format!("{what} may be null now")),
            (true, false) => self.found.push(format!("{what} may not be null any more")),
            _ => {}
        }
        let (Some(old), Some(new)) = (old, new) else {
            return;
        };
        let (old, new) = (resolve(old, &self.old), resolve(new, &self.new));
        match (kind(old), kind(new)) {
            ("record", "record") => self.records(old, new),
            ("enum", "enum") => self.symbols(what, old, new),
            ("array", "array") => self.inner(&format!("an element of {what}"), "items", old, new),
            ("map", "map") => self.inner(&format!("a value of {what}"), "values", old, new),
            _ => {
                let (before, now) = (label(old), label(new));
                if before != now {
                    self.found.push(format!("{what} was {before} and is {now} now"));
                }
            }
        }
    }

    fn inner(&mut self, what: &str, member: &str, old: &'a Value, new: &'a Value) {
        if let (Some(old), Some(new)) = (old.get(member), new.get(member)) {
            self.types(what, old, new);
        }
    }

    fn records(&mut self, old: &'a Value, new: &'a Value) {
        let (old_name, new_name) = (label(old), label(new));
        if !self.compared.insert((old_name.clone(), new_name.clone())) {
            return;
        }
        if old_name != new_name {
            self.found.push(format!("record {old_name} is named {new_name} now"));
        }
        let (old_fields, new_fields) = (fields(old), fields(new));
        for (name, field) in &old_fields {
            let what = format!("field {name} of {new_name}");
            match find(&new_fields, name) {
                None => self.found.push(format!("{what} was removed")),
                Some(other) => self.fields(&what, field, other),
            }
        }
        for (name, field) in &new_fields {
            if find(&old_fields, name).is_none() {
                let default = if field.contains_key("default") { "with" } else { "without" };
                self.found
                    .push(format!("field {name} of {new_name} was added {default} a default"));
            }
        }
    }

    fn fields(&mut self, what: &str, old: &'a Map<String, Value>, new: &'a Map<String, Value>) {
        if let (Some(old), Some(new)) = (old.get("type"), new.get("type")) {
            self.types(what, old, new);
        }
        match (old.contains_key("default"), new.contains_key("default")) {
            (true, false) => self.found.push(format!("{what} has no default any more")),
            (false, true) => self.found.push(format!("{what} has a default now")),
            _ => {}
        }
    }

    fn symbols(&mut self, what: &str, old: &Value, new: &Value) {
        let (before, now) = (strings(old, "symbols"), strings(new, "symbols"));
        for symbol in before.difference(&now) {
            self.found.push(format!("{what} has no symbol {symbol} any more"));
        }
        for symbol in now.difference(&before) {
            self.found.push(format!("{what} has the new symbol {symbol}"));
        }
    }
}

/// Takes the null branch out of a union; a union of several others stays as it is.
fn nullable(schema: &Value) -> (bool, Option<&Value>) {
    let Some(branches) = schema.as_array() else {
        return (false, Some(schema));
    };
    let null = branches.iter().any(|branch| kind(branch) == "null");
    let mut others = branches.iter().filter(|branch| kind(branch) != "null");
    match (others.next(), others.next()) {
        (Some(only), None) => (null, Some(only)),
        (None, _) => (null, None),
        _ => (null, Some(schema)),
    }
}

/// Follows names and the needless nesting `{"type": {"type": …}}`.
fn resolve<'a>(schema: &'a Value, names: &Names<'a>) -> &'a Value {
    let mut schema = schema;
    for _ in 0..MAX_INDIRECTIONS {
        let next = match schema {
            Value::String(name) => names.get(name.as_str()).copied(),
            Value::Object(object) => match object.get("type") {
                Some(inner @ (Value::Object(_) | Value::Array(_))) => Some(inner),
                _ => None,
            },
            _ => None,
        };
        match next {
            Some(next) => schema = next,
            None => break,
        }
    }
    schema
}

fn kind(schema: &Value) -> &str {
    match schema {
        Value::String(name) => name,
        Value::Object(object) => object.get("type").and_then(Value::as_str).unwrap_or(""),
        _ => "",
    }
}

/// How a type is called in a sentence.
fn label(schema: &Value) -> String {
    if let Some(branches) = schema.as_array() {
        let labels: Vec<String> = branches.iter().map(label).collect();
        return format!("one of {}", labels.join(", "));
    }
    let text = |key: &str| schema.get(key).and_then(Value::as_str);
    if let ("record" | "enum" | "fixed", Some(name)) = (kind(schema), text("name")) {
        return full_name(name, text("namespace"));
    }
    let Some(meaning) = text("logicalType").or_else(|| text("connect.name")) else {
        return kind(schema).to_owned();
    };
    let number = |key: &str| schema.get(key).and_then(Value::as_i64);
    match (number("precision"), number("scale")) {
        (Some(precision), scale) => format!("{meaning}({precision},{})", scale.unwrap_or(0)),
        (None, _) => format!("{} ({meaning})", kind(schema)),
    }
}

fn full_name(name: &str, namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) if !name.contains('.') && !namespace.is_empty() => {
            format!("{namespace}.{name}")
        }
        _ => name.to_owned(),
    }
}

fn fields(record: &Value) -> Vec<(&str, &Map<String, Value>)> {
    let fields = record.get("fields").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    fields
        .iter()
        .filter_map(Value::as_object)
        .filter_map(|field| Some((field.get("name")?.as_str()?, field)))
        .collect()
}

fn find<'a>(
    fields: &[(&str, &'a Map<String, Value>)],
    name: &str,
) -> Option<&'a Map<String, Value>> {
    fields.iter().find(|(other, _)| *other == name).map(|(_, field)| *field)
}

fn strings<'a>(schema: &'a Value, member: &str) -> BTreeSet<&'a str> {
    let list = schema.get(member).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(Value::as_str).collect()
}

/// Every named type, under its full name and, as references inside its namespace say it, its short
/// one.
fn names(schema: &Value) -> Names<'_> {
    let mut names = Names::new();
    let mut pending = vec![schema];
    while let Some(schema) = pending.pop() {
        match schema {
            Value::Array(items) => pending.extend(items),
            Value::Object(object) => {
                if let ("record" | "enum" | "fixed", Some(name)) =
                    (kind(schema), object.get("name").and_then(Value::as_str))
                {
                    names.entry(label(schema)).or_insert(schema);
                    names.entry(name.to_owned()).or_insert(schema);
                }
                let inner = ["type", "items", "values", "fields"];
                pending.extend(inner.iter().filter_map(|member| object.get(*member)));
            }
            _ => {}
        }
    }
    names
}

/// More than anybody reads in an error message.
const MAX_DIFFERENCES: usize = 20;

/// A chain of names and nested types ends long before; a circular one ends here.
const MAX_INDIRECTIONS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(fields: &str) -> String {
        format!(
            r#"{{"type":"record","name":"Envelope","namespace":"s.t","fields":[
                {{"name":"before","type":["null",{{"type":"record","name":"Value","fields":[{fields}],
                  "connect.name":"s.t.Value"}}],"default":null}},
                {{"name":"after","type":["null","Value"],"default":null}}]}}"#
        )
    }

    fn compare(old: &str, new: &str) -> Vec<String> {
        differences(&envelope(old), &envelope(new))
    }

    #[test]
    fn equal_schemas_have_none() {
        let fields = r#"{"name":"id","type":"int"}"#;
        assert_eq!(compare(fields, fields), Vec::<String>::new());
    }

    #[test]
    fn added_and_removed_fields_are_named_once_though_the_record_is_used_twice() {
        assert_eq!(
            compare(
                r#"{"name":"id","type":"int"},{"name":"old","type":"int"}"#,
                r#"{"name":"id","type":"int"},{"name":"a","type":"int"},
                   {"name":"b","type":["null","int"],"default":null}"#
            ),
            [
                "field old of Value was removed",
                "field a of Value was added without a default",
                "field b of Value was added with a default",
            ]
        );
    }

    #[test]
    fn types_are_told_apart_by_meaning() {
        let decimal = |precision, scale| {
            format!(
                r#"{{"name":"p","type":{{"type":"bytes","logicalType":"decimal",
                   "precision":{precision},"scale":{scale}}}}}"#
            )
        };
        assert_eq!(
            compare(&decimal(10, 2), &decimal(12, 3)),
            ["field p of Value was decimal(10,2) and is decimal(12,3) now"]
        );
        assert_eq!(
            compare(
                r#"{"name":"at","type":{"type":"long","connect.name":"io.debezium.time.Timestamp"}}"#,
                r#"{"name":"at","type":"string"}"#
            ),
            ["field at of Value was long (io.debezium.time.Timestamp) and is string now"]
        );
    }

    #[test]
    fn nullability_and_defaults_are_changes_of_their_own() {
        assert_eq!(
            compare(
                r#"{"name":"a","type":["null","int"],"default":null}"#,
                r#"{"name":"a","type":"int"}"#
            ),
            [
                "field a of Value may not be null any more",
                "field a of Value has no default any more",
            ]
        );
    }

    #[test]
    fn symbols_and_elements_are_compared() {
        assert_eq!(
            compare(
                r#"{"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]}},
                   {"name":"l","type":{"type":"array","items":["null","int"]}}"#,
                r#"{"name":"e","type":{"type":"enum","name":"E","symbols":["B","C"]}},
                   {"name":"l","type":{"type":"array","items":["null","string"]}}"#
            ),
            [
                "field e of Value has no symbol A any more",
                "field e of Value has the new symbol C",
                "an element of field l of Value was int and is string now",
            ]
        );
    }

    #[test]
    fn other_kinds_of_schema_are_compared_too() {
        assert_eq!(
            differences(r#""string""#, r#""bytes""#),
            ["the schema was string and is bytes now"]
        );
        assert_eq!(differences("<html>", r#""bytes""#), Vec::<String>::new());
    }

    #[test]
    fn circular_schemas_end() {
        let list = |next: &str| {
            format!(
                r#"{{"type":"record","name":"L","fields":[{{"name":"next","type":["null","{next}"]}}]}}"#
            )
        };
        assert_eq!(differences(&list("L"), &list("L")), Vec::<String>::new());
        let many = |count: usize| {
            let fields: Vec<String> =
                (0..count).map(|n| format!(r#"{{"name":"f{n}","type":"int"}}"#)).collect();
            envelope(&fields.join(","))
        };
        let found = differences(&many(0), &many(50));
        assert_eq!(found.len(), MAX_DIFFERENCES + 1);
        assert_eq!(found[MAX_DIFFERENCES], "and 30 more changes");
    }
}
