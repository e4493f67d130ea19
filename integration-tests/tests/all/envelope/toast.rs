//! Large values that an update leaves alone.

use super::scene::{Scene, ops};
use serde_json::json;

const MARKER: &str = "__debezium_unavailable_value";

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_large_value_is_marked_or_taken_from_the_old_row() {
    let columns = "(id int PRIMARY KEY, n int, t text, j jsonb, b bytea, a text[], d numeric[])";
    let external = "ALTER COLUMN t SET STORAGE EXTERNAL, ALTER COLUMN j SET STORAGE EXTERNAL,
        ALTER COLUMN b SET STORAGE EXTERNAL, ALTER COLUMN a SET STORAGE EXTERNAL,
        ALTER COLUMN d SET STORAGE EXTERNAL";
    let scene = Scene::new(
        "toast",
        &format!(
            "CREATE TABLE marked {columns}; ALTER TABLE marked {external};
             CREATE TABLE whole {columns}; ALTER TABLE whole {external};
             ALTER TABLE whole REPLICA IDENTITY FULL"
        ),
        |config| config.table("public.marked").table("public.whole"),
    )
    .await;
    for table in ["marked", "whole"] {
        let insert = format!(
            "INSERT INTO {table} VALUES (1, 0, repeat('x', 9000), to_jsonb(repeat('y', 9000)),
               decode(repeat('ab', 9000), 'hex'), array_fill('z'::text, ARRAY[9000]),
               array_fill(1.5, ARRAY[9000]))"
        );
        let small = format!("UPDATE {table} SET n = 1");
        let text = format!("UPDATE {table} SET n = 2, t = 'short'");
        scene.change(&[&insert, &small, &text]).await;
    }
    let seen = scene.table("public.marked").await;
    assert_eq!(ops(&seen), "cuu");
    assert_eq!(seen[0].after()["t"], "x".repeat(9000));
    let after = seen[1].after();
    assert_eq!(
        (&after["n"], &after["t"], &after["j"]),
        (&json!(1), &json!(MARKER), &json!(MARKER))
    );
    let hex: String = MARKER.bytes().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(after["b"], json!({ "bytes": hex }));
    assert_eq!(after["a"], json!([MARKER]));
    // No number can be a marker.
    assert_eq!(after["d"], json!(null));
    assert_eq!(seen[2].after()["t"], "short");
    assert_eq!(seen[2].after()["j"], MARKER);

    let seen = scene.table("public.whole").await;
    assert_eq!(ops(&seen), "cuu");
    for column in ["t", "j", "b", "a", "d"] {
        assert_eq!(seen[1].after()[column], seen[0].after()[column], "{column}");
        assert_eq!(seen[1].before()[column], seen[0].after()[column], "{column}");
    }
    assert_eq!(seen[2].after()["t"], "short");
    assert_eq!(seen[2].before()["t"], "x".repeat(9000));
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_value_in_the_key_survives_an_update_of_another_column() {
    let scene = Scene::new(
        "wide_key",
        "CREATE TABLE wide (id text PRIMARY KEY, n int);
         ALTER TABLE wide ALTER COLUMN id SET STORAGE EXTERNAL",
        |config| config.table("public.wide"),
    )
    .await;
    // Below the limit of an index entry, above that of a row kept whole.
    let insert = "INSERT INTO wide VALUES (repeat('k', 2500), 0)";
    scene.change(&[insert, "UPDATE wide SET n = 1", "DELETE FROM wide"]).await;
    let seen = scene.table("public.wide").await;
    assert_eq!(ops(&seen), "cud-");
    for seen in &seen {
        assert_eq!(seen.key, json!({ "id": "k".repeat(2500) }));
    }
    assert_eq!(seen[1].after()["id"], "k".repeat(2500));
    scene.stop().await;
}
