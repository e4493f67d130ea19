use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::avro::types::ColumnType;
use crate::avro::{ColumnShape, RowErrorKind};
use crate::config::settings::NameAdjustment;
use crate::envelope::fixture::{
    KEY_ID, VALUE_ID, column, context, format, records, row, table, texts,
};
use crate::pgoutput::{Cell, Origin, ReplicaIdentity};
use crate::postgres::Lsn;

struct Table {
    plan: TablePlan,
    schemas: Schemas,
}

impl Table {
    fn new(shape: &TableShape, format: &FormatSettings) -> Table {
        let schemas = schemas("srv", shape, format);
        let input = PlanInput {
            name: "srv",
            database: "gt",
            shape,
            format,
            topic: TopicName::from("srv.public.t"),
            key_schema: schemas.key.as_ref().map(|_| KEY_ID),
            value_schema: VALUE_ID,
            inserts_only: false,
            context_headers: format.context_headers.then(|| ContextHeaders::new("srv", "run")),
        };
        Table { plan: TablePlan::compile(input).unwrap(), schemas }
    }

    fn of(identity: ReplicaIdentity) -> Table {
        Table::new(&table(identity), &format())
    }

    fn records(&mut self, write: impl FnOnce(&mut TablePlan, &mut Batch)) -> Vec<Json> {
        let mut batch = Batch::default();
        write(&mut self.plan, &mut batch);
        records(&batch, &self.schemas)
    }

    fn update(&mut self, old: OldTuple<'_>, new: &TupleBuilder) -> Vec<Json> {
        self.records(|plan, batch| plan.update(&context(), old, &new.tuple(), batch).unwrap())
    }

    fn delete(&mut self, old: OldTuple<'_>) -> Vec<Json> {
        self.records(|plan, batch| plan.delete(&context(), old, batch).unwrap())
    }
}

/// Key, before, after and op of each record; a tombstone is its key and null.
fn outline(records: &[Json]) -> Json {
    let line = |record: &Json| match &record["value"] {
        Json::Null => json!([record["key"], null]),
        value => json!([record["key"], value["before"], value["after"], value["op"]]),
    };
    records.iter().map(line).collect()
}

fn all_headers(records: &[Json]) -> Json {
    records.iter().map(|record| record["headers"].clone()).collect()
}

fn t(id: &str, name: Option<&str>, note: &str) -> Json {
    json!({"id": id, "name": name, "note": note})
}

/// `cash_table(pk serial primary key, csh money)`, as Debezium 3.6.3 registered it.
#[test]
fn the_schemas_are_debeziums_byte_for_byte() {
    let shape = TableShape {
        schema: "public".to_owned(),
        name: "cash_table".to_owned(),
        identity: ReplicaIdentity::Default,
        columns: vec![
            ColumnShape {
                nullable: false,
                default: Some("nextval('cash_table_pk_seq'::regclass)".to_owned()),
                auto_increment: true,
                identity: true,
                ..column("pk", 0, ColumnType::Int32)
            },
            column("csh", 1, ColumnType::Money),
        ],
        key: vec![0],
        cells: 2,
    };
    let schemas = schemas("srv", &shape, &format());
    assert_eq!(schemas.key.as_deref(), Some(include_str!("testdata/cash_table-key.avsc")));
    assert_eq!(schemas.value, include_str!("testdata/cash_table-value.avsc"));
}

#[test]
fn an_insert_is_a_whole_envelope() {
    let new = texts(&[Some("1"), None, Some("n")]);
    let records = Table::of(ReplicaIdentity::Default)
        .records(|plan, batch| plan.insert(&context(), &new.tuple(), batch).unwrap());
    let expected = json!([{
        "topic": "srv.public.t",
        "key": {"id": "1"},
        "value": {
            "before": null,
            "after": {"id": "1", "name": null, "note": "n"},
            "source": {
                "version": "3.6.3.Final",
                "connector": "postgresql",
                "name": "srv",
                "ts_ms": 1_795_453_768_313_i64,
                "snapshot": "false",
                "db": "gt",
                "sequence": "[\"50\",\"100\"]",
                "ts_us": 1_795_453_768_313_042_i64,
                "ts_ns": 1_795_453_768_313_042_000_i64,
                "schema": "public",
                "table": "t",
                "txId": 4_294_967_295_i64,
                "lsn": 100,
                "xmin": null,
                "origin": null,
                "origin_lsn": null,
            },
            "transaction": null,
            "op": "c",
            "ts_ms": 1_795_453_768_400_i64,
            "ts_us": 1_795_453_768_400_000_i64,
            "ts_ns": 1_795_453_768_400_000_001_i64,
        },
        "headers": [],
    }]);
    assert_eq!(Json::from(records), expected);
}

