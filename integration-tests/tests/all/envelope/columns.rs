//! What a `[[table]]` chooses: key columns, columns left out, topic; and headers of context.

use super::scene::{Scene, ops};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn key_columns_take_the_place_of_the_primary_key() {
    let scene = Scene::new(
        "rekeyed",
        "CREATE TABLE t (id int PRIMARY KEY, tenant text, name text);
         ALTER TABLE t REPLICA IDENTITY FULL",
        |config| config.table_with("public.t", "key_columns = [\"tenant\", \"id\"]"),
    )
    .await;
    scene
        .change(&[
            "INSERT INTO t VALUES (1, 'a', 'n')",
            "UPDATE t SET name = 'm'",
            "UPDATE t SET tenant = 'b'",
            "DELETE FROM t",
        ])
        .await;
    let seen = scene.table("public.t").await;
    assert_eq!(ops(&seen), "cud-cd-");
    assert_eq!(seen[1].key, json!({ "tenant": "a", "id": 1 }));
    assert_eq!(seen[2].header("__debezium.newkey").as_deref(), Some(r#"{"tenant":"b","id":1}"#));
    assert_eq!(seen[6].key, json!({ "tenant": "b", "id": 1 }));
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn excluded_columns_are_nowhere() {
    let scene = Scene::new(
        "excluded",
        "CREATE TABLE t (id int PRIMARY KEY, secret text NOT NULL, name text);
         ALTER TABLE t REPLICA IDENTITY FULL",
        |config| config.table_with("public.t", "exclude_columns = [\"secret\"]"),
    )
    .await;
    scene
        .change(&[
            "INSERT INTO t VALUES (1, 'hush-4711', 'n')",
            "UPDATE t SET secret = 'hush-4712'",
            "DELETE FROM t",
        ])
        .await;
    let seen = scene.table("public.t").await;
    assert_eq!(ops(&seen), "cud-");
    assert_eq!(seen[0].after(), &json!({ "id": 1, "name": "n" }));
    assert_eq!(seen[2].before(), &json!({ "id": 1, "name": "n" }));
    for seen in &seen {
        let value = seen.record.value.clone().unwrap_or_default();
        assert!(!value.windows(5).any(|bytes| bytes == b"hush-"), "the value is in a record");
    }
    let subject = format!("{}-value", scene.config.topic("public.t"));
    let (_, schema) = scene.registry.latest(&subject).await.expect("a schema");
    assert!(!schema.contains("secret"), "{schema}");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_of_ones_own_and_headers_of_context() {
    let topic = integration_tests::unique("elsewhere");
    let scene = Scene::new("context", "CREATE TABLE t (id int PRIMARY KEY)", |config| {
        config
            .table_with("public.t", &format!("topic = {topic:?}"))
            .toml_text("[format]\ncontext_headers = true")
    })
    .await;
    scene.change(&["INSERT INTO t VALUES (1)", "DELETE FROM t"]).await;
    let seen = scene.topic(&topic).await;
    assert_eq!(ops(&seen), "cd-");
    assert_eq!(seen[0].value["source"]["table"], "t");
    for seen in &seen {
        let header = |name: &str| seen.header(&format!("__debezium.context.{name}"));
        assert_eq!(header("connectorLogicalName").as_deref(), Some(scene.config.name()));
        assert_eq!(header("connectorName").as_deref(), Some("postgresql"));
        assert_eq!(header("taskId").as_deref(), Some("0"));
        assert!(header("runId").is_some_and(|id| id.len() == 36));
    }
    assert!(scene.registry.latest(&format!("{topic}-value")).await.is_some());
    assert!(!scene.kafka.topics().await.contains(&scene.config.topic("public.t")));
    scene.stop().await;
}
