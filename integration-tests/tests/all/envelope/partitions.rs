//! Partitioned tables: one topic, or one a leaf.

use super::scene::{Scene, ops};
use integration_tests::{Config, Walferry, wait};
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

fn by_leaf(config: Config) -> Config {
    config.postgres("publish_via_partition_root = false").table("public.events")
}

/// Leaves that come and go while walferry runs are under the rule of their root.
#[tokio::test(flavor = "multi_thread")]
async fn leaves_that_come_and_go_are_delivered() {
    let scene = Scene::new("moving", TABLE, by_leaf).await;
    scene
        .change(&[
            "CREATE TABLE events_ap PARTITION OF events FOR VALUES IN ('ap')",
            "INSERT INTO events VALUES (1, 'ap'), (2, 'eu'), (3, 'us')",
            "BEGIN; INSERT INTO events VALUES (4, 'eu');
             ALTER TABLE events DETACH PARTITION events_eu; COMMIT",
            "BEGIN; INSERT INTO events VALUES (5, 'us'); DROP TABLE events_us; COMMIT",
            // No row of a listed table any more.
            "INSERT INTO events_eu VALUES (6, 'eu')",
        ])
        .await;
    for (leaf, expected) in [("ap", "c"), ("eu", "cc"), ("us", "cc")] {
        let seen = scene.table(&format!("public.events_{leaf}")).await;
        assert_eq!(ops(&seen), expected, "{leaf}");
    }
    scene.stop().await;
}

/// The same while it is stopped: what cannot be told from an unlisted table stops, and passes when
/// it is listed by name.
#[tokio::test(flavor = "multi_thread")]
async fn leaves_that_went_while_stopped_never_vanish() {
    let scene = Scene::new("gone", TABLE, by_leaf).await;
    // An unlisted table with other columns is no partition of a listed one.
    scene.change(&["CREATE TABLE other (id int PRIMARY KEY)"]).await;
    let Scene { database, config, walferry, kafka, .. } = &scene;
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
    for statement in [
        "CREATE TABLE events_ap PARTITION OF events FOR VALUES IN ('ap')",
        "INSERT INTO events VALUES (1, 'ap'), (2, 'eu')",
        "ALTER TABLE events DETACH PARTITION events_eu",
    ] {
        database.execute(statement).await;
    }
    let stops = async |config: &Config, leaf: &str, how: &str| {
        let walferry = Walferry::start(config);
        assert_eq!(walferry.wait_exit(wait::LONG).await, 2, "{}", walferry.log());
        for text in [leaf, how, "the columns of public.events", "list it by name"] {
            assert!(walferry.log().contains(text), "no {text:?} in\n{}", walferry.log());
        }
    };
    stops(config, "public.events_eu", "detached").await;
    let named = config.twin().table("public.events_eu");
    let walferry = Walferry::run(&named).await;
    for leaf in ["events_ap", "events_eu"] {
        kafka.first_records(&config.topic(&format!("public.{leaf}")), 1, wait::LONG).await;
    }
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());

    database.execute("INSERT INTO events VALUES (3, 'us')").await;
    database.execute("DROP TABLE events_us").await;
    stops(&named, "public.events_us", "dropped").await;
    let named = named.twin().table("public.events_us");
    let walferry = Walferry::run(&named).await;
    let lsn = database.current_lsn().await;
    database.wait_confirmed(&config.slot(), lsn, wait::LONG).await;
    assert_eq!(ops(&scene.table("public.events_us").await), "c");
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}
