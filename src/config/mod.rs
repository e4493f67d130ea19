//! The configuration: the TOML as written, and the settings as resolved.
//!
//! [`load`] reads a file and [`parse`] is the pure function below it. Everything wrong with a file
//! is found in one run: TOML is parsed into a tree with positions, `reader` takes typed values
//! out of it by the table in `keys`, and every reader goes on after a problem.
//!
//! Guarantees:
//! - what is returned is complete and consistent: nobody checks it again;
//! - no error, warning or `{:?}` of [`Settings`] holds a secret, whether written in the file, put
//!   in from the environment or read from another file (see `problem` for the source lines that
//!   reports show);
//! - a file is judged in time and memory bounded by [`MAX_BYTES`].

mod agreement;
mod interpolate;
pub(crate) mod kafka_properties;
mod keys;
mod listing;
mod postgres_url;
mod problem;
mod quantity;
mod reader;
pub mod reference;
mod sections;
pub mod settings;
mod syntax;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use toml::de::DeTable;

pub use self::listing::{Listing, glob};
pub use self::problem::{Errors, Position, Problem};
pub use self::settings::Settings;

use self::interpolate::Surroundings;
use self::keys::Section;
use self::problem::{Fault, Source};
use self::reader::{Context, Notes, Table, Text};

/// A configuration that can be used, and what is doubtful about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub settings: Settings,
    /// In the order of the file; for [`Problem::report`] with level `warning`.
    pub warnings: Vec<Problem>,
}

/// The largest file that is read; the reference with all its comments is a hundredth of it.
pub const MAX_BYTES: usize = 1 << 20;

/// Reads and judges a file; variables come from the environment. Relative paths in it are relative
/// to the working directory.
pub fn load(path: &Path) -> Result<Loaded, Errors> {
    let origin = path.display().to_string();
    let bytes = read_bounded(path, MAX_BYTES as u64 + 1).map_err(|error| {
        let fault = Fault::new(format!("cannot read the configuration: {error}"))
            .remedy("name the file with `--config FILE`");
        Errors::new(&origin, vec![Problem::of_file(fault)])
    })?;
    let read_secret = |path: &Path| {
        let bytes = read_bounded(path, MAX_SECRET + 1)?;
        if bytes.len() as u64 > MAX_SECRET {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        String::from_utf8(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
    };
    parse_bytes(&bytes, &origin, &|name| std::env::var(name).ok(), &read_secret)
}

/// Judges a configuration's text. `origin` is the file's name for messages; `env` and `read_file`
/// are all it sees of its surroundings.
pub fn parse(
    text: &str,
    origin: &str,
    env: &dyn Fn(&str) -> Option<String>,
    read_file: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<Loaded, Errors> {
    if text.len() > MAX_BYTES {
        return Err(too_large(origin));
    }
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    if !syntax_errors.is_empty() {
        // What was recovered is guesswork: judging it would report problems that are none.
        return Err(Errors::new(origin, syntax::problems(text, &syntax_errors)));
    }
    let context = Context::new(text, Surroundings { env, read_file });
    let settings = settings(&Table::root(&context, document.get_ref()));
    let Notes { errors, warnings, masked } = context.into_notes();
    let source = Source::new(text, masked);
    match settings {
        Some(settings) if errors.is_empty() => {
            Ok(Loaded { settings, warnings: source.problems(warnings) })
        }
        _ => Err(Errors::new(origin, source.problems(errors))),
    }
}

/// As [`parse`], for what a file really holds.
pub(crate) fn parse_bytes(
    bytes: &[u8],
    origin: &str,
    env: &dyn Fn(&str) -> Option<String>,
    read_file: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<Loaded, Errors> {
    if bytes.len() > MAX_BYTES {
        return Err(too_large(origin));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(text, origin, env, read_file),
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            let fault =
                Fault::new(format!("line {line} is not UTF-8")).remedy("save the file as UTF-8");
            Err(Errors::new(origin, vec![Problem::of_file(fault)]))
        }
    }
}

/// The whole file; `None` only if something was noted.
fn settings(root: &Table<'_>) -> Option<Settings> {
    let name = name(root);
    let shutdown_timeout = root.duration(
        "shutdown_timeout",
        Duration::from_secs(20),
        Duration::from_secs(1)..=Duration::from_secs(600),
    );
    let section = |name, section| root.section(name, section, false);
    let required = |name, section| root.section(name, section, true);
    let postgres = sections::postgres(&required("postgres", Section::Postgres), name.as_ref());
    let kafka = sections::kafka(&required("kafka", Section::Kafka));
    let registry = sections::registry(&required("registry", Section::Registry));
    let topics = sections::topics(&section("topics", Section::Topics), &sections::BROKER_DEFAULTS);
    let format = sections::format(&section("format", Section::Format));
    let snapshot = sections::snapshot(&section("snapshot", Section::Snapshot));
    let http = sections::http(&section("http", Section::Http));
    let admin = sections::admin(&section("admin", Section::Admin));
    let messages = sections::messages(&section("messages", Section::Messages));
    let each = |name, section| root.sections(name, section);
    let tables: Vec<_> = each("table", Section::Table)
        .iter()
        .filter_map(|table| sections::table(table, &topics))
        .collect();
    let outboxes: Vec<_> = each("outbox", Section::Outbox)
        .iter()
        .filter_map(|table| sections::outbox(table, &topics))
        .collect();
    root.finish();
    let name = name.map(|text| text.value);
    agreement::check(root, name.as_deref(), &tables, &outboxes, &messages);
    Some(Settings {
        name: name?,
        postgres: postgres?,
        kafka: kafka?,
        registry: registry?,
        topics,
        format,
        snapshot,
        http,
        admin,
        messages,
        shutdown_timeout,
        tables: tables.into_iter().map(|table| table.rule).collect(),
        outboxes: outboxes.into_iter().map(|outbox| outbox.rule).collect(),
    })
}

fn name(root: &Table<'_>) -> Option<Text> {
    let text = root.required_text("name")?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let has_letter = text.value.contains(|c: char| c.is_ascii_alphanumeric());
    if text.value.len() <= 64 && text.value.chars().all(allowed) && has_letter {
        return Some(text);
    }
    root.context.error(
        &text.place,
        Fault::new(format!("{} cannot be a deployment's name", text.quoted()))
            .remedy("1 to 64 of a-z, A-Z, 0-9, `.`, `_` and `-`, not only punctuation"),
    );
    None
}

fn too_large(origin: &str) -> Errors {
    let fault = Fault::new("the configuration is larger than 1 MiB");
    Errors::new(origin, vec![Problem::of_file(fault)])
}

fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Bytes of a file that holds a secret: tokens are a few kilobytes at most.
const MAX_SECRET: u64 = 64 << 10;

#[cfg(test)]
mod tests;
