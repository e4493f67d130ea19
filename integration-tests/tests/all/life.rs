//! The life of a process and of its tables: idle, second instance, stop, and changes of the schema
//! while the stream runs.

use std::time::Duration;

use integration_tests::postgres::Options;
use integration_tests::services::Signal;
use integration_tests::{Config, Database, Decoder, Kafka, Postgres, Registry, Walferry, wait};
use serde_json::{Value, json};

use crate::load::{Load, all_arrived, create};

const TABLE: &str = "public.numbers";

/// Long enough for a process that ends by itself, far below any timeout that it may wait for.
const AT_ONCE: Duration = Duration::from_secs(15);

async fn database(stem: &str) -> (Database, &'static Kafka, &'static Registry) {
    let (postgres, kafka, registry) =
        tokio::join!(Postgres::shared(), Kafka::shared(), Registry::shared());
    (postgres.database(stem).await, kafka, registry)
}

/// The rows after each change of `topic`, once `count` are there.
async fn rows(kafka: &Kafka, registry: &Registry, topic: &str, count: usize) -> Vec<Value> {
    let records = kafka.first_records(topic, count, wait::LONG).await;
    let events = Decoder::new(registry).events(&records).await;
    events
        .into_iter()
        .map(|event| event.value.map_or(Value::Null, |value| value["after"].clone()))
        .collect()
}

