//! `[format]`, `[http]`, `[admin]` and `[messages]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::config::problem::Fault;
use crate::config::reader::{Table, Value};
use crate::config::settings::{
    AdminSocket, BeforeDelete, FormatSettings, HttpSettings, MessageSettings, NameAdjustment,
    Operation,
};

pub(in crate::config) fn format(table: &Table<'_>) -> FormatSettings {
    let default = FormatSettings::default();
    let truncate = table.boolean("truncate", default.truncate);
    let settings = FormatSettings {
        name_adjustment: table.choice("name_adjustment", default.name_adjustment, ADJUSTMENTS),
        truncate,
        skip: skip(table, truncate),
        tombstones: table.boolean("tombstones", default.tombstones),
        unavailable_value: table
            .text("unavailable_value")
            .map_or(default.unavailable_value, |text| text.value),
        before_delete: table.choice("before_delete", default.before_delete, BEFORE_DELETE),
        column_defaults: table.boolean("column_defaults", default.column_defaults),
        context_headers: table.boolean("context_headers", default.context_headers),
    };
    table.finish();
    settings
}

fn skip(table: &Table<'_>, truncate: bool) -> Vec<Operation> {
    let Some(value) = table.get("skip") else { return Vec::new() };
    let mut skip = Vec::new();
    for element in value.elements("strings").unwrap_or_default() {
        let Some(operation) = element.choice(OPERATIONS) else { continue };
        if skip.contains(&operation) {
            element.error(Fault::new("listed twice"));
        } else if operation == Operation::Truncate && truncate {
            element.error(
                Fault::new("`truncate = true` asks for what is skipped here").remedy("keep one"),
            );
        } else {
            skip.push(operation);
        }
    }
    skip
}

pub(in crate::config) fn http(table: &Table<'_>) -> HttpSettings {
    let listen = match table.get("listen") {
        None => Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080))),
        Some(value) => listen(&value),
    };
    table.finish();
    HttpSettings { listen }
}

fn listen(value: &Value<'_>) -> Option<SocketAddr> {
    let text = value.text()?;
    if text.value == "off" {
        return None;
    }
    let address = text.value.parse();
    if address.is_err() {
        value.error(
            Fault::new(format!("{} is not an address and port", text.quoted()))
                .remedy("`\"0.0.0.0:8080\"`, `\"127.0.0.1:8080\"`, `\"[::]:8080\"` or `\"off\"`"),
        );
    }
    address.ok()
}

pub(in crate::config) fn admin(table: &Table<'_>) -> AdminSocket {
    let socket = table.text("socket");
    table.finish();
    match socket {
        None => AdminSocket::Default,
        Some(text) if text.value == "off" => AdminSocket::Off,
        Some(text) => AdminSocket::Path(PathBuf::from(text.value)),
    }
}

pub(in crate::config) fn messages(table: &Table<'_>) -> MessageSettings {
    let enabled = table.boolean("enabled", false);
    let prefixes = table.get("prefixes");
    let listed: Option<Vec<String>> = prefixes
        .as_ref()
        .and_then(|value| value.texts())
        .map(|texts| texts.into_iter().map(|text| text.value).collect());
    if let (Some(value), Some(listed)) = (&prefixes, &listed) {
        if enabled && listed.is_empty() {
            value.error(
                Fault::new("an empty list takes no message")
                    .remedy("list prefixes, `[\"*\"]` for all, or `enabled = false`"),
            );
        } else if !enabled && !listed.is_empty() {
            value.warn(Fault::new("unused").remedy("`enabled = true`"));
        }
    }
    table.finish();
    MessageSettings { enabled, prefixes: listed.unwrap_or_else(|| vec!["*".to_owned()]) }
}

const ADJUSTMENTS: &[(&str, NameAdjustment)] = &[
    ("none", NameAdjustment::None),
    ("avro", NameAdjustment::Avro),
    ("avro_unicode", NameAdjustment::AvroUnicode),
];

const BEFORE_DELETE: &[(&str, BeforeDelete)] =
    &[("key", BeforeDelete::Key), ("null", BeforeDelete::Null)];

const OPERATIONS: &[(&str, Operation)] = &[
    ("c", Operation::Create),
    ("u", Operation::Update),
    ("d", Operation::Delete),
    ("t", Operation::Truncate),
    ("create", Operation::Create),
    ("insert", Operation::Create),
    ("update", Operation::Update),
    ("delete", Operation::Delete),
    ("truncate", Operation::Truncate),
];
