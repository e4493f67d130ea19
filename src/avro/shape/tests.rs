use super::*;
use crate::postgres::Oid;
use crate::postgres::catalog::{IdentityKind, RelationKind, TypeFacts, TypeKind};

const INT4: Oid = Oid(23);
const TEXT: Oid = Oid(25);
const FLOAT8: Oid = Oid(701);

fn relation(identity: ReplicaIdentity, columns: &[(&str, Oid, bool)]) -> Relation {
    let columns = columns
        .iter()
        .map(|&(name, type_oid, key)| RelationColumn {
            name: name.to_owned(),
            key,
            type_oid,
            typmod: -1,
        })
        .collect();
    Relation { oid: Oid(1), schema: "s".to_owned(), name: "t".to_owned(), identity, columns }
}

fn facts(
    columns: &[(&str, Oid, bool, Option<&str>)],
    primary: &[&str],
    unique: &[&str],
) -> TableFacts {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    TableFacts {
        oid: Oid(1),
        schema: "s".to_owned(),
        name: "t".to_owned(),
        kind: RelationKind::Table,
        root: None,
        identity: IdentityKind::Default,
        columns: columns
            .iter()
            .map(|&(name, type_oid, not_null, default)| ColumnFacts {
                name: name.to_owned(),
                type_oid,
                typmod: -1,
                not_null,
                default: default.map(str::to_owned),
                generated: false,
                identity: false,
            })
            .collect(),
        primary_key: owned(primary),
        unique_key: owned(unique),
    }
}

fn rules(key: Option<&[&str]>, exclude: &[&str]) -> ShapeRules {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    ShapeRules {
        key_columns: key.map(owned),
        exclude_columns: owned(exclude),
        omit_defaults: false,
    }
}

const ABC: [(&str, Oid, bool); 3] = [("a", INT4, true), ("b", TEXT, false), ("c", INT4, false)];
const ABC_FACTS: [(&str, Oid, bool, Option<&str>); 3] = [
    ("a", INT4, true, Some("nextval('s'::regclass)")),
    ("b", TEXT, false, Some("'x'::text")),
    ("c", INT4, true, None),
];

fn shape(identity: ReplicaIdentity, facts: Option<&TableFacts>, rules: &ShapeRules) -> TableShape {
    TableShape::resolve(&relation(identity, &ABC), facts, &Types::default(), rules).unwrap()
}

#[test]
fn the_catalog_completes_the_message() {
    let shape =
        shape(ReplicaIdentity::Default, Some(&facts(&ABC_FACTS, &["a"], &[])), &rules(None, &[]));
    let summary: Vec<_> = shape
        .columns
        .iter()
        .map(|c| (c.name.as_str(), c.nullable, c.default.is_some(), c.auto_increment, c.identity))
        .collect();
    assert_eq!(
        summary,
        [
            ("a", false, true, true, true),
            ("b", true, true, false, false),
            ("c", false, false, false, false)
        ]
    );
    assert_eq!(shape.cells, 3);
}

#[test]
fn excluded_columns_keep_their_cells() {
    let shape = shape(ReplicaIdentity::Default, None, &rules(None, &["b"]));
    let cells: Vec<_> = shape.columns.iter().map(|c| (c.name.as_str(), c.cell)).collect();
    assert_eq!(cells, [("a", 0), ("c", 2)]);
    assert_eq!((shape.cells, shape.key), (3, vec![0]));
}

#[test]
fn without_the_catalog_columns_are_nullable() {
    let shape = shape(ReplicaIdentity::Default, None, &rules(None, &[]));
    assert!(shape.columns.iter().all(|column| column.nullable && column.default.is_none()));
}

#[test]
fn hints_of_another_type_are_not_taken() {
    let mut later = ABC_FACTS;
    later[2] = ("c", TEXT, true, Some("'later'::text"));
    let shape =
        shape(ReplicaIdentity::Default, Some(&facts(&later, &["a"], &[])), &rules(None, &[]));
    assert_eq!(shape.columns[2].column_type, ColumnType::Int32);
    assert!(shape.columns[2].nullable && shape.columns[2].default.is_none());
}

#[test]
fn the_key_follows_its_order_of_sources() {
    use ReplicaIdentity::{Default, Full, Index, Nothing};
    let none = rules(None, &[]);
    let primary = facts(&ABC_FACTS, &["c", "a"], &["b"]);
    let unique = facts(&ABC_FACTS, &[], &["b"]);
    assert_eq!(shape(Full, Some(&primary), &rules(Some(&["b", "a"]), &[])).key, [1, 0]);
    assert_eq!(shape(Full, Some(&primary), &none).key, [2, 0]);
    // An excluded column takes the primary key out of the running.
    assert_eq!(shape(Default, Some(&primary), &rules(None, &["c"])).key, [0]);
    assert_eq!(shape(Index, Some(&unique), &none).key, [0]);
    assert_eq!(shape(Full, Some(&unique), &none).key, [1]);
    assert_eq!(shape(Nothing, Some(&unique), &none).key, [1]);
    assert!(shape(Full, None, &none).key.is_empty());
    assert!(shape(Nothing, None, &none).key.is_empty());
}

