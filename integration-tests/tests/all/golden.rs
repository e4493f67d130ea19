//! Schemas and rows equal Debezium's, byte for byte: see `tests/golden/README.md`.
//!
//! Columns that Debezium drops, of types that it has no mapping for, are left out by
//! `exclude_columns`: they arrive here, as text. Nothing else may differ but the header
//! `walferry.before`.
//!
//! Debezium ran on PostgreSQL 15. Columns of types that 14 does not know are taken out of both sides
//! there ([`Golden::without`]); the rest is compared as it is elsewhere.

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use integration_tests::{Config, Database, Kafka, Postgres, Record, Registry, Walferry, wait};
use serde::Deserialize;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::Path;

/// A file of `tests/golden`.
#[derive(Debug, Deserialize)]
struct Golden {
    table: String,
    setup: Vec<String>,
    changes: String,
    key: Option<String>,
    value: String,
    records: Vec<GoldenRecord>,
}

#[derive(Debug, Deserialize)]
struct GoldenRecord {
    key: Option<String>,
    rows: Option<String>,
    headers: BTreeMap<String, Option<String>>,
}

const TYPES: &str = "CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE EXTENSION ltree;
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'ha,p py''x');
    CREATE DOMAIN dnum AS numeric(12, 3);
    CREATE DOMAIN dtxt AS varchar(20) NOT NULL;
    CREATE DOMAIN dd AS dnum;
    CREATE DOMAIN dcheck AS int DEFAULT 5 CHECK (VALUE > 0);
    CREATE TYPE comp AS (a int, b text);
    CREATE SEQUENCE sq";

