//! How fast a backlog goes from a slot into Kafka, against `pg_recvlogical` to `/dev/null`.
//!
//! The two take turns on copies of one slot. A turn lasts from the slot's being taken to the last
//! record's acknowledgement by the broker (walferry) or the end of the process (control). Both
//! share the machine with PostgreSQL, and walferry also with the broker: ratios of pairs in one run
//! mean something, rows per second only on a quiet machine.
//!
//! `BENCH_ROWS` (1 000 000) rows, `BENCH_PAIRS` (5) pairs.

use integration_tests::bench::{
    Backlog, RecvLogical, Section, Servers, Shape, Table, TopicEnd, cpu_time, median, setting,
    spread,
};
use integration_tests::{Config, Database, Walferry, wait};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(300);

/// One contender's turn.
struct Turn {
    rows_per_second: f64,
    cpu_micros_per_row: f64,
    figures: Value,
}

#[tokio::main]
async fn main() {
    let (rows, pairs) = (setting("BENCH_ROWS", 1_000_000), setting("BENCH_PAIRS", 5));
    let program = RecvLogical::find();
    let servers = Servers::start().await;
    let database = servers.postgres.database("bench").await;
    let mut backlog = Backlog::prepare(&database, Shape::ORDERS).await;
    println!("filling the backlog with {rows} rows");
    backlog.fill(rows).await;

    let (mut controls, mut walferries) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        // Neither always comes first.
        for control in [pair % 2 == 0, pair % 2 != 0] {
            let (name, turn) = if control {
                ("pg_recvlogical", drain_control(&program, &database, &backlog).await)
            } else {
                ("walferry", drain_walferry(&servers, &database, &backlog).await)
            };
            println!(
                "pair {}: {name:<14} {:>9.0} rows/s, {:.2} us/row",
                pair + 1,
                turn.rows_per_second,
                turn.cpu_micros_per_row
            );
            if control { controls.push(turn) } else { walferries.push(turn) }
        }
    }
    section(&backlog, &controls, &walferries).publish();
}

async fn drain_control(program: &Path, database: &Database, backlog: &Backlog<'_>) -> Turn {
    let slot = backlog.copy_slot().await;
    let end = backlog.end().await;
    let control = RecvLogical::start(program, database, backlog, &slot, end);
    database.wait_slot_active(&slot, true, wait::LONG).await;
    let (started, before) = (Instant::now(), cpu_time(control.pid()));
    let (ended, after) = control.wait(DEADLINE);
    backlog.drop_slot(&slot).await;
    Turn::new(backlog.rows(), ended - started, after - before, Map::new())
}

async fn drain_walferry(servers: &Servers, database: &Database, backlog: &Backlog<'_>) -> Turn {
    let slot = backlog.copy_slot().await;
    let config = Config::new("drain", database, &servers.kafka, &servers.registry)
        .postgres(&format!("slot = {slot:?}"))
        .postgres("slot_manage = \"never\"")
        .postgres(&format!("publication = {:?}", backlog.publication()))
        .postgres("publication_manage = \"never\"")
        .table(backlog.shape().table);
    let topic = config.topic(backlog.shape().table);
    servers.kafka.create_topic(&topic, 1, &[]).await;
    let end = TopicEnd::new(&servers.kafka, &topic);

    let spawned = Instant::now();
    let walferry = Walferry::start(&config);
    database.wait_slot_active(&slot, true, wait::LONG).await;
    let (started, before) = (Instant::now(), cpu_time(walferry.pid()));
    let ended =
        tokio::task::block_in_place(|| end.wait(backlog.rows(), DEADLINE, || walferry.log()));
    let used = cpu_time(walferry.pid()) - before;
    let figures = figures(&walferry, started - spawned).await;
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
    backlog.drop_slot(&slot).await;
    servers.kafka.delete_topic(&topic).await;
    Turn::new(backlog.rows(), ended - started, used, figures)
}

