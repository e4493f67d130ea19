//! A `walferry.toml` for a test.

use crate::kafka::{Kafka, Listener};
use crate::services::{free_port, short_directory};
use crate::{Database, Registry, unique};
use std::path::PathBuf;
use std::sync::OnceLock;

/// A configuration: the shortest that works, and what a test adds.
///
/// The name is the test's own, so topics (`<name>.<schema>.<table>`), slot and publication
/// (`walferry_<name>`) are as well.
#[derive(Clone, Debug)]
pub struct Config {
    name: String,
    http: u16,
    postgres: Vec<String>,
    kafka: Vec<String>,
    kafka_properties: Vec<String>,
    registry: Vec<String>,
    snapshot: Vec<String>,
    http_lines: Vec<String>,
    head: Vec<String>,
    rest: Vec<String>,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
}

impl Config {
    /// From a database to the plaintext listener of a broker, without a snapshot.
    pub fn new(stem: &str, database: &Database, kafka: &Kafka, registry: &Registry) -> Self {
        Self::bare(stem)
            .postgres_url(&database.url())
            .bootstrap(&kafka.bootstrap(Listener::Plaintext))
            .registry_url(&registry.url())
    }

    /// Without any address.
    pub fn bare(stem: &str) -> Self {
        Self {
            name: unique(stem),
            http: free_port(),
            postgres: Vec::new(),
            kafka: Vec::new(),
            kafka_properties: Vec::new(),
            registry: Vec::new(),
            snapshot: vec!["mode = \"never\"".to_owned()],
            http_lines: Vec::new(),
            head: Vec::new(),
            rest: Vec::new(),
            environment: Vec::new(),
            arguments: Vec::new(),
        }
    }

    /// With a name that others may use as well: for servers that nobody shares.
    pub fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The slot's default name.
    pub fn slot(&self) -> String {
        format!("walferry_{}", self.name)
    }

    /// The publication's default name.
    pub fn publication(&self) -> String {
        format!("walferry_{}", self.name)
    }

    /// The topic of a table, given as `schema.table`.
    pub fn topic(&self, table: &str) -> String {
        format!("{}.{table}", self.name)
    }

    /// The topic that holds the position.
    pub fn position_topic(&self) -> String {
        format!("__walferry.{}.position", self.name)
    }

    pub fn http_address(&self) -> String {
        format!("127.0.0.1:{}", self.http)
    }

    /// A second configuration with the same name, as a standby or a successor has it.
    pub fn twin(&self) -> Self {
        Self { http: free_port(), ..self.clone() }
    }

    pub fn postgres_url(self, url: &str) -> Self {
        self.postgres(&format!("url = {url:?}"))
    }

    pub fn bootstrap(self, servers: &str) -> Self {
        self.kafka(&format!("bootstrap_servers = {servers:?}"))
    }

    pub fn registry_url(self, url: &str) -> Self {
        self.registry(&format!("url = {url:?}"))
    }

    /// All that a listener asks for: address, TLS, user.
    pub fn listener(self, kafka: &Kafka, listener: Listener) -> Self {
        let config = self.bootstrap(&kafka.bootstrap(listener));
        kafka
            .client_properties(listener)
            .iter()
            .fold(config, |config, (name, value)| config.kafka_property(name, value))
    }

    /// A line of `[postgres]`, in place of an earlier one with the same key.
    pub fn postgres(mut self, line: &str) -> Self {
        set(&mut self.postgres, line);
        self
    }

    /// A line of `[kafka]`.
    pub fn kafka(mut self, line: &str) -> Self {
        set(&mut self.kafka, line);
        self
    }

    /// An entry of `[kafka.properties]`.
    pub fn kafka_property(mut self, name: &str, value: &str) -> Self {
        set(&mut self.kafka_properties, &format!("{name:?} = {value:?}"));
        self
    }

    /// A line of `[registry]`.
    pub fn registry(mut self, line: &str) -> Self {
        set(&mut self.registry, line);
        self
    }

    /// A line of `[snapshot]`.
    pub fn snapshot(mut self, line: &str) -> Self {
        set(&mut self.snapshot, line);
        self
    }

