use apache_avro::types::Value;
use apache_avro::{Decimal, Schema};
use proptest::prelude::*;

use super::*;

const SCHEMA: &str = r#"{"type":"record","name":"Envelope","namespace":"shop.public.t","fields":[
  {"name":"before","type":["null",{"type":"record","name":"Value","fields":[
     {"name":"id","type":"int"},
     {"name":"big","type":"long"},
     {"name":"ok","type":"boolean"},
     {"name":"real","type":"float"},
     {"name":"double","type":"double"},
     {"name":"raw","type":["null","bytes"],"default":null},
     {"name":"text","type":["null","string"],"default":null},
     {"name":"price","type":["null",{"type":"bytes","scale":2,"precision":10,"connect.version":1,
        "connect.parameters":{"scale":"2","connect.decimal.precision":"10"},
        "connect.name":"org.apache.kafka.connect.data.Decimal","logicalType":"decimal"}]},
     {"name":"any","type":["null",{"type":"record","name":"VariableScaleDecimal",
        "namespace":"io.debezium.data","fields":[{"name":"scale","type":"int"},
        {"name":"value","type":"bytes"}],"connect.name":"io.debezium.data.VariableScaleDecimal"}]},
     {"name":"at","type":{"type":"long","connect.name":"io.debezium.time.MicroTimestamp"}},
     {"name":"on","type":{"type":"int","connect.name":"io.debezium.time.Date"}},
     {"name":"tags","type":{"type":"array","items":["null","string"]}},
     {"name":"extra","type":{"type":"map","values":"long"}},
     {"name":"kind","type":{"type":"enum","name":"Kind","symbols":["A","B"]}},
     {"name":"hash","type":{"type":"fixed","name":"Hash","size":2}}
  ],"connect.name":"shop.public.t.Value"}]},
  {"name":"after","type":["null","Value"]},
  {"name":"op","type":"string"}]}"#;

/// Encodes with apache-avro, the oracle.
fn encode(schema: &str, value: Value) -> Vec<u8> {
    let schema = Schema::parse_str(schema).unwrap();
    apache_avro::writer::datum::GenericDatumWriter::builder(&schema)
        .build()
        .unwrap()
        .write_value_to_vec(value)
        .unwrap()
}

fn some(branch: u32, value: Value) -> Value {
    Value::Union(branch, Box::new(value))
}

fn row() -> Value {
    let record = |members: Vec<(&str, Value)>| {
        Value::Record(members.into_iter().map(|(n, v)| (n.to_owned(), v)).collect())
    };
    record(vec![
        ("id", Value::Int(-7)),
        ("big", Value::Long(i64::MIN)),
        ("ok", Value::Boolean(true)),
        ("real", Value::Float(0.1)),
        ("double", Value::Double(f64::NAN)),
        ("raw", some(1, Value::Bytes(vec![0, 255]))),
        ("text", some(1, Value::String("ä\n".to_owned()))),
        ("price", some(1, Value::Decimal(Decimal::from(vec![0xfb, 0x2e])))),
        ("any", some(1, record(vec![("scale", Value::Int(3)), ("value", Value::Bytes(vec![5]))]))),
        ("at", Value::Long(1_500_000)),
        ("on", Value::Int(20_781)),
        ("tags", Value::Array(vec![some(0, Value::Null), some(1, Value::String("x".into()))])),
        ("extra", Value::Map([("k".to_owned(), Value::Long(1))].into())),
        ("kind", Value::Enum(1, "B".to_owned())),
        ("hash", Value::Fixed(2, vec![1, 2])),
    ])
}

fn envelope() -> Vec<u8> {
    let value = Value::Record(vec![
        ("before".to_owned(), some(0, Value::Null)),
        ("after".to_owned(), some(1, row())),
        ("op".to_owned(), Value::String("c".to_owned())),
    ]);
    encode(SCHEMA, value)
}

