//! What a role may read, and what a publication sends.

use integration_tests::{Config, Postgres, Walferry, unique, wait};
use serde_json::json;

use super::Scene;

/// A role that may replicate and connect, and a configuration that uses it with publications that
/// somebody else has made.
async fn as_reader(scene: &Scene, stem: &str, publication: &str) -> (String, Config) {
    let role = unique("reader");
    scene
        .database
        .execute(&format!(
            "CREATE ROLE {role} LOGIN REPLICATION PASSWORD 'secret';
             ALTER ROLE {role} SET DateStyle = 'German';
             ALTER ROLE {role} SET statement_timeout = '1ms';
             ALTER ROLE {role} SET idle_in_transaction_session_timeout = '1ms'"
        ))
        .await;
    let config = scene
        .config(stem)
        .postgres_url(&scene.database.url_as(&format!("{role}:secret"), ""))
        .postgres(&format!("publication = {publication:?}"))
        .postgres("publication_manage = \"never\"");
    (role, config)
}

#[tokio::test(flavor = "multi_thread")]
async fn excluded_columns_need_no_right_and_a_missing_one_is_named() {
    let scene = Scene::newest(
        "columns",
        "CREATE TABLE people (id int PRIMARY KEY, born date, secret text);
         INSERT INTO people VALUES (1, '2026-02-01', 'hidden');
         CREATE TABLE closed (id int PRIMARY KEY); INSERT INTO closed VALUES (1);
         CREATE PUBLICATION columns FOR TABLE people, closed;
         CREATE PUBLICATION columns_inserts WITH (publish = 'insert')",
    )
    .await;
    let (role, config) = as_reader(&scene, "columns", "columns").await;
    scene.database.execute(&format!("GRANT SELECT (id, born) ON people TO {role}")).await;
    let config = config.table_with("public.people", "exclude_columns = [\"secret\"]");
    let walferry = Walferry::run(&config).await;
    let people = scene.values(&config.topic("public.people"), 1).await;
    assert_eq!(people[0]["after"], json!({ "id": 1, "born": 20485 }));
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());

    let config =
        config.named(&unique("closed")).postgres(&format!("slot = {:?}", unique("closed")));
    let walferry = Walferry::start(&config.table("public.closed"));
    assert_eq!(walferry.wait_exit(wait::LONG).await, 2, "{}", walferry.log());
    let log = walferry.log();
    assert!(log.contains("GRANT SELECT ON") && log.contains("closed"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_level_security_is_an_error_and_hides_no_row() {
    let scene = Scene::newest(
        "secured",
        "CREATE TABLE secured (id int PRIMARY KEY, mine bool); ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON secured USING (mine);
         INSERT INTO secured SELECT n, n % 2 = 0 FROM generate_series(1, 10) n;
         CREATE PUBLICATION secured FOR TABLE secured;
         CREATE PUBLICATION secured_inserts WITH (publish = 'insert')",
    )
    .await;
    let (role, config) = as_reader(&scene, "secured", "secured").await;
    scene.database.execute(&format!("GRANT SELECT ON secured TO {role}")).await;
    let config = config.table("public.secured");
    let walferry = Walferry::start(&config);
    assert_eq!(walferry.wait_exit(wait::LONG).await, 2, "{}", walferry.log());
    assert!(walferry.log().contains("BYPASSRLS"), "{}", walferry.log());
    scene.database.execute(&format!("ALTER ROLE {role} BYPASSRLS")).await;
    // The first start was made; only the reading is repeated.
    let walferry = Walferry::run(&config).await;
    assert_eq!(scene.all_values(&config.topic("public.secured")).await.len(), 10);
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_publication_sends_is_what_is_read() {
    let version = Postgres::newest_version();
    let scene = Scene::new(
        "filtered",
        version,
        "CREATE TABLE filtered (id int PRIMARY KEY, note text, internal text,
             doubled int GENERATED ALWAYS AS (id * 2) STORED);
         INSERT INTO filtered SELECT n, 'note', 'internal' FROM generate_series(1, 10) n;
         CREATE PUBLICATION filtered FOR TABLE filtered (id, note, doubled) WHERE (id > 7)
             WITH (publish_generated_columns = stored);
         CREATE PUBLICATION filtered_inserts WITH (publish = 'insert')",
    )
    .await;
    let config = scene
        .config("filtered")
        .postgres("publication = \"filtered\"")
        .postgres("publication_manage = \"never\"")
        .table("public.filtered");
    let walferry = Walferry::run(&config).await;
    scene.database.execute("INSERT INTO filtered VALUES (0, 'no', ''), (11, 'streamed', '')").await;
    let values = scene.values(&config.topic("public.filtered"), 4).await;
    let rows: Vec<_> = values.iter().map(|value| value["after"].clone()).collect();
    let row = |id: i32, note: &str| json!({ "id": id, "note": note, "doubled": id * 2 });
    assert_eq!(rows, [row(8, "note"), row(9, "note"), row(10, "note"), row(11, "streamed")]);
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_too_large_to_hold_the_stream_is_read_in_chunks() {
    let scene = Scene::newest(
        "large",
        "CREATE TABLE large (id int PRIMARY KEY, body text);
         INSERT INTO large SELECT n, repeat('x', 1000) FROM generate_series(1, 2000) n;
         CREATE TABLE small (id int PRIMARY KEY); INSERT INTO small VALUES (1)",
    )
    .await;
    let config = scene
        .config("large")
        .snapshot("frozen_max_bytes = \"1MiB\"")
        .table("public.large")
        .table("public.small");
    let walferry = Walferry::run(&config).await;
    walferry.wait_log("the table was read and delivered", wait::LONG).await;
    let large = scene.values(&config.topic("public.large"), 2000).await;
    assert!(large.iter().all(|value| value["source"]["snapshot"] == "incremental"));
    let small = scene.values(&config.topic("public.small"), 1).await;
    assert_eq!(small[0]["source"]["snapshot"], "last");
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}
