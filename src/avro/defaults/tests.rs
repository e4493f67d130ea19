//! What Debezium was seen to do with each default is in the golden schemas; these are the limits
//! of the guessing.

use super::*;

#[test]
fn calls_are_told_from_expressions() {
    for call in [
        "now()",
        "(now() + '1 day'::interval)",
        "pg_catalog.upper('x')",
        "nextval('s'::regclass)",
        "CURRENT_DATE",
    ] {
        assert!(is_call(call), "{call}");
    }
    for no_call in [
        "",
        "(",
        "((now()))",
        "(1)::text",
        "'now()'::text",
        "f(",
        "CURRENT_USER",
        "1 + f(1)",
        "(1 + 1)",
    ] {
        assert!(!is_call(no_call), "{no_call}");
    }
}

#[test]
fn odd_expressions_are_no_default_and_no_panic() {
    let types = [
        ColumnType::Int32,
        ColumnType::Float64,
        ColumnType::Decimal { precision: 5, scale: 2 },
        ColumnType::Bits { length: 3 },
        ColumnType::Date,
        ColumnType::Time(TimeUnit::Millis),
        ColumnType::Timestamp(TimeUnit::Micros),
        ColumnType::ZonedTimestamp { fraction: 6 },
        ColumnType::Interval,
    ];
    for column_type in &types {
        for expression in ["", "'", "''", "'''", "x", "(2 * 3)", "é'é", "ARRAY[1]", "'unterminated"]
        {
            let default = parse(column_type, expression);
            let empty_bits = matches!(column_type, ColumnType::Bits { .. });
            // Nothing is a bit string of no bits.
            assert!(default.is_none() || empty_bits, "{column_type:?} {expression:?} {default:?}");
        }
    }
}

#[test]
fn literals_end_at_their_quote() {
    let text = |expression| Literal::of(expression).text;
    assert_eq!(text("'it''s'::text"), "it's");
    assert_eq!(text("''::text"), "");
    assert_eq!(text("''''::text"), "'");
    assert_eq!(text("('a'::text || 'b'::text)"), "a");
    assert_eq!(text("'open"), "'open");
    assert_eq!(Literal::of("'it''s'::mood").raw, "it''s");
}
