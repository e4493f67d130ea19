//! Logical messages.

use super::scene::Scene;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_the_wanted_prefixes_arrive_transactional_or_not() {
    let scene = Scene::new("messages", "CREATE TABLE t (id int PRIMARY KEY)", |config| {
        config
            .table("public.t")
            .toml_text("[messages]\nenabled = true\nprefixes = [\"audit*\", \"outbox\"]")
    })
    .await;
    scene
        .change(&[
            "BEGIN; INSERT INTO t VALUES (1);
             SELECT pg_logical_emit_message(true, 'audit.login', 'a\u{e4}');
             SELECT pg_logical_emit_message(true, 'other', 'never'); COMMIT",
            "BEGIN; SELECT pg_logical_emit_message(true, 'outbox', 'rolled back'); ROLLBACK",
            "SELECT pg_logical_emit_message(false, 'outbox', '\\x00ff'::bytea)",
            "INSERT INTO t VALUES (2)",
        ])
        .await;
    let seen = scene.topic(&format!("{}.message", scene.config.name())).await;
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!(seen[0].key, json!({ "prefix": "audit.login" }));
    assert_eq!(
        seen[0].value["message"],
        json!({ "prefix": "audit.login", "content": { "bytes": "61c3a4" } })
    );
    assert_eq!(seen[0].op(), "m");
    assert!(seen[0].value["source"]["txId"].is_number());
    assert_eq!(
        seen[1].value["message"],
        json!({ "prefix": "outbox", "content": { "bytes": "00ff" } })
    );
    scene.stop().await;
}
