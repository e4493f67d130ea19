//! Postgres's text of a value to Avro: every encoder, through schema and plan as the product uses
//! them.

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;

use super::Input;
use crate::avro::types::{ColumnType, resolve};
use crate::avro::{ColumnShape, KeyPlan, RowPlan, TableShape, schema};
use crate::config::settings::FormatSettings;
use crate::pgoutput::{Cell, ReplicaIdentity, Tuple, TupleBuilder};
use crate::postgres::Oid;
use crate::postgres::catalog::Types;
use crate::registry::decode::Decoder;

/// Type oids of which each family of encoders has one, arrays beside their elements. Another number
/// is one of the types that come from the catalog.
const BUILT_IN: [u32; 47] = [
    16, 17, 18, 20, 21, 22, 23, 25, 26, 30, 114, 142, 600, 700, 701, 790, 1000, 1001, 1005, 1007,
    1009, 1016, 1021, 1022, 1028, 1082, 1083, 1114, 1115, 1182, 1183, 1184, 1185, 1186, 1231, 1266,
    1270, 1560, 1562, 1700, 2950, 2951, 3614, 3643, 3802, 3807, 3904,
];

/// `data`: the number of columns; type, typmod, flags, kind of the cell, and default of each; then
/// the cells' texts. Defaults and texts are ended by a NUL, which no text of Postgres holds.
///
/// A row is written whole or not at all. What is written decodes to its last byte, for apache-avro
/// and for our own decoder, against a schema that is valid whatever the table is.
pub fn text_decoders(data: &[u8]) {
    let mut input = Input(data);
    let mut columns = Vec::new();
    let mut kinds = Vec::new();
    for index in 0..1 + usize::from(input.u8() % 3) {
        columns.push(column(index, &mut input));
        kinds.push(input.u8());
    }
    let mut row = TupleBuilder::default();
    for kind in kinds {
        row.push(match kind % 8 {
            0 => Cell::Null,
            1 => Cell::Unchanged,
            2 => Cell::Binary(input.until_nul()),
            _ => Cell::Text(input.until_nul()),
        });
    }
    let mut shape = shape(columns);
    judge(&shape, &row.tuple());
    for column in 0..shape.columns.len() {
        shape.widen(column);
    }
    judge(&shape, &row.tuple());
}

fn judge(shape: &TableShape, row: &Tuple<'_>) {
    let format = FormatSettings::default();
    let record = Reader::new(&schema::value_record(shape, &format, "s.t"));
    let plan = RowPlan::compile(shape, &format);
    record.judge(|out| plan.encode(row, None, out).is_ok());
    record.judge(|out| plan.encode(row, Some(row), out).is_ok());
    record.judge(|out| plan.encode_key_image(row, out).is_ok());
    let key = schema::key(shape, &format, "s.t").zip(KeyPlan::compile(shape, &format));
    let (text, plan) = key.expect("a table with a key");
    Reader::new(&text).judge(|out| plan.encode(row, out).is_ok());
    assert!(plan.same(row, row));
    let mut json = Vec::new();
    if plan.write_json(row, &mut json).is_ok() {
        // Debezium's headers name what JSON has no number for, as Java does.
        let json = String::from_utf8(json).expect("the key as text");
        let json = json.replace("Infinity", "0").replace("NaN", "0");
        serde_json::from_str::<serde_json::Value>(&json).expect("the key as JSON");
    } else {
        assert!(json.is_empty(), "a part of a refused key is left");
    }
}

/// The two that must be able to read what was written.
struct Reader {
    schema: Schema,
    decoder: Decoder,
}

impl Reader {
    fn new(text: &str) -> Reader {
        Reader {
            schema: Schema::parse_str(text).expect("a schema for apache-avro"),
            decoder: Decoder::new(text).expect("a schema for our decoder"),
        }
    }

    fn judge(&self, write: impl Fn(&mut Vec<u8>) -> bool) {
        const BEFORE: &[u8] = b"before";
        let mut out = BEFORE.to_vec();
        let accepted = write(&mut out);
        let datum = out.strip_prefix(BEFORE).expect("what stood before");
        if !accepted {
            assert!(datum.is_empty(), "a part of a refused row is left");
            return;
        }
        let mut rest = datum;
        let oracle = GenericDatumReader::builder(&self.schema).build().expect("a reader");
        oracle.read_value(&mut rest).expect("a value for apache-avro");
        assert!(rest.is_empty(), "{} bytes are left over", rest.len());
        self.decoder.decode(datum).expect("a value for our decoder");
    }
}

fn column(index: usize, input: &mut Input<'_>) -> ColumnShape {
    let column_type = column_type(input);
    let flags = input.u8();
    let default = (flags & 2 != 0).then(|| String::from_utf8_lossy(input.until_nul()).into_owned());
    ColumnShape {
        name: format!("c{index}"),
        cell: index,
        column_type,
        nullable: flags & 1 != 0,
        default,
        auto_increment: flags & 4 != 0,
        identity: index == 0 || flags & 8 != 0,
    }
}

fn column_type(input: &mut Input<'_>) -> ColumnType {
    let choice = usize::from(input.u8());
    let typmod = input.i32();
    match BUILT_IN.get(choice) {
        Some(&oid) => resolve(Oid(oid), typmod, &Types::default()).column_type,
        None if choice % 2 == 0 => from_catalog(choice / 2),
        None => ColumnType::Array {
            element: Box::new(from_catalog(choice / 2)),
            nullable_elements: typmod % 2 == 0,
        },
    }
}

fn from_catalog(choice: usize) -> ColumnType {
    match choice % 3 {
        0 => ColumnType::Enum { labels: vec!["new".to_owned(), "it's, \"old\"".to_owned()] },
        1 => ColumnType::Hstore,
        _ => ColumnType::Ltree,
    }
}

fn shape(columns: Vec<ColumnShape>) -> TableShape {
    TableShape {
        schema: "s".to_owned(),
        name: "t".to_owned(),
        identity: ReplicaIdentity::Default,
        cells: columns.len(),
        key: vec![0],
        columns,
    }
}
