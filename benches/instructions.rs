//! Instructions per row, counted by callgrind: a figure that does not depend on the machine's load.
//!
//! Two runs, one with `BENCH_INSTRUCTION_ROWS` (20 000) more rows in its slot than the other; the
//! difference is what these rows cost, start and stop left out. All threads count, librdkafka's
//! too. Without valgrind it says so and measures nothing.

use integration_tests::bench::{Backlog, Section, Servers, Shape, Table, TopicEnd, setting};
use integration_tests::{Config, Database, Walferry};
use serde_json::json;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Enough to have made every allocation that is made once.
const BASE: u64 = 2_000;
const DEADLINE: Duration = Duration::from_secs(300);
/// Functions in the report.
const FUNCTIONS: usize = 20;

#[tokio::main]
async fn main() {
    let rows = setting("BENCH_INSTRUCTION_ROWS", 20_000);
    let found = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        println!("instructions: NOT MEASURED: valgrind is missing (apt-get install valgrind)");
        return;
    }
    let servers = Servers::start().await;
    let database = servers.postgres.database("bench").await;
    let mut backlog = Backlog::prepare(&database, Shape::ORDERS).await;
    backlog.fill(rows).await;
    let short = "bench_short";
    backlog.create_slot(short).await;
    backlog.fill(BASE).await;
    let long = backlog.copy_slot().await;

    println!("running under callgrind: {BASE} rows, then {}", BASE + rows);
    let (fewer, short) = count(&servers, &database, &backlog, short, BASE).await;
    let (more, long) = count(&servers, &database, &backlog, &long, BASE + rows).await;
    let each = (more - fewer) as f64 / rows as f64;
    let table = Table::new(["run", "rows", "instructions"])
        .row(["short".to_owned(), BASE.to_string(), fewer.to_string()])
        .row(["long".to_owned(), (BASE + rows).to_string(), more.to_string()])
        .row(["a row".to_owned(), "1".to_owned(), format!("{each:.0}")]);
    let functions = difference(&functions(&short), &functions(&long), rows);
    let section = Section {
        name: "instructions",
        title: "Instructions",
        method: format!(
            "callgrind on the release binary, all threads, the rows of the drain ({}); the \
             difference of the two runs is what {rows} rows cost.",
            backlog.shape().description,
        ),
        target: "",
        table,
        notes: functions.iter().map(|(name, each)| format!("{each:.0} in `{name}`")).collect(),
        figures: json!({
            "instructions_per_row": each,
            "rows": rows,
            "functions": functions
                .iter()
                .map(|(name, each)| json!({ "name": name, "instructions_per_row": each }))
                .collect::<Vec<_>>(),
        }),
    };
    section.publish();
}

/// Instructions of a whole run that drains `slot`, and callgrind's file.
async fn count(
    servers: &Servers,
    database: &Database,
    backlog: &Backlog<'_>,
    slot: &str,
    rows: u64,
) -> (u64, PathBuf) {
    let config = Config::new("count", database, &servers.kafka, &servers.registry)
        .postgres(&format!("slot = {slot:?}"))
        .postgres("slot_manage = \"never\"")
        .postgres(&format!("publication = {:?}", backlog.publication()))
        .postgres("publication_manage = \"never\"")
        .table(backlog.shape().table);
    let topic = config.topic(backlog.shape().table);
    servers.kafka.create_topic(&topic, 1, &[]).await;
    let end = TopicEnd::new(&servers.kafka, &topic);
    // Relative to the directory that walferry is started in.
    let tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=callgrind.out"];
    let walferry = Walferry::start_under(&config, &tool);
    tokio::task::block_in_place(|| end.wait(rows, DEADLINE, || walferry.log()));
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
    let file = walferry.directory().join("callgrind.out");
    let text = fs::read_to_string(&file).expect("callgrind's file");
    let totals = text.lines().find_map(|line| line.strip_prefix("totals: "));
    let totals = totals.and_then(|number| number.trim().parse().ok());
    (totals.expect("callgrind's totals"), file)
}

/// Functions by what they cost a row more, the most first.
fn difference(
    short: &HashMap<String, u64>,
    long: &HashMap<String, u64>,
    rows: u64,
) -> Vec<(String, f64)> {
    let before = |name| short.get(name).copied().unwrap_or_default();
    let cost = |(name, count): (&String, &u64)| {
        (name.clone(), (*count as f64 - before(name) as f64) / rows as f64)
    };
    let mut functions: Vec<(String, f64)> = long.iter().map(cost).collect();
    functions.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    functions.truncate(FUNCTIONS);
    functions
}

/// Instructions of each function itself; empty without `callgrind_annotate`.
fn functions(profile: &Path) -> HashMap<String, u64> {
    let arguments = ["--auto=no", "--threshold=100"];
    let output = Command::new("callgrind_annotate").args(arguments).arg(profile).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let mut functions = HashMap::new();
    for line in String::from_utf8_lossy(&text).lines() {
        if let Some((name, count)) = function(line) {
            *functions.entry(name).or_default() += count;
        }
    }
    functions
}

/// Takes `12,345 ( 6.78%)  file:function [object]` apart.
fn function(line: &str) -> Option<(String, u64)> {
    let (count, rest) = line.trim_start().split_once(' ')?;
    let count: u64 = count.replace(',', "").parse().ok()?;
    let place = rest.split_once(')')?.1.trim();
    if place.starts_with("PROGRAM TOTALS") {
        return None;
    }
    let object = place.ends_with(']').then(|| place.rsplit_once(" [")).flatten();
    let place = object.map_or(place, |(place, _)| place);
    let name = place.split_once(':').map_or(place, |(_, name)| name);
    Some((name.to_owned(), count))
}
