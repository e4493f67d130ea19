use super::*;

fn facts(oid: u32, name: &str, kind: TypeKind) -> (Oid, TypeFacts) {
    (Oid(oid), TypeFacts { oid: Oid(oid), schema: "s".to_owned(), name: name.to_owned(), kind })
}

fn domain(base: u32, typmod: i32) -> TypeKind {
    TypeKind::Domain { base: Oid(base), typmod, not_null: false }
}

fn column_type(oid: u32, typmod: i32, types: &Types) -> ColumnType {
    resolve(Oid(oid), typmod, types).column_type
}

#[test]
fn domains_resolve_through_nesting() {
    let twelve_three = (12 << 16 | 3) + 4;
    let labels = vec!["a".to_owned()];
    let types = Types(HashMap::from([
        facts(70_000, "money_amount", domain(1700, twelve_three)),
        facts(70_001, "price", domain(70_000, -1)),
        facts(70_002, "mood", TypeKind::Enum { labels: labels.clone() }),
        facts(70_003, "state", domain(70_002, -1)),
        facts(70_004, "loop", domain(70_004, -1)),
    ]));
    let decimal = ColumnType::Decimal { precision: 12, scale: 3 };
    assert_eq!(column_type(70_001, -1, &types), decimal);
    assert_eq!(column_type(70_003, -1, &types), ColumnType::Enum { labels });
    // A catalog that goes in circles ends as text.
    assert_eq!(column_type(70_004, -1, &types), ColumnType::Text);
}

#[test]
fn what_debezium_drops_is_text() {
    let types = Types(HashMap::from([
        facts(70_000, "pair", TypeKind::Composite),
        facts(70_001, "_pair", TypeKind::Array { element: Oid(70_000) }),
        facts(70_002, "amount", domain(23, -1)),
        facts(70_003, "_amount", TypeKind::Array { element: Oid(70_002) }),
        facts(70_004, "floatrange", TypeKind::Range),
        facts(70_005, "geometry", TypeKind::Base),
        facts(790, "money", TypeKind::Base),
        facts(791, "_money", TypeKind::Array { element: Oid(790) }),
    ]));
    // circle, pg_lsn, int4multirange, interval[], money[], xml[], bit[], name[], unknown
    for oid in [718, 3220, 4451, 1187, 791, 143, 1561, 1003, 99_999] {
        assert_eq!(column_type(oid, -1, &types), ColumnType::Text, "{oid}");
    }
    for oid in [70_000, 70_001, 70_003, 70_004, 70_005] {
        assert_eq!(column_type(oid, -1, &types), ColumnType::Text, "{oid}");
    }
}

#[test]
fn arrays_keep_the_typmod_of_their_elements() {
    let none = Types::default();
    let array = |element, nullable_elements| ColumnType::Array {
        element: Box::new(element),
        nullable_elements,
    };
    assert_eq!(column_type(1183, 3, &none), array(ColumnType::Time(TimeUnit::Millis), true));
    assert_eq!(column_type(1183, -1, &none), array(ColumnType::Time(TimeUnit::Micros), true));
    assert_eq!(column_type(1231, -1, &none), array(ColumnType::VariableDecimal, true));
    assert_eq!(column_type(3643, -1, &none), array(ColumnType::TextSearchVector, false));
    let types = Types(HashMap::from([
        facts(70_000, "mood", TypeKind::Enum { labels: Vec::new() }),
        facts(70_001, "_mood", TypeKind::Array { element: Oid(70_000) }),
        facts(70_002, "citext", TypeKind::Base),
        facts(70_003, "_citext", TypeKind::Array { element: Oid(70_002) }),
    ]));
    let labels = Vec::new();
    assert_eq!(column_type(70_001, -1, &types), array(ColumnType::Enum { labels }, false));
    assert_eq!(column_type(70_003, -1, &types), array(ColumnType::Text, true));
}

#[test]
fn hostile_typmods_are_harmless() {
    for typmod in [i32::MIN, -2, 0, 1, 3, 4, 7, i32::MAX] {
        for oid in [1560, 1562, 1700, 1083, 1114, 1184, 1231, 1042] {
            let _ = column_type(oid, typmod, &Types::default());
        }
    }
    assert_eq!(column_type(1700, i32::MIN, &Types::default()), ColumnType::VariableDecimal);
}
