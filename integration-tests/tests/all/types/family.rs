//! A table with a column for each type of a family, delivered and compared.

use super::view::{View, same};
use integration_tests::{Config, Database, Decoder, Kafka, Postgres, Registry, Walferry, wait};
use serde_json::Value as Json;

/// What a connection of a database prints unless it says otherwise.
const HOSTILE: &[&str] = &[
    "DateStyle = 'German, DMY'",
    "IntervalStyle = 'iso_8601'",
    "TimeZone = 'Asia/Kathmandu'",
    "extra_float_digits = -3",
    "bytea_output = 'escape'",
    "xmloption = 'document'",
];

/// The settings under which SQL computes what is expected.
const PLAIN: &str = "SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; \
    SET TimeZone = 'UTC'; SET extra_float_digits = 3; SET bytea_output = 'hex'; \
    SET xmloption = 'content'";

/// A type, the values that it is tried with, and what they become.
#[derive(Clone, Debug)]
pub struct Column {
    sql_type: String,
    values: Vec<String>,
    /// SQL for the expected value, with `{}` for the column.
    expected: String,
    view: View,
    array: bool,
    /// The first version that has the type.
    since: u16,
}

impl Column {
    /// `values` are SQL expressions.
    pub fn new(sql_type: &str, values: &[&str], expected: &str) -> Self {
        Self {
            sql_type: sql_type.to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
            expected: expected.to_owned(),
            view: View::Same,
            array: true,
            since: 0,
        }
    }

    /// A type that arrives as Postgres prints it.
    pub fn text(sql_type: &str, values: &[&str]) -> Self {
        Self::new(sql_type, values, TEXT)
    }

    pub fn view(mut self, view: View) -> Self {
        self.view = view;
        self
    }

    /// Servers before `version` do not know the type: the column is left out there.
    pub fn since(mut self, version: u16) -> Self {
        self.since = version;
        self
    }

    /// Its array is no Avro array.
    pub fn without_array(mut self) -> Self {
        self.array = false;
        self
    }

    /// The column of arrays of this type: all values and a NULL, none, a NULL alone, and bounds.
    fn array_of(&self) -> Self {
        let list = self.values.iter().map(|value| format!("({value})::{}", self.sql_type));
        let list: Vec<String> = list.collect();
        let array = format!("{}[]", self.sql_type);
        let element = self.expected.replace("{}", "e");
        Self {
            values: vec![
                format!("ARRAY[{}, NULL]", list.join(", ")),
                "'{}'".to_owned(),
                "ARRAY[NULL]".to_owned(),
                "'[5:6]={NULL,NULL}'".to_owned(),
            ],
            expected: format!(
                "CASE WHEN {{}} IS NOT NULL THEN coalesce((SELECT json_agg({element} ORDER BY n) \
                 FROM unnest({{}}) WITH ORDINALITY AS u(e, n)), '[]'::json) END"
            ),
            sql_type: array,
            view: View::Each(Box::new(self.view.clone())),
            array: false,
            since: self.since,
        }
    }
}

/// The text of a type's output function; a cast would strip the blanks of `char(n)`, and a row of
/// NULLs counts as NULL for `IS NOT NULL`.
const TEXT: &str = "CASE WHEN {} IS DISTINCT FROM NULL THEN format('%s', {}) END";

/// Writes rows of these columns and compares what arrives. `setup` is SQL to run first. Row 0 is
/// all NULL; row `n` has the `n`th value of each column, and NULL in those that have fewer.
pub async fn check(stem: &str, setup: &str, columns: &[Column]) {
    let (postgres, kafka, registry) =
        (Postgres::shared().await, Kafka::shared().await, Registry::shared().await);
    let arrays = columns.iter().filter(|column| column.array).map(Column::array_of);
    let mut columns: Vec<Column> = columns.iter().cloned().chain(arrays).collect();
    columns.retain(|column| column.since <= postgres.version());
    let database = hostile_database(postgres, stem).await;
    database.execute(setup).await;
    let definitions: Vec<String> =
        columns.iter().enumerate().map(|(n, column)| format!("c{n} {}", column.sql_type)).collect();
    database
        .execute(&format!("CREATE TABLE t (id int PRIMARY KEY, {})", definitions.join(", ")))
        .await;
    let config = Config::new(stem, &database, kafka, registry).table("public.t");
    let walferry = Walferry::run(&config).await;

    let rows = 1 + columns.iter().map(|column| column.values.len()).max().unwrap_or(0);
    let plain = database.connect().await;
    plain.batch_execute(PLAIN).await.expect("plain settings");
    for row in 0..rows {
        let sql = insert(&columns, row);
        plain.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
    let expected = expected(&plain, &columns).await;
    let arrived = wait::within(wait::LONG, async || {
        let records = kafka.records(&config.topic("public.t")).await;
        (records.len() >= rows).then_some(records)
    });
    let records = arrived.await.unwrap_or_else(|| {
        panic!("waited {:?} for {rows} rows:\n{}", wait::LONG, walferry.log());
    });
    let decoder = Decoder::new(registry);
    let mut differences = Vec::new();
    for (row, record) in records.iter().enumerate() {
        let event = decoder.event(record).await;
        let after = &event.value.as_ref().expect("a value")["after"];
        assert_eq!(after["id"], row, "rows in order");
        for (n, column) in columns.iter().enumerate() {
            let (observed, expected) = (after.get(format!("c{n}")), &expected[row][n]);
            let observed = observed.map(|value| column.view.of(value));
            if !observed.as_ref().is_some_and(|observed| same(observed, expected)) {
                let value = column.values.get(row.wrapping_sub(1)).map_or("NULL", String::as_str);
                let observed = observed.map_or("no field".to_owned(), |value| value.to_string());
                let sql_type = &column.sql_type;
                differences.push(format!("{sql_type} {value}: {observed}, not {expected}"));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

/// A database whose sessions print in unusual ways.
pub async fn hostile_database(postgres: &Postgres, stem: &str) -> Database {
    let database = postgres.database(stem).await;
    for setting in HOSTILE {
        database.execute(&format!("ALTER DATABASE {} SET {setting}", database.name())).await;
    }
    database
}

fn insert(columns: &[Column], row: usize) -> String {
    let value = |column: &Column| match row.checked_sub(1).and_then(|n| column.values.get(n)) {
        Some(value) => format!("({value})::{}", column.sql_type),
        None => "NULL".to_owned(),
    };
    let values: Vec<String> = columns.iter().map(value).collect();
    format!("INSERT INTO t VALUES ({row}, {})", values.join(", "))
}

/// Row by row, column by column.
async fn expected(plain: &tokio_postgres::Client, columns: &[Column]) -> Vec<Vec<Json>> {
    let mut rows = Vec::new();
    for (n, column) in columns.iter().enumerate() {
        let expression = column.expected.replace("{}", &format!("c{n}"));
        let sql = format!("SELECT to_json({expression})::text FROM t ORDER BY id");
        let values =
            plain.query(&sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        rows.resize(values.len(), Vec::new());
        for (row, value) in rows.iter_mut().zip(&values) {
            let text: Option<&str> = value.get(0);
            row.push(text.map_or(Json::Null, |text| {
                serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
            }));
        }
    }
    rows
}
