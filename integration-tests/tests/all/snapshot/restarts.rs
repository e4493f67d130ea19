//! Kills, stops and lost connections in the middle.

use integration_tests::{Walferry, wait};
use serde_json::Value;

use super::{Scene, replayed};

/// Three tables with a few thousand rows each, read slowly and one after the other.
async fn slow(stem: &str) -> (Scene, integration_tests::Config) {
    let tables = ["a", "b", "c"].map(|name| {
        format!(
            "CREATE TABLE {name} (id int PRIMARY KEY, version int NOT NULL DEFAULT 0, pad text);
             INSERT INTO {name} SELECT n, 0, repeat('x', 100) FROM generate_series(1, 2000) n;"
        )
    });
    let scene = Scene::newest(stem, &tables.concat()).await;
    let config = scene
        .config(stem)
        .snapshot("parallelism = 1")
        .snapshot("max_rows_per_second = 2000")
        .table("public.a")
        .table("public.b")
        .table("public.c");
    (scene, config)
}

/// Compares what consumers hold with the table, and says how often rows were read.
pub(super) async fn compare(
    scene: &Scene,
    config: &integration_tests::Config,
    table: &str,
) -> usize {
    let values = compare_end(scene, config, table).await;
    never_older(&values, table);
    values.iter().filter(|value| value["op"] == "r").count()
}

/// Compares what consumers hold in the end with the table; the values of its topic.
pub(super) async fn compare_end(
    scene: &Scene,
    config: &integration_tests::Config,
    table: &str,
) -> Vec<Value> {
    let values = scene.all_values(&config.topic(&format!("public.{table}"))).await;
    let rows = replayed(&values, "id");
    let sql = format!("SELECT id::text, version::text FROM {table}");
    let expected: std::collections::BTreeMap<String, i64> = scene
        .database
        .query(&sql, &[])
        .await
        .iter()
        .map(|row| (row.get::<_, String>(0), row.get::<_, String>(1).parse().expect("a version")))
        .collect();
    let held: std::collections::BTreeMap<String, i64> = rows
        .iter()
        .map(|(key, row)| (key.clone(), row["version"].as_i64().expect("a version")))
        .collect();
    let differ: Vec<_> = expected
        .iter()
        .filter(|(key, version)| held.get(*key) != Some(version))
        .chain(held.iter().filter(|(key, _)| !expected.contains_key(*key)))
        .take(5)
        .collect();
    let history = |key: &str| -> Vec<String> {
        let is_it = |value: &&Value| {
            let image = if value["after"].is_null() { &value["before"] } else { &value["after"] };
            image["id"].as_i64().map(|id| id.to_string()).as_deref() == Some(key)
        };
        let brief = |value: &Value| {
            let (op, version) = (&value["op"], &value["after"]["version"]);
            format!("{op} {version} at {} of {}", value["source"]["lsn"], value["source"]["txId"])
        };
        values.iter().filter(|value| !value.is_null()).filter(is_it).map(brief).collect()
    };
    assert!(
        differ.is_empty(),
        "{table} differs, as in {differ:?}; the first has {:#?}",
        differ.first().map(|(key, _)| history(key))
    );
    values
}

/// A snapshot never brings a version that is older than one delivered before.
fn never_older(values: &[Value], table: &str) {
    let mut newest = std::collections::HashMap::new();
    for value in values.iter().filter(|value| !value["after"].is_null()) {
        let version = value["after"]["version"].as_i64().expect("a version");
        let id = value["after"]["id"].as_i64().expect("a key");
        let before = newest.insert(id, version).unwrap_or(version);
        assert!(version >= before, "{table} {id}: {version} after {before}");
    }
}

async fn killed_when(stem: &str, table: &str, records: usize) {
    let (scene, config) = slow(stem).await;
    let walferry = Walferry::start(&config);
    scene.kafka.first_records(&config.topic(&format!("public.{table}")), records, wait::LONG).await;
    walferry.kill();
    // What happens meanwhile to rows that were read and to rows that were not.
    for table in ["a", "b", "c"] {
        scene
            .database
            .execute(&format!(
                "UPDATE {table} SET version = 1 WHERE id % 10 = 0; DELETE FROM {table} WHERE id % 10 = 5;
                 UPDATE {table} SET id = id + 100000, version = 2 WHERE id % 100 = 1;
                 INSERT INTO {table} SELECT n, 3 FROM generate_series(5001, 5010) n"
            ))
            .await;
    }
    let walferry_again = Walferry::run(&config).await;
    scene.database.execute("UPDATE a SET version = 4 WHERE id < 10").await;
    scene.caught_up(&config).await;
    for table in ["a", "b", "c"] {
        compare(&scene, &config, table).await;
    }
    assert_eq!(walferry_again.stop().await, 0, "{}", walferry_again.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_among_the_first_rows_loses_and_invents_nothing() {
    killed_when("kill_first", "a", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_loses_and_invents_nothing() {
    killed_when("kill_middle", "b", 1000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_the_last_rows_loses_and_invents_nothing() {
    killed_when("kill_last", "c", 1999).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_keeps_what_was_finished() {
    let (scene, config) = slow("stop").await;
    let walferry = Walferry::start(&config);
    scene.kafka.first_records(&config.topic("public.c"), 500, wait::LONG).await;
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
    let statements = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                      AND application_name LIKE 'walferry%'";
    let left: i64 = scene.database.value(statements).await;
    assert_eq!(left, 0, "sessions are left running");
    let walferry = Walferry::run(&config).await;
    scene.caught_up(&config).await;
    assert_eq!(compare(&scene, &config, "a").await, 2000, "a finished table is not read again");
    let again = compare(&scene, &config, "c").await;
    assert!(again > 2000, "the table under way is read again: {again}");
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_lost_in_the_middle_is_made_again() {
    let (scene, config) = slow("lost").await;
    let walferry = Walferry::start(&config);
    scene.kafka.first_records(&config.topic("public.b"), 500, wait::LONG).await;
    // Only the reader: the stream's own connection stays.
    let killed: i64 = scene
        .database
        .value(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = current_database() AND query LIKE 'COPY%'",
        )
        .await;
    assert_eq!(killed, 1);
    walferry.wait_ready().await;
    scene.database.execute("UPDATE b SET version = 1 WHERE id = 1").await;
    scene.caught_up(&config).await;
    for table in ["a", "b", "c"] {
        compare(&scene, &config, table).await;
    }
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}
