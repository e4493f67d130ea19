//! Most of the schema's text is compared with captured ones in the golden tests.

use apache_avro::Schema;

use super::*;
use crate::avro::fixture::{self, format};
use crate::config::settings::NameAdjustment;
use crate::pgoutput::ReplicaIdentity;

fn column(name: &str, column_type: ColumnType, nullable: bool) -> ColumnShape {
    ColumnShape { nullable, ..fixture::column(name, 0, column_type) }
}

fn shape(columns: Vec<ColumnShape>, key: Vec<usize>) -> TableShape {
    TableShape {
        schema: "public".to_owned(),
        name: "t".to_owned(),
        identity: ReplicaIdentity::Default,
        cells: columns.len(),
        columns,
        key,
    }
}

/// The example of the documentation of Debezium's contract.
#[test]
fn the_cash_table_is_as_documented() {
    let pk = ColumnShape {
        default: Some("nextval('cash_table_pk_seq'::regclass)".to_owned()),
        ..column("pk", ColumnType::Int32, false)
    };
    let shape = shape(vec![pk, column("csh", ColumnType::Money, true)], vec![0]);
    assert_eq!(
        key(&shape, &format(), "srv.public.cash_table").unwrap(),
        concat!(
            r#"{"type":"record","name":"Key","namespace":"srv.public.cash_table","fields":["#,
            r#"{"name":"pk","type":{"type":"int","connect.default":0},"default":0}],"#,
            r#""connect.name":"srv.public.cash_table.Key"}"#,
        )
    );
    assert_eq!(
        value_record(&shape, &format(), "srv.public.cash_table"),
        concat!(
            r#"{"type":"record","name":"Value","fields":["#,
            r#"{"name":"pk","type":{"type":"int","connect.default":0},"default":0},"#,
            r#"{"name":"csh","type":["null",{"type":"bytes","scale":2,"precision":64,"#,
            r#""connect.version":1,"connect.parameters":{"scale":"2"},"#,
            r#""connect.name":"org.apache.kafka.connect.data.Decimal","logicalType":"decimal"}],"#,
            r#""default":null}],"connect.name":"srv.public.cash_table.Value"}"#,
        )
    );
}

#[test]
fn a_single_column_defines_its_records() {
    let text = column_type(&column("v", ColumnType::VariableDecimal, true), &format());
    assert!(
        text.starts_with(r#"["null",{"type":"record","name":"VariableScaleDecimal""#),
        "{text}"
    );
    Schema::parse_str(&text).unwrap();
    assert_eq!(column_type(&column("v", ColumnType::Text, false), &format()), r#""string""#);
}

#[test]
fn odd_names_and_labels_are_escaped() {
    let labels = vec!["a\"b".to_owned(), "c\\d".to_owned(), "tab\t".to_owned()];
    let mut adjusted = format();
    adjusted.name_adjustment = NameAdjustment::Avro;
    let shape = shape(vec![column("größe", ColumnType::Enum { labels }, false)], vec![]);
    let text = value_record(&shape, &adjusted, "s.t");
    assert!(text.contains(r#"{"name":"gr__e","type":{"type":"string""#), "{text}");
    assert!(text.contains(r#"{"allowed":"a\"b,c\\d,tab\t"}"#), "{text}");
    Schema::parse_str(&text).unwrap();
}