#[test]
fn the_first_transaction_and_a_replicated_one_say_so() {
    let new = texts(&[Some("1"), None, Some("n")]);
    let origin = Origin { lsn: Lsn(7), name: "upstream" };
    let context = EventContext { last_commit_lsn: None, origin: Some(origin), ..context() };
    let records = Table::of(ReplicaIdentity::Default)
        .records(|plan, batch| plan.insert(&context, &new.tuple(), batch).unwrap());
    let source = &records[0]["value"]["source"];
    assert_eq!(source["sequence"], json!("[null,\"100\"]"));
    assert_eq!((&source["origin"], &source["origin_lsn"]), (&json!("upstream"), &json!(7)));
}

#[test]
fn an_update_that_leaves_the_identity_alone_has_no_before() {
    let new = texts(&[Some("1"), Some("x"), Some("n")]);
    for identity in [ReplicaIdentity::Default, ReplicaIdentity::Index, ReplicaIdentity::Nothing] {
        let records = Table::of(identity).update(OldTuple::None, &new);
        let expected = json!([[{"id": "1"}, null, t("1", Some("x"), "n"), "u"]]);
        assert_eq!(outline(&records), expected);
        assert_eq!(all_headers(&records), json!([[]]));
    }
}

#[test]
fn identity_full_gives_the_whole_row_before() {
    let mut table = Table::of(ReplicaIdentity::Full);
    let old = texts(&[Some("1"), Some("a"), Some("m")]);
    let new = texts(&[Some("1"), None, Some("n")]);
    let records = table.update(OldTuple::Full(old.tuple()), &new);
    let (before, after) = (t("1", Some("a"), "m"), t("1", None, "n"));
    assert_eq!(outline(&records), json!([[{"id": "1"}, before, after, "u"]]));

    let records = table.delete(OldTuple::Full(old.tuple()));
    assert_eq!(outline(&records), json!([[{"id": "1"}, before, null, "d"], [{"id": "1"}, null]]));
    assert_eq!(all_headers(&records), json!([[], []]));
}

#[test]
fn a_delete_by_key_shows_the_key_and_marks_it() {
    let old = texts(&[Some("1"), None, None]);
    for identity in [ReplicaIdentity::Default, ReplicaIdentity::Index] {
        let records = Table::of(identity).delete(OldTuple::Key(old.tuple()));
        let expected = json!([[{"id": "1"}, t("1", None, ""), null, "d"], [{"id": "1"}, null]]);
        assert_eq!(outline(&records), expected);
        assert_eq!(all_headers(&records), json!([[["walferry.before", "key"]], []]));
    }
}

#[test]
fn a_delete_by_key_can_have_a_null_before() {
    let old = texts(&[Some("1"), None, None]);
    let format = FormatSettings { before_delete: BeforeDelete::Null, ..format() };
    let mut table = Table::new(&table(ReplicaIdentity::Default), &format);
    let records = table.delete(OldTuple::Key(old.tuple()));
    assert_eq!(outline(&records), json!([[{"id": "1"}, null, null, "d"], [{"id": "1"}, null]]));
    assert_eq!(all_headers(&records), json!([[], []]));
}

