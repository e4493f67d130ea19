//! Partitioned tables: one topic, or one a leaf.

use super::scene::{Scene, ops};
use serde_json::json;

const TABLE: &str = "CREATE TABLE events (id int, region text, PRIMARY KEY (id, region))
      PARTITION BY LIST (region);
    CREATE TABLE events_eu PARTITION OF events FOR VALUES IN ('eu');
    CREATE TABLE events_us PARTITION OF events FOR VALUES IN ('us')";

const CHANGES: &[&str] = &[
    "INSERT INTO events VALUES (1, 'eu'), (2, 'us')",
    "UPDATE events SET region = 'us' WHERE id = 1",
    "DELETE FROM events WHERE id = 2",
];

#[tokio::test(flavor = "multi_thread")]
async fn all_partitions_go_to_the_topic_of_the_root() {
    let scene = Scene::new("root", TABLE, |config| config.table("public.events")).await;
    scene.change(CHANGES).await;
    // A row that moves from one partition to another is deleted and inserted.
    let seen = scene.table("public.events").await;
    assert_eq!(ops(&seen), "ccd-cd-");
    assert_eq!(seen[2].key, json!({ "id": 1, "region": "eu" }));
    assert_eq!(seen[4].after(), &json!({ "id": 1, "region": "us" }));
    assert_eq!(seen[4].value["source"]["table"], "events");

    // A partition that is new is there from its first row on.
    scene
        .change(&[
            "CREATE TABLE events_ap PARTITION OF events FOR VALUES IN ('ap')",
            "INSERT INTO events VALUES (3, 'ap')",
        ])
        .await;
    let seen = scene.table("public.events").await;
    assert_eq!(seen[7].after(), &json!({ "id": 3, "region": "ap" }));
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_leaf_has_its_topic_without_the_root() {
    let scene = Scene::new("leaves", TABLE, |config| {
        config.postgres("publish_via_partition_root = false").table("public.events*")
    })
    .await;
    scene.change(CHANGES).await;
    assert_eq!(ops(&scene.table("public.events_eu").await), "cd-");
    let seen = scene.table("public.events_us").await;
    assert_eq!(ops(&seen), "ccd-");
    assert_eq!(seen[0].value["source"]["table"], "events_us");
    scene.stop().await;
}
