//! What happens to tables while they are read.

use integration_tests::{Walferry, wait};

use super::{Scene, replayed};

/// A table that comes first and takes long, and one that is changed before its turn.
async fn scene(stem: &str) -> (Scene, integration_tests::Config) {
    let scene = Scene::newest(
        stem,
        "CREATE TABLE a (id int PRIMARY KEY, note text);
         INSERT INTO a SELECT n, repeat('x', 100) FROM generate_series(1, 2000) n;
         CREATE TABLE b (id int PRIMARY KEY, note text, number int);
         INSERT INTO b SELECT n, 'old', n FROM generate_series(1, 100) n",
    )
    .await;
    let config = scene
        .config(stem)
        .snapshot("parallelism = 1")
        .snapshot("max_rows_per_second = 2000")
        .table("public.a")
        .table("public.b");
    (scene, config)
}

/// Runs `change` while the first table is read, and compares the second one's columns.
async fn changed_meanwhile(stem: &str, change: &str, columns: &str) {
    let (scene, config) = scene(stem).await;
    let walferry = Walferry::start(&config);
    scene.kafka.first_records(&config.topic("public.a"), 500, wait::LONG).await;
    scene.database.execute(change).await;
    walferry.wait_ready().await;
    scene.database.execute("INSERT INTO b (id, note) VALUES (1000, 'after')").await;
    scene.caught_up(&config).await;
    let held = replayed(&scene.all_values(&config.topic("public.b")).await, "id");
    let sql = format!("SELECT row_to_json(t)::text FROM (SELECT {columns} FROM b) t");
    let rows = scene.database.texts(&sql).await;
    assert_eq!(held.len(), rows.len());
    for row in rows.into_iter().flatten() {
        let row: serde_json::Value = serde_json::from_str(&row).expect("JSON");
        assert_eq!(held.get(&row["id"].to_string()), Some(&row));
    }
    let read = scene.all_values(&config.topic("public.a")).await;
    assert_eq!(replayed(&read, "id").len(), 2000);
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_rewritten_is_read_again() {
    changed_meanwhile("rewritten", "VACUUM FULL b", "id, note, number").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_truncated_is_empty() {
    let change = "TRUNCATE b; INSERT INTO b SELECT n, 'new', n FROM generate_series(200, 220) n";
    changed_meanwhile("truncated", change, "id, note, number").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_added_comes_with_the_stream() {
    let change = "ALTER TABLE b ADD COLUMN added int; UPDATE b SET added = id";
    changed_meanwhile("added", change, "id, note, number, added").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_dropped_is_not_missed() {
    changed_meanwhile("column_dropped", "ALTER TABLE b DROP COLUMN number", "id, note").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_column_has_its_new_name() {
    let change = "ALTER TABLE b RENAME COLUMN number TO digits";
    changed_meanwhile("column_renamed", change, "id, note, digits").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_dropped_is_said_to_be() {
    let (scene, config) = scene("dropped").await;
    let walferry = Walferry::start(&config);
    scene.kafka.first_records(&config.topic("public.a"), 500, wait::LONG).await;
    scene.database.execute("DROP TABLE b").await;
    walferry.wait_log("dropped while it was read", wait::LONG).await;
    walferry.wait_ready().await;
    scene.caught_up(&config).await;
    assert_eq!(scene.all_values(&config.topic("public.a")).await.len(), 2000);
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

/// What retention does every night.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_dropped_takes_no_other_along() {
    let (scene, config) = scene("leaf_dropped").await;
    scene
        .database
        .execute(
            "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);
             CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (1) TO (11);
             CREATE TABLE p_2 PARTITION OF p FOR VALUES FROM (11) TO (31);
             CREATE TABLE p_3 PARTITION OF p FOR VALUES FROM (31) TO (61);
             INSERT INTO p SELECT generate_series(1, 60)",
        )
        .await;
    let config = config.table("public.p");
    let walferry = Walferry::start(&config);
    scene.kafka.first_records(&config.topic("public.a"), 500, wait::LONG).await;
    scene.database.execute("DROP TABLE p_1").await;
    walferry.wait_ready().await;
    scene.caught_up(&config).await;
    let held = replayed(&scene.all_values(&config.topic("public.p")).await, "id");
    assert_eq!(held.len(), 50, "{}", walferry.log());
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_renamed_is_read_under_its_topic() {
    let (scene, config) = scene("renamed").await;
    let walferry = Walferry::start(&config);
    scene.kafka.first_records(&config.topic("public.a"), 500, wait::LONG).await;
    scene.database.execute("ALTER TABLE b RENAME TO b_old").await;
    walferry.wait_ready().await;
    let rows = scene.values(&config.topic("public.b"), 100).await;
    assert!(rows.iter().all(|row| row["op"] == "r"));
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_a_pattern_matches_later_is_read_whole() {
    let scene = Scene::newest("later", "CREATE TABLE b_1 (id int PRIMARY KEY)").await;
    let config = scene.config("later").table("public.b_*");
    let walferry = Walferry::run(&config).await;
    scene
        .database
        .execute("CREATE TABLE b_2 (id int PRIMARY KEY); INSERT INTO b_2 VALUES (1), (2)")
        .await;
    let rows = scene.values(&config.topic("public.b_2"), 2).await;
    assert!(rows.iter().all(|row| row["op"] == "r"), "{rows:?}");
    scene.database.execute("INSERT INTO b_2 VALUES (3)").await;
    scene.caught_up(&config).await;
    assert_eq!(replayed(&scene.all_values(&config.topic("public.b_2")).await, "id").len(), 3);
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}
