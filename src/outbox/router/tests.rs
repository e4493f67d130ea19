use std::collections::BTreeMap;

use apache_avro::Schema;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::avro::ColumnShape;
use crate::avro::types::{ColumnType, TimeUnit};
use crate::config::settings::{NameAdjustment, TablePattern, TopicSettings};
use crate::envelope::fixture::{
    KEY_ID, VALUE_ID, column, context, decode, format, headers, row, texts,
};
use crate::pgoutput::ReplicaIdentity;

const ID: &str = "8c2b4f5e-0001-4d3a-9a55-0242ac130003";

/// `id uuid, aggregatetype, aggregateid, type varchar, payload jsonb`, all NOT NULL but the
/// payload, and further nullable columns.
fn table(payload: ColumnType) -> TableShape {
    let columns = [
        ("id", ColumnType::Uuid),
        ("aggregatetype", ColumnType::Text),
        ("aggregateid", ColumnType::Text),
        ("type", ColumnType::Text),
        ("payload", payload),
        ("n", ColumnType::Int32),
        ("at", ColumnType::Timestamp(TimeUnit::Micros)),
        ("tz", ColumnType::ZonedTimestamp { fraction: 6 }),
        ("flag", ColumnType::Boolean),
    ];
    let columns: Vec<ColumnShape> = columns
        .into_iter()
        .enumerate()
        .map(|(cell, (name, column_type))| ColumnShape {
            nullable: cell >= 4,
            ..column(name, cell, column_type)
        })
        .collect();
    TableShape {
        schema: "public".to_owned(),
        name: "outboxevent".to_owned(),
        identity: ReplicaIdentity::Default,
        cells: columns.len(),
        columns,
        key: vec![0],
    }
}

fn rule() -> OutboxRule {
    OutboxRule {
        table: TablePattern { schema: "public".to_owned(), table: "outboxevent".to_owned() },
        id: "id".to_owned(),
        key: "aggregateid".to_owned(),
        payload: "payload".to_owned(),
        route: "aggregatetype".to_owned(),
        timestamp: None,
        headers: Vec::new(),
        envelope: Vec::new(),
        partition: None,
        topic_regex: "(?<routedByValue>.*)".to_owned(),
        topic_replacement: "outbox.event.${routedByValue}".to_owned(),
        tombstone_on_empty_payload: false,
        topics: TopicSettings {
            create: true,
            partitions: None,
            replication_factor: None,
            config: BTreeMap::new(),
        },
    }
}

fn compile(payload: ColumnType, rule: &OutboxRule) -> Result<Router, CompileError> {
    Router::compile(RouterInput {
        name: "srv",
        shape: &table(payload),
        rule,
        format: &format(),
        context_headers: None,
    })
}

fn json_router(change: impl FnOnce(&mut OutboxRule)) -> Router {
    let mut rule = rule();
    change(&mut rule);
    compile(ColumnType::Json, &rule).unwrap()
}

/// A row of the default columns, and `more` for the first of the others.
fn event(payload: Option<&str>, more: &[Option<&str>]) -> crate::pgoutput::TupleBuilder {
    let mut cells = vec![Some(ID), Some("Order"), Some("1"), Some("OrderCreated"), payload];
    cells.extend(more);
    cells.resize(9, None);
    texts(&cells)
}

/// Routes a row, admitting its destination if it is missing.
fn route(
    router: &mut Router,
    row: &Tuple<'_>,
    batch: &mut Batch,
) -> Result<Option<Destination>, RouteError> {
    match router.route(&context(), row, batch)? {
        Routed::Written => Ok(None),
        Routed::Missing(destination) => {
            assert!(batch.is_empty());
            let value = destination.value_schema.as_ref().map(|_| VALUE_ID);
            router.admit(&destination.topic, Some(KEY_ID), value);
            assert_eq!(router.route(&context(), row, batch)?, Routed::Written);
            Ok(Some(destination))
        }
    }
}

