//! From the start of the process to the first record that a consumer has.
//!
//! Once as a first start (nothing of walferry's in Kafka or the registry but the table's empty
//! topic, so that a consumer can wait for it) and once as a restart; one row waits in the slot.
//!
//! `BENCH_STARTS` (5) starts of each kind.

use integration_tests::bench::{
    Arrivals, Backlog, Section, Servers, Shape, Table, median, millis, setting, spread,
};
use integration_tests::{Config, Database, Walferry, wait};
use serde_json::json;
use std::time::Instant;

#[tokio::main]
async fn main() {
    let starts = setting("BENCH_STARTS", 5);
    let servers = Servers::start().await;
    let database = servers.postgres.database("bench").await;
    let mut backlog = Backlog::prepare(&database, Shape::ORDERS).await;
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for _ in 0..starts {
        let (one, two) = start_twice(&servers, &database, &mut backlog).await;
        println!("first start {one:.0} ms, restart {two:.0} ms");
        first.push(one);
        again.push(two);
    }
    let table = Table::new(["milliseconds", "median (least-greatest)"])
        .row(["first start to first record".to_owned(), spread(&first, 0)])
        .row(["restart to first record".to_owned(), spread(&again, 0)]);
    let section = Section {
        name: "start",
        title: "Start",
        method: format!(
            "From the start of the process until a consumer has the one row that waits in the \
             slot; {starts} times. The first start creates the position and registers the schemas."
        ),
        target: "at most 500 ms",
        table,
        notes: Vec::new(),
        figures: json!({
            "first_start_ms": first,
            "first_start_ms_median": median(&first),
            "restart_ms": again,
            "restart_ms_median": median(&again),
        }),
    };
    section.publish();
}

/// Milliseconds of a first start and of a restart.
async fn start_twice(
    servers: &Servers,
    database: &Database,
    backlog: &mut Backlog<'_>,
) -> (f64, f64) {
    let config = Config::new("start", database, &servers.kafka, &servers.registry)
        .postgres("slot_manage = \"never\"")
        .postgres(&format!("publication = {:?}", backlog.publication()))
        .postgres("publication_manage = \"never\"")
        .table(backlog.shape().table);
    let slot = config.slot();
    backlog.create_slot(&slot).await;
    let topic = config.topic(backlog.shape().table);
    servers.kafka.create_topic(&topic, 1, &[]).await;
    let arrivals = Arrivals::of(&servers.kafka, &topic);
    let mut times = [0.0; 2];
    for time in &mut times {
        backlog.fill(1).await;
        let started = Instant::now();
        let walferry = Walferry::start(&config);
        let arrival = tokio::task::block_in_place(|| arrivals.next(wait::LONG, || walferry.log()));
        *time = millis(arrival.at - started);
        // Stops in order, with its position written: the next start repeats nothing.
        assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
    }
    backlog.drop_slot(&slot).await;
    (times[0], times[1])
}
