//! Replica identities, and keys that change.

use super::scene::{Scene, ops};
use serde_json::{Value as Json, json};

#[tokio::test(flavor = "multi_thread")]
async fn each_replica_identity_gives_the_before_that_it_logs() {
    let scene = Scene::new(
        "identity",
        "CREATE TABLE by_key (id int PRIMARY KEY, note text, n int NOT NULL);
         CREATE TABLE by_index (id int PRIMARY KEY, code text NOT NULL UNIQUE, note text);
         ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_code_key;
         CREATE TABLE whole (id int PRIMARY KEY, note text, n int NOT NULL);
         ALTER TABLE whole REPLICA IDENTITY FULL;
         CREATE TABLE nothing (id int PRIMARY KEY, note text);
         ALTER TABLE nothing REPLICA IDENTITY NOTHING",
        |config| {
            config
                .table("public.by_key")
                .table_with("public.by_index", "key_columns = [\"code\"]")
                .table("public.whole")
                .table_with("public.nothing", "inserts_only = true")
        },
    )
    .await;
    scene
        .change(&[
            "INSERT INTO by_key VALUES (1, 'a', 7); UPDATE by_key SET note = 'b';
             DELETE FROM by_key",
            "INSERT INTO by_index VALUES (1, 'x', 'a'); UPDATE by_index SET note = 'b';
             DELETE FROM by_index",
            "INSERT INTO whole VALUES (1, 'a', 7); UPDATE whole SET note = NULL; DELETE FROM whole",
            "INSERT INTO nothing VALUES (1, 'a'); UPDATE nothing SET note = 'b';
             DELETE FROM nothing",
        ])
        .await;

    // NULL for what may be null, Debezium's placeholder for what may not.
    let seen = scene.table("public.by_key").await;
    assert_eq!(ops(&seen), "cud-");
    assert_eq!(seen[0].before(), &Json::Null);
    assert_eq!(seen[1].before(), &Json::Null);
    assert_eq!(seen[1].after(), &json!({ "id": 1, "note": "b", "n": 7 }));
    assert_eq!(seen[2].before(), &json!({ "id": 1, "note": null, "n": 0 }));
    assert_eq!(seen[2].header("walferry.before").as_deref(), Some("key"));
    assert_eq!(seen[2].after(), &Json::Null);
    for seen in &seen {
        assert_eq!(seen.key, json!({ "id": 1 }));
    }

    let seen = scene.table("public.by_index").await;
    assert_eq!(ops(&seen), "cud-");
    assert_eq!(seen[2].before(), &json!({ "id": 0, "code": "x", "note": null }));
    assert_eq!(seen[2].header("walferry.before").as_deref(), Some("key"));
    assert_eq!(seen[3].key, json!({ "code": "x" }));

    let seen = scene.table("public.whole").await;
    assert_eq!(ops(&seen), "cud-");
    assert_eq!(seen[1].before(), &json!({ "id": 1, "note": "a", "n": 7 }));
    assert_eq!(seen[1].after(), &json!({ "id": 1, "note": null, "n": 7 }));
    assert_eq!(seen[2].before(), &json!({ "id": 1, "note": null, "n": 7 }));
    assert_eq!(seen[2].header("walferry.before"), None);
    assert_eq!(seen[2].key, json!({ "id": 1 }));

    let seen = scene.table("public.nothing").await;
    assert_eq!(ops(&seen), "c");
    assert_eq!(seen[0].after(), &json!({ "id": 1, "note": "a" }));
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_key_is_a_delete_and_a_create() {
    let table = "(a int, b text, note text, PRIMARY KEY (b, a))";
    let scene = Scene::new(
        "rekey",
        &format!(
            "CREATE TABLE moved {table}; CREATE TABLE moved_full {table};
             ALTER TABLE moved_full REPLICA IDENTITY FULL"
        ),
        |config| config.table("public.moved").table("public.moved_full"),
    )
    .await;
    for (table, old) in [
        ("moved", json!({ "a": 1, "b": "x", "note": null })),
        ("moved_full", json!({ "a": 1, "b": "x", "note": "n" })),
    ] {
        let insert = format!("INSERT INTO {table} VALUES (1, 'x', 'n')");
        let update = format!("UPDATE {table} SET a = 2 WHERE a = 1");
        scene.change(&[&insert, &update]).await;
        let seen = scene.table(&format!("public.{table}")).await;
        assert_eq!(ops(&seen), "cd-c");
        let (old_key, new_key) = (json!({ "b": "x", "a": 1 }), json!({ "b": "x", "a": 2 }));
        assert_eq!(seen[1].before(), &old);
        assert_eq!((&seen[1].key, &seen[2].key, &seen[3].key), (&old_key, &old_key, &new_key));
        assert_eq!(seen[3].after(), &json!({ "a": 2, "b": "x", "note": "n" }));
        assert_eq!(seen[3].before(), &Json::Null);
        for (seen, header, other) in [
            (&seen[1], "__debezium.newkey", r#"{"b":"x","a":2}"#),
            (&seen[2], "__debezium.newkey", r#"{"b":"x","a":2}"#),
            (&seen[3], "__debezium.oldkey", r#"{"b":"x","a":1}"#),
        ] {
            assert_eq!(seen.header(header).as_deref(), Some(other), "{table}");
        }
        assert!(seen[0].record.headers.is_empty(), "{:?}", seen[0].record.headers);
    }
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_has_records_without_keys() {
    let scene = Scene::new(
        "keyless",
        "CREATE TABLE keyless (a int, b text); ALTER TABLE keyless REPLICA IDENTITY FULL",
        |config| config.table("public.keyless"),
    )
    .await;
    scene.change(&["INSERT INTO keyless VALUES (1, 'x'), (1, 'x')", "DELETE FROM keyless"]).await;
    let seen = scene.table("public.keyless").await;
    let with_value: String = seen.iter().map(|seen| seen.op()).filter(|op| *op != "-").collect();
    assert_eq!(with_value, "ccdd");
    for seen in &seen {
        assert_eq!(seen.record.key, None);
    }
    let subject = format!("{}-key", scene.config.topic("public.keyless"));
    assert_eq!(scene.registry.latest(&subject).await, None);
    scene.stop().await;
}
