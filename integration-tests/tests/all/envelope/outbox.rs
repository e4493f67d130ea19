//! Outbox tables: events routed as Debezium's Event Router does.

use super::scene::Scene;
use serde_json::{Value as Json, json};

const ID: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";

fn table(more: &str, payload: &str) -> String {
    format!(
        "CREATE TABLE outbox (id uuid PRIMARY KEY, aggregatetype varchar(255) NOT NULL,
           aggregateid varchar(255) NOT NULL, type varchar(255) NOT NULL, payload {payload}{more})"
    )
}

/// A topic prefix of the test's own: routes are not below walferry's name.
fn route() -> (String, String) {
    let prefix = integration_tests::unique("events");
    let topic = format!("topic = {{ regex = \"(.*)\", replacement = \"{prefix}.$1\" }}");
    (prefix, topic)
}

#[tokio::test(flavor = "multi_thread")]
async fn json_payloads_are_strings_and_only_inserts_are_events() {
    let kind = integration_tests::unique("Order");
    let setup = table("", "jsonb");
    let scene = Scene::new("outbox", &setup, |config| config.outbox("public.outbox")).await;
    let insert = format!(
        "INSERT INTO outbox VALUES ('{ID}', '{kind}', '42', 'created', '{{\"b\": 1, \"a\": [2]}}')"
    );
    scene.change(&[&insert, "UPDATE outbox SET type = 'x'", "DELETE FROM outbox"]).await;
    let seen = scene.topic(&format!("outbox.event.{kind}")).await;
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0].key, json!("42"));
    assert_eq!(seen[0].value, json!("{\"a\": [2], \"b\": 1}"));
    assert_eq!(seen[0].header("id").as_deref(), Some(ID));
    assert_eq!(seen[0].record.headers.len(), 1);
    assert!(!scene.kafka.topics().await.contains(&scene.config.topic("public.outbox")));
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_pass_untouched_with_headers_partition_and_timestamp() {
    let (prefix, topic) = route();
    let setup = table(", shard int, at timestamptz, trace text", "bytea");
    let lines = format!(
        "{topic}\npartition = \"shard\"\ntimestamp = \"at\"\n\
         headers = {{ eventType = \"type\", trace = \"trace\" }}\n[outbox.topics]\npartitions = 3"
    );
    let scene =
        Scene::new("raw", &setup, |config| config.outbox_with("public.outbox", &lines)).await;
    let insert = format!(
        "INSERT INTO outbox VALUES ('{ID}', 'a', 'k', 'created', '\\x0000000001ff00', 2,
           '2020-01-01 00:00:01.5+00', NULL)"
    );
    scene.change(&[&insert]).await;
    let records = scene.kafka.records(&format!("{prefix}.a")).await;
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!(record.value.as_deref(), Some(&[0, 0, 0, 0, 1, 0xFF, 0][..]));
    assert_eq!(record.partition, 2);
    assert_eq!(record.timestamp, 1_577_836_801_500);
    assert_eq!(record.header("eventType").as_deref(), Some("created"));
    let trace = record.headers.iter().find(|(name, _)| name == "trace");
    assert_eq!(trace.map(|(_, value)| value), Some(&None));
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_holds_the_payload_and_the_columns_asked_for() {
    let (prefix, topic) = route();
    let setup = table(", version int", "jsonb");
    let lines = format!("{topic}\nenvelope = {{ kind = \"type\", version = \"version\" }}");
    let scene =
        Scene::new("enveloped", &setup, |config| config.outbox_with("public.outbox", &lines)).await;
    let insert = format!(
        "INSERT INTO outbox VALUES ('{ID}', 'a', 'k', 'created', '{{}}', 7),
           ('{}', 'a', 'k', 'gone', NULL, NULL)",
        ID.replace('a', "b")
    );
    scene.change(&[&insert]).await;
    let seen = scene.topic(&format!("{prefix}.a")).await;
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].value, json!({ "payload": "{}", "kind": "created", "version": 7 }));
    assert_eq!(
        seen[1].value,
        json!({ "payload": Json::Null, "kind": "gone", "version": Json::Null })
    );
    scene.stop().await;
}