async fn whole_job(version: u16) {
    let (kafka, registry) = (Kafka::shared().await, Registry::shared().await);
    let database = Postgres::shared_version(version).await.database("job").await;
    database
        .execute(
            "CREATE TABLE orders (id int PRIMARY KEY, note text, big text);
             ALTER TABLE orders ALTER big SET STORAGE EXTERNAL;
             CREATE TABLE noise (id int)",
        )
        .await;
    let config = Config::new("job", &database, kafka, registry)
        .table("public.orders")
        .toml_text("[format]\ntruncate = true");
    let walferry = Walferry::run(&config).await;
    database.execute("INSERT INTO orders VALUES (1, 'one', repeat('x', 9000))").await;
    database.execute("BEGIN; INSERT INTO orders VALUES (2, 'no'); ROLLBACK").await;
    database
        .execute(
            "BEGIN; UPDATE orders SET note = 'uno' WHERE id = 1; INSERT INTO noise VALUES (1);
             UPDATE orders SET id = 3 WHERE id = 1; DELETE FROM orders; COMMIT",
        )
        .await;
    database.execute("TRUNCATE orders").await;
    // Create, update, delete and tombstone, create, delete and tombstone, truncate.
    let records = kafka.first_records(&config.topic("public.orders"), 8, wait::LONG).await;
    let events = Decoder::new(registry).events(&records).await;
    let ops: Vec<Option<&str>> = events
        .iter()
        .map(|event| event.value.as_ref().and_then(|value| value["op"].as_str()))
        .collect();
    let expected = [Some("c"), Some("u"), Some("d"), None, Some("c"), Some("d"), None, Some("t")];
    assert_eq!(ops, expected);
    let after = |index: usize| events[index].value.as_ref().expect("a value")["after"].clone();
    assert_eq!(after(0)["big"], json!("x".repeat(9000)));
    assert_eq!(after(1), json!({ "id": 1, "note": "uno", "big": "__debezium_unavailable_value" }));
    assert_eq!(after(4)["id"], json!(3));
    let lsn = database.current_lsn().await;
    database.wait_confirmed(&config.slot(), lsn, wait::LONG).await;
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_job_on_the_oldest_postgres() {
    whole_job(Postgres::oldest_version()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_job_on_the_newest_postgres() {
    whole_job(Postgres::newest_version()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_and_a_filtered_database_advance_their_slot() {
    // A server of its own: on a shared one others make traffic.
    let postgres = Postgres::own(Postgres::default_version(), Options::default()).await;
    let database = postgres.database("idle").await;
    database.execute("CREATE TABLE listed (id int PRIMARY KEY); CREATE TABLE noise (id int)").await;
    let (kafka, registry) = (Kafka::shared().await, Registry::shared().await);
    let config = Config::new("idle", &database, kafka, registry).table("public.listed");
    let walferry = Walferry::run(&config).await;
    database.execute("INSERT INTO noise SELECT generate_series(1, 1000)").await;
    let lsn = database.current_lsn().await;
    database.wait_confirmed(&config.slot(), lsn, wait::LONG).await;
    // WAL without any transaction.
    database.execute("CHECKPOINT; SELECT pg_switch_wal()").await;
    let lsn = database.current_lsn().await;
    database.wait_confirmed(&config.slot(), lsn, wait::LONG).await;
    assert_eq!(
        kafka.topics().await.iter().filter(|t| **t == config.topic("public.listed")).count(),
        0
    );
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_instance_waits_for_the_slot_and_takes_over() {
    let (database, kafka, registry) = database("second").await;
    create(&database, TABLE).await;
    let config = Config::new("second", &database, kafka, registry).table(TABLE);
    let first = Walferry::run(&config).await;
    let load = Load::on(&database, TABLE);
    let sql = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = ";
    let pid: i32 = database.value(&format!("{sql}'{}'", config.slot())).await;
    let second = Walferry::start(&config.twin());
    second.wait_unready_because(&pid.to_string()).await;
    second.wait_unready_because("slot_active").await;
    assert_eq!(second.status().await["state"], "acquiring_slot");
    second.wait_log(&pid.to_string(), wait::LONG).await;
    load.more(100).await;
    assert_eq!(first.stop().await, 0, "{}", first.log());
    second.wait_ready().await;
    load.more(100).await;
    load.stop().await;
    let repeats = all_arrived(&database, TABLE, kafka, registry, &config.topic(TABLE)).await;
    assert_eq!(repeats, 0, "a clean stop confirms everything");
    assert_eq!(second.stop().await, 0, "{}", second.log());
    let waits = second.log().lines().filter(|line| line.contains(&pid.to_string())).count();
    assert_eq!(waits, 1, "one line for one wait:\n{}", second.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_confirms_everything_and_frees_the_slot() {
    let (database, kafka, registry) = database("sigterm").await;
    create(&database, TABLE).await;
    let config = Config::new("sigterm", &database, kafka, registry).table(TABLE);
    let mut load = None;
    for round in 0..3 {
        let walferry = Walferry::run(&config).await;
        load.get_or_insert_with(|| Load::on(&database, TABLE)).more(100).await;
        if round == 2 {
            load.take().expect("a load").stop().await;
        }
        let lsn = database.current_lsn().await;
        let last: i64 = database.value(&format!("SELECT max(id) FROM {TABLE}")).await;
        if load.is_none() {
            kafka
                .first_records(&config.topic(TABLE), usize::try_from(last).unwrap(), wait::LONG)
                .await;
        }
        assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
        let sql = "SELECT active FROM pg_replication_slots WHERE slot_name = ";
        assert!(!database.value::<bool>(&format!("{sql}'{}'", config.slot())).await, "not free");
        if load.is_none() {
            let confirmed = database.confirmed_lsn(&config.slot()).await.expect("a slot");
            assert!(confirmed >= lsn, "{confirmed:X} is before {lsn:X}");
        }
    }
    let repeats = all_arrived(&database, TABLE, kafka, registry, &config.topic(TABLE)).await;
    assert_eq!(repeats, 0, "a second run repeats nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_without_kafka_ends_in_time_and_a_second_signal_ends_it_at_once() {
    let (database, _, registry) = database("no_kafka").await;
    let kafka = Kafka::own(&[]).await;
    create(&database, TABLE).await;
    let config = Config::new("no_kafka", &database, &kafka, registry).table(TABLE);
    let patient = config.twin().top("shutdown_timeout = \"10m\"");
    let walferry = Walferry::run(&patient).await;
    let load = Load::on(&database, TABLE);
    load.flows(&database, &config.slot()).await;
    kafka.pause();
    load.more(50).await;
    walferry.signal(Signal::TERM);
    walferry.wait_unready_because("stopping").await;
    walferry.signal(Signal::TERM);
    assert_eq!(walferry.wait_exit(AT_ONCE).await, 1, "{}", walferry.log());
    assert!(walferry.log().contains("second signal"), "{}", walferry.log());

    kafka.resume();
    let hurried = config.twin().top("shutdown_timeout = \"2s\"");
    let walferry = Walferry::run(&hurried).await;
    load.flows(&database, &config.slot()).await;
    kafka.kill();
    load.more(50).await;
    walferry.signal(Signal::TERM);
    assert_eq!(walferry.wait_exit(AT_ONCE).await, 1, "{}", walferry.log());
    assert!(walferry.log().contains("records in flight"), "{}", walferry.log());

    kafka.start().await;
    let walferry = Walferry::run(&config).await;
    load.more(50).await;
    load.stop().await;
    all_arrived(&database, TABLE, &kafka, registry, &config.topic(TABLE)).await;
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

/// Nothing but the table's rows comes by: no relation message, no schema, no new topic.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_number_of_partitions_is_reported() {
    let (database, kafka, registry) = database("partitions").await;
    create(&database, TABLE).await;
    let config = Config::new("partitions", &database, kafka, registry).table(TABLE);
    let topic = config.topic(TABLE);
    kafka.create_topic(&topic, 2, &[]).await;
    let walferry = Walferry::run(&config).await;
    let load = Load::on(&database, TABLE);
    load.flows(&database, &config.slot()).await;
    assert_eq!(walferry.status().await["partition_changes"], json!([]));
    kafka.add_partitions(&topic, 5).await;
    let found = wait::until("the change in /status", wait::LONG, async || {
        walferry.status().await["partition_changes"].as_array()?.first().cloned()
    })
    .await;
    assert_eq!(
        (&found["topic"], &found["before"], &found["now"]),
        (&json!(topic), &json!(2), &json!(5))
    );
    let metrics = walferry.metrics().await;
    let changes = metrics.get("walferry_partition_changes_total", &[("topic", &topic)]);
    assert_eq!(changes, Some(1.0));
    // The producer itself learns of it by then, or within seconds.
    kafka
        .records_until(&topic, "a record in a new partition", wait::LONG, |records| {
            records.iter().any(|record| record.partition >= 2)
        })
        .await;
    load.stop().await;
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
    assert_eq!(walferry.log().matches("number of partitions has changed").count(), 1);
}

/// Records are given up in step with the server's patience, and a new producer loses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_producer_is_as_patient_as_the_server_twice() {
    let (database, kafka, registry) = database("patience").await;
    create(&database, TABLE).await;
    let config = Config::new("patience", &database, kafka, registry)
        .table(TABLE)
        .argument("--log-level")
        .argument("debug");
    let mut load = None;
    for (timeout, said) in
        [("1min", None), ("10min", Some("message_timeout=20m")), ("5s", Some("message_timeout=1m"))]
    {
        let set =
            format!("ALTER DATABASE {} SET wal_sender_timeout = '{timeout}'", database.name());
        database.execute(&set).await;
        let walferry = Walferry::run(&config).await;
        load.get_or_insert_with(|| Load::on(&database, TABLE))
            .flows(&database, &config.slot())
            .await;
        if timeout == "5s" {
            load.take().expect("a load").stop().await;
            let lsn = database.current_lsn().await;
            database.wait_confirmed(&config.slot(), lsn, wait::LONG).await;
        }
        assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
        let log = walferry.log();
        let line = log.lines().find(|line| line.contains("message_timeout="));
        assert_eq!(line.is_some(), said.is_some(), "{log}");
        assert!(said.is_none_or(|said| line.is_some_and(|line| line.contains(said))), "{line:?}");
    }
    let repeats = all_arrived(&database, TABLE, kafka, registry, &config.topic(TABLE)).await;
    assert_eq!(repeats, 0);
}

async fn publication_dropped(version: u16) {
    let (kafka, registry) = (Kafka::shared().await, Registry::shared().await);
    let database = Postgres::shared_version(version).await.database("dropped").await;
    database.execute("CREATE TABLE orders (id int PRIMARY KEY)").await;
    let config = Config::new("dropped", &database, kafka, registry).table("public.orders");
    let walferry = Walferry::run(&config).await;
    database.execute(&format!("DROP PUBLICATION {}", config.publication())).await;
    database.execute("INSERT INTO orders VALUES (1)").await;
    assert_eq!(walferry.wait_exit(wait::LONG).await, 2, "{}", walferry.log());
    let log = walferry.log();
    assert!(log.contains(&config.publication()), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_dropped_while_in_use_stops_on_the_oldest_postgres() {
    publication_dropped(Postgres::oldest_version()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_dropped_while_in_use_stops_on_the_newest_postgres() {
    publication_dropped(Postgres::newest_version()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renamed_new_and_swapped_tables_and_partitions_are_delivered() {
    let (database, kafka, registry) = database("tables").await;
    database
        .execute(
            "CREATE TABLE orders (id int PRIMARY KEY);
             CREATE TABLE customers (id int PRIMARY KEY);
             CREATE TABLE item_a (id int PRIMARY KEY);
             CREATE TABLE events (id int PRIMARY KEY) PARTITION BY RANGE (id);
             CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10)",
        )
        .await;
    let proxy = integration_tests::Proxy::to(database.port());
    let config = Config::new("tables", &database, kafka, registry)
        .postgres_url(&database.url_through(proxy.port()))
        .table("public.orders")
        .table("public.customers")
        .table("public.item_*")
        .table("public.events");
    let walferry = Walferry::run(&config).await;
    database
        .execute(
            "INSERT INTO orders VALUES (1); INSERT INTO events VALUES (1);
             ALTER TABLE orders RENAME TO purchases; INSERT INTO purchases VALUES (2);
             CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (10) TO (20);
             INSERT INTO events VALUES (11);
             CREATE TABLE item_b (id int PRIMARY KEY);
             CREATE TABLE customers_new (LIKE customers INCLUDING ALL);
             ALTER TABLE customers RENAME TO customers_old;
             ALTER TABLE customers_new RENAME TO customers",
        )
        .await;
    let two = async |table: &str| rows(kafka, registry, &config.topic(table), 2).await;
    assert_eq!(two("public.orders").await, [json!({ "id": 1 }), json!({ "id": 2 })]);
    assert_eq!(two("public.events").await, [json!({ "id": 1 }), json!({ "id": 11 })]);

    // Changes of a table count from when the publication has it.
    wait::until("both new tables to be published", wait::LONG, async || {
        let sql =
            "SELECT count(*) FROM pg_publication_tables WHERE tablename IN ('item_b', 'customers')";
        (database.value::<i64>(sql).await == 2).then_some(())
    })
    .await;
    database.execute("INSERT INTO item_b VALUES (1); INSERT INTO customers VALUES (7)").await;
    let one = async |table: &str| rows(kafka, registry, &config.topic(table), 1).await;
    assert_eq!(one("public.item_b").await, [json!({ "id": 1 })]);
    assert_eq!(one("public.customers").await, [json!({ "id": 7 })]);

    // A new connection knows the renamed table as well as the old one did.
    let accepted = proxy.accepted();
    proxy.cut();
    wait::until("a new connection", wait::LONG, async || {
        (proxy.accepted() > accepted).then_some(())
    })
    .await;
    walferry.wait_ready().await;
    database.execute("INSERT INTO purchases VALUES (3)").await;
    let three = rows(kafka, registry, &config.topic("public.orders"), 3).await;
    assert_eq!(three[2], json!({ "id": 3 }));
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_change_counts_from_the_exact_row() {
    let (database, kafka, registry) = database("schema").await;
    database.execute("CREATE TABLE t (id int PRIMARY KEY, a text)").await;
    let config = Config::new("schema", &database, kafka, registry).table("public.t");
    let walferry = Walferry::run(&config).await;
    database
        .execute(
            "BEGIN; INSERT INTO t VALUES (1, 'a'); ALTER TABLE t ADD b int;
             INSERT INTO t VALUES (2, 'a', 2); ALTER TABLE t DROP a; INSERT INTO t VALUES (3, 3);
             COMMIT;
             INSERT INTO t VALUES (4, 4); ALTER TABLE t ALTER b TYPE bigint;
             INSERT INTO t VALUES (5, 5000000000); ALTER TABLE t RENAME b TO c;
             INSERT INTO t VALUES (6, 6)",
        )
        .await;
    let expected = [
        json!({ "id": 1, "a": "a" }),
        json!({ "id": 2, "a": "a", "b": 2 }),
        json!({ "id": 3, "b": 3 }),
        json!({ "id": 4, "b": 4 }),
        json!({ "id": 5, "b": 5_000_000_000_i64 }),
        json!({ "id": 6, "c": 6 }),
    ];
    assert_eq!(rows(kafka, registry, &config.topic("public.t"), 6).await, expected);
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

/// The catalog of today says NOT NULL, the rows of yesterday say otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn a_null_from_before_set_not_null_is_delivered_as_null() {
    let (database, kafka, registry) = database("not_null").await;
    database.execute("CREATE TABLE t (id int PRIMARY KEY, a text)").await;
    let config = Config::new("not_null", &database, kafka, registry).table("public.t");
    assert_eq!(Walferry::run(&config).await.stop().await, 0);
    database
        .execute(
            "INSERT INTO t VALUES (1, 'a'); INSERT INTO t VALUES (2, NULL);
             UPDATE t SET a = 'b' WHERE id = 2; ALTER TABLE t ALTER a SET NOT NULL;
             INSERT INTO t VALUES (3, 'c')",
        )
        .await;
    let walferry = Walferry::run(&config.twin()).await;
    let notes: Vec<Value> = rows(kafka, registry, &config.topic("public.t"), 4)
        .await
        .iter()
        .map(|row| row["a"].clone())
        .collect();
    assert_eq!(notes, [json!("a"), Value::Null, json!("b"), json!("c")]);
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}
