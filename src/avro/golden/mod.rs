//! What Debezium 3.6.3 with the Confluent converter really wrote, captured from a run against
//! PostgreSQL 15: for each table its catalog entry, schema texts, and for some the cells of rows
//! as pgoutput sends them next to the bytes of their record.
//!
//! Rows are left out where Debezium is wrong (a NULL written as the default, NaN as NULL, rounded
//! intervals, overflowing timestamps), and columns where it drops the type or the value.

use serde::Deserialize;

use super::fixture::{format, texts};
use super::{KeyPlan, RowPlan, ShapeRules, TableShape, schema};
use crate::pgoutput::{Relation, RelationColumn, ReplicaIdentity, TupleBuilder};
use crate::postgres::Oid;
use crate::postgres::catalog::{
    ColumnFacts, IdentityKind, RelationKind, TableFacts, TypeFacts, TypeKind, Types,
};

#[derive(Deserialize)]
struct Golden {
    types: Vec<GoldenType>,
    tables: Vec<GoldenTable>,
}

#[derive(Deserialize)]
struct GoldenType {
    oid: u32,
    name: String,
    kind: String,
    element: u32,
    category: String,
    base: u32,
    typmod: i32,
    not_null: bool,
    labels: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct GoldenTable {
    table: String,
    identity: String,
    primary_key: Vec<String>,
    unique_key: Vec<String>,
    columns: Vec<GoldenColumn>,
    key: Option<String>,
    value: String,
    delete: Option<GoldenDelete>,
    rows: Vec<GoldenRow>,
}

#[derive(Deserialize)]
struct GoldenColumn {
    name: String,
    #[serde(rename = "type")]
    type_oid: u32,
    typmod: i32,
    not_null: bool,
    default: Option<String>,
    key: bool,
    identity: bool,
}

#[derive(Deserialize)]
struct GoldenRow {
    cells: Vec<Option<String>>,
    after: String,
}

#[derive(Deserialize)]
struct GoldenDelete {
    id: i64,
    before: String,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("debezium-3.6.3.json")).unwrap()
}

impl GoldenType {
    fn facts(&self) -> TypeFacts {
        let kind = match self.kind.as_str() {
            "e" => TypeKind::Enum { labels: self.labels.clone().unwrap_or_default() },
            "d" => TypeKind::Domain {
                base: Oid(self.base),
                typmod: self.typmod,
                not_null: self.not_null,
            },
            _ if self.category == "A" => TypeKind::Array { element: Oid(self.element) },
            _ => TypeKind::Base,
        };
        TypeFacts { oid: Oid(self.oid), schema: "public".to_owned(), name: self.name.clone(), kind }
    }
}

impl GoldenTable {
    fn shape(&self, types: &Types) -> TableShape {
        let full = self.identity == "full";
        let relation = Relation {
            oid: Oid(1),
            schema: "public".to_owned(),
            name: self.table.clone(),
            identity: if full { ReplicaIdentity::Full } else { ReplicaIdentity::Default },
            columns: self
                .columns
                .iter()
                .map(|column| RelationColumn {
                    name: column.name.clone(),
                    key: full || column.key,
                    type_oid: Oid(column.type_oid),
                    typmod: column.typmod,
                })
                .collect(),
        };
        let facts = TableFacts {
            oid: Oid(1),
            schema: "public".to_owned(),
            name: self.table.clone(),
            kind: RelationKind::Table,
            root: None,
            identity: if full { IdentityKind::Full } else { IdentityKind::Default },
            columns: self.columns.iter().map(GoldenColumn::facts).collect(),
            primary_key: self.primary_key.clone(),
            unique_key: self.unique_key.clone(),
        };
        let rules = ShapeRules { exclude_columns: self.dropped(), ..ShapeRules::default() };
        TableShape::resolve(&relation, Some(&facts), types, &rules).unwrap()
    }

    /// Columns that Debezium leaves out of the schema.
    fn dropped(&self) -> Vec<String> {
        let record: serde_json::Value = serde_json::from_str(&self.value).unwrap();
        let fields = record["fields"].as_array().unwrap();
        let has = |name: &str| fields.iter().any(|field| field["name"] == name);
        self.columns.iter().map(|c| c.name.clone()).filter(|name| !has(name)).collect()
    }
}

