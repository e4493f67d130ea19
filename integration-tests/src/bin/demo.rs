//! `make demo`: walferry at work on a small shop database, with real servers.
//!
//! Starts PostgreSQL, Kafka and a registry, runs a mixed workload while walferry follows it, prints
//! some of the events as they arrive, and compares tables with topics. Ends with 0 only if all is
//! right. On a terminal it then stays up for a look around, until Ctrl-C.

use integration_tests::mirror::{Cell, Facts, Report, Row};
use integration_tests::postgres::Options;
use integration_tests::workload::{ROUTES, Running, TABLES, outbox_topic};
use integration_tests::{Config, Decoder, Kafka, Listener, Postgres, Record, Registry};
use integration_tests::{Shop, Walferry, Workload};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const WORK: Duration = Duration::from_secs(10);
/// Of each topic one event in this time is printed: enough to see, little enough to read.
const SAMPLE: Duration = Duration::from_millis(900);
/// Transactions of each writer before the clock runs.
const FIRST: u64 = 30;
const WIDTH: usize = 60;

#[tokio::main]
async fn main() -> ExitCode {
    let mut stage = Stage::default();
    let interrupted = tokio::select! {
        () = show(&mut stage) => false,
        _ = tokio::signal::ctrl_c() => true,
    };
    if interrupted {
        println!("\nEverything is being stopped.");
    }
    for directory in &stage.directories {
        // Swept by the next run if it cannot be removed now.
        let _ = std::fs::remove_dir_all(directory);
    }
    if stage.right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What is left when the show is over, or was ended by Ctrl-C.
#[derive(Default)]
struct Stage {
    right: bool,
    directories: Vec<PathBuf>,
}

/// The whole demonstration. Servers end when it does, or when it is dropped.
async fn show(stage: &mut Stage) {
    let paint = Paint::new();
    println!("{}", paint.bold("walferry: from Postgres to Kafka in Avro, on real servers"));
    let (postgres, kafka, registry) = tokio::join!(
        started("PostgreSQL", Postgres::own(Postgres::default_version(), Options::default())),
        started("Kafka", Kafka::own(&[])),
        started("schema registry", Registry::own()),
    );
    let database = postgres.database("shop").await;
    let shop = Shop::create(&database).await;
    println!("  database {} with {} tables and an outbox", database.name(), TABLES.len());
    let config = Config::new("shop", &database, &kafka, &registry).named("shop");
    let config = Shop::configure(config.snapshot("mode = \"initial\""));
    let walferry = started("walferry", Walferry::run(&config)).await;
    stage.directories.extend(walferry.directory().parent().map(Path::to_owned));
    stage.directories.extend(postgres.socket_directory().parent().map(Path::to_owned));

    println!("  the first transactions: topics are created, schemas registered …");
    let mut events = Events::new(&shop, &config, &registry, paint).await;
    Workload::new(1).transactions(FIRST).run(&shop).await;
    shop.wait_confirmed(&config).await;
    let arrivals = consume(&kafka);

    println!("\nA mixed workload for {} seconds; some of its events:\n", WORK.as_secs());
    let before = changes(&shop).await;
    let begun = Instant::now();
    events.begun = now();
    // New numbers: those of the first workload are taken.
    let work = Workload::new(fastrand::u64(..))
        .after(1_000_000)
        .transactions(1_000_000)
        .pause(Duration::from_millis(10))
        .start(&shop)
        .await;
    let elapsed = watch(work, begun, &mut events, arrivals).await;
    let rate = (changes(&shop).await - before) as f64 / elapsed.as_secs_f64();

    println!("\nComparing tables with topics …\n");
    shop.wait_confirmed(&config).await;
    let reports = shop.compare(&config, &kafka, &registry).await;
    stage.right = tally(&reports, &mut events.latencies, rate, paint);
    if std::io::stdout().is_terminal() {
        look_around(&shop, &config, &walferry, paint).await;
    }
    let code = walferry.stop().await;
    stage.right &= code == 0;
    println!("walferry was stopped and ended with {code}; its servers follow.");
}

/// How many changes of rows were committed so far.
async fn changes(shop: &Shop<'_>) -> i64 {
    shop.database().value("SELECT count(*) FROM committed").await
}

/// Says when something has started, and how long it took.
async fn started<T>(name: &str, starting: impl Future<Output = T>) -> T {
    println!("  starting {name} …");
    let begun = Instant::now();
    let thing = starting.await;
    println!("  {name} is up after {:.1} s", begun.elapsed().as_secs_f64());
    thing
}

/// Prints events until the workload has had its time; how long it had.
async fn watch(
    work: Running,
    begun: Instant,
    events: &mut Events<'_>,
    mut arrivals: UnboundedReceiver<Arrival>,
) -> Duration {
    let end = tokio::time::sleep(WORK);
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            arrival = arrivals.recv() => match arrival {
                Some(arrival) => events.show(arrival).await,
                None => break,
            },
        }
    }
    let tally = work.stop().await;
    println!(
        "\n{} transactions committed, {} rolled back, {} lost to conflicts",
        tally.committed, tally.rolled_back, tally.conflicts
    );
    begun.elapsed()
}