#[test]
fn a_record_reads_as_a_person_expects() {
    let json = Decoder::new(SCHEMA).unwrap().decode(&envelope()).unwrap();
    assert_eq!(
        serde_json::to_string(&json).unwrap(),
        concat!(
            r#"{"before":null,"after":{"id":-7,"big":-9223372036854775808,"ok":true,"real":0.1,"#,
            r#""double":"NaN","raw":"AP8=","text":"ä\n","price":"-12.34","any":"0.005","#,
            r#""at":"1970-01-01T00:00:01.5","on":"2026-11-24","tags":[null,"x"],"extra":{"k":1},"#,
            r#""kind":"B","hash":"AQI="},"op":"c"}"#
        )
    );
    assert_eq!(json.get("op").and_then(Json::as_text), Some("c"));
}

#[test]
fn a_record_cut_off_anywhere_is_an_error_and_not_a_row_of_nulls() {
    let decoder = Decoder::new(SCHEMA).unwrap();
    let whole = envelope();
    for length in 0..whole.len() {
        assert!(decoder.decode(&whole[..length]).is_err(), "{length} of {}", whole.len());
    }
    let mut longer = whole;
    longer.push(0);
    assert_eq!(decoder.decode(&longer), Err(Error::Trailing(1)));
}

#[test]
fn frames_are_told_from_other_bytes() {
    assert_eq!(unframe(&[0, 0, 0, 1, 2, 9]), Some((SchemaId(258), &[9][..])));
    assert_eq!(unframe(&[0, 0, 0, 1, 2]), Some((SchemaId(258), &[][..])));
    assert_eq!(unframe(&[1, 0, 0, 1, 2, 9]), None);
    assert_eq!(unframe(&[0, 0, 0]), None);
}

#[test]
fn bombs_are_refused() {
    let nulls = Decoder::new(r#"{"type":"array","items":"null"}"#).unwrap();
    // A block of 2^62 nulls.
    let mut bomb = vec![0x80; 8];
    bomb.extend([0x80, 0x01]);
    assert!(matches!(nulls.decode(&bomb), Err(Error::Invalid(_))));

    let list = Decoder::new(
        r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#,
    )
    .unwrap();
    assert!(list.decode(&[2, 2, 0]).is_ok());
    assert!(matches!(list.decode(&[2; 100_000]), Err(Error::Invalid(_))));

    let endless =
        Decoder::new(r#"{"type":"record","name":"E","fields":[{"name":"e","type":"E"}]}"#).unwrap();
    assert!(matches!(endless.decode(&[]), Err(Error::Invalid(_))));

    let bytes = Decoder::new(r#""bytes""#).unwrap();
    let mut huge = vec![0xfe; 9];
    huge.push(0x01);
    assert_eq!(bytes.decode(&huge), Err(Error::Truncated));
}

#[test]
fn schemas_that_are_none_are_refused() {
    for schema in ["", "<html>", "{}", r#""shop.Missing""#, r#"{"type":"record"}"#, "7"] {
        assert!(matches!(Decoder::new(schema), Err(Error::Schema(_))), "{schema}");
    }
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Decoder::new(SCHEMA).unwrap().decode(&bytes);
        let _ = unframe(&bytes);
    }

    #[test]
    fn numbers_and_texts_agree_with_the_oracle(number: i64, text: String, bytes: Vec<u8>) {
        let schema = r#"{"type":"record","name":"R","fields":[{"name":"n","type":"long"},
            {"name":"s","type":"string"},{"name":"b","type":"bytes"}]}"#;
        let datum = encode(schema, Value::Record(vec![
            ("n".to_owned(), Value::Long(number)),
            ("s".to_owned(), Value::String(text.clone())),
            ("b".to_owned(), Value::Bytes(bytes.clone())),
        ]));
        let json = Decoder::new(schema).unwrap().decode(&datum).unwrap();
        prop_assert_eq!(json.get("n"), Some(&Json::Integer(number)));
        prop_assert_eq!(json.get("s"), Some(&Json::Text(text)));
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::STANDARD.encode(&bytes);
        prop_assert_eq!(json.get("b"), Some(&Json::Text(encoded)));
    }
}