#[test]
fn a_changed_key_is_a_delete_and_a_create() {
    let new = texts(&[Some("2"), Some("x"), Some("n")]);
    let old = texts(&[Some("1"), None, None]);
    let records = Table::of(ReplicaIdentity::Default).update(OldTuple::Key(old.tuple()), &new);
    let expected = json!([
        [{"id": "1"}, t("1", None, ""), null, "d"],
        [{"id": "1"}, null],
        [{"id": "2"}, null, t("2", Some("x"), "n"), "c"],
    ]);
    assert_eq!(outline(&records), expected);
    let new_key = json!(["__debezium.newkey", "{\"id\":\"2\"}"]);
    let headers = json!([
        [new_key, ["walferry.before", "key"]],
        [new_key],
        [["__debezium.oldkey", "{\"id\":\"1\"}"]],
    ]);
    assert_eq!(all_headers(&records), headers);
}

#[test]
fn a_changed_key_under_full_shows_the_whole_old_row() {
    let old = row(&[Cell::Text(b"1"), Cell::Text(b"big"), Cell::Text(b"m")]);
    let new = row(&[Cell::Text(b"2"), Cell::Unchanged, Cell::Text(b"n")]);
    let records = Table::of(ReplicaIdentity::Full).update(OldTuple::Full(old.tuple()), &new);
    let expected = json!([
        [{"id": "1"}, t("1", Some("big"), "m"), null, "d"],
        [{"id": "1"}, null],
        [{"id": "2"}, null, t("2", Some("big"), "n"), "c"],
    ]);
    assert_eq!(outline(&records), expected);
}

#[test]
fn unchanged_toast_is_the_placeholder_or_the_old_value() {
    let new = row(&[Cell::Text(b"1"), Cell::Unchanged, Cell::Text(b"n")]);
    let records = Table::of(ReplicaIdentity::Default).update(OldTuple::None, &new);
    let placeholder = Some("__debezium_unavailable_value");
    assert_eq!(records[0]["value"]["after"], t("1", placeholder, "n"));

    let old = texts(&[Some("1"), Some("big"), Some("m")]);
    let records = Table::of(ReplicaIdentity::Full).update(OldTuple::Full(old.tuple()), &new);
    assert_eq!(records[0]["value"]["after"], t("1", Some("big"), "n"));

    // A key image does not say what the others are: they are placeholders, not its NULLs.
    let old = texts(&[Some("0"), None, None]);
    let records = Table::of(ReplicaIdentity::Default).update(OldTuple::Key(old.tuple()), &new);
    assert_eq!(records[2]["value"]["after"], t("1", placeholder, "n"));
}

#[test]
fn a_toasted_key_is_taken_from_the_old_tuple() {
    let new = row(&[Cell::Unchanged, Cell::Text(b"x"), Cell::Text(b"n")]);
    let by_key = texts(&[Some("long key"), None, None]);
    let records = Table::of(ReplicaIdentity::Default).update(OldTuple::Key(by_key.tuple()), &new);
    let key = json!({"id": "long key"});
    let (before, after) = (t("long key", None, ""), t("long key", Some("x"), "n"));
    assert_eq!(outline(&records), json!([[key, before, after, "u"]]));
    assert_eq!(all_headers(&records), json!([[["walferry.before", "key"]]]));

    let whole = texts(&[Some("long key"), None, Some("n")]);
    let records = Table::of(ReplicaIdentity::Full).update(OldTuple::Full(whole.tuple()), &new);
    assert_eq!(outline(&records), json!([[key, t("long key", None, "n"), after, "u"]]));
}

#[test]
fn a_key_that_was_not_sent_is_never_the_placeholder() {
    let new = row(&[Cell::Unchanged, Cell::Text(b"x"), Cell::Text(b"n")]);
    let mut batch = Batch::default();
    let mut plan = Table::of(ReplicaIdentity::Default).plan;
    let result = plan.update(&context(), OldTuple::None, &new.tuple(), &mut batch);
    assert_eq!(result, Err(NO_OLD_ROW));
    assert!(batch.is_empty());
}

#[test]
fn a_table_without_a_key_has_null_keys() {
    let shape = TableShape { key: Vec::new(), ..table(ReplicaIdentity::Full) };
    let mut table = Table::new(&shape, &format());
    assert_eq!(table.schemas.key, None);
    let old = texts(&[Some("1"), None, Some("m")]);
    let new = texts(&[Some("2"), None, Some("m")]);
    let records = table.update(OldTuple::Full(old.tuple()), &new);
    assert_eq!(outline(&records), json!([[null, t("1", None, "m"), t("2", None, "m"), "u"]]));
    let records = table.delete(OldTuple::Full(old.tuple()));
    assert_eq!(outline(&records), json!([[null, t("1", None, "m"), null, "d"], [null, null]]));
}