/// A record, and when it became visible.
struct Arrival {
    record: Record,
    /// Microseconds since 1970.
    at: i64,
}

/// Reads all topics that the shop has now, until nobody listens any more.
fn consume(kafka: &Kafka) -> UnboundedReceiver<Arrival> {
    let consumer: BaseConsumer = kafka
        .client_config(Listener::Plaintext)
        .set("group.id", "demo")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "10")
        .create()
        .expect("a consumer");
    let (sender, receiver) = unbounded_channel();
    std::thread::spawn(move || read(&consumer, &sender));
    receiver
}

fn read(consumer: &BaseConsumer, sender: &UnboundedSender<Arrival>) {
    let metadata = consumer.fetch_metadata(None, Duration::from_secs(30)).expect("metadata");
    let mut all = TopicPartitionList::new();
    for topic in metadata.topics().iter().filter(|topic| topic.name().starts_with("shop.")) {
        for partition in topic.partitions() {
            all.add_partition_offset(topic.name(), partition.id(), Offset::Beginning)
                .expect("an offset");
        }
    }
    consumer.assign(&all).expect("an assignment");
    while !sender.is_closed() {
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(20)) else { continue };
        let at = now();
        // The receiver may have gone in this moment.
        let _ = sender.send(Arrival { record: Record::from(&message), at });
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Decodes what arrives, prints some of it, and keeps the latencies.
struct Events<'a> {
    decoder: Decoder<'a>,
    facts: HashMap<String, Facts>,
    outboxes: HashSet<String>,
    printed: HashMap<(String, String), Instant>,
    latencies: Vec<i64>,
    /// When the clock began to run, in microseconds since 1970: earlier commits have no latency.
    begun: i64,
    paint: Paint,
}

impl<'a> Events<'a> {
    async fn new(shop: &Shop<'_>, config: &Config, registry: &'a Registry, paint: Paint) -> Self {
        let mut facts = HashMap::new();
        for table in TABLES {
            facts.insert(config.topic(table), Facts::read(shop.database(), table).await);
        }
        Self {
            decoder: Decoder::new(registry),
            facts,
            outboxes: ROUTES.iter().map(|route| outbox_topic(config, route)).collect(),
            printed: HashMap::new(),
            latencies: Vec::new(),
            begun: i64::MAX,
            paint,
        }
    }

    async fn show(&mut self, arrival: Arrival) {
        let event = self.decoder.event(&arrival.record).await;
        let topic = &arrival.record.topic;
        let value = event.value.unwrap_or(Value::Null);
        let mut latency = None;
        let committed = value["source"]["ts_us"].as_i64();
        if let Some(committed) = committed.filter(|committed| *committed >= self.begun) {
            latency = Some(arrival.at - committed);
            self.latencies.extend(latency);
        }
        let (op, text) = if self.outboxes.contains(topic) {
            let key = event.key.as_str().unwrap_or_default();
            ("event", format!("{key}  {}", value.as_str().unwrap_or_default()))
        } else {
            self.change(topic, &event.key, &value)
        };
        let last = self.printed.get(&(topic.clone(), op.to_owned()));
        if last.is_some_and(|last| last.elapsed() < 4 * SAMPLE)
            || self.printed.values().any(|last| last.elapsed() < SAMPLE / 9)
        {
            return;
        }
        self.printed.insert((topic.clone(), op.to_owned()), Instant::now());
        let latency =
            latency.map_or(String::new(), |micros| format!("{:.1} ms", micros as f64 / 1e3));
        let op = self.paint.op(op, &format!("{op:<9}"));
        println!("  {topic:<25} {op} {:<WIDTH$} {latency:>9}", short(&text));
    }

