//! Networks, ranges, points, and all that arrives as Postgres prints it.

use super::family::{Column, check};

#[tokio::test(flavor = "multi_thread")]
async fn networks_and_ranges() {
    let text = |sql_type: &str, values: &[&str]| Column::text(sql_type, values);
    let multirange =
        |sql_type: &str, value: &str| Column::text(sql_type, &[value, "'{}'"]).without_array();
    check(
        "ranges",
        "CREATE TYPE floatrange AS RANGE (subtype = float8)",
        &[
            text("inet", &["'10.0.0.1/8'", "'10.0.0.1'", "'::1'", "'fe80::1/64'"]),
            text("cidr", &["'10.0.0.0/8'", "'10.0.0.1/32'", "'2001:db8::/32'"]),
            text("macaddr", &["'08-00-2b-01-02-03'"]),
            text("macaddr8", &["'08:00:2b:01:02:03:04:05'"]),
            text("int4range", &["'[1,5]'", "'empty'", "'(,)'", "'[1,)'"]),
            text("int8range", &["'[-9223372036854775808,5)'"]),
            text("numrange", &["'[1.50,5)'", "'(,1]'"]),
            text("tsrange", &["'[2020-01-01,2020-01-02 03:04:05.6)'", "'[-infinity,infinity]'"]),
            text("tstzrange", &["'[2020-01-01 00:00+02,2020-01-02 12:00-05:30)'"]),
            text("daterange", &["'[2020-01-01,2020-01-05]'", "'(,infinity)'"]),
            text("floatrange", &["'[0.1,1e300)'"]).without_array(),
            multirange("int4multirange", "'{[1,5),[7,9]}'"),
            multirange("nummultirange", "'{[1.5,2],(7,)}'"),
            multirange("tstzmultirange", "'{[2020-01-01 00:00+02,2020-01-02)}'"),
            multirange("datemultirange", "'{[2020-01-01,2020-01-02]}'"),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn geometry_and_composites() {
    let text = |sql_type: &str, values: &[&str]| Column::text(sql_type, values).without_array();
    let point = "CASE WHEN {} IS NOT NULL THEN json_build_object('x', ({})[0], 'y', ({})[1], \
        'wkb', json_build_object('bytes', '0101000000' || le(({})[0]) || le(({})[1])), \
        'srid', NULL) END";
    check(
        "geometry",
        "CREATE TYPE comp AS (a int, b text, c timestamptz);
         CREATE DOMAIN positive AS comp;
         CREATE FUNCTION le(float8) RETURNS text IMMUTABLE LANGUAGE sql AS $$
           SELECT string_agg(substr(encode(float8send($1), 'hex'), i, 2), '' ORDER BY i DESC)
           FROM generate_series(1, 15, 2) i $$",
        &[
            Column::new(
                "point",
                &["'(1.5,2)'", "'(-0.1,1e300)'", "'(NaN,Infinity)'", "'(0,-0)'"],
                point,
            )
            .without_array(),
            text("point[]", &["ARRAY['(1,2)'::point, NULL]"]),
            text("box", &["'((1,1),(2,2.5))'"]),
            text("circle", &["'<(1,1),0.1>'"]),
            text("line", &["'{1,2,3}'"]),
            text("lseg", &["'((1,1),(2,2))'"]),
            text("path", &["'((1,1),(2,2))'", "'[(1,1),(2,2)]'"]),
            text("polygon", &["'((1,1),(2,2),(3,3))'"]),
            text("comp", &["ROW(1, E'x,\"y\\\\', '2020-01-01 00:00+02')", "ROW(NULL, NULL, NULL)"]),
            text("comp[]", &["ARRAY[ROW(1, 'x', NULL)::comp, NULL]"]),
            text("positive", &["ROW(1, '', NULL)"]),
            text("pg_snapshot", &["'10:20:10,14'"]),
            text("oidvector[]", &["ARRAY['1 2'::oidvector]"]),
        ],
    )
    .await;
}

/// Debezium's type of the catalog's vectors has no null.
#[tokio::test(flavor = "multi_thread")]
async fn vectors_of_the_catalog() {
    let json =
        "CASE WHEN {} IS NOT NULL THEN to_json(string_to_array({}::text, ' ')::bigint[]) END";
    check(
        "vectors",
        "",
        &[
            Column::new("oidvector", &["''", "'1 4294967295'"], json).without_array(),
            Column::new("int2vector", &["''", "'-32768 32767'"], json).without_array(),
        ],
    )
    .await;
}