#[test]
fn tombstones_can_be_turned_off() {
    let format = FormatSettings { tombstones: false, ..format() };
    let mut table = Table::new(&table(ReplicaIdentity::Default), &format);
    let old = texts(&[Some("1"), None, None]);
    assert_eq!(table.delete(OldTuple::Key(old.tuple())).len(), 1);
    let new = texts(&[Some("2"), None, Some("n")]);
    assert_eq!(table.update(OldTuple::Key(old.tuple()), &new).len(), 2);
}

#[test]
fn truncates_are_written_where_they_are_wanted() {
    let shape = table(ReplicaIdentity::Default);
    let truncate = |plan: &mut TablePlan, batch: &mut Batch| plan.truncate(&context(), batch);
    assert!(Table::new(&shape, &format()).records(truncate).is_empty());

    let mut format = FormatSettings { truncate: true, ..format() };
    let records = Table::new(&shape, &format).records(truncate);
    assert_eq!(outline(&records), json!([[null, null, null, "t"]]));

    format.skip.push(Operation::Truncate);
    assert!(Table::new(&shape, &format).records(truncate).is_empty());
}

#[test]
fn skipped_operations_are_those_of_the_table() {
    let shape = table(ReplicaIdentity::Default);
    let new = texts(&[Some("2"), None, Some("n")]);
    let old = texts(&[Some("1"), None, None]);
    let counts = |skip| {
        let mut table = Table::new(&shape, &FormatSettings { skip: vec![skip], ..format() });
        let insert = table.records(|p, b| p.insert(&context(), &new.tuple(), b).unwrap());
        let update = table.update(OldTuple::Key(old.tuple()), &new);
        [insert.len(), update.len(), table.delete(OldTuple::Key(old.tuple())).len()]
    };
    assert_eq!(counts(Operation::Create), [0, 3, 2]);
    assert_eq!(counts(Operation::Update), [1, 0, 2]);
    assert_eq!(counts(Operation::Delete), [1, 3, 0]);
}

#[test]
fn context_headers_come_after_the_other_key() {
    let format = FormatSettings { context_headers: true, ..format() };
    let mut table = Table::new(&table(ReplicaIdentity::Default), &format);
    let old = texts(&[Some("1"), None, None]);
    let new = texts(&[Some("2"), None, Some("n")]);
    let records = table.update(OldTuple::Key(old.tuple()), &new);
    let names = |record: &Json| -> Vec<String> {
        let headers = record["headers"].as_array().unwrap();
        headers.iter().map(|header| header[0].as_str().unwrap().to_owned()).collect()
    };
    let context = [
        "__debezium.context.connectorLogicalName",
        "__debezium.context.taskId",
        "__debezium.context.connectorName",
        "__debezium.context.runId",
    ];
    let with = |first: &'static str| [&[first][..], &context[..]].concat();
    assert_eq!(names(&records[1]), with("__debezium.newkey"));
    assert_eq!(names(&records[2]), with("__debezium.oldkey"));
    assert_eq!(records[2]["headers"][3], json!(["__debezium.context.connectorName", "postgresql"]));
}

#[test]
fn a_row_that_cannot_be_encoded_leaves_the_batch_as_it_was() {
    let mut table = Table::of(ReplicaIdentity::Default);
    let mut batch = Batch::default();
    let good = texts(&[Some("0"), None, Some("n")]);
    table.plan.insert(&context(), &good.tuple(), &mut batch).unwrap();

    // The delete and its tombstone could be written; the create cannot.
    let old = texts(&[Some("1"), None, None]);
    let new = texts(&[Some("2"), None, None]);
    let result =
        table.plan.update(&context(), OldTuple::Key(old.tuple()), &new.tuple(), &mut batch);
    assert_eq!(result, Err(RowError { column: 2, kind: RowErrorKind::UnexpectedNull }));
    assert_eq!(batch.len(), 1);
    table.plan.insert(&context(), &good.tuple(), &mut batch).unwrap();
    let records = records(&batch, &table.schemas);
    assert_eq!(records[0], records[1]);
}

