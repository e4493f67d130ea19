//! The first run: what is in the tables, then what happens.

use integration_tests::{Postgres, Walferry};
use serde_json::{Value, json};

use super::{Scene, brief};

async fn rows_come_first(version: u16) {
    let scene = Scene::new(
        "rows",
        version,
        "CREATE TABLE many (id int PRIMARY KEY, note text);
         INSERT INTO many SELECT n, 'tab\tnew line\n back\\slash ' || n FROM generate_series(1, 5) n;
         CREATE TABLE single (id int PRIMARY KEY); INSERT INTO single VALUES (7);
         CREATE TABLE empty (id int PRIMARY KEY);
         CREATE TABLE unlisted (id int); INSERT INTO unlisted VALUES (1)",
    )
    .await;
    let config = scene
        .config("rows")
        .snapshot("parallelism = 1")
        .table("public.many")
        .table("public.single")
        .table("public.empty");
    let walferry = Walferry::run(&config).await;
    scene.database.execute("UPDATE many SET note = NULL WHERE id = 3").await;
    scene.database.execute("INSERT INTO empty VALUES (1)").await;
    let many = scene.values(&config.topic("public.many"), 6).await;
    let briefs: Vec<_> = many.iter().map(brief).collect();
    let read = |marker: &str, id: i32| ("r".to_owned(), marker.to_owned(), json!(id));
    assert_eq!(
        briefs,
        [
            read("first", 1),
            read("true", 2),
            read("true", 3),
            read("true", 4),
            read("last_in_data_collection", 5),
            ("u".to_owned(), "false".to_owned(), json!(3)),
        ]
    );
    assert_eq!(many[1]["after"]["note"], "tab\tnew line\n back\\slash 2");
    assert_eq!(many[0]["before"], Value::Null);
    let single = scene.values(&config.topic("public.single"), 1).await;
    assert_eq!(brief(&single[0]), read("last", 7));
    for field in ["lsn", "txId", "ts_ms", "ts_us", "ts_ns"] {
        assert_eq!(single[0]["source"][field], many[0]["source"][field], "{field}");
        assert_ne!(single[0]["source"][field], Value::Null, "{field}");
    }
    let lsn = many[0]["source"]["lsn"].as_u64().expect("an LSN");
    assert_eq!(many[0]["source"]["sequence"], json!(format!("[null,\"{lsn}\"]")));
    let empty = scene.values(&config.topic("public.empty"), 1).await;
    assert_eq!(brief(&empty[0]), ("c".to_owned(), "false".to_owned(), json!(1)));
    scene.caught_up(&config).await;
    let topics = scene.kafka.topics().await;
    assert!(!topics.contains(&config.topic("public.unlisted")));
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());

    // A second run reads nothing again.
    let walferry = Walferry::run(&config).await;
    scene.database.execute("INSERT INTO single VALUES (8)").await;
    scene.caught_up(&config).await;
    let single = scene.all_values(&config.topic("public.single")).await;
    assert_eq!(single.len(), 2);
    assert_eq!(brief(&single[1]), ("c".to_owned(), "false".to_owned(), json!(8)));
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_there_come_first_on_the_oldest_postgres() {
    rows_come_first(Postgres::oldest_version()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_there_come_first_on_the_newest_postgres() {
    rows_come_first(Postgres::newest_version()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_of_tables_are_read_as_the_stream_sends_them() {
    let scene = Scene::newest(
        "kinds",
        "CREATE TABLE parts (id int, region text, doubled int GENERATED ALWAYS AS (id * 2) STORED)
             PARTITION BY LIST (region);
         CREATE TABLE parts_north PARTITION OF parts FOR VALUES IN ('north');
         CREATE TABLE parts_south (region text, id int, doubled int GENERATED ALWAYS AS (id * 2) STORED);
         ALTER TABLE parts ATTACH PARTITION parts_south FOR VALUES IN ('south');
         INSERT INTO parts VALUES (1, 'north'), (2, 'south');
         CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (extra text) INHERITS (parent);
         INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2, 'not listed');
         CREATE TABLE keyless (id int, note text); INSERT INTO keyless VALUES (1, 'a'), (1, 'a');
         CREATE TABLE secret (id int PRIMARY KEY, open text, hidden text);
         INSERT INTO secret VALUES (1, 'open', 'hidden');
         CREATE TABLE \"Odd Name\" (id int PRIMARY KEY, \"select\" text);
         INSERT INTO \"Odd Name\" VALUES (1, 'quoted')",
    )
    .await;
    let odd = integration_tests::unique("odd");
    let config = scene
        .config("kinds")
        .table_with("public.parts", "inserts_only = true")
        .table("public.parent")
        .table_with("public.keyless", "inserts_only = true")
        .table_with("public.secret", "exclude_columns = [\"hidden\"]")
        .table_with("public.Odd Name", &format!("topic = \"{odd}\""))
        .toml_text("[format]\nname_adjustment = \"avro\"");
    let walferry = Walferry::run(&config).await;
    let after = async |table: &str, count| -> Vec<Value> {
        let values = scene.values(&config.topic(table), count).await;
        assert!(values.iter().all(|value| value["op"] == "r"), "{values:?}");
        let mut rows: Vec<_> = values.iter().map(|value| value["after"].clone()).collect();
        rows.sort_by_key(|row| row["id"].as_i64());
        rows
    };
    assert_eq!(
        after("public.parts", 2).await,
        [json!({ "id": 1, "region": "north" }), json!({ "id": 2, "region": "south" })]
    );
    assert_eq!(after("public.parent", 1).await, [json!({ "id": 1 })]);
    let twin = json!({ "id": 1, "note": "a" });
    assert_eq!(after("public.keyless", 2).await, [twin.clone(), twin]);
    assert_eq!(after("public.secret", 1).await, [json!({ "id": 1, "open": "open" })]);
    assert_eq!(scene.all_values(&config.topic("public.parent")).await.len(), 1);
    let quoted = scene.values(&odd, 1).await;
    assert_eq!(quoted[0]["after"], json!({ "id": 1, "select": "quoted" }));
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_is_read_only_when_asked_and_conditions_narrow() {
    let scene = Scene::newest(
        "asked",
        "CREATE TABLE outbox (id uuid PRIMARY KEY, aggregatetype text NOT NULL,
             aggregateid text NOT NULL, type text, payload jsonb);
         INSERT INTO outbox VALUES (gen_random_uuid(), 'order', '1', 'made', '{}');
         CREATE TABLE orders (id int PRIMARY KEY);
         INSERT INTO orders SELECT generate_series(1, 10)",
    )
    .await;
    let prefix = integration_tests::unique("asked");
    let route = &format!("topic.replacement = \"{prefix}.${{routedByValue}}\"");
    let topic = format!("{prefix}.order");
    let config = scene
        .config("asked")
        .outbox_with("public.outbox", route)
        .table_with("public.orders", "snapshot_where = \"id > 8\"");
    let walferry = Walferry::run(&config).await;
    scene.caught_up(&config).await;
    let orders = scene.all_values(&config.topic("public.orders")).await;
    let ids: Vec<_> = orders.iter().map(|value| value["after"]["id"].clone()).collect();
    assert_eq!(ids, [json!(9), json!(10)]);
    assert!(!scene.kafka.topics().await.contains(&topic));
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());

    let config = scene
        .config("asked")
        .snapshot("tables = [\"public.outbox\"]")
        .outbox_with("public.outbox", route)
        .table("public.orders");
    let walferry = Walferry::run(&config).await;
    assert_eq!(scene.values(&topic, 1).await, ["{}"]);
    assert!(!scene.kafka.topics().await.contains(&config.topic("public.orders")));
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_partitions_are_one_topic() {
    let scene = Scene::newest(
        "leaves",
        "CREATE TABLE parts (id int PRIMARY KEY, note text) PARTITION BY RANGE (id);
         DO $$ BEGIN FOR n IN 0..1999 LOOP EXECUTE format(
             'CREATE TABLE part_%s PARTITION OF parts FOR VALUES FROM (%s) TO (%s)', n, n, n + 1);
         END LOOP; END $$;
         INSERT INTO parts SELECT n, 'x' FROM generate_series(0, 1999) n",
    )
    .await;
    let config = scene.config("leaves").table("public.parts");
    let walferry = Walferry::run(&config).await;
    let values = scene.all_values(&config.topic("public.parts")).await;
    let ids: std::collections::BTreeSet<_> =
        values.iter().filter_map(|value| value["after"]["id"].as_i64()).collect();
    assert_eq!((values.len(), ids.len()), (2000, 2000));
    let marked =
        |marker: &str| values.iter().filter(|value| value["source"]["snapshot"] == marker).count();
    assert_eq!((marked("first"), marked("last"), marked("true")), (1, 1, 1998));
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_what_a_first_start_reads() {
    let scene = Scene::newest(
        "told",
        "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 5000);
         CREATE TABLE b (id int PRIMARY KEY); ANALYZE",
    )
    .await;
    let config = scene.config("told").table("public.a").table("public.b");
    let output = integration_tests::walferry::command(&["check"], Some(&config)).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("the first start reads public.a: about 5000 rows"), "{text}");
    assert!(text.contains("the first start reads 2 tables: "), "{text}");
    let never = config.snapshot("mode = \"never\"");
    let output = integration_tests::walferry::command(&["check"], Some(&never)).await;
    assert!(!String::from_utf8_lossy(&output.stdout).contains("the first start reads"));
}
