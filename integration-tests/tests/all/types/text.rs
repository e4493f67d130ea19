//! Text, bytes, identifiers, JSON, XML, enums and domains over them.

use super::family::{Column, check};
use super::view::View;

/// What a reader of quoted text could trip over.
const TEXTS: &[&str] = &[
    "''",
    "' '",
    "'NULL'",
    "'null'",
    "'{}'",
    "'a,b'",
    "E'q\"\\\\\\'x'",
    "E'\\t\\n\\r\\x01'",
    "'äöü €'",
    "U&'\\+01F600'",
    "'(1,\"x\")'",
    "'\\x00'",
    "repeat('long ', 4000)",
];

const SHORT: &[&str] = &["''", "'a'", "'ä€'", "'NULL'", "E'\"\\\\'", "'{,}'"];

#[tokio::test(flavor = "multi_thread")]
async fn characters() {
    check(
        "characters",
        "CREATE EXTENSION citext;
         CREATE DOMAIN short AS varchar(20) NOT NULL DEFAULT 'none';
         CREATE DOMAIN shorter AS short CHECK (length(VALUE) < 10)",
        &[
            Column::text("text", TEXTS),
            Column::text("varchar", TEXTS),
            Column::text("varchar(6)", SHORT),
            Column::text("char(6)", SHORT),
            Column::text("char", &["'x'", "' '", "'€'"]),
            Column::text("bpchar", &["'x '", "''"]).without_array(),
            Column::text("\"char\"", &["'q'", "''", "','"]),
            Column::text("citext", &["'CiT'", "''", "E'\"\\\\'"]),
            Column::text("name", &["'nm'", "'a\"b'"]).without_array(),
            Column::text("name[]", &["'{a,NULL,\"b c\"}'"]).without_array(),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents() {
    let xml = "E'<a b=\"c\">\\n &amp; ä</a>'";
    check(
        "documents",
        "CREATE EXTENSION ltree; CREATE EXTENSION hstore;
         CREATE TYPE mood AS ENUM ('sad', 'ok', 'ha,p py''x', 'NULL');
         ALTER TYPE mood ADD VALUE 'before' BEFORE 'sad';
         CREATE DOMAIN feeling AS mood",
        &[
            Column::new(
                "bytea",
                &["'\\x'", "'\\x00'", "'\\xdeadbeef00ff'", "decode(repeat('5c22', 5000), 'hex')"],
                "CASE WHEN {} IS NOT NULL THEN json_build_object('bytes', encode({}, 'hex')) END",
            ),
            Column::text(
                "uuid",
                &[
                    "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
                    "'00000000-0000-0000-0000-000000000000'",
                ],
            ),
            Column::text("json", &["'{\"a\" :  1, \"a\": 2}'", "'null'", "'\"x\"'", "'[1e400]'"]),
            Column::text("jsonb", &["'{\"a\" :  1, \"a\": 2}'", "'null'", "'[1e40, \"\\u00e4\"]'"]),
            Column::text("xml", &[xml, "'text, no element'", "'<a/><b/>'"]).without_array(),
            Column::text("xml[]", &["ARRAY['<a/>', NULL]"]).without_array(),
            Column::text("jsonpath", &["'$.a[*]'"]).without_array(),
            Column::text("ltree", &["'a.b.c'", "''"]),
            Column::text("tsvector", &["'fat & cat'", "'a:1A,2 b'", "''"]).without_array(),
            Column::text("tsquery", &["'fat & cat'"]).without_array(),
            Column::new(
                "hstore",
                &["''", "'a=>1, b=>NULL'", "hstore(E'k\"\\\\', E'v\\n\"\\\\ä')", "hstore('', '')"],
                "hstore_to_json({})",
            )
            .view(View::Parsed),
            Column::text("mood", &["'before'", "'sad'", "'ha,p py''x'", "'NULL'"]).without_array(),
            Column::new(
                "mood[]",
                &["'{}'", "ARRAY['ok', 'ha,p py''x', 'NULL']", "ARRAY['ok', NULL]"],
                "to_json({})",
            )
            .without_array(),
            Column::text("feeling", &["'ok'"]).without_array(),
        ],
    )
    .await;
}