#[test]
fn a_delete_without_an_old_row_is_an_error() {
    let mut batch = Batch::default();
    let mut plan = Table::of(ReplicaIdentity::Default).plan;
    assert_eq!(plan.delete(&context(), OldTuple::None, &mut batch), Err(NO_OLD_ROW));
    assert!(batch.is_empty());
}

#[test]
fn a_key_outside_the_identity_is_refused_with_its_remedies() {
    let mut shape = table(ReplicaIdentity::Index);
    shape.columns[0].identity = false;
    shape.columns[1].identity = true;
    let schemas = schemas("srv", &shape, &format());
    let compile = |inserts_only| {
        TablePlan::compile(PlanInput {
            name: "srv",
            database: "gt",
            shape: &shape,
            format: &format(),
            topic: TopicName::from("t"),
            key_schema: schemas.key.as_ref().map(|_| KEY_ID),
            value_schema: VALUE_ID,
            inserts_only,
            context_headers: None,
        })
    };
    let message = compile(false).map(drop).unwrap_err().to_string();
    assert!(message.contains("ALTER TABLE public.t REPLICA IDENTITY FULL"), "{message}");

    // A delete that comes all the same cannot be keyed.
    let mut plan = compile(true).unwrap();
    let old = texts(&[None, Some("a"), None]);
    let mut batch = Batch::default();
    let result = plan.delete(&context(), OldTuple::Key(old.tuple()), &mut batch);
    assert_eq!(result, Err(RowError { column: 0, kind: RowErrorKind::CellCount }));
    assert!(batch.is_empty());
}

#[test]
fn a_table_without_an_identity_may_have_any_key() {
    let mut shape = table(ReplicaIdentity::Default);
    shape.columns[0].identity = false;
    let new = texts(&[Some("1"), None, Some("n")]);
    let records = Table::new(&shape, &format())
        .records(|plan, batch| plan.insert(&context(), &new.tuple(), batch).unwrap());
    assert_eq!(records[0]["key"], json!({"id": "1"}));
}

#[test]
fn a_key_schema_must_belong_to_the_key() {
    let shape = TableShape { key: Vec::new(), ..table(ReplicaIdentity::Full) };
    let result = TablePlan::compile(PlanInput {
        name: "srv",
        database: "gt",
        shape: &shape,
        format: &format(),
        topic: TopicName::from("t"),
        key_schema: Some(KEY_ID),
        value_schema: VALUE_ID,
        inserts_only: false,
        context_headers: None,
    });
    assert!(matches!(result, Err(PlanError::KeySchema { .. })));
}

#[test]
fn names_that_avro_does_not_allow_are_adjusted() {
    let shape = TableShape { name: "Weird-Name".to_owned(), ..table(ReplicaIdentity::Default) };
    let format = FormatSettings { name_adjustment: NameAdjustment::Avro, ..format() };
    let schemas = schemas("my-srv", &shape, &format);
    let fragment = r#""connect.name":"my_srv.public.Weird_Name.Envelope""#;
    assert!(schemas.value.ends_with(&(fragment.to_owned() + "}")), "{}", schemas.value);
    apache_avro::Schema::parse_str(&schemas.value).unwrap();
}

/// What a random client does to the table: ids are one of four, so that changes meet.
#[derive(Debug, Clone)]
enum Change {
    Put(u8, Option<String>),
    Move(u8, u8, Option<String>),
    /// Updates the note and leaves the name, which is too long to be sent.
    Note(u8),
    Remove(u8),
}

fn change() -> impl Strategy<Value = Change> {
    let id = || 0_u8..4;
    prop_oneof![
        (id(), any::<Option<String>>()).prop_map(|(id, name)| Change::Put(id, name)),
        (id(), id(), any::<Option<String>>()).prop_map(|(a, b, name)| Change::Move(a, b, name)),
        id().prop_map(Change::Note),
        id().prop_map(Change::Remove),
    ]
}

