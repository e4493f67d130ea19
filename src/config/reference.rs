//! `docs/configuration.md`, made from the same tables that the reader obeys.

use super::kafka_properties::REFUSED;
use super::keys::{DefaultValue, Key, SECTIONS, Section, Status};
use super::postgres_url::PARAMETER_HELP;

/// The whole page.
pub fn markdown() -> String {
    let mut out = String::from(HEAD);
    for section in SECTIONS {
        out += &section_page(*section);
    }
    out += &later_page();
    out
}

fn section_page(section: Section) -> String {
    let mut out = match section {
        Section::Top => "\n## Top of the file\n".to_owned(),
        section => format!("\n## `{}`\n", section.header()),
    };
    if let Some(intro) = intro(section) {
        out += &format!("\n{intro}\n");
    }
    if !matches!(section, Section::TableTopics | Section::OutboxTopics) {
        out += "\n| key | type | default | meaning |\n|---|---|---|---|\n";
        for key in section.keys().iter().filter(|key| key.is_usable()) {
            out += &row(key);
        }
    }
    match section {
        Section::Postgres => out += &url_page(),
        Section::Kafka => out += &properties_page(),
        _ => {}
    }
    out
}

fn intro(section: Section) -> Option<&'static str> {
    match section {
        Section::Topics => Some(
            "How topics are created. A topic that exists already is left as it is. Each \
             `[[table]]` and `[[outbox]]` can have values of its own.",
        ),
        Section::Table => Some(
            "The tables to deliver, one `[[table]]` each: nothing else leaves the database. A \
             table's full name wins over a name with wildcards, and an `[[outbox]]` over both; of \
             several names with wildcards the first in the file counts.",
        ),
        Section::TableTopics => Some(
            "The keys of `[topics]`, for this table: what is absent is as in `[topics]`, and \
             `config` is merged setting by setting. They may also stand in the `[[table]]` itself.",
        ),
        Section::Outbox => Some(
            "Tables of the outbox pattern: each inserted row becomes one event, updates and \
             deletes are ignored. The defaults are those of Debezium's Event Router.",
        ),
        Section::OutboxTopics => {
            Some("The keys of `[topics]`, for the topics that this outbox writes to.")
        }
        _ => None,
    }
}

fn row(key: &Key) -> String {
    let default = match key.default {
        DefaultValue::Required => "required".to_owned(),
        DefaultValue::Absent => "–".to_owned(),
        DefaultValue::Toml(toml) => format!("`{toml}`"),
        DefaultValue::Words(words) => words.to_owned(),
    };
    let meaning = match key.status {
        Status::Available => key.meaning.to_owned(),
        Status::Later { later: [], .. } => {
            format!("{} No other value is available in this version yet.", key.meaning)
        }
        Status::Later { later, .. } => {
            let values: Vec<String> = later.iter().map(|value| format!("`{value}`")).collect();
            let verb = if values.len() == 1 { "is" } else { "are" };
            let values = values.join(", ");
            format!("{} {values} {verb} not available in this version yet.", key.meaning)
        }
    };
    // A bar would end the cell, also inside code.
    let cell = |text: &str| text.replace('|', "\\|");
    format!("| `{}` | {} | {} | {} |\n", key.name, cell(key.kind), cell(&default), cell(&meaning))
}

fn url_page() -> String {
    let mut out = String::from(URL_HEAD);
    for (name, meaning) in PARAMETER_HELP {
        out += &format!("| `{name}` | {meaning} |\n");
    }
    out
}

fn properties_page() -> String {
    let mut out = String::from(PROPERTIES_HEAD);
    for refusal in REFUSED {
        let instead = refusal.instead.unwrap_or("–");
        out += &format!("| `{}` | {} | {instead} |\n", refusal.pattern, refusal.reason);
    }
    out
}

fn later_page() -> String {
    let mut out = String::from(LATER_HEAD);
    for section in SECTIONS {
        for key in section.keys() {
            let Status::Later { today: [], instead, .. } = key.status else { continue };
            out += &format!("| `{}` | `{}` | {instead} |\n", section.header(), key.name);
        }
    }
    out
}

const HEAD: &str = "\
# Configuration

<!-- Made from src/config by the test `docs_are_up_to_date`; edit the tables there. -->

One TOML file, named with `--config FILE`. `config/walferry.toml` shows every key in its place, and
`config/examples/` has short files to start from. Unknown keys and wrong values are errors, and all
of them are reported at once, with line, column and remedy. A file larger than 1 MiB is refused.

**Durations** are strings with a unit: `\"500us\"`, `\"250ms\"`, `\"10s\"`, `\"2m\"`, `\"1h\"`.
**Sizes** are bytes as an integer, or strings with a unit: `\"500kB\"`, `\"1MB\"` (decimal),
`\"64KiB\"`, `\"16MiB\"` (binary).

**Secrets and variables.** Inside string values, `${VAR}` is the environment variable `VAR` (an error
if it is not set), `${VAR:-default}` has a default for an unset or empty one, and `${file:/path}` is
the content of a file without its final line end. `$${` is a literal `${`. It happens after the TOML
is parsed, so a value cannot change anything but its own string. No secret is ever printed.
";

const URL_HEAD: &str = "
### The URL

`postgres://user@host:port/database?parameter=value&…`, also with `postgresql://`, is read as libpq
reads it: several hosts (`a:5432,b:5433`), IPv6 addresses in brackets, sockets (`?host=/directory`,
or the directory percent-encoded as host), `%XX` for reserved characters. The port defaults to 5432,
the database to the user's name. What libpq would take from its surroundings (user, host, `PG…`
variables, `~/.postgresql`) has to be written.

| parameter | meaning |
|---|---|
";

const PROPERTIES_HEAD: &str = "
### `[kafka.properties]`

Any librdkafka property, such as `\"security.protocol\"`, `\"sasl.username\"`, `\"ssl.ca.location\"`,
`\"linger.ms\"` or `\"compression.type\"`: names in quotes, values as strings, numbers or booleans.
These are refused:

| property | why | use |
|---|---|---|
";

const LATER_HEAD: &str = "
## Names for later

These names are fixed, but not available in this version yet; writing one is an error that says so.

| section | key | until then |
|---|---|---|
";
