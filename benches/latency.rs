//! From commit to consumer while single-row transactions come at a fixed rate.
//!
//! Open loop: each transaction has its time, whether or not those before it are done, so a stall
//! meets all that should have happened during it (no coordinated omission). Each row carries its
//! intended time, each record the commit's; the consumer, in this process, adds when it had the
//! record. All clocks are this machine's.
//!
//! `BENCH_RATE` (1000) transactions a second for `BENCH_SECONDS` (15), the first two of which do
//! not count.

use integration_tests::bench::{
    Arrival, Arrivals, Distribution, Section, Servers, Table, cpu_time, setting, unix_micros,
};
use integration_tests::decode::Decoder;
use integration_tests::{Config, Database, Walferry, wait};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

const WARM_UP: Duration = Duration::from_secs(2);
/// Connections that share the transactions, so that one slow commit does not hold the next back.
const CONNECTIONS: usize = 4;
const TABLE: &str = "public.readings";

#[tokio::main]
async fn main() {
    let (rate, seconds) = (setting("BENCH_RATE", 1000_u32), setting("BENCH_SECONDS", 15_u32));
    let servers = Servers::start().await;
    let database = servers.postgres.database("bench").await;
    database
        .execute(&format!(
            "CREATE TABLE {TABLE} (id bigint PRIMARY KEY, intended bigint NOT NULL,
                                   device integer NOT NULL, value double precision NOT NULL)"
        ))
        .await;
    let config = Config::new("latency", &database, &servers.kafka, &servers.registry).table(TABLE);
    let topic = config.topic(TABLE);
    servers.kafka.create_topic(&topic, 1, &[]).await;
    let walferry = Walferry::run(&config).await;
    let arrivals = Arrivals::of(&servers.kafka, &topic);

    let seconds = WARM_UP + Duration::from_secs(seconds.into());
    let count = i64::from(rate) * i64::try_from(seconds.as_secs()).expect("a few seconds");
    println!("{rate} transactions a second for {} s", seconds.as_secs());
    let (started, before) = (Instant::now(), cpu_time(walferry.pid()));
    let sending = send(&database, rate, count).await;
    let received = tokio::task::block_in_place(|| {
        let next = |_| arrivals.next(wait::LONG, || walferry.log());
        (0..count).map(next).collect::<Vec<Arrival>>()
    });
    let used = (cpu_time(walferry.pid()) - before).as_secs_f64();
    let core = 100.0 * used / started.elapsed().as_secs_f64();
    sending.wait().await;
    drop(arrivals);
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());

    let times = Times::of(&received, &Decoder::new(&servers.registry)).await;
    section(&times, rate, core).publish();
}

/// The generator at work.
struct Sending {
    thread: std::thread::JoinHandle<()>,
    connections: Vec<tokio::task::JoinHandle<()>>,
}

impl Sending {
    async fn wait(self) {
        self.thread.join().expect("the schedule");
        for connection in self.connections {
            connection.await.expect("a connection");
        }
    }
}

/// Sends `count` transactions at `rate`, from now on.
async fn send(database: &Database, rate: u32, count: i64) -> Sending {
    let mut senders: Vec<UnboundedSender<(i64, i64)>> = Vec::new();
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let client = database.connect().await;
        let sql = format!("INSERT INTO {TABLE} VALUES ($1, $2, $1 % 100, $1 / 8.0::float8)");
        let types = [tokio_postgres::types::Type::INT8, tokio_postgres::types::Type::INT8];
        let insert = client.prepare_typed(&sql, &types).await.expect("a prepared INSERT");
        let (sender, mut due) = unbounded_channel();
        senders.push(sender);
        connections.push(tokio::spawn(async move {
            while let Some((id, intended)) = due.recv().await {
                client.execute(&insert, &[&id, &intended]).await.expect("an INSERT");
            }
        }));
    }
    // A thread that sleeps is on time; the runtime's timer counts whole milliseconds.
    let thread = std::thread::spawn(move || {
        let (start, start_micros) = (Instant::now(), unix_micros());
        let gap = Duration::from_secs(1) / rate;
        for (id, sender) in (0..count).zip(senders.iter().cycle()) {
            let after = gap * u32::try_from(id).expect("fewer than 2^32 transactions");
            std::thread::sleep((start + after).saturating_duration_since(Instant::now()));
            let intended = start_micros + i64::try_from(after.as_micros()).expect("a short time");
            sender.send((id, intended)).expect("a connection");
        }
    });
    Sending { thread, connections }
}

/// Milliseconds of each transaction that counts.
struct Times {
    intended_to_commit: Distribution,
    commit_to_consumer: Distribution,
    intended_to_consumer: Distribution,
}

impl Times {
    async fn of(received: &[Arrival], decoder: &Decoder<'_>) -> Times {
        let mut times = Vec::with_capacity(received.len());
        for arrival in received {
            let value = arrival.value.as_deref().expect("an event");
            let event = decoder.json(value).await;
            let number = |value: &serde_json::Value| value.as_i64().expect("a number");
            let intended = number(&event["after"]["intended"]);
            times.push((intended, number(&event["source"]["ts_us"]), arrival.at_micros));
        }
        let first = times.iter().map(|(intended, ..)| *intended).min().unwrap_or_default();
        let warm = first + i64::try_from(WARM_UP.as_micros()).expect("a short time");
        times.retain(|(intended, ..)| *intended >= warm);
        let between = |difference: fn(&(i64, i64, i64)) -> i64| {
            Distribution::new(times.iter().map(|time| difference(time) as f64 / 1000.0).collect())
        };
        Times {
            intended_to_commit: between(|(intended, commit, _)| commit - intended),
            commit_to_consumer: between(|(_, commit, consumer)| consumer - commit),
            intended_to_consumer: between(|(intended, _, consumer)| consumer - intended),
        }
    }
}

fn section(times: &Times, rate: u32, core: f64) -> Section {
    let row = |name: &str, times: &Distribution| {
        std::iter::once(name.to_owned()).chain(times.cells()).collect::<Vec<_>>()
    };
    let table = Table::new(["milliseconds", "p50", "p99", "p99.9", "max"])
        .row(row("commit to consumer", &times.commit_to_consumer))
        .row(row("intended time to commit", &times.intended_to_commit))
        .row(row("intended time to consumer", &times.intended_to_consumer));
    Section {
        name: "latency",
        title: "Latency",
        method: format!(
            "{rate} single-row transactions a second, open loop; {} transactions counted. The \
             commit's time is the one that PostgreSQL records, before it writes the log.",
            times.commit_to_consumer.count(),
        ),
        target: "commit to consumer p50 at most 4 ms, p99 at most 15 ms (at 1000 a second)",
        table,
        notes: vec![format!("walferry used {core:.1} % of a core meanwhile")],
        figures: json!({
            "transactions_per_second": rate,
            "commit_to_consumer": times.commit_to_consumer.json(),
            "intended_to_commit": times.intended_to_commit.json(),
            "intended_to_consumer": times.intended_to_consumer.json(),
            "cpu_percent_of_a_core": core,
        }),
    }
}