    /// The name of a change, its key and some of its values.
    fn change(&self, topic: &str, key: &Value, value: &Value) -> (&'static str, String) {
        let facts = self.facts.get(topic);
        let key_text = facts.and_then(|facts| facts.key_of_json(key)).unwrap_or_default();
        let op = match value["op"].as_str() {
            Some("c" | "r") => "create",
            Some("u") => "update",
            Some("d") => "delete",
            Some("t") => "truncate",
            _ => "tombstone",
        };
        let row = facts.and_then(|facts| facts.row_of_json(&value["after"])).unwrap_or_default();
        let skipped = |name: &String| facts.is_some_and(|facts| facts.key.contains(name));
        let cells: Row = row.into_iter().filter(|(name, _)| !skipped(name)).collect();
        let cells = cells.iter().filter_map(|(name, cell)| match cell {
            Cell::Text(text) => {
                Some(format!("{name}={}", text.chars().take(14).collect::<String>()))
            }
            Cell::Unsent => Some(format!("{name}=(unchanged)")),
            Cell::Null => None,
        });
        let parts: Vec<String> = [key_text].into_iter().chain(cells).collect();
        (op, parts.join(" "))
    }
}

/// One line's worth of text.
fn short(text: &str) -> String {
    let text = text.trim_start().replace(char::is_control, " ");
    match text.char_indices().nth(WIDTH - 1) {
        Some((at, _)) if text.chars().count() > WIDTH => format!("{}…", &text[..at]),
        _ => text,
    }
}

/// Prints the comparison as a table; whether all is right.
fn tally(reports: &[Report], latencies: &mut [i64], rate: f64, paint: Paint) -> bool {
    let line = "─".repeat(70);
    println!("  {:<24}{:>10}{:>12}{:>12}{:>12}", "table", "rows", "changes", "missing", "repeated");
    println!("  {line}");
    for report in reports {
        let Report { subject, rows, changes, repeated, .. } = report;
        println!("  {subject:<24}{rows:>10}{changes:>12}{:>12}{repeated:>12}", report.missing());
    }
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let (changes, repeated) = (sum(|report| report.changes), sum(|report| report.repeated));
    println!("  {line}");
    println!(
        "  {:<24}{:>10}{changes:>12}{:>12}{repeated:>12}\n",
        "together",
        sum(|report| report.rows as u64),
        sum(Report::missing)
    );
    latencies.sort_unstable();
    let percentile = |share: usize| {
        let at = (latencies.len() * share / 100).min(latencies.len().saturating_sub(1));
        latencies.get(at).map_or(f64::NAN, |micros| *micros as f64 / 1e3)
    };
    println!(
        "  commit to consumer: p50 {:.1} ms, p99 {:.1} ms; {rate:.0} rows/s",
        percentile(50),
        percentile(99),
    );
    let right = repeated == 0
        && reports.iter().all(|report| report.faults.is_empty() && report.changes > 0);
    for report in reports.iter().filter(|report| !report.faults.is_empty()) {
        println!("\n{report}");
    }
    match right {
        true => println!("\n{}", paint.green("The topics hold exactly what the tables hold.")),
        false => println!("\n{}", paint.red("The topics do not hold what the tables hold.")),
    }
    right
}

/// Says where to look, and keeps a slow workload going until Ctrl-C.
async fn look_around(shop: &Shop<'_>, config: &Config, walferry: &Walferry, paint: Paint) {
    let binary = integration_tests::walferry::binary();
    let (binary, file) = (binary.display(), walferry.directory().join("walferry.toml"));
    let (file, http) = (file.display(), config.http_address());
    println!("\n{}", paint.bold("It goes on at a slow pace. To look around:"));
    println!("  {binary} tail --config {file} shop.public.orders");
    println!("  {binary} tail --config {file} {} --from-beginning", outbox_topic(config, "order"));
    println!("  psql '{}'", shop.database().url());
    println!("  http://{http}/status  http://{http}/metrics  http://{http}/readyz");
    println!("Ctrl-C stops everything.");
    // New numbers: those of the first workload are taken.
    let work = Workload::new(1)
        .writers(1)
        .after(1_000_000_000)
        .transactions(1_000_000)
        .pause(Duration::from_millis(500))
        .start(shop)
        .await;
    // Ctrl-C ends the whole show.
    work.finish().await;
}

/// Colours, where they are wanted.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn new() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self(std::io::stdout().is_terminal() && !set("NO_COLOR") && !dumb)
    }

    fn with(self, code: u8, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(self, text: &str) -> String {
        self.with(1, text)
    }

    fn green(self, text: &str) -> String {
        self.with(32, text)
    }

    fn red(self, text: &str) -> String {
        self.with(31, text)
    }

    fn op(self, op: &str, text: &str) -> String {
        let code = match op {
            "create" => 32,
            "update" => 33,
            "delete" | "truncate" => 31,
            "event" => 36,
            _ => 2,
        };
        self.with(code, text)
    }
}
