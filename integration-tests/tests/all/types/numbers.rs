//! Booleans, numbers, bits and money.

use super::family::{Column, check};
use super::view::View;

#[tokio::test(flavor = "multi_thread")]
async fn integers_floats_and_booleans() {
    let floats = ["'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "0.1", "1e10", "1"];
    let bits = "encode(float8send({}), 'hex')";
    let with = |more: &[&'static str]| [&floats[..], more].concat();
    let columns = [
        Column::new("boolean", &["true", "false"], "{}"),
        Column::new("smallint", &["-32768", "32767", "0"], "{}"),
        Column::new("integer", &["-2147483648", "2147483647", "0"], "{}"),
        Column::new("bigint", &["'-9223372036854775808'", "9223372036854775807", "0", "-1"], "{}"),
        Column::new("oid", &["0", "4294967295"], "{}::bigint"),
        Column::new("real", &with(&["1e-45", "3.4028235e38", "16777217"]), bits).view(View::Float),
        Column::new("float8", &with(&["5e-324", "1.7976931348623157e308", "1e15+0.3"]), bits)
            .view(View::Float),
        // Arrays of a domain have no place of their own in Debezium's mapping.
        Column::new("small", &["-3", "99"], "{}").without_array(),
        Column::text("small[]", &["'{-3,NULL}'"]).without_array(),
        Column::text("xid", &["'4294967295'"]).without_array(),
        Column::text("pg_lsn", &["'16/B374D848'"]).without_array(),
        Column::text("regclass", &["'pg_class'"]).without_array(),
    ];
    check("integers", "CREATE DOMAIN small AS smallint CHECK (VALUE < 100)", &columns).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decimals() {
    let long = "('1' || repeat('0123456789', 60) || '.' || repeat('5', 20))::numeric";
    let values: &[&str] = &[
        "0",
        "0.001",
        "-0.001",
        "0.127",
        "0.128",
        "-0.128",
        "-0.129",
        "128",
        "-128.128",
        "12345678901234567.891",
        "-99999999999999999.999",
    ];
    let numeric: &[&str] = &[
        "0",
        "0.000",
        "100",
        "1e30",
        "-1.2300",
        "1e-20",
        "-1e-20",
        "255",
        "-256",
        long,
        "9223372036854775807",
        "-9223372036854775808",
        "170141183460469231731687303715884105728",
        "1e2000",
        "1e-2000",
    ];
    let wide = "12345678901234567890123456789012345678.9012345678901234567890";
    check(
        "decimals",
        "CREATE DOMAIN inner_price AS numeric(12, 3); CREATE DOMAIN price AS inner_price",
        &[
            Column::new("numeric(20,3)", values, "{}::text").view(View::Decimal(3)),
            Column::new("numeric(60,22)", &[wide, "0", "-1e-22", "1e37"], "{}::text")
                .view(View::Decimal(22)),
            Column::new("numeric(5,0)", &["7", "-99999"], "{}::text").view(View::Decimal(0)),
            Column::new("numeric(3,5)", &["0.00123", "-0.00999"], "{}::text")
                .view(View::Decimal(5))
                .since(15),
            // Its scale is declared as Debezium declares it, eleven bits unsigned; the value is right.
            Column::new(
                "numeric(5,-2)",
                &["12345", "-9999900"],
                "{}::text || '.' || repeat('0', 2046)",
            )
            .view(View::Decimal(2046))
            .without_array()
            .since(15),
            Column::new("numeric", numeric, "trim_scale({})::text").view(View::VariableDecimal),
            Column::new("price", &["1.234", "-0.5"], "{}::text")
                .view(View::Decimal(3))
                .without_array(),
            Column::new(
                "money",
                &["0", "1234.5", "'-92233720368547758.08'", "'92233720368547758.07'", "-0.01"],
                "{}::numeric(20,2)::text",
            )
            .view(View::Decimal(2))
            .without_array(),
            Column::text("money[]", &["'{1.5,NULL,-1234567.89}'"]).without_array(),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bits() {
    let digits = "ltrim({}::text, '0')";
    let long = "(repeat('1011', 50))::varbit";
    check(
        "bits",
        "",
        &[
            Column::new("bit(1)", &["B'0'", "B'1'"], "{} = B'1'").without_array(),
            Column::new("varbit(1)", &["B'0'", "B'1'"], "{} = B'1'").without_array(),
            Column::new("bit(5)", &["B'10110'", "B'00000'", "B'00001'"], digits)
                .view(View::Bits)
                .without_array(),
            Column::new("bit(64)", &["B'1'", "repeat('1', 64)", "(-2)::bigint"], digits)
                .view(View::Bits)
                .without_array(),
            Column::new("varbit", &["B''", "B'100000001'", "B'1000000000000000'", long], digits)
                .view(View::Bits)
                .without_array(),
            Column::text("varbit[]", &["ARRAY[B'101', NULL]"]).without_array(),
        ],
    )
    .await;
}
