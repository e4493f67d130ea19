//! Dates, times, timestamps at each precision, intervals.

use super::family::{Column, check};

/// Debezium's stand-ins for infinity are the only values that SQL does not compute.
const DATE: &str = "CASE {} WHEN 'infinity' THEN -2147472692 WHEN '-infinity' THEN -2147472691 \
    ELSE {} - date '1970-01-01' END";
const MICROS: &str = "CASE {} WHEN 'infinity' THEN 9223372036825200000 \
    WHEN '-infinity' THEN -9223372036832400000 \
    ELSE (extract(epoch FROM {}) * 1000000)::bigint END";
const MILLIS: &str = "CASE {} WHEN 'infinity' THEN 9223372036825200 \
    WHEN '-infinity' THEN -9223372036832400 \
    ELSE floor(extract(epoch FROM {}) * 1000)::bigint END";

#[tokio::test(flavor = "multi_thread")]
async fn dates_and_times() {
    let zoned = "replace(({} AT TIME ZONE 'UTC')::text, '+00', 'Z')";
    let micros = "(extract(epoch FROM {}) * 1000000)::bigint";
    let millis = "(extract(epoch FROM {}) * 1000)::bigint";
    let times: &[&str] =
        &["'24:00'", "'00:00'", "'23:59:59.999999'", "'00:00:00.000001'", "'04:05:06.12'"];
    let zoned_times: &[&str] = &[
        "'24:00+00'",
        "'00:00+15:59'",
        "'23:00-05:30'",
        "'12:00:00.1-01'",
        "'00:00:00.000001-15:59:59'",
    ];
    check(
        "times",
        "",
        &[
            Column::new(
                "date",
                &[
                    "'2016-11-04'",
                    "'1969-12-31'",
                    "'infinity'",
                    "'-infinity'",
                    "'4713-01-01 BC'",
                    "'0001-12-31 BC'",
                    "'0001-01-01'",
                    "'5874897-12-31'",
                    "'1582-10-10'",
                    "'2000-02-29'",
                ],
                DATE,
            ),
            Column::new("time", times, micros).without_array(),
            Column::new("time(0)", times, millis),
            Column::new("time(3)", times, millis),
            Column::new("time(4)", times, micros),
            Column::new("time(6)", times, micros),
            Column::new("timetz", zoned_times, zoned),
            Column::new("timetz(0)", zoned_times, zoned),
            Column::new("timetz(2)", zoned_times, zoned),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn timestamps_at_each_precision() {
    let values: &[&str] = &[
        "'2016-11-04 13:51:30.123456'",
        "'1969-12-31 23:59:59.999999'",
        "'infinity'",
        "'-infinity'",
        "'0001-01-01 00:00:00 BC'",
        "'4713-11-24 00:00:00 BC'",
        "'1582-10-10 12:00:00.5'",
        "'12016-01-01 00:00:00.5'",
        "'294246-12-31 23:59:59.4'",
    ];
    let far: &[&str] = &["'294276-12-31 23:59:59'"];
    let column = |precision: usize| {
        let (expected, values) = match precision {
            ..4 => (MILLIS, [values, far].concat()),
            _ => (MICROS, values.to_vec()),
        };
        Column::new(&format!("timestamp({precision})"), &values, expected)
    };
    let mut columns: Vec<Column> = (0..=6).map(column).collect();
    columns.push(Column::new("timestamp", values, MICROS));
    check("timestamps", "", &columns).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn zoned_timestamps_at_each_precision() {
    let values: &[&str] = &[
        "'2016-11-04 13:51:30.123456+02'",
        "'1969-12-31 23:59:59.4+00'",
        "'infinity'",
        "'-infinity'",
        "'0001-01-01 00:00:00+00 BC'",
        "'4713-11-24 00:00:00+00 BC'",
        "'0100-01-01 10:00:00+00 BC'",
        "'0099-01-01 00:00:00+00'",
        "'9999-12-31 23:30:00-01'",
        "'294276-12-31 23:59:59.4+00'",
        "'2016-12-31 22:30:00-05:30'",
        "'2020-01-01 00:00:00.12+00'",
    ];
    let column = |precision: usize| {
        Column::new(&format!("timestamptz({precision})"), values, &iso(precision))
    };
    let mut columns: Vec<Column> = (0..=6).map(column).collect();
    columns.push(Column::new("timestamptz", values, &iso(6)));
    check("zoned", "", &columns).await;
}

/// ISO 8601 in UTC; the year 0 is 1 BC, and years beyond four digits have a sign.
fn iso(digits: usize) -> String {
    let fraction = if digits == 0 { String::new() } else { format!(".FF{digits}") };
    let year =
        "(extract(year FROM {}) + CASE WHEN extract(year FROM {}) < 0 THEN 1 ELSE 0 END)::int";
    format!(
        "CASE WHEN {{}} IN ('infinity', '-infinity') THEN {{}}::text ELSE \
         CASE WHEN {year} > 9999 THEN '+' WHEN {year} < 0 THEN '-' ELSE '' END \
         || lpad(abs({year})::text, greatest(4, length(abs({year})::text)), '0') \
         || to_char({{}}, '-MM-DD\"T\"HH24:MI:SS{fraction}\"Z\"') END"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn intervals() {
    let micros = "((extract(year FROM {}) * 12 + extract(month FROM {})) * 2629800000000 \
        + extract(day FROM {}) * 86400000000 + extract(hour FROM {}) * 3600000000 \
        + extract(minute FROM {}) * 60000000 + extract(microseconds FROM {}))::bigint";
    check(
        "intervals",
        "",
        &[
            Column::new(
                "interval",
                &[
                    "'1 year'",
                    "'1 mon'",
                    "'1 day'",
                    "'1.235 s'",
                    "'-1.235 s'",
                    "'1 mon -1 day 03:00'",
                    "'-1 year -2 mons +3 days -04:05:06.789'",
                    "'0'",
                    "'123456:07:08.000001'",
                    "'-1 day +23:59:59.999999'",
                    "'290000 years'",
                    "'11 mons 30 days'",
                ],
                micros,
            )
            .without_array(),
            Column::new("interval(0)", &["'1 day 00:00:01.6'"], micros).without_array(),
            Column::new("interval year to month", &["'1 year 2 mons'"], micros).without_array(),
            Column::text("interval[]", &["'{1 day,NULL,\"-1 mons +02:03:04.5\"}'"]).without_array(),
        ],
    )
    .await;
}