/// What else is worth knowing of a walferry that has drained the backlog.
async fn figures(walferry: &Walferry, start: Duration) -> Map<String, Value> {
    let mut figures = Map::new();
    figures.insert("start_to_streaming_ms".to_owned(), json!(start.as_millis()));
    figures.insert("peak_rss_mib".to_owned(), json!(mebibytes(walferry.peak_memory())));
    let metrics = walferry.metrics().await;
    for activity in ["busy", "waiting_postgres", "queue_full", "waiting_registry"] {
        let seconds = metrics.get("walferry_pump_seconds_total", &[("activity", activity)]);
        figures.insert(format!("pump_{activity}_seconds"), json!(seconds.unwrap_or_default()));
    }
    let bytes = metrics.get("walferry_record_bytes_total", &[]).unwrap_or_default();
    let records = metrics.get("walferry_records_total", &[]).unwrap_or_default();
    figures.insert("bytes_per_record".to_owned(), json!(bytes / records));
    figures
}

impl Turn {
    fn new(rows: u64, took: Duration, used: Duration, mut figures: Map<String, Value>) -> Turn {
        let rows_per_second = rows as f64 / took.as_secs_f64();
        let cpu_micros_per_row = used.as_secs_f64() * 1e6 / rows as f64;
        figures.insert("seconds".to_owned(), json!(took.as_secs_f64()));
        figures.insert("rows_per_second".to_owned(), json!(rows_per_second));
        figures.insert("cpu_micros_per_row".to_owned(), json!(cpu_micros_per_row));
        Turn { rows_per_second, cpu_micros_per_row, figures: figures.into() }
    }
}

fn section(backlog: &Backlog<'_>, controls: &[Turn], walferries: &[Turn]) -> Section {
    let of = |turns: &[Turn], value: fn(&Turn) -> f64| turns.iter().map(value).collect::<Vec<_>>();
    let figure = |name: &'static str| {
        walferries.iter().filter_map(move |turn| turn.figures[name].as_f64()).collect::<Vec<_>>()
    };
    let ratios: Vec<f64> = walferries
        .iter()
        .zip(controls)
        .map(|(walferry, control)| walferry.rows_per_second / control.rows_per_second)
        .collect();
    let rate = |turns: &[Turn]| spread(&of(turns, |turn| turn.rows_per_second / 1000.0), 1);
    let cpu = |turns: &[Turn]| spread(&of(turns, |turn| turn.cpu_micros_per_row), 2);
    let table = Table::new(["reader", "1000 rows/s", "ratio", "CPU us/row", "peak RSS MiB"])
        .row(["pg_recvlogical".to_owned(), rate(controls), "1".to_owned(), cpu(controls)])
        .row([
            "walferry".to_owned(),
            rate(walferries),
            spread(&ratios, 2),
            cpu(walferries),
            spread(&figure("peak_rss_mib"), 1),
        ]);
    let share = |name| 100.0 * median(&figure(name)) / median(&figure("seconds"));
    let note = format!(
        "walferry's pump was busy for {:.0} % of the time, waited for PostgreSQL for {:.0} % and \
         for room in the producer's queue for {:.0} %; {:.0} bytes a record before compression",
        share("pump_busy_seconds"),
        share("pump_waiting_postgres_seconds"),
        share("pump_queue_full_seconds"),
        median(&figure("bytes_per_record")),
    );
    let figures = |turns: &[Turn]| turns.iter().map(|turn| turn.figures.clone()).collect::<Value>();
    Section {
        name: "drain",
        title: "Draining a backlog",
        method: format!(
            "{} rows ({}), full envelope, acks=all, into one partition of a single broker; {} \
             pairs, walferry and `pg_recvlogical -f /dev/null` in turn on copies of one slot. \
             Median (least-greatest); the ratio is that of each pair.",
            backlog.rows(),
            backlog.shape().description,
            ratios.len(),
        ),
        target: "ratio at least 1.0, at most 3 us/row, peak RSS at most 25 MiB plus what is in \
                 flight (16 MiB)",
        table,
        notes: vec![note],
        figures: json!({
            "rows": backlog.rows(),
            "ratio_median": median(&ratios),
            "ratios": ratios,
            "walferry": figures(walferries),
            "pg_recvlogical": figures(controls),
        }),
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