impl GoldenColumn {
    fn facts(&self) -> ColumnFacts {
        ColumnFacts {
            name: self.name.clone(),
            type_oid: Oid(self.type_oid),
            typmod: self.typmod,
            not_null: self.not_null,
            default: self.default.clone(),
            generated: false,
            identity: self.identity,
        }
    }
}

fn types(golden: &Golden) -> Types {
    Types(golden.types.iter().map(|facts| (Oid(facts.oid), facts.facts())).collect())
}

fn strings(cells: &[Option<String>]) -> TupleBuilder {
    texts(&cells.iter().map(Option::as_deref).collect::<Vec<_>>())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Fails with the first field that differs rather than with two walls of text.
fn assert_same_fields(table: &str, ours: &str, theirs: &str) {
    let split =
        |text: &str| -> Vec<String> { text.split("{\"name\":\"").map(str::to_owned).collect() };
    for (ours, theirs) in split(ours).iter().zip(split(theirs).iter()) {
        assert_eq!(ours, theirs, "{table}");
    }
    assert_eq!(ours, theirs, "{table}");
}

#[test]
fn value_schemas_are_debeziums() {
    let golden = golden();
    let types = types(&golden);
    for table in &golden.tables {
        let namespace = format!("srv.public.{}", table.table);
        let ours = schema::value_record(&table.shape(&types), &format(), &namespace);
        assert_same_fields(&table.table, &ours, &table.value);
    }
}

/// Debezium's texts are what registries hold, so the local parser has to take them.
#[test]
fn apache_avro_parses_the_schemas() {
    for table in &golden().tables {
        for text in [Some(&table.value), table.key.as_ref()].into_iter().flatten() {
            apache_avro::Schema::parse_str(text)
                .unwrap_or_else(|error| panic!("{}: {error}", table.table));
        }
    }
}

#[test]
fn key_schemas_are_debeziums() {
    let golden = golden();
    let types = types(&golden);
    assert!(golden.tables.iter().any(|table| table.key.is_none()));
    for table in &golden.tables {
        let namespace = format!("srv.public.{}", table.table);
        let ours = schema::key(&table.shape(&types), &format(), &namespace);
        assert_eq!(ours, table.key, "{}", table.table);
    }
}

#[test]
fn rows_are_debeziums() {
    let golden = golden();
    let types = types(&golden);
    let mut rows = 0;
    for table in &golden.tables {
        let plan = RowPlan::compile(&table.shape(&types), &format());
        for row in &table.rows {
            let mut out = Vec::new();
            let cells = strings(&row.cells);
            plan.encode(&cells.tuple(), None, &mut out)
                .unwrap_or_else(|e| panic!("{} {e:?} {:?}", table.table, row.cells.get(e.column)));
            assert_eq!(hex(&out), row.after, "{} {:?}", table.table, row.cells);
            rows += 1;
        }
    }
    assert!(rows > 70, "{rows}");
}

#[test]
fn key_images_are_debeziums() {
    let golden = golden();
    let types = types(&golden);
    let mut deletes = 0;
    for table in &golden.tables {
        let Some(delete) = &table.delete else { continue };
        let shape = table.shape(&types);
        let mut cells = vec![None; shape.cells];
        cells[0] = Some(delete.id.to_string());
        let mut out = Vec::new();
        let plan = RowPlan::compile(&shape, &format());
        plan.encode_key_image(&strings(&cells).tuple(), &mut out).unwrap();
        assert_eq!(hex(&out), delete.before, "{}", table.table);
        deletes += 1;
    }
    assert!(deletes > 0);
}

/// Captured with Connect's header converter.
#[test]
fn key_headers_are_debeziums() {
    let golden = golden();
    let table = golden.tables.iter().find(|table| table.table == "keys").unwrap();
    let plan = KeyPlan::compile(&table.shape(&types(&golden)), &format()).unwrap();
    let cells = [
        "2.50",
        "3.1400",
        "t",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "2020-01-02",
        "2020-01-02 03:04:05+00",
        "ok",
        "\\xdead",
        "t",
        "4.000",
        "101",
    ];
    let row = texts(&cells.map(Some));
    let mut out = Vec::new();
    plan.write_json(&row.tuple(), &mut out).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        concat!(
            r#"{"n":2.50,"v":{"scale":2,"value":"ATo="},"t":"t","#,
            r#""u":"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11","d":18263,"#,
            r#""ts":"2020-01-02T03:04:05.000000Z","m":"ok","b":"3q0=","f":true,"dn":4.000,"bt":"BQ=="}"#
        )
    );
}
