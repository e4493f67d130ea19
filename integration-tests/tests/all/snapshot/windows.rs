//! Tables that are read in chunks, while the stream goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use integration_tests::postgres::Options;
use integration_tests::{Config, Database, Kafka, Postgres, Registry, Walferry, wait};
use tokio::task::JoinHandle;

use super::restarts::compare;
use super::{Scene, brief};

const ROWS: u32 = 5000;

/// A table with large values that updates leave alone.
fn table(name: &str) -> String {
    format!(
        "CREATE TABLE {name} (id int PRIMARY KEY, version int NOT NULL DEFAULT 0, large text);
         ALTER TABLE {name} ALTER large SET STORAGE EXTERNAL;
         INSERT INTO {name} SELECT n, 0, repeat('x', 3000) || n FROM generate_series(1, {ROWS}) n;"
    )
}

fn windows(scene: &Scene, stem: &str) -> Config {
    scene.config(stem).snapshot("engine = \"windows\"").table("public.a")
}

/// Updates, moves, deletes and inserts all over a table, as fast as one session can.
struct Churn {
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Churn {
    fn on(database: &Database, table: &str) -> Churn {
        let stop = Arc::<AtomicBool>::default();
        let (url, table, stopped) = (database.url(), table.to_owned(), Arc::clone(&stop));
        let task = tokio::spawn(async move {
            let connected = tokio_postgres::connect(&url, tokio_postgres::NoTls).await;
            let (client, connection) = connected.expect("a connection");
            let connection = tokio::spawn(connection);
            let mut round = 0;
            while !stopped.load(Ordering::SeqCst) {
                round += 1;
                let (id, other) = (round * 7919 % ROWS + 1, round * 104_729 % ROWS + 1);
                let sql = format!(
                    "UPDATE {table} SET version = version + 1 WHERE id BETWEEN {id} AND {id} + 3;
                     UPDATE {table} SET id = 100000 + {round}, version = version + 1 WHERE id = {other};
                     UPDATE {table} SET id = -{round}, version = version + 1 WHERE id = 99999 + {round};
                     DELETE FROM {table} WHERE id = {id} + 2;
                     INSERT INTO {table} VALUES ({id} + 2, 1000 + {round}, 'again')
                         ON CONFLICT DO NOTHING"
                );
                client.batch_execute(&sql).await.expect("a change");
            }
            drop(client);
            connection.await.expect("a task").expect("a connection");
        });
        Churn { stop, task }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.expect("the churn's task");
    }
}

const READ: &str = "the table was read and delivered";

/// Compares a table that was read with its topic; large values too.
async fn whole(scene: &Scene, config: &Config) {
    scene.caught_up(config).await;
    compare(scene, config, "a").await;
    let values = scene.all_values(&config.topic("public.a")).await;
    // The large value of each row was delivered, with its key or the one it had before.
    let mut large = std::collections::HashSet::new();
    for value in &values {
        if let Some(text) = value["after"]["large"].as_str() {
            large.insert(text.to_owned());
        }
    }
    for text in scene.database.texts("SELECT DISTINCT large FROM a").await.into_iter().flatten() {
        assert!(
            large.contains(&text),
            "a large value was never delivered: …{}",
            &text[text.len().saturating_sub(6)..]
        );
    }
}

async fn a_busy_table(version: u16) {
    let scene = Scene::new("busy", version, &table("a")).await;
    let config = windows(&scene, "busy");
    let churn = Churn::on(&scene.database, "a");
    let walferry = Walferry::run(&config).await;
    walferry.wait_log(READ, wait::LONG).await;
    churn.stop().await;
    whole(&scene, &config).await;
    let values = scene.all_values(&config.topic("public.a")).await;
    let markers: std::collections::BTreeSet<_> =
        values.iter().filter(|v| v["op"] == "r").map(|value| brief(value).1).collect();
    assert_eq!(markers.into_iter().collect::<Vec<_>>(), ["incremental"]);
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_table_is_read_in_chunks_on_the_oldest_postgres() {
    a_busy_table(Postgres::oldest_version()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_table_is_read_in_chunks_on_the_newest_postgres() {
    a_busy_table(Postgres::newest_version()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_in_the_middle_go_on_at_the_last_chunk() {
    let scene = Scene::newest("chunk_kill", &table("a")).await;
    let config = windows(&scene, "chunk_kill").snapshot("max_rows_per_second = 4000");
    let churn = Churn::on(&scene.database, "a");
    let topic = config.topic("public.a");
    for rows in [300, 2000, 3500] {
        let walferry = Walferry::start(&config);
        scene.kafka.first_records(&topic, rows, wait::LONG).await;
        walferry.kill();
    }
    let walferry = Walferry::run(&config).await;
    walferry.wait_log(READ, wait::LONG).await;
    churn.stop().await;
    // What comes again after a kill may be older for a moment: only the end is compared.
    scene.caught_up(&config).await;
    super::restarts::compare_end(&scene, &config, "a").await;
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_table_is_read_at_one_snapshot_with_kills_and_without() {
    let scene = Scene::newest("frozen_busy", &table("a")).await;
    let config = scene.config("frozen_busy").snapshot("parallelism = 2").table("public.a");
    let churn = Churn::on(&scene.database, "a");
    let walferry = Walferry::run(&config).await;
    churn.stop().await;
    whole(&scene, &config).await;
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());

    let scene = Scene::newest("frozen_kill", &table("a")).await;
    let config =
        scene.config("frozen_kill").snapshot("max_rows_per_second = 4000").table("public.a");
    let churn = Churn::on(&scene.database, "a");
    let topic = config.topic("public.a");
    for rows in [300, 5000, 9000] {
        let walferry = Walferry::start(&config);
        scene.kafka.first_records(&topic, rows, wait::LONG).await;
        walferry.kill();
    }
    let walferry = Walferry::run(&config).await;
    churn.stop().await;
    scene.caught_up(&config).await;
    super::restarts::compare_end(&scene, &config, "a").await;
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_goes_on_where_it_was() {
    let scene = Scene::newest("chunk_stop", &table("a")).await;
    let config = windows(&scene, "chunk_stop").snapshot("max_rows_per_second = 4000");
    let walferry = Walferry::start(&config);
    scene.kafka.first_records(&config.topic("public.a"), 2000, wait::LONG).await;
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
    let walferry = Walferry::run(&config).await;
    walferry.wait_log(READ, wait::LONG).await;
    whole(&scene, &config).await;
    let read = compare(&scene, &config, "a").await;
    assert!(read < 2 * ROWS as usize, "the finished chunks are not read again: {read}");
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_listed_later_is_read_while_the_stream_goes_on() {
    let scene = Scene::newest("listed", &table("a")).await;
    scene.database.execute("CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b VALUES (1)").await;
    let config = scene.config("listed").table("public.b");
    let walferry = Walferry::run(&config).await;
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
    let config = config.table("public.a");
    let walferry = Walferry::run(&config).await;
    scene
        .database
        .execute("UPDATE a SET version = 1 WHERE id % 10 = 0; INSERT INTO b VALUES (2)")
        .await;
    walferry.wait_log(READ, wait::LONG).await;
    whole(&scene, &config).await;
    let b = scene.all_values(&config.topic("public.b")).await;
    assert_eq!(b.len(), 2, "what was read is not read again");
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_several_columns_and_partitions_are_read_in_order() {
    let scene = Scene::newest(
        "composite",
        "CREATE TABLE parts (region text COLLATE \"C\", at timestamptz, id uuid DEFAULT gen_random_uuid(),
             amount numeric, PRIMARY KEY (region, at, id)) PARTITION BY LIST (region);
         CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN ('o''ne', 'back\\slash');
         CREATE TABLE parts_2 PARTITION OF parts DEFAULT;
         INSERT INTO parts (region, at, amount)
         SELECT (ARRAY['o''ne', 'back\\slash', 'Zürich', 'tab\tbed'])[1 + n % 4],
                timestamptz '2026-01-01' + (n / 8) * interval '1.5 seconds', n / 3.0
         FROM generate_series(1, 3000) n;
         CREATE TABLE keyless (id int); INSERT INTO keyless VALUES (1)",
    )
    .await;
    let config = scene
        .config("composite")
        .snapshot("engine = \"windows\"")
        .table("public.parts")
        .table_with("public.keyless", "inserts_only = true");
    let walferry = Walferry::run(&config).await;
    let keyless = scene.values(&config.topic("public.keyless"), 1).await;
    assert_eq!(brief(&keyless[0]).1, "last", "a table without a key is read at one snapshot");
    walferry.wait_log(READ, wait::LONG).await;
    scene.caught_up(&config).await;
    let values = scene.all_values(&config.topic("public.parts")).await;
    let ids: std::collections::HashSet<_> =
        values.iter().map(|value| value["after"]["id"].to_string()).collect();
    assert_eq!((values.len(), ids.len()), (3000, 3000));
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncate_and_a_changed_schema_in_the_middle_are_followed() {
    let scene = Scene::newest("chunk_ddl", &table("a")).await;
    let config = windows(&scene, "chunk_ddl")
        .snapshot("max_rows_per_second = 4000")
        .toml_text("[format]\ntruncate = true");
    let walferry = Walferry::start(&config);
    let topic = config.topic("public.a");
    scene.kafka.first_records(&topic, 1000, wait::LONG).await;
    scene
        .database
        .execute("ALTER TABLE a ADD COLUMN added int; UPDATE a SET added = id, version = 1")
        .await;
    scene.kafka.first_records(&topic, 8000, wait::LONG).await;
    walferry.wait_log(READ, wait::LONG).await;
    scene.caught_up(&config).await;
    let held = super::replayed(&scene.all_values(&topic).await, "id");
    assert_eq!(held.len(), ROWS as usize);
    assert!(held.values().all(|row| row["added"] == row["id"]), "a column was lost");
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());

    let scene = Scene::newest("chunk_truncate", &table("a")).await;
    let config = windows(&scene, "chunk_truncate")
        .snapshot("max_rows_per_second = 4000")
        .toml_text("[format]\ntruncate = true");
    let walferry = Walferry::start(&config);
    scene.kafka.first_records(&config.topic("public.a"), 1000, wait::LONG).await;
    scene.database.execute("TRUNCATE a; INSERT INTO a VALUES (1, 9, 'new')").await;
    walferry.wait_log(READ, wait::LONG).await;
    scene.caught_up(&config).await;
    let held = super::replayed(&scene.all_values(&config.topic("public.a")).await, "id");
    assert_eq!(held.len(), 1);
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

/// A commit is in the log, and streamed, before it is visible: here for as long as a synchronous
/// standby does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_streamed_and_not_visible_is_not_undone_by_a_chunk() {
    let postgres = Postgres::own(Postgres::default_version(), Options::default()).await;
    let database = postgres.database("invisible").await;
    let (kafka, registry) = (Kafka::shared().await, Registry::shared().await);
    database.execute(&table("a")).await;
    let scene = Scene { database, kafka, registry };
    let config = windows(&scene, "invisible").snapshot("max_rows_per_second = 1000");
    let walferry = Walferry::start(&config);
    let topic = config.topic("public.a");
    scene.kafka.first_records(&topic, 100, wait::LONG).await;
    // Nobody of that name will ever answer.
    let sync = "ALTER SYSTEM SET synchronous_standby_names = 'nobody'";
    scene.database.execute(sync).await;
    scene.database.execute("SELECT pg_reload_conf()").await;
    let waiting = scene.database.connect().await;
    let update = tokio::spawn(async move {
        waiting.batch_execute("UPDATE a SET version = 7 WHERE id = 5000").await
    });
    // It is streamed,
    wait::until("the update in the topic", wait::LONG, async || {
        let values = scene.all_values(&topic).await;
        values.iter().any(|v| v["op"] == "u" && v["after"]["id"] == ROWS).then_some(())
    })
    .await;
    // and not visible.
    let version: i32 = scene.database.value("SELECT version FROM a WHERE id = 5000").await;
    assert_eq!(version, 0);
    walferry.wait_log("a chunk is read again", wait::LONG).await;
    scene.database.execute("ALTER SYSTEM RESET synchronous_standby_names").await;
    scene.database.execute("SELECT pg_reload_conf()").await;
    update.await.expect("a task").expect("the update");
    walferry.wait_log(READ, wait::LONG).await;
    whole(&scene, &config).await;
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn large_rows_behind_small_ones_do_not_fill_the_memory() {
    let scene = Scene::newest(
        "wide",
        "CREATE TABLE a (id int PRIMARY KEY, version int NOT NULL DEFAULT 0, large text);
         ALTER TABLE a ALTER large SET STORAGE EXTERNAL;
         INSERT INTO a SELECT n, 0, CASE WHEN n > 5000 THEN repeat(md5(n::text), 15000) END
         FROM generate_series(1, 5300) n",
    )
    .await;
    let walferry = Walferry::run(&windows(&scene, "wide")).await;
    walferry.wait_log(READ, wait::LONG).await;
    let peak = walferry.peak_memory() >> 20;
    // 150 MB of rows: what is in flight has 16 MiB, and this is no optimised build.
    assert!(peak < 100, "{peak} MiB");
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}
