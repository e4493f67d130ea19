//! Nanoseconds a row: the compiled plan against apache-avro, for a table with ten columns.
//!
//! The encoders take turns within a round, so that whatever else the machine does falls on all of
//! them and the ratios hold.
//! The plan starts from pgoutput's text; apache-avro gets ready-made value trees, neither parsing
//! nor building them on the clock, so the ratios are lower bounds.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use integration_tests::bench::{Section, Table, median, spread};
use serde_json::json;
use walferry::avro::{RowPlan, ShapeRules, TableShape, schema};
use walferry::config::settings::FormatSettings;
use walferry::pgoutput::{Cell, Relation, RelationColumn, ReplicaIdentity, TupleBuilder};
use walferry::postgres::Oid;
use walferry::postgres::catalog::Types;

const ROWS: usize = 20_000;
const ROUNDS: usize = 9;

/// Name, type and typmod.
const COLUMNS: [(&str, u32, i32); 10] = [
    ("id", 20, -1),
    ("quantity", 23, -1),
    ("paid", 16, -1),
    ("amount", 1700, (12 << 16 | 2) + 4),
    ("note", 25, -1),
    ("status", 1043, 24),
    ("created_at", 1184, -1),
    ("delivered_at", 1114, -1),
    ("reference", 2950, -1),
    ("weight", 701, -1),
];

fn main() -> Result<(), Box<dyn Error>> {
    let format = FormatSettings::default();
    let shape = TableShape::resolve(&relation(), None, &Types::default(), &ShapeRules::default())?;
    let schema = Schema::parse_str(&schema::value_record(&shape, &format, "shop.public.orders"))?;
    let plan = RowPlan::compile(&shape, &format);
    let rows: Vec<TupleBuilder> = (0..ROWS).map(row).collect();
    let trees = trees(&schema, &plan, &rows)?;
    let writer = GenericDatumWriter::builder(&schema).validate(false).build()?;

    let mut nanos = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        let owned = trees.clone();
        nanos[0].push(per_row(|| {
            let mut out = Vec::with_capacity(512);
            for row in &rows {
                out.clear();
                plan.encode(&row.tuple(), None, &mut out).map_err(|error| format!("{error:?}"))?;
                black_box(&out);
            }
            Ok(())
        })?);
        nanos[1].push(per_row(|| {
            let mut out = Vec::with_capacity(512);
            for tree in &trees {
                out.clear();
                writer.write_value_ref(&mut out, tree)?;
                black_box(&out);
            }
            Ok(())
        })?);
        nanos[2].push(per_row(|| {
            for tree in owned {
                black_box(one_shot(&schema, tree)?);
            }
            Ok(())
        })?);
    }
    section(&nanos).publish();
    Ok(())
}

/// The rounds of the encoders, in nanoseconds a row.
fn section([plan, writer, datum]: &[Vec<f64>; 3]) -> Section {
    let row = |name: &str, rounds: &[f64]| {
        let times = median(rounds) / median(plan);
        [name.to_owned(), spread(rounds, 0), format!("{times:.1}")]
    };
    Section {
        name: "encode",
        title: "Encoding",
        method: format!(
            "{ROWS} rows of {} columns, {ROUNDS} rounds. The plan starts from pgoutput's text; \
             apache-avro gets ready-made values, so the ratios are lower bounds.",
            COLUMNS.len(),
        ),
        target: "",
        table: Table::new(["encoder", "ns a row", "times the plan's"])
            .row(row("plan, from text", plan))
            .row(row("apache-avro `GenericDatumWriter`, from values", writer))
            .row(row("apache-avro `to_avro_datum`, from values", datum)),
        notes: Vec::new(),
        figures: json!({
            "plan_nanos": median(plan),
            "datum_writer_nanos": median(writer),
            "to_avro_datum_nanos": median(datum),
        }),
    }
}

fn per_row(round: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let start = Instant::now();
    round()?;
    Ok(start.elapsed().as_nanos() as f64 / ROWS as f64)
}

/// The call that most programs make, which resolves and validates anew for every value.
#[expect(deprecated, reason = "measured because it is in wide use")]
fn one_shot(schema: &Schema, tree: Value) -> apache_avro::AvroResult<Vec<u8>> {
    apache_avro::to_avro_datum(schema, tree)
}

/// What the plan wrote, as apache-avro reads it; writing it again must give the same bytes.
fn trees(
    schema: &Schema,
    plan: &RowPlan,
    rows: &[TupleBuilder],
) -> Result<Vec<Value>, Box<dyn Error>> {
    let reader = GenericDatumReader::builder(schema).build()?;
    let mut trees = Vec::with_capacity(rows.len());
    for row in rows {
        let mut bytes = Vec::new();
        plan.encode(&row.tuple(), None, &mut bytes).map_err(|error| format!("{error:?}"))?;
        let tree = reader.read_value(&mut bytes.as_slice())?;
        if one_shot(schema, tree.clone())? != bytes {
            return Err("the encoders disagree".into());
        }
        trees.push(tree);
    }
    Ok(trees)
}

fn row(index: usize) -> TupleBuilder {
    let cells = [
        (1_000_000 + index * 7).to_string(),
        (index % 1000).to_string(),
        if index.is_multiple_of(3) { "t" } else { "f" }.to_owned(),
        format!("{}.{:02}", index * 13 % 1_000_000, index % 100),
        format!("order number {index} with a note of some length, left at the door"),
        if index.is_multiple_of(2) { "shipped" } else { "pending" }.to_owned(),
        format!(
            "2026-11-{:02} 13:{:02}:30.{:06}+00",
            index % 28 + 1,
            index % 60,
            index * 37 % 1_000_000 + 1
        ),
        format!("2026-11-{:02} 14:{:02}:30.5", index % 28 + 1, index % 60),
        format!("a0eebc99-9c0b-4ef8-bb6d-{index:012x}"),
        format!("{}.25", index % 500),
    ];
    cells.iter().map(|cell| Cell::Text(cell.as_bytes())).collect()
}

fn relation() -> Relation {
    let column = |&(name, type_oid, typmod): &(&str, u32, i32)| RelationColumn {
        name: name.to_owned(),
        key: name == "id",
        type_oid: Oid(type_oid),
        typmod,
    };
    Relation {
        oid: Oid(1),
        schema: "public".to_owned(),
        name: "orders".to_owned(),
        identity: ReplicaIdentity::Default,
        columns: COLUMNS.iter().map(column).collect(),
    }
}