#[tokio::test(flavor = "multi_thread")]
async fn schemas_and_rows_equal_debezium_s() {
    let mut golden = golden();
    let (postgres, kafka, registry) =
        (Postgres::shared().await, Kafka::shared().await, Registry::shared().await);
    if postgres.version() < 15 {
        golden.iter_mut().for_each(|golden| NUMERIC_OF_15.iter().for_each(|t| golden.without(t)));
    }
    let database = postgres.database("golden").await;
    database.execute(TYPES).await;
    for sql in golden.iter().flat_map(|golden| &golden.setup) {
        database.execute(sql).await;
    }
    let mut config = Config::new("golden", &database, kafka, registry);
    for golden in &golden {
        let dropped = dropped_columns(&database, golden).await;
        let lines = format!("exclude_columns = {dropped:?}");
        config = config.table_with(&format!("public.{}", golden.table), &lines);
    }
    let walferry = Walferry::run(&config).await;
    for golden in &golden {
        database.execute(&golden.changes).await;
    }
    let lsn = database.current_lsn().await;
    let confirmed = wait::within(wait::LONG, async || {
        database.confirmed_lsn(&config.slot()).await.filter(|confirmed| *confirmed >= lsn)
    });
    assert!(confirmed.await.is_some(), "waited for the end of the changes:\n{}", walferry.log());

    let mut differences = Vec::new();
    for golden in &golden {
        let topic = config.topic(&format!("public.{}", golden.table));
        let ours = |text: &str| text.replace("srv.public.", &format!("{}.public.", config.name()));
        for (part, expected) in [("key", golden.key.as_ref()), ("value", Some(&golden.value))] {
            let registered = registry.latest(&format!("{topic}-{part}")).await;
            let registered = registered.map(|(_, text)| text);
            if registered != expected.map(|text| ours(text)) {
                let (a, b) =
                    (registered.unwrap_or_default(), expected.cloned().unwrap_or_default());
                differences.push(format!("{topic}-{part}: {}", first_difference(&a, &ours(&b))));
            }
        }
        if !golden.records.is_empty() {
            let records = kafka.records(&topic).await;
            compare(golden, &records, &mut differences);
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

/// A scale below zero or above the precision.
const NUMERIC_OF_15: [&str; 2] = ["numeric(5,-2)", "numeric(3,5)"];

impl Golden {
    /// Takes the column of this type out of the SQL, the schema, and the rows.
    fn without(&mut self, sql_type: &str) {
        let definition = self.setup.iter().find_map(|sql| {
            let (before, _) = sql.split_once(&format!(" {sql_type}"))?;
            Some(before.rsplit(", ").next().expect("a part").to_owned())
        });
        let Some(column) = definition else { return };
        for sql in &mut self.setup {
            *sql = without_items(sql, &format!("{column} {sql_type}"));
        }
        self.changes = without_items(&self.changes, &format!("::{sql_type}"));

        let old = rows_schema(&self.value);
        let mut schema: Json = serde_json::from_str(&self.value).expect("a schema");
        let fields = schema["fields"][0]["type"][1]["fields"].as_array_mut().expect("fields");
        let taken = fields.iter().position(|field| field["name"] == *column).expect("the column");
        let next = fields.get(taken + 1).expect("a column behind")["name"].clone();
        let start = |name: &str| {
            let name = format!(r#""name":"{name}""#);
            let at = self.value.find(&name).expect("the field");
            self.value[..at].rfind('{').expect("its object")
        };
        let (from, to) = (start(&column), start(next.as_str().expect("a name")));
        self.value.replace_range(from..to, "");
        let new = rows_schema(&self.value);
        for record in &mut self.records {
            if let Some(rows) = &mut record.rows {
                *rows = hex(&without_column(&unhex(rows), &column, &old, &new));
            }
        }
    }
}

/// The text without those of its comma-separated items that hold `part`.
fn without_items(sql: &str, part: &str) -> String {
    let items: Vec<&str> = sql.split(", ").filter(|item| !item.contains(part)).collect();
    items.join(", ")
}

/// The schema of `before` and `after` of a value's schema.
fn rows_schema(value: &str) -> Schema {
    let schema: Json = serde_json::from_str(value).expect("a schema");
    let row = schema["fields"][0]["type"].clone();
    Schema::parse(&row).expect("the schema of a row")
}

/// `before` and `after`, read by one schema and written by another that lacks the column.
fn without_column(mut rows: &[u8], column: &str, old: &Schema, new: &Schema) -> Vec<u8> {
    let reader = GenericDatumReader::builder(old).build().expect("a reader");
    let writer = GenericDatumWriter::builder(new).build().expect("a writer");
    let mut written = Vec::new();
    while !rows.is_empty() {
        let mut row = reader.read_value(&mut rows).expect("a row");
        if let Value::Union(_, value) = &mut row
            && let Value::Record(fields) = &mut **value
        {
            fields.retain(|(name, _)| name != column);
        }
        written.extend(writer.write_value_to_vec(row).expect("a row"));
    }
    written
}

fn compare(golden: &Golden, records: &[Record], differences: &mut Vec<String>) {
    let table = &golden.table;
    if records.len() != golden.records.len() {
        differences.push(format!("{table}: {} records", records.len()));
    }
    for (n, (record, expected)) in records.iter().zip(&golden.records).enumerate() {
        let key = record.key.as_ref().map(|key| hex(&key[5..]));
        if key != expected.key {
            differences.push(format!("{table} key {n}: {key:?}, not {:?}", expected.key));
        }
        let rows = record.value.as_ref().map(|value| hex(before_source(&value[5..])));
        if rows != expected.rows {
            let (a, b) = (rows.unwrap_or_default(), expected.rows.clone().unwrap_or_default());
            differences.push(format!("{table} rows {n}: {}", first_difference(&a, &b)));
        }
        for (name, value) in &expected.headers {
            let observed = record.header(name);
            if observed.is_none() || (value.is_some() && observed != *value) {
                differences.push(format!("{table} {name} {n}: {observed:?}, not {value:?}"));
            }
        }
        let more = record.headers.iter().map(|(name, _)| name.as_str());
        for name in more.filter(|name| !expected.headers.contains_key(*name)) {
            if name != "walferry.before" {
                differences.push(format!("{table} {n}: header {name}"));
            }
        }
    }
}

/// The columns of the table that Debezium's schema lacks.
async fn dropped_columns(database: &Database, golden: &Golden) -> Vec<String> {
    let sql = format!(
        "SELECT attname::text FROM pg_attribute WHERE attrelid = '{}'::regclass \
         AND attnum > 0 AND attgenerated = '' ORDER BY attnum",
        golden.table
    );
    let schema: Json = serde_json::from_str(&golden.value).expect("a schema");
    let fields = schema["fields"][0]["type"][1]["fields"].as_array().expect("fields of before");
    let kept: Vec<&str> = fields.iter().filter_map(|field| field["name"].as_str()).collect();
    let mut columns: Vec<String> = database.texts(&sql).await.into_iter().flatten().collect();
    columns.retain(|column| !kept.contains(&column.as_str()));
    columns
}

fn golden() -> Vec<Golden> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let files = std::fs::read_dir(&directory).expect("tests/golden");
    let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    assert!(!paths.is_empty(), "no files in {}", directory.display());
    let read = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).expect("a golden file");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    paths.iter().map(read).collect()
}

/// `before` and `after`: `source` begins with the version.
fn before_source(datum: &[u8]) -> &[u8] {
    let version = b"\x163.6.3.Final";
    let at = datum.windows(version.len()).position(|window| window == version);
    &datum[..at.expect("a source")]
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("ASCII"));
    digits.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn first_difference(observed: &str, expected: &str) -> String {
    let same = observed.bytes().zip(expected.bytes()).take_while(|(a, b)| a == b).count();
    let around = |text: &str| {
        let part = text.as_bytes().get(same.saturating_sub(120)..).unwrap_or_default();
        String::from_utf8_lossy(part.get(..300).unwrap_or(part)).into_owned()
    };
    format!("at byte {same}\n  …{}\n  not …{}", around(observed), around(expected))
}
