//! The main job: changes of a database arrive in Kafka, decoded and in order.

use std::time::Duration;

use integration_tests::decode::Decoder;
use integration_tests::{Config, Kafka, Postgres, Registry, Walferry, wait};

#[tokio::test(flavor = "multi_thread")]
async fn changes_arrive_in_order_with_their_envelope() {
    let (postgres, kafka, registry) =
        (Postgres::shared().await, Kafka::shared().await, Registry::shared().await);
    let database = postgres.database("changes").await;
    database.execute("CREATE TABLE orders (id bigint PRIMARY KEY, note text)").await;
    let config = Config::new("changes", &database, kafka, registry).table("public.orders");
    let walferry = Walferry::run(&config).await;

    database
        .execute(
            "INSERT INTO orders VALUES (1, 'one');
             UPDATE orders SET note = 'uno' WHERE id = 1;
             DELETE FROM orders WHERE id = 1",
        )
        .await;
    let records = kafka.first_records(&config.topic("public.orders"), 4, wait::LONG).await;
    let decoder = Decoder::new(registry);
    let mut ops = Vec::new();
    for record in &records {
        let event = decoder.event(record).await;
        ops.push(event.value.map(|value| value["op"].as_str().unwrap_or("?").to_owned()));
    }
    let expected: Vec<Option<String>> =
        ["c", "u", "d"].iter().map(|op| Some((*op).to_owned())).chain([None]).collect();
    assert_eq!(ops, expected);

    let lsn = database.current_lsn().await;
    database.wait_confirmed(&config.slot(), lsn, Duration::from_secs(10)).await;
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}
