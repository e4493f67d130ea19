//! `walferry tail`: as a process, with the ends that it can have.

use std::process::Stdio;
use std::time::Duration;

use integration_tests::services::run_directory;
use integration_tests::walferry::binary;
use integration_tests::{Config, wait};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use super::{Shop, walferry};

async fn shop_with_rows(stem: &str, rows: i64) -> Shop {
    let shop = Shop::open(stem).await;
    shop.deliver().await;
    for id in 1..=rows {
        shop.insert(id).await;
    }
    shop.deliver().await;
    shop
}

/// Starts to print a topic from its beginning, and goes on.
fn follow(config: &Config, topic: &str) -> Child {
    let file = run_directory("tail").join("walferry.toml");
    std::fs::write(&file, config.toml()).expect("walferry.toml");
    Command::new(binary())
        .args(["tail", topic, "--from-beginning", "--json", "--config"])
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("walferry tail")
}

async fn within<T>(what: &str, deadline: Duration, work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(deadline, work).await;
    done.unwrap_or_else(|_| panic!("waited {deadline:?} for {what}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_printed_decoded_up_to_a_number() {
    let shop = shop_with_rows("tail", 3).await;
    let topic = shop.config.topic("public.orders");
    let command = format!("tail {topic} --from-beginning --json -n 2");
    let said = walferry(&command, &shop.config).await.exits(0);
    let lines: Vec<Value> =
        said.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let ids: Vec<_> = lines.iter().map(|line| line["key"]["id"].as_i64()).collect();
    assert_eq!(ids, [Some(1), Some(2)], "{}", said.out);
    assert_eq!(lines[0]["value"]["after"]["note"], "note 1");
    let command = format!("tail {topic} --from-beginning -n 3");
    let said = walferry(&command, &shop.config).await.exits(0);
    assert_eq!(said.out.lines().count(), 3, "{}", said.out);
    assert!(!said.out.contains('\x1b'), "{}", said.out);
    walferry("tail no.such.topic", &shop.config).await.exits(2).says("there is no topic");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_is_a_good_end() {
    let shop = shop_with_rows("ctrl_c", 1).await;
    let mut tail = follow(&shop.config, &shop.config.topic("public.orders"));
    let mut lines = BufReader::new(tail.stdout.take().expect("a pipe")).lines();
    let line = within("a record", wait::LONG, lines.next_line()).await;
    assert!(line.expect("a line").is_some());
    let pid = i32::try_from(tail.id().expect("a process")).expect("a pid");
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("a signal");
    let status = within("the end of tail", wait::LONG, tail.wait()).await.expect("a status");
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_ends_it_quietly() {
    let shop = shop_with_rows("pipe", 1).await;
    let mut tail = follow(&shop.config, &shop.config.topic("public.orders"));
    let mut lines = BufReader::new(tail.stdout.take().expect("a pipe")).lines();
    let line = within("a record", wait::LONG, lines.next_line()).await;
    assert!(line.expect("a line").is_some());
    drop(lines);
    shop.insert(2).await;
    shop.deliver().await;
    let status = within("the end of tail", wait::LONG, tail.wait()).await.expect("a status");
    let mut errors = String::new();
    let pipe = tail.stderr.as_mut().expect("a pipe");
    pipe.read_to_string(&mut errors).await.expect("UTF-8");
    assert_eq!((status.code(), errors.as_str()), (Some(0), ""));
}
