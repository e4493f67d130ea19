//! What walferry costs while nothing happens: CPU time and memory.
//!
//! `BENCH_IDLE_SECONDS` (10) of quiet, after one row has gone through.

use integration_tests::bench::{Section, Servers, Table, setting, threads_cpu_time};
use integration_tests::{Config, Walferry, wait};
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::main]
async fn main() {
    let seconds = setting("BENCH_IDLE_SECONDS", 10);
    let servers = Servers::start().await;
    let database = servers.postgres.database("bench").await;
    database.execute("CREATE TABLE orders (id bigint PRIMARY KEY, note text)").await;
    let config =
        Config::new("idle", &database, &servers.kafka, &servers.registry).table("public.orders");
    let walferry = Walferry::run(&config).await;
    database.execute("INSERT INTO orders VALUES (1, 'one')").await;
    let end = database.current_lsn().await;
    database.wait_confirmed(&config.slot(), end, wait::LONG).await;

    println!("idle for {seconds} s");
    let (started, before) = (Instant::now(), threads_cpu_time(walferry.pid()));
    // Not a wait for anything: the time that is measured.
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let used = threads_cpu_time(walferry.pid()).saturating_sub(before);
    let core = 100.0 * used.as_secs_f64() / started.elapsed().as_secs_f64();
    let mebibytes = walferry.memory() as f64 / f64::from(1 << 20);
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());

    let table = Table::new(["idle", "value"])
        .row(["CPU, % of a core".to_owned(), format!("{core:.2}")])
        .row(["RSS, MiB".to_owned(), format!("{mebibytes:.1}")]);
    let section = Section {
        name: "idle",
        title: "Idle",
        method: format!("One table, connected and ready, no changes for {seconds} s."),
        target: "at most 0.3 % of a core",
        table,
        notes: Vec::new(),
        figures: json!({ "cpu_percent_of_a_core": core, "rss_mib": mebibytes }),
    };
    section.publish();
}