/// A table, and the same table as a consumer rebuilds it from the records.
#[derive(Default)]
struct Replica {
    rows: BTreeMap<String, (Option<String>, u32)>,
    rebuilt: BTreeMap<String, Json>,
    updates: u32,
}

impl Replica {
    fn apply(&mut self, table: &mut Table, full: bool, change: Change) {
        let old_of = |id: &str, row: &(Option<String>, u32)| match full {
            true => texts(&[Some(id), row.0.as_deref(), Some(&row.1.to_string())]),
            false => texts(&[Some(id), None, None]),
        };
        let wrap = |old: &TupleBuilder, write: &mut dyn FnMut(OldTuple<'_>)| match full {
            true => write(OldTuple::Full(old.tuple())),
            false => write(OldTuple::Key(old.tuple())),
        };
        self.updates += 1;
        let note = self.updates.to_string();
        let mut batch = Batch::default();
        let plan = &mut table.plan;
        match change {
            Change::Put(id, name) => {
                let id = id.to_string();
                let new = texts(&[Some(&id), name.as_deref(), Some(&note)]);
                match self.rows.insert(id.clone(), (name, self.updates)) {
                    None => plan.insert(&context(), &new.tuple(), &mut batch).unwrap(),
                    Some(row) if full => wrap(&old_of(&id, &row), &mut |old| {
                        plan.update(&context(), old, &new.tuple(), &mut batch).unwrap();
                    }),
                    Some(_) => {
                        plan.update(&context(), OldTuple::None, &new.tuple(), &mut batch).unwrap()
                    }
                }
            }
            Change::Move(from, to, name) => {
                let (from, to) = (from.to_string(), to.to_string());
                if from == to || self.rows.contains_key(&to) {
                    return;
                }
                let Some(row) = self.rows.remove(&from) else { return };
                let new = texts(&[Some(&to), name.as_deref(), Some(&note)]);
                self.rows.insert(to, (name, self.updates));
                wrap(&old_of(&from, &row), &mut |old| {
                    plan.update(&context(), old, &new.tuple(), &mut batch).unwrap();
                });
            }
            Change::Note(id) => {
                let id = id.to_string();
                let Some(row) = self.rows.get(&id).filter(|row| full && row.0.is_some()) else {
                    return;
                };
                let old = old_of(&id, row);
                let name = Cell::Unchanged;
                let new = row_of(&id, name, &note);
                self.rows.entry(id).and_modify(|row| row.1 = self.updates);
                wrap(&old, &mut |old| {
                    plan.update(&context(), old, &new.tuple(), &mut batch).unwrap();
                });
            }
            Change::Remove(id) => {
                let Some(row) = self.rows.remove(&id.to_string()) else { return };
                wrap(&old_of(&id.to_string(), &row), &mut |old| {
                    plan.delete(&context(), old, &mut batch).unwrap();
                });
            }
        }
        self.consume(&records(&batch, &table.schemas));
    }

    fn consume(&mut self, records: &[Json]) {
        for record in records {
            let key = record["key"]["id"].as_str().unwrap().to_owned();
            match &record["value"]["after"] {
                Json::Null => self.rebuilt.remove(&key),
                after => self.rebuilt.insert(key, after.clone()),
            };
        }
    }
}

fn row_of(id: &str, name: Cell<'_>, note: &str) -> TupleBuilder {
    row(&[Cell::Text(id.as_bytes()), name, Cell::Text(note.as_bytes())])
}

proptest! {
    #[test]
    fn a_table_rebuilt_from_its_records_is_the_table(
        full: bool,
        changes in prop::collection::vec(change(), 0..40),
    ) {
        let identity = if full { ReplicaIdentity::Full } else { ReplicaIdentity::Default };
        let mut table = Table::of(identity);
        let mut replica = Replica::default();
        for change in changes {
            replica.apply(&mut table, full, change);
            let rows: BTreeMap<String, Json> = replica
                .rows
                .iter()
                .map(|(id, (name, note))| (id.clone(), t(id, name.as_deref(), &note.to_string())))
                .collect();
            prop_assert_eq!(&replica.rebuilt, &rows);
        }
    }
}
