//! What Postgres says about a table: columns, key, identity, and the rows that are there.

use super::{Cell, Row};
use crate::Database;
use serde_json::Value;

/// A column, and how it is read so that its text equals that of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub expression: String,
    /// Of a `numeric(p, s)`.
    pub scale: Option<usize>,
}

/// A table as Postgres has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub table: String,
    pub columns: Vec<Column>,
    /// The columns of the primary key, in its order; empty without one.
    pub key: Vec<String>,
    /// Whether old rows are sent whole.
    pub full: bool,
    pub rows: Vec<Row>,
}

const COLUMNS: &str = "
    SELECT a.attname::text, t.typname::text, t.typcategory = 'A', a.atttypmod
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum";

const KEY: &str = "
    SELECT a.attname::text
    FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
    WHERE i.indrelid = $1::text::regclass AND i.indisprimary
    ORDER BY array_position(i.indkey::int2[], a.attnum)";

const FULL: &str = "SELECT relreplident = 'f' FROM pg_class WHERE oid = $1::text::regclass";

impl Facts {
    pub async fn read(database: &Database, table: &str) -> Self {
        let columns = database.query(COLUMNS, &[&table]).await;
        let columns: Vec<Column> = columns
            .iter()
            .map(|row| column(row.get(0), row.get(1), row.get(2), row.get(3)))
            .collect();
        let key = database.query(KEY, &[&table]).await.iter().map(|row| row.get(0)).collect();
        let full = database.query(FULL, &[&table]).await[0].get(0);
        let list: Vec<String> =
            columns.iter().map(|column| format!("({})::text", column.expression)).collect();
        let rows = database.query(&format!("SELECT {} FROM {table}", list.join(", ")), &[]).await;
        let names = || columns.iter().map(|column| column.name.clone());
        let rows = rows
            .iter()
            .map(|row| {
                names()
                    .enumerate()
                    .map(|(at, name)| (name, Cell::from(row.get::<_, Option<String>>(at))))
                    .collect()
            })
            .collect();
        Self { table: table.to_owned(), columns, key, full, rows }
    }

    /// The text of a row's key; `None` without a primary key.
    pub fn key_of(&self, row: &Row) -> Option<String> {
        let part = |name: &String| match row.get(name) {
            Some(Cell::Text(text)) => format!("{name}={text}"),
            other => format!("{name}={other:?}"),
        };
        let parts: Vec<String> = self.key.iter().map(part).collect();
        (!parts.is_empty()).then(|| parts.join(" "))
    }

    /// The same of a record's key, or of a header that holds one.
    pub fn key_of_json(&self, key: &Value) -> Option<String> {
        let row = self.row_of_json(key)?;
        self.key_of(&row)
    }

    /// The columns of an image of the row; `None` for null.
    pub fn row_of_json(&self, image: &Value) -> Option<Row> {
        let fields = image.as_object()?;
        let cell = |(name, value): (&String, &Value)| {
            let unknown = Column { name: name.clone(), expression: String::new(), scale: None };
            let column = self.columns.iter().find(|column| &column.name == name);
            (name.clone(), Cell::from_json(column.unwrap_or(&unknown), value))
        };
        Some(fields.iter().map(cell).collect())
    }
}

fn column(name: String, kind: &str, array: bool, modifier: i32) -> Column {
    let quoted = format!("\"{}\"", name.replace('"', "\"\""));
    let expression = match kind {
        "bytea" => format!("encode({quoted}, 'hex')"),
        "date" => format!("{quoted} - '1970-01-01'"),
        "timestamp" => format!("(extract(epoch FROM {quoted}) * 1000000)::bigint"),
        "timestamptz" => {
            format!("to_char({quoted} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
        }
        "numeric" if modifier < 0 => format!("trim_scale({quoted})"),
        _ if array => format!("array_to_json({quoted})"),
        _ => quoted,
    };
    // The type modifier of numeric: precision and scale, behind the length of a header.
    let scale = (kind == "numeric" && modifier >= 4).then(|| ((modifier - 4) & 0x7ff) as usize);
    Column { name, expression, scale }
}
