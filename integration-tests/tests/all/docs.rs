//! The documentation is true as far as a machine can tell: configuration parses, SQL runs, commands
//! exist, links lead somewhere, tests that are named are there, and the README works as written.

mod markdown;
mod shell;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use integration_tests::{Config, Database, Kafka, Postgres, Registry, Walferry, unique};
use serde_json::Value;
use walferry::cli::tail::{self, TailOptions};
use walferry::config::{Settings, parse};

use markdown::Document;

/// Languages of blocks; each has a test here but `text`.
const LANGUAGES: [&str; 6] = ["json", "sh", "sql", "text", "toml", "yaml"];

/// The tables that the documentation speaks of, as the role `shop_owner` has them.
const SHOP: &str = "
    CREATE ROLE shop_owner;
    CREATE TABLE customers (id bigint PRIMARY KEY, email text NOT NULL, password_hash text);
    CREATE TABLE orders (
        id bigint PRIMARY KEY, customer_id bigint NOT NULL, status text NOT NULL,
        total numeric(12, 2) NOT NULL, placed_at timestamptz NOT NULL
    );
    ALTER TABLE customers OWNER TO shop_owner;
    ALTER TABLE orders OWNER TO shop_owner;";

#[test]
fn blocks_are_of_a_language_that_is_tested() {
    for document in documents() {
        for block in &document.blocks {
            let place = document.place(block.line);
            assert!(LANGUAGES.contains(&&*block.language), "{place}: {:?}", block.language);
        }
        for (place, text) in document.blocks_in("json") {
            serde_json::from_str::<Value>(text).unwrap_or_else(|error| panic!("{place}: {error}"));
        }
        for (place, text) in document.blocks_in("yaml") {
            serde_saphyr::from_str::<Value>(text)
                .unwrap_or_else(|error| panic!("{place}: {error}"));
        }
    }
}

#[test]
fn configurations_are_accepted() {
    let mut count = 0;
    for document in documents() {
        for (place, text) in document.blocks_in("toml") {
            configuration(text).unwrap_or_else(|errors| panic!("{place}\n{errors}"));
            count += 1;
        }
    }
    assert!(count >= 2, "{count} blocks of TOML");
}