/// The record of one row, decoded: topic, key, value, headers; and where it was sent.
fn routed(router: &mut Router, row: &Tuple<'_>) -> (Json, Destination) {
    let mut batch = Batch::default();
    let destination = route(router, row, &mut batch).unwrap().unwrap();
    assert_eq!(batch.len(), 1);
    let record = batch.peek().unwrap();
    let schema = |text: &Option<String>| Schema::parse_str(text.as_deref().unwrap()).unwrap();
    let key = record.key().map(|bytes| decode(&schema(&destination.key_schema), KEY_ID, bytes));
    let value =
        record.value().map(|bytes| decode(&schema(&destination.value_schema), VALUE_ID, bytes));
    let record = json!({
        "topic": &**record.topic(), "key": key, "value": value, "headers": headers(&record),
        "partition": record.partition(), "time": record.timestamp_millis(),
    });
    (record, destination)
}

fn failure(router: &mut Router, row: &Tuple<'_>) -> RouteError {
    let mut batch = Batch::default();
    let error = route(router, row, &mut batch).unwrap_err();
    assert!(batch.is_empty(), "a record of a row that failed");
    error
}

#[test]
fn the_defaults_are_the_event_routers() {
    let row = event(Some(r#"{"a": 1}"#), &[]);
    let (record, destination) = routed(&mut json_router(|_| {}), &row.tuple());
    let expected = json!({
        "topic": "outbox.event.Order",
        "key": "1",
        "value": "{\"a\": 1}",
        "headers": [["id", ID]],
        "partition": null,
        "time": 1_795_453_768_313_i64,
    });
    assert_eq!(record, expected);
    assert_eq!(destination.key_schema.as_deref(), Some("\"string\""));
    let json = concat!(
        r#"["null",{"type":"string","connect.version":1,"#,
        r#""connect.name":"io.debezium.data.Json"}]"#
    );
    assert_eq!(destination.value_schema.as_deref(), Some(json));
}

#[test]
fn a_known_route_needs_no_second_admission() {
    let mut router = json_router(|_| {});
    let row = event(Some("{}"), &[]);
    let mut batch = Batch::default();
    assert!(route(&mut router, &row.tuple(), &mut batch).unwrap().is_some());
    assert!(route(&mut router, &row.tuple(), &mut batch).unwrap().is_none());
    assert_eq!(batch.len(), 2);
}

#[test]
fn the_cache_is_bounded_and_forgetting_loses_nothing() {
    let mut router = json_router(|_| {});
    for number in 0..=MAX_ROUTES {
        let mut batch = Batch::default();
        let kind = number.to_string();
        let row =
            texts(&[Some(ID), Some(&kind), Some("1"), Some("t"), None, None, None, None, None]);
        assert!(route(&mut router, &row.tuple(), &mut batch).unwrap().is_some());
        assert!(router.known.len() <= MAX_ROUTES);
    }
}

#[test]
fn bytea_is_passed_through_untouched() {
    let mut router = compile(ColumnType::Bytes, &rule()).unwrap();
    let row = event(Some("\\x00000000070AfF"), &[]);
    let mut batch = Batch::default();
    let destination = route(&mut router, &row.tuple(), &mut batch).unwrap().unwrap();
    assert_eq!(destination.value_schema, None);
    assert_eq!(batch.peek().unwrap().value(), Some(&[0, 0, 0, 0, 7, 10, 255][..]));

    for wrong in ["", "x", "\\x0", "\\x0g", "\\xäb"] {
        let error = failure(&mut router, &event(Some(wrong), &[]).tuple());
        let malformed = RowError { column: 4, kind: RowErrorKind::Malformed };
        assert_eq!(error.kind, RouteErrorKind::Row(malformed), "{wrong:?}");
    }
}

#[test]
fn null_and_empty_payloads() {
    let value = |router: &mut Router, payload| {
        routed(router, &event(payload, &[]).tuple()).0["value"].clone()
    };
    let text = |tombstone| {
        let rule = OutboxRule { tombstone_on_empty_payload: tombstone, ..rule() };
        compile(ColumnType::Text, &rule).unwrap()
    };
    assert_eq!(value(&mut text(false), None), json!(null));
    assert_eq!(value(&mut text(false), Some(" \n")), json!(" \n"));
    assert_eq!(value(&mut text(true), Some(" \n")), json!(null));
    assert_eq!(value(&mut text(true), Some("x")), json!("x"));

    let bytes = |tombstone| {
        let rule = OutboxRule { tombstone_on_empty_payload: tombstone, ..rule() };
        let mut router = compile(ColumnType::Bytes, &rule).unwrap();
        let mut batch = Batch::default();
        route(&mut router, &event(Some("\\x"), &[]).tuple(), &mut batch).unwrap();
        batch.peek().unwrap().value().map(<[u8]>::to_vec)
    };
    assert_eq!(bytes(false), Some(Vec::new()));
    assert_eq!(bytes(true), None);
}

#[test]
fn columns_become_an_envelope() {
    let mut router = json_router(|rule| {
        rule.envelope =
            vec![("eventType".to_owned(), "type".to_owned()), ("count".to_owned(), "n".to_owned())];
    });
    let (record, destination) = routed(&mut router, &event(Some("{}"), &[Some("-3")]).tuple());
    let expected = json!({"payload": "{}", "eventType": "OrderCreated", "count": -3});
    assert_eq!(record["value"], expected);
    let schema = concat!(
        r#"{"type":"record","name":"Value","namespace":"srv.public.outboxevent.Order","fields":["#,
        r#"{"name":"payload","type":["null",{"type":"string","connect.version":1,"#,
        r#""connect.name":"io.debezium.data.Json"}],"default":null},"#,
        r#"{"name":"eventType","type":"string"},"#,
        r#"{"name":"count","type":["null","int"],"default":null}],"#,
        r#""connect.name":"srv.public.outboxevent.Order.Value"}"#
    );
    assert_eq!(destination.value_schema.as_deref(), Some(schema));
    let (record, _) = routed(
        &mut json_router(|rule| {
            rule.envelope = vec![("count".to_owned(), "n".to_owned())];
        }),
        &event(None, &[]).tuple(),
    );
    assert_eq!(record["value"], json!({"payload": null, "count": null}));
    let (record, _) = routed(
        &mut json_router(|rule| {
            rule.envelope = vec![("count".to_owned(), "n".to_owned())];
            rule.tombstone_on_empty_payload = true;
        }),
        &event(None, &[]).tuple(),
    );
    assert_eq!(record["value"], json!(null));
}

#[test]
fn an_envelopes_name_is_adjusted() {
    let rule = OutboxRule {
        envelope: vec![("n".to_owned(), "n".to_owned())],
        topic_regex: ".*".to_owned(),
        topic_replacement: "t".to_owned(),
        ..rule()
    };
    let mut format = format();
    format.name_adjustment = NameAdjustment::Avro;
    let mut router = Router::compile(RouterInput {
        name: "srv",
        shape: &table(ColumnType::Json),
        rule: &rule,
        format: &format,
        context_headers: None,
    })
    .unwrap();
    let cells = [Some(ID), Some("order-line"), Some("1"), Some("t"), None, None, None, None, None];
    let destination = route(&mut router, &texts(&cells).tuple(), &mut Batch::default());
    let schema = destination.unwrap().unwrap().value_schema.unwrap();
    assert!(schema.contains(r#""srv.public.outboxevent.order_line.Value""#), "{schema}");
    Schema::parse_str(&schema).unwrap();
}

#[test]
fn columns_become_headers_as_connect_writes_them() {
    let header = |name: &str, column: &str| (name.to_owned(), column.to_owned());
    let mut router = json_router(|rule| {
        rule.headers = vec![
            header("eventType", "type"),
            header("count", "n"),
            header("at", "at"),
            header("tz", "tz"),
            header("flag", "flag"),
            header("body", "payload"),
        ];
    });
    let at = "2000-01-01 00:00:00.000001";
    let more = [Some("-3"), Some(at), Some("2000-01-01 01:00:00+01"), Some("t")];
    let row = event(Some(r#"{"a": "\\"}"#), &more);
    let expected = json!([
        ["id", ID],
        ["eventType", "OrderCreated"],
        ["count", "-3"],
        ["at", "946684800000001"],
        ["tz", "2000-01-01T00:00:00.000000Z"],
        ["flag", "true"],
        ["body", r#"{"a": "\\"}"#],
    ]);
    assert_eq!(routed(&mut router, &row.tuple()).0["headers"], expected);

    let mut batch = Batch::default();
    route(&mut router, &event(None, &[]).tuple(), &mut batch).unwrap();
    assert_eq!(headers(&batch.peek().unwrap())[2], json!(["count", null]));
}

#[test]
fn a_column_chooses_the_partition() {
    let mut router = json_router(|rule| rule.partition = Some("n".to_owned()));
    let partition = |router: &mut Router, n| {
        let mut batch = Batch::default();
        route(router, &event(None, &[n]).tuple(), &mut batch)
            .map(|_| batch.peek().unwrap().partition())
    };
    assert_eq!(partition(&mut router, Some("12")), Ok(Some(12)));
    assert_eq!(partition(&mut router, None), Ok(None));
    for wrong in ["-1", "2147483648", "x"] {
        let error = partition(&mut router, Some(wrong)).unwrap_err();
        assert_eq!((error.column.as_str(), error.kind), ("n", RouteErrorKind::Partition));
    }
    let mut rule = rule();
    rule.partition = Some("type".to_owned());
    let message = compile(ColumnType::Json, &rule).map(drop).unwrap_err().to_string();
    assert!(message.contains("must be of type integer"), "{message}");
}

#[test]
fn a_column_gives_the_time() {
    for (name, more) in [
        ("at", [None, Some("2000-01-01 00:00:00.5"), None]),
        ("tz", [None, None, Some("2000-01-01 01:00:00.5+01")]),
    ] {
        let mut router = json_router(|rule| rule.timestamp = Some(name.to_owned()));
        let time = |router: &mut Router, more: &[Option<&str>]| {
            routed(router, &event(None, more).tuple()).0["time"].clone()
        };
        assert_eq!(time(&mut router, &more), json!(946_684_800_500_i64));
        let mut router = json_router(|rule| rule.timestamp = Some(name.to_owned()));
        assert_eq!(time(&mut router, &[]), json!(1_795_453_768_313_i64));
        for wrong in ["infinity", "1969-12-31 23:59:59+00"] {
            let error =
                failure(&mut router, &event(None, &[None, Some(wrong), Some(wrong)]).tuple());
            assert_eq!(error.kind, RouteErrorKind::Timestamp);
        }
    }
    let mut rule = rule();
    rule.timestamp = Some("n".to_owned());
    let message = compile(ColumnType::Json, &rule).map(drop).unwrap_err().to_string();
    assert!(message.contains("timestamp"), "{message}");
}

#[test]
fn a_null_key_is_a_null_key() {
    let mut router = json_router(|rule| rule.key = "n".to_owned());
    let (record, destination) = routed(&mut router, &event(None, &[]).tuple());
    assert_eq!(record["key"], json!(null));
    assert_eq!(destination.key_schema.as_deref(), Some(r#"["null","int"]"#));
    let mut router = json_router(|rule| rule.key = "n".to_owned());
    assert_eq!(routed(&mut router, &event(None, &[Some("5")]).tuple()).0["key"], json!(5));
}

#[test]
fn missing_columns_are_named_with_the_setting() {
    type Change<'a> = &'a dyn Fn(&mut OutboxRule);
    let message = |change: Change<'_>| {
        let mut rule = rule();
        change(&mut rule);
        compile(ColumnType::Json, &rule).map(drop).unwrap_err().to_string()
    };
    let gone = || "gone".to_owned();
    let cases: [(&str, Change<'_>); 8] = [
        ("columns.id", &|rule| rule.id = gone()),
        ("columns.key", &|rule| rule.key = gone()),
        ("columns.payload", &|rule| rule.payload = gone()),
        ("columns.route", &|rule| rule.route = gone()),
        ("timestamp", &|rule| rule.timestamp = Some(gone())),
        ("partition", &|rule| rule.partition = Some(gone())),
        ("headers.h", &|rule| rule.headers = vec![("h".to_owned(), gone())]),
        ("envelope.e", &|rule| rule.envelope = vec![("e".to_owned(), gone())]),
    ];
    for (setting, change) in cases {
        let message = message(change);
        let expected = format!("public.outboxevent has no column gone, which {setting} names");
        assert!(message.contains(&expected), "{message}");
    }
    let twice = message(&|rule| rule.envelope = vec![("payload".to_owned(), "n".to_owned())]);
    assert!(twice.contains("two envelope fields have the name payload"), "{twice}");
    let regex = message(&|rule| rule.topic_regex = "(".to_owned());
    assert!(regex.contains("topic rule"), "{regex}");
}

#[test]
fn a_topic_that_kafka_refuses_is_an_error_without_the_value() {
    let mut router = json_router(|_| {});
    let long = "x".repeat(240);
    let huge = "x".repeat(MAX_ROUTE_BYTES + 1);
    for (secret, kind) in [
        ("order secret", RouteErrorKind::InvalidTopic),
        ("ä", RouteErrorKind::InvalidTopic),
        (long.as_str(), RouteErrorKind::InvalidTopic),
        (huge.as_str(), RouteErrorKind::LongRoute { max: MAX_ROUTE_BYTES }),
    ] {
        let cells = [Some(ID), Some(secret), Some("1"), Some("t"), None, None, None, None, None];
        let error = failure(&mut router, &texts(&cells).tuple());
        assert_eq!(error.kind, kind);
        let message = error.to_string();
        assert!(message.contains("public.outboxevent"), "{message}");
        assert!(message.contains("aggregatetype"), "{message}");
        assert!(!message.contains(secret), "{message}");
    }
    let cells = [Some(ID), None, Some("1"), Some("t"), None, None, None, None, None];
    assert_eq!(failure(&mut router, &texts(&cells).tuple()).kind, RouteErrorKind::NoRoute);
    let cells = [Cell::Null, Cell::Text(b"\xff")];
    let invalid = RowError { column: 1, kind: RowErrorKind::InvalidUtf8 };
    assert_eq!(failure(&mut router, &row(&cells).tuple()).kind, RouteErrorKind::Row(invalid));
}

#[test]
fn an_unexpected_null_names_its_column_and_leaves_no_record() {
    // `aggregateid` is the key: null makes a null key. `type` in a record cannot be null.
    let mut router = json_router(|rule| {
        rule.envelope = vec![("eventType".to_owned(), "type".to_owned())];
    });
    let cells = [Some(ID), Some("Order"), Some("1"), None, None, None, None, None, None];
    let error = failure(&mut router, &texts(&cells).tuple());
    let unexpected = RowError { column: 3, kind: RowErrorKind::UnexpectedNull };
    assert_eq!(error.kind, RouteErrorKind::Row(unexpected));
    assert_eq!(error.column, "type");
}

#[test]
fn context_headers_come_first() {
    let mut router = Router::compile(RouterInput {
        name: "srv",
        shape: &table(ColumnType::Json),
        rule: &rule(),
        format: &format(),
        context_headers: Some(ContextHeaders::new("srv", "run")),
    })
    .unwrap();
    let headers = routed(&mut router, &event(None, &[]).tuple()).0["headers"].clone();
    assert_eq!(headers[3], json!(["__debezium.context.runId", "run"]));
    assert_eq!(headers[4], json!(["id", ID]));
}

proptest! {
    #[test]
    fn any_row_is_routed_or_refused(cells in prop::collection::vec(prop::option::of(".{0,12}"), 0..10)) {
        let cells: Vec<Option<&str>> = cells.iter().map(Option::as_deref).collect();
        let mut router = json_router(|rule| {
            rule.partition = Some("n".to_owned());
            rule.timestamp = Some("at".to_owned());
            rule.headers = vec![("flag".to_owned(), "flag".to_owned())];
        });
        let mut batch = Batch::default();
        match route(&mut router, &texts(&cells).tuple(), &mut batch) {
            Ok(_) => prop_assert_eq!(batch.len(), 1),
            Err(_) => prop_assert!(batch.is_empty()),
        }
    }
}