    /// A line of `[http]`.
    pub fn http(mut self, line: &str) -> Self {
        set(&mut self.http_lines, line);
        self
    }

    /// A line of the top level, before any section.
    pub fn top(mut self, line: &str) -> Self {
        set(&mut self.head, line);
        self
    }

    /// A `[[table]]`.
    pub fn table(self, name: &str) -> Self {
        self.table_with(name, "")
    }

    /// A `[[table]]` with further lines.
    pub fn table_with(self, name: &str, lines: &str) -> Self {
        self.toml_text(&format!("[[table]]\nname = {name:?}\n{lines}"))
    }

    /// An `[[outbox]]`.
    pub fn outbox(self, table: &str) -> Self {
        self.outbox_with(table, "")
    }

    /// An `[[outbox]]` with further lines.
    pub fn outbox_with(self, table: &str, lines: &str) -> Self {
        self.toml_text(&format!("[[outbox]]\ntable = {table:?}\n{lines}"))
    }

    /// Sections as they are, at the end.
    pub fn toml_text(mut self, text: &str) -> Self {
        self.rest.push(text.to_owned());
        self
    }

    /// A variable of walferry's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// An argument after `walferry run --config FILE`.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// The text of the file.
    pub fn toml(&self) -> String {
        let mut text = format!("name = {:?}\n", self.name);
        text.extend(self.head.iter().map(|line| format!("{line}\n")));
        let http = [format!("listen = {:?}", self.http_address())];
        let http: Vec<String> = http.into_iter().chain(self.http_lines.iter().cloned()).collect();
        for (section, lines) in [
            ("postgres", &self.postgres),
            ("kafka", &self.kafka),
            ("kafka.properties", &self.kafka_properties),
            ("registry", &self.registry),
            ("snapshot", &self.snapshot),
            ("http", &http),
        ] {
            if !lines.is_empty() {
                text.push_str(&format!("\n[{section}]\n{}\n", lines.join("\n")));
            }
        }
        text.extend(self.rest.iter().map(|part| format!("\n{part}\n")));
        text
    }

    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let mut environment = self.environment.clone();
        // For the admin sockets: what is killed leaves its file behind.
        static SOCKETS: OnceLock<PathBuf> = OnceLock::new();
        let sockets = SOCKETS.get_or_init(|| short_directory("admin"));
        environment.push(("XDG_RUNTIME_DIR".to_owned(), sockets.display().to_string()));
        environment
    }

    pub(super) fn arguments(&self) -> &[String] {
        &self.arguments
    }
}

/// Adds `key = value`, in place of a line with the same key.
fn set(lines: &mut Vec<String>, line: &str) {
    let key = |line: &str| line.split_once('=').map(|(key, _)| key.trim().to_owned());
    lines.retain(|old| key(old) != key(line));
    lines.push(line.to_owned());
}

#[cfg(test)]
mod tests {
    use super::Config;

    #[test]
    fn a_later_line_replaces_an_earlier_one_and_sections_stay_whole() {
        let config = Config::bare("shop")
            .postgres_url("postgres://first")
            .postgres_url("postgres://second?a=b")
            .postgres("slot = \"s\"")
            .kafka_property("linger.ms", "1")
            .top("delivery = 1")
            .table_with("public.orders", "topic = \"t\"")
            .outbox("public.outbox");
        let (name, http) = (config.name(), config.http_address());
        let expected = format!(
            "name = \"{name}\"\ndelivery = 1\n\n\
             [postgres]\nurl = \"postgres://second?a=b\"\nslot = \"s\"\n\n\
             [kafka.properties]\n\"linger.ms\" = \"1\"\n\n\
             [snapshot]\nmode = \"never\"\n\n\
             [http]\nlisten = \"{http}\"\n\n\
             [[table]]\nname = \"public.orders\"\ntopic = \"t\"\n\n\
             [[outbox]]\ntable = \"public.outbox\"\n\n"
        );
        assert_eq!(config.toml(), expected);
    }
}
