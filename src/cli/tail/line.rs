//! One record as one line: for people, or as JSON.

use std::fmt::Write as _;
use std::io;

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};

use super::content::Content;
use crate::registry::Json;

/// A record as it is printed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Record {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// Unix milliseconds.
    pub(super) timestamp: Option<i64>,
    pub(super) key: Option<Content>,
    /// `None` is a tombstone.
    pub(super) value: Option<Content>,
    #[serde(serialize_with = "members")]
    pub(super) headers: Vec<(String, Option<Content>)>,
}

impl Record {
    /// The whole record as a JSON object.
    pub(super) fn json(&self) -> io::Result<String> {
        printable(&serde_json::to_string(self)?)
    }

    /// `partition@offset op key value`: of an envelope the row alone. With several topics its name
    /// comes first.
    pub(super) fn line(&self, colour: bool, named: bool) -> io::Result<String> {
        let (op, value) = self.change();
        let key = match &self.key {
            Some(key) => json(key)?,
            None => "-".to_owned(),
        };
        let value = match value {
            Shown::Tombstone => "(tombstone)".to_owned(),
            Shown::Nothing => String::new(),
            Shown::Content(content) => json(content)?,
            Shown::Row(row) => json(row)?,
        };
        let paint = Paint { colour };
        let mut line = String::new();
        if named {
            _ = write!(line, "{} ", self.topic);
        }
        line.push_str(&paint.with(DIM, &format!("{}@{}", self.partition, self.offset)));
        _ = write!(line, " {} {}", paint.with(op.colour, op.symbol), paint.with(BOLD, &key));
        if !value.is_empty() {
            _ = write!(line, " {value}");
        }
        Ok(line)
    }

    /// What happened, and what of the value shows it best.
    fn change(&self) -> (&'static Op, Shown<'_>) {
        let content = match &self.value {
            None => return (&TOMBSTONE, Shown::Tombstone),
            Some(content) => content,
        };
        let Content::Avro(json) = content else {
            return (&PLAIN, Shown::Content(content));
        };
        let op = match (json.get("op").and_then(Json::as_text), json.get("source")) {
            (Some(code), Some(_)) => OPS.iter().find(|op| op.code == code),
            _ => None,
        };
        let Some(op) = op else {
            return (&PLAIN, Shown::Content(content));
        };
        let row = match op.code {
            "d" => json.get("before"),
            "m" => json.get("message"),
            _ => json.get("after"),
        };
        match row {
            Some(Json::Null) | None => (op, Shown::Nothing),
            Some(row) => (op, Shown::Row(row)),
        }
    }
}

enum Shown<'a> {
    Tombstone,
    Nothing,
    Content(&'a Content),
    Row(&'a Json),
}

struct Op {
    code: &'static str,
    symbol: &'static str,
    colour: &'static str,
}

struct Paint {
    colour: bool,
}

impl Paint {
    fn with(&self, colour: &str, text: &str) -> String {
        if self.colour { format!("{colour}{text}{RESET}") } else { text.to_owned() }
    }
}

fn json(value: &impl Serialize) -> io::Result<String> {
    printable(&serde_json::to_string(value)?)
}

/// JSON leaves the upper control characters as they are; a terminal might obey them.
fn printable(json: &str) -> io::Result<String> {
    if !json.chars().any(char::is_control) {
        return Ok(json.to_owned());
    }
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_control() {
            _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    Ok(text)
}

fn members<S: Serializer>(
    headers: &[(String, Option<Content>)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(headers.len()))?;
    for (name, value) in headers {
        map.serialize_entry(name, value)?;
    }
    map.end()
}

const OPS: &[Op] = &[
    Op { code: "c", symbol: "c", colour: GREEN },
    Op { code: "r", symbol: "r", colour: CYAN },
    Op { code: "u", symbol: "u", colour: YELLOW },
    Op { code: "d", symbol: "d", colour: RED },
    Op { code: "t", symbol: "t", colour: MAGENTA },
    Op { code: "m", symbol: "m", colour: CYAN },
];
/// A record without an envelope.
const PLAIN: Op = Op { code: "", symbol: "·", colour: DIM };
const TOMBSTONE: Op = Op { code: "", symbol: "x", colour: RED };

const RESET: &str = "\x1b[0m";
const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const MAGENTA: &str = "\x1b[35m";
const CYAN: &str = "\x1b[36m";

#[cfg(test)]
mod tests {
    use super::*;

    fn object(members: &[(&str, Json)]) -> Json {
        Json::Object(members.iter().map(|(n, v)| ((*n).into(), v.clone())).collect())
    }

    fn record(value: Option<Content>) -> Record {
        Record {
            topic: "shop.public.t".to_owned(),
            partition: 2,
            offset: 41,
            timestamp: Some(7),
            key: Some(Content::Avro(object(&[("id", Json::Integer(1))]))),
            value,
            headers: vec![("id".to_owned(), Some(Content::Text("x".to_owned())))],
        }
    }

    fn envelope(op: &str, before: Json, after: Json) -> Option<Content> {
        Some(Content::Avro(object(&[
            ("before", before),
            ("after", after),
            ("source", object(&[])),
            ("op", Json::Text(op.to_owned())),
        ])))
    }

    fn line(value: Option<Content>) -> String {
        record(value).line(false, false).unwrap()
    }

    #[test]
    fn lines_show_what_happened_to_which_row() {
        let row = |n| object(&[("n", Json::Integer(n))]);
        assert_eq!(line(envelope("c", Json::Null, row(1))), r#"2@41 c {"id":1} {"n":1}"#);
        assert_eq!(line(envelope("u", row(1), row(2))), r#"2@41 u {"id":1} {"n":2}"#);
        assert_eq!(line(envelope("d", row(1), Json::Null)), r#"2@41 d {"id":1} {"n":1}"#);
        assert_eq!(line(envelope("t", Json::Null, Json::Null)), r#"2@41 t {"id":1}"#);
        assert_eq!(line(None), r#"2@41 x {"id":1} (tombstone)"#);
        assert_eq!(line(Some(Content::Text("hi\"".to_owned()))), r#"2@41 · {"id":1} "hi\"""#);
        assert_eq!(
            record(None).line(false, true).unwrap(),
            r#"shop.public.t 2@41 x {"id":1} (tombstone)"#
        );
        // A row with a column called op is no envelope.
        let plain = Content::Avro(object(&[("op", Json::Text("d".to_owned()))]));
        assert_eq!(line(Some(plain)), r#"2@41 · {"id":1} {"op":"d"}"#);
    }

    #[test]
    fn colours_come_only_when_wanted_and_never_from_the_data() {
        let evil = Some(Content::Text("\u{9b}31m\u{1b}[0m".to_owned()));
        assert_eq!(line(evil.clone()), r#"2@41 · {"id":1} "\u009b31m\u001b[0m""#);
        assert!(record(evil).line(true, false).unwrap().starts_with("\x1b[2m2@41\x1b[0m "));
    }

    #[test]
    fn json_holds_everything() {
        let json = record(None).json().unwrap();
        assert_eq!(
            json,
            r#"{"topic":"shop.public.t","partition":2,"offset":41,"timestamp":7,"key":{"id":1},"#
                .to_owned()
                + r#""value":null,"headers":{"id":"x"}}"#
        );
    }
}