#[test]
fn commands_exist() {
    let mut others = BTreeSet::new();
    let mut problems = Vec::new();
    for document in documents() {
        for (place, script) in document.blocks_in("sh") {
            let found = shell::problems(root(), script, &mut others);
            problems.extend(found.into_iter().map(|problem| format!("{place}: {problem}")));
        }
        for (place, span) in document.spans() {
            if let Err(problem) = shell::judge_span(root(), &span) {
                problems.push(format!("{place}: `{span}`: {problem}"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    println!("used and not judged: {others:?}");
}

#[test]
fn links_lead_somewhere() {
    let problems: Vec<String> = documents().iter().flat_map(dead_links).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn each_guarantee_names_tests_that_exist() {
    let document = Document::read(root(), Path::new("docs/guarantees.md"));
    let tests = tests();
    let missing: Vec<String> =
        cited(&document.prose).into_iter().filter(|name| !tests.contains(name)).collect();
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
    let sections: Vec<&str> = document.prose.split("\n## I").skip(1).collect();
    assert_eq!(sections.len(), 9);
    for section in sections {
        let heading = section.lines().next().unwrap_or_default();
        let section = section.split("\n## ").next().unwrap_or_default();
        assert!(!cited(section).is_empty(), "I{heading} names no test");
    }
}

/// The tests above see: each of these mistakes is found.
#[test]
fn mistakes_are_found() {
    let document = |text| Document::parse(Path::new("docs/x.md"), text);
    assert!(configuration("[[table]]\nname = \"public.orders\"\nkolumns = []").is_err());
    assert!(configuration("[kafka]\nbootstrap_servers = \"k:9092\"\nacks = 1").is_err());
    assert!(configuration("shutdown_timeout = \"1m\"").is_ok());
    for script in [
        "walferry slot burn",
        "target/release/walferry run --fast",
        "make dinner",
        "sudo rm -rf x",
        "docker build -f docker/Dockerfil .",
        "export A=1 && walferry",
    ] {
        assert_eq!(shell::problems(root(), script, &mut BTreeSet::new()).len(), 1, "{script}");
    }
    assert!(shell::judge_span(root(), "walferry slot").is_err());
    assert!(shell::judge_span(root(), "walferry position set").is_ok());
    let links = "[a](y.md) [b](operations.md#nowhere) [c](../README.md) [d](https://x.y) [e](#f)";
    assert_eq!(dead_links(&document(links)).len(), 3);
    assert_eq!(document("```sh\nx\n```\n").blocks[0].line, 1);
    let tests = tests();
    assert!(tests.contains("mistakes_are_found") && !tests.contains("dead_links"));
    assert!(tests.contains("columns_are_read_as_they_are"), "a case of on_both_versions");
    assert_eq!(cited("`no`\n\nx. Tests: `a_b`,\n`c_d` (`e`).\n\n`no`"), ["a_b", "c_d", "e"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_runs_in_the_order_it_is_written_in() {
    for document in documents() {
        let blocks: Vec<_> = document.blocks_in("sql").collect();
        if blocks.is_empty() {
            continue;
        }
        let shop = Shop::new().await;
        for (place, sql) in blocks {
            shop.run(&place, sql).await;
        }
    }
}

/// Follows the README: its role, its tables, its statement; what `tail` prints is its event.
#[tokio::test(flavor = "multi_thread")]
async fn the_readme_works_as_written() {
    let readme = Document::read(root(), Path::new("README.md"));
    let shop = Shop::new().await;
    let (place, sql) = readme.blocks_in("sql").next().expect("SQL");
    shop.run(&place, sql).await;
    let (_, toml) = readme.blocks_in("toml").next().expect("TOML");
    let tables = toml.find("[[table]]").expect("tables");
    let (kafka, registry) = (Kafka::shared().await, Registry::shared().await);
    let url = shop.database.url_as(&shop.role, "sslmode=disable");
    let config = Config::new("readme", &shop.database, kafka, registry)
        .postgres_url(&url)
        .postgres("password = \"change-me\"")
        .toml_text(&toml[tables..]);
    let walferry = Walferry::run(&config).await;

    let (_, insert) = readme
        .spans()
        .into_iter()
        .find(|(_, span)| span.starts_with("INSERT INTO orders"))
        .expect("the statement of the event");
    shop.database.execute(&insert).await;
    kafka.first_records(&config.topic("public.orders"), 1, integration_tests::wait::LONG).await;
    let event = tail(&config, "public.orders").await;
    println!("the event to show: {event}");
    let (_, written) = readme.blocks_in("json").next().expect("an event");
    let written: Value = serde_json::from_str(written).expect("JSON");
    assert_eq!(shape(&event), shape(&written), "{event:#}");
    for part in ["/key", "/value/before", "/value/after", "/value/op", "/headers"] {
        assert_eq!(event.pointer(part), written.pointer(part), "{part}");
    }
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

/// A database of the documentation's shop, with a role and a slot of its own.
struct Shop {
    database: Database,
    role: String,
    owner: String,
    slot: String,
}

impl Shop {
    async fn new() -> Shop {
        let database = Postgres::shared().await.database("docs").await;
        let (role, owner, slot) = (unique("walferry"), unique("shop_owner"), unique("slot"));
        let shop = Shop { database, role, owner, slot };
        shop.run("the shop", SHOP).await;
        shop
    }

    /// Runs each statement by itself. Names that all databases of a server share are made this
    /// test's own.
    async fn run(&self, place: &str, sql: &str) {
        let names = |word: &str| match word {
            "walferry" => self.role.clone(),
            "shop_owner" => self.owner.clone(),
            "walferry_shop" => self.slot.clone(),
            "shop" => self.database.name().to_owned(),
            other => other.to_owned(),
        };
        let client = self.database.connect().await;
        for statement in with_words(sql, names).split_inclusive(";\n") {
            let outcome = client.batch_execute(statement).await;
            outcome.unwrap_or_else(|error| panic!("{place}: {error:?}\n{statement}"));
        }
    }
}

/// `text` with each word replaced.
fn with_words(text: &str, replacement: impl Fn(&str) -> String) -> String {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = String::new();
    for run in text.split_inclusive(|c| !is_word(c)) {
        let word = run.trim_end_matches(|c| !is_word(c));
        out.push_str(&replacement(word));
        out.push_str(&run[word.len()..]);
    }
    out
}

/// The first record of a table's topic, as `walferry tail --json` prints it.
async fn tail(config: &Config, table: &str) -> Value {
    let settings: Settings = parse(&config.toml(), "docs", &|_| None, &|_| Ok(String::new()))
        .unwrap_or_else(|errors| panic!("{errors}"))
        .settings;
    let registry = walferry::registry::Registry::new(&settings.registry).expect("a client");
    let options = TailOptions {
        topics: vec![config.topic(table)],
        from_beginning: true,
        json: true,
        limit: Some(1),
        follow: false,
        colour: false,
    };
    let mut out = Vec::new();
    tail::print(config.name(), &settings.kafka, registry, &options, &mut out)
        .await
        .expect("a record");
    serde_json::from_slice(&out).expect("JSON")
}

/// The same with all scalars replaced by their type's name, since times and positions differ.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            object.iter().map(|(key, value)| (key.clone(), shape(value))).collect()
        }
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::Null => "null".into(),
        Value::Bool(_) => "boolean".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "string".into(),
    }
}

/// Judges a block of TOML: a whole file, or a part, which is completed by what every file has.
fn configuration(text: &str) -> Result<Settings, String> {
    let has = |line: &str| text.lines().any(|known| known.trim().starts_with(line));
    let mut file = String::new();
    if !has("name = ") || !has("[postgres]") {
        file.push_str("name = \"shop\"\n");
    }
    file.push_str(text);
    for (section, line) in [
        ("[postgres]", "url = \"postgres://walferry@localhost/shop\"\npassword = \"x\""),
        ("[kafka]", "bootstrap_servers = \"localhost:9092\""),
        ("[registry]", "url = \"http://localhost:8081\""),
    ] {
        if !has(section) {
            file.push_str(&format!("\n{section}\n{line}\n"));
        }
    }
    if !has("[[table]]") && !has("[[outbox]]") {
        file.push_str("\n[[table]]\nname = \"public.orders\"\n");
    }
    let loaded = parse(&file, "block", &|_| Some("x".into()), &|_| Ok("x".into()));
    let loaded = loaded.map_err(|errors| format!("{errors}\n{file}"))?;
    let warnings: Vec<_> = loaded.warnings.iter().map(|w| w.report("warning", "block")).collect();
    if warnings.is_empty() { Ok(loaded.settings) } else { Err(warnings.join("\n")) }
}

fn dead_links(document: &Document) -> Vec<String> {
    let directory = document.path.parent().unwrap_or(Path::new(""));
    let is_dead = |target: &&str| {
        if target.contains("://") {
            return false;
        }
        let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
        let path = if file.is_empty() { document.path.clone() } else { directory.join(file) };
        if !file.is_empty() && !root().join(&path).exists() {
            return true;
        }
        if anchor.is_empty() {
            return false;
        }
        let anchors = if file.is_empty() {
            document.anchors()
        } else {
            Document::read(root(), &path).anchors()
        };
        !anchors.iter().any(|known| known == anchor)
    };
    let dead = document.links().into_iter().filter(is_dead);
    dead.map(|target| format!("{}: {target} leads nowhere", document.path.display())).collect()
}

/// The spans of code between each `Tests:` and the end of its paragraph.
fn cited(prose: &str) -> Vec<String> {
    let lists = prose.split("\n\n").filter_map(|paragraph| paragraph.split_once("Tests:"));
    let spans = lists.flat_map(|(_, list)| list.split('`').skip(1).step_by(2));
    spans.map(str::to_owned).collect()
}

/// The names of all tests in the sources.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in files("rs", &["src", "integration-tests"]) {
        let text = std::fs::read_to_string(root().join(&path)).expect("a source");
        let mut is_next = false;
        for line in text.lines().map(str::trim) {
            let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            match function.and_then(|rest| rest.split('(').next()) {
                Some(name) if std::mem::take(&mut is_next) => {
                    names.insert(name.to_owned());
                }
                Some(_) => {}
                None => is_next |= line == "#[test]" || line.starts_with("#[tokio::test"),
            }
        }
        for cases in text.split("on_both_versions!(").skip(1) {
            let cases = cases.split(')').next().unwrap_or_default();
            names.extend(cases.split(',').map(|name| name.trim().to_owned()));
        }
    }
    names
}

fn documents() -> Vec<Document> {
    let mut paths: Vec<PathBuf> =
        ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].iter().map(PathBuf::from).collect();
    paths.extend(files("md", &["docs", "deploy", "config", "docker"]));
    paths.iter().map(|path| Document::read(root(), path)).collect()
}

/// Files below these directories, relative to the repository.
fn files(extension: &str, directories: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting: Vec<PathBuf> = directories.iter().map(PathBuf::from).collect();
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(root().join(&directory)).expect("a directory") {
            let entry = entry.expect("an entry");
            let path = directory.join(entry.file_name());
            if entry.file_type().expect("a type").is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|known| known == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository")
}