#[test]
fn impossible_keys_are_refused_with_a_remedy() {
    let refused = |rules: &ShapeRules| {
        let relation = relation(ReplicaIdentity::Default, &ABC);
        TableShape::resolve(&relation, None, &Types::default(), rules).unwrap_err()
    };
    let message = refused(&rules(Some(&["z"]), &[])).to_string();
    assert!(message.contains("\"z\"") && message.contains("key_columns"), "{message}");
    assert!(matches!(refused(&rules(Some(&["a"]), &["a"])), ShapeError::ExcludedKeyColumn { .. }));
    assert!(matches!(
        refused(&rules(Some(&["a", "a"]), &[])),
        ShapeError::RepeatedKeyColumn { .. }
    ));
}

#[test]
fn names_are_checked() {
    let named = |names: &[&str]| {
        let columns: Vec<_> = names.iter().map(|&name| (name, INT4, false)).collect();
        let relation = relation(ReplicaIdentity::Default, &columns);
        TableShape::resolve(&relation, None, &Types::default(), &rules(None, &[])).unwrap()
    };
    let odd = named(&["a b", "a.b"]);
    assert!(matches!(
        odd.check_names(NameAdjustment::None),
        Err(ShapeError::IllegalName { name, .. }) if name == "a b"
    ));
    assert!(matches!(
        odd.check_names(NameAdjustment::Avro),
        Err(ShapeError::NameConflict { adjusted, .. }) if adjusted == "a_b"
    ));
    assert_eq!(odd.check_names(NameAdjustment::AvroUnicode), Ok(()));
    assert_eq!(named(&["a", "B_1"]).check_names(NameAdjustment::None), Ok(()));
    // A name without a character in it cannot be adjusted.
    assert!(named(&[""]).check_names(NameAdjustment::Avro).is_err());
}

#[test]
fn widening_adds_null_to_the_column_and_its_elements() {
    let mut shape =
        shape(ReplicaIdentity::Default, Some(&facts(&ABC_FACTS, &["a"], &[])), &rules(None, &[]));
    shape.columns[2].column_type =
        ColumnType::Array { element: Box::new(ColumnType::Int32), nullable_elements: false };
    shape.widen(2);
    shape.widen(99);
    assert!(shape.columns[2].nullable);
    assert!(matches!(
        shape.columns[2].column_type,
        ColumnType::Array { nullable_elements: true, .. }
    ));
}

#[test]
fn a_not_null_domain_makes_a_column_required() {
    let domain = |not_null| TypeFacts {
        oid: Oid(70_000),
        schema: "s".to_owned(),
        name: "d".to_owned(),
        kind: TypeKind::Domain { base: INT4, typmod: -1, not_null },
    };
    for not_null in [false, true] {
        let types = Types([(Oid(70_000), domain(not_null))].into());
        let relation = relation(ReplicaIdentity::Default, &[("a", Oid(70_000), false)]);
        let facts = facts(&[("a", Oid(70_000), false, Some("5"))], &[], &[]);
        let shape =
            TableShape::resolve(&relation, Some(&facts), &types, &rules(None, &[])).unwrap();
        assert_eq!(shape.columns[0].nullable, !not_null);
        assert_eq!(shape.columns[0].column_type, ColumnType::Int32);
        // Debezium carries no default through a domain.
        assert_eq!(shape.columns[0].default, None);
    }
}

#[test]
fn defaults_can_be_left_out_and_the_contested_ones_are_known() {
    let columns = [("a", INT4, true), ("b", TEXT, false), ("c", FLOAT8, false)];
    let facts = facts(
        &[
            ("a", INT4, true, Some("1")),
            ("b", TEXT, false, Some("'{}'::text")),
            ("c", FLOAT8, false, Some("'NaN'::double precision")),
        ],
        &["a"],
        &[],
    );
    let relation = relation(ReplicaIdentity::Default, &columns);
    let shape = |rules: &ShapeRules| {
        TableShape::resolve(&relation, Some(&facts), &Types::default(), rules).unwrap()
    };
    let stated = shape(&ShapeRules::default());
    assert_eq!(stated.columns[0].default.as_deref(), Some("1"));
    assert_eq!(stated.contested_defaults(), ["b", "c"]);
    let omitted = shape(&ShapeRules { omit_defaults: true, ..ShapeRules::default() });
    assert!(omitted.columns.iter().all(|column| column.default.is_none()));
    assert!(omitted.contested_defaults().is_empty());
}
