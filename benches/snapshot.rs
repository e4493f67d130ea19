//! How fast tables that are there already go into Kafka, against `COPY … TO STDOUT` of the same
//! table on one connection whose client throws everything away.
//!
//! The two take turns. A turn of walferry lasts from its first record in the topic to its last: what
//! comes before is the start, which has a bench of its own. Memory is the peak of the process, also
//! for rows of a megabyte.
//!
//! `BENCH_ROWS` (1 000 000) rows, `BENCH_PAIRS` (5) pairs, `BENCH_WIDE_ROWS` (500) rows of 1 MB.

use futures_util::StreamExt;
use integration_tests::bench::{
    Section, Servers, Shape, Table, TopicEnd, cpu_time, median, setting, spread,
};
use integration_tests::{Config, Database, Walferry};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(300);

/// One contender's turn.
struct Turn {
    rows_per_second: f64,
    cpu_micros_per_row: f64,
    peak_rss_mib: f64,
}

#[tokio::main]
async fn main() {
    let (rows, pairs) = (setting("BENCH_ROWS", 1_000_000), setting("BENCH_PAIRS", 5));
    let servers = Servers::start().await;
    let database = servers.postgres.database("snapshot").await;
    let Shape { table, columns, row, .. } = Shape::ORDERS;
    println!("filling a table with {rows} rows");
    database
        .execute(&format!(
            "CREATE TABLE {table} ({columns});
             INSERT INTO {table} SELECT {row} FROM generate_series(1::bigint, {rows}) n"
        ))
        .await;
    database.execute(&format!("VACUUM ANALYZE {table}")).await;
    database.execute("CHECKPOINT").await;
    let (mut controls, mut walferries) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        // Neither always comes first.
        for control in [pair % 2 == 0, pair % 2 != 0] {
            let (name, turn) = if control {
                ("COPY", copy(&database, table, rows).await)
            } else {
                ("walferry", snapshot(&servers, &database, table, rows).await)
            };
            println!(
                "pair {}: {name:<9} {:>9.0} rows/s, {:.2} us/row, {:.1} MiB",
                pair + 1,
                turn.rows_per_second,
                turn.cpu_micros_per_row,
                turn.peak_rss_mib
            );
            if control { controls.push(turn) } else { walferries.push(turn) }
        }
    }
    let wide_rows = setting("BENCH_WIDE_ROWS", 500);
    let wide = wide(&servers, &database, wide_rows).await;
    section(rows, &controls, &walferries, wide_rows, &wide).publish();
}

async fn copy(database: &Database, table: &str, rows: u64) -> Turn {
    let client = database.connect().await;
    let started = Instant::now();
    let stream = client.copy_out(&format!("COPY {table} TO STDOUT")).await.expect("a COPY");
    let mut stream = std::pin::pin!(stream);
    let mut seen = 0;
    while let Some(line) = stream.next().await {
        line.expect("a row");
        seen += 1;
    }
    assert_eq!(seen, rows);
    let took = started.elapsed();
    Turn {
        rows_per_second: rows as f64 / took.as_secs_f64(),
        cpu_micros_per_row: 0.0,
        peak_rss_mib: 0.0,
    }
}

async fn snapshot(servers: &Servers, database: &Database, table: &str, rows: u64) -> Turn {
    let config = Config::new("snapshot", database, &servers.kafka, &servers.registry)
        .snapshot("mode = \"initial\"")
        .kafka("max_record_bytes = \"2MB\"")
        .table(table);
    let topic = config.topic(table);
    servers.kafka.create_topic(&topic, 1, &[("max.message.bytes", "4194304")]).await;
    let end = TopicEnd::new(&servers.kafka, &topic);
    let walferry = Walferry::start(&config);
    let wait = |count| tokio::task::block_in_place(|| end.wait(count, DEADLINE, || walferry.log()));
    let (started, before) = (wait(1), cpu_time(walferry.pid()));
    let ended = wait(rows);
    let used = cpu_time(walferry.pid()) - before;
    walferry.wait_ready().await;
    let peak = walferry.peak_memory() as f64 / f64::from(1 << 20);
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
    database
        .execute(&format!(
            "SELECT pg_drop_replication_slot('{}'); DROP PUBLICATION {}",
            config.slot(),
            config.publication()
        ))
        .await;
    servers.kafka.delete_topic(&topic).await;
    Turn {
        rows_per_second: rows as f64 / (ended - started).as_secs_f64(),
        cpu_micros_per_row: used.as_secs_f64() * 1e6 / rows as f64,
        peak_rss_mib: peak,
    }
}

/// Rows of a megabyte of text that does not compress to nothing.
async fn wide(servers: &Servers, database: &Database, rows: u64) -> Turn {
    let table = "public.wide";
    database
        .execute(&format!(
            "CREATE TABLE {table} (id int PRIMARY KEY, body text);
             ALTER TABLE {table} ALTER body SET STORAGE EXTERNAL;
             INSERT INTO {table}
             SELECT n, repeat(md5(n::text), 31250) FROM generate_series(1::bigint, {rows}) n"
        ))
        .await;
    snapshot(servers, database, table, rows).await
}

fn section(
    rows: u64,
    controls: &[Turn],
    walferries: &[Turn],
    wide_rows: u64,
    wide: &Turn,
) -> Section {
    let of = |turns: &[Turn], value: fn(&Turn) -> f64| turns.iter().map(value).collect::<Vec<_>>();
    let ratios: Vec<f64> = walferries
        .iter()
        .zip(controls)
        .map(|(walferry, control)| walferry.rows_per_second / control.rows_per_second)
        .collect();
    let rate = |turns: &[Turn]| spread(&of(turns, |turn| turn.rows_per_second / 1000.0), 1);
    let cpu = of(walferries, |turn| turn.cpu_micros_per_row);
    let rss = of(walferries, |turn| turn.peak_rss_mib);
    let table = Table::new(["reader", "1000 rows/s", "ratio", "CPU us/row", "peak RSS MiB"])
        .row([
            "COPY TO STDOUT".to_owned(),
            rate(controls),
            "1".to_owned(),
            String::new(),
            String::new(),
        ])
        .row([
            "walferry".to_owned(),
            rate(walferries),
            spread(&ratios, 2),
            spread(&cpu, 2),
            spread(&rss, 1),
        ]);
    let note = format!(
        "{wide_rows} rows of 1 MB: {:.0} MB/s, peak RSS {:.1} MiB",
        wide.rows_per_second, wide.peak_rss_mib
    );
    let figures = |turns: &[Turn]| -> Value {
        turns
            .iter()
            .map(|turn| {
                json!({
                    "rows_per_second": turn.rows_per_second,
                    "cpu_micros_per_row": turn.cpu_micros_per_row,
                    "peak_rss_mib": turn.peak_rss_mib,
                })
            })
            .collect()
    };
    Section {
        name: "snapshot",
        title: "Snapshot",
        method: format!(
            "{rows} rows (10 columns), full envelope, acks=all, into one partition of a single broker; {} \
             pairs, in turn with `COPY … TO STDOUT` on one connection whose client drops the rows. \
             Median (least-greatest); the ratio is that of each pair.",
            ratios.len(),
        ),
        target: "ratio at least 0.6, at most 3 us/row, peak RSS at most 48 MiB plus what is in \
                 flight (16 MiB), whatever the row size",
        table,
        notes: vec![note],
        figures: json!({
            "rows": rows,
            "ratio_median": median(&ratios),
            "ratios": ratios,
            "walferry": figures(walferries),
            "copy": figures(controls),
            "wide": figures(std::slice::from_ref(wide)),
        }),
    }
}
