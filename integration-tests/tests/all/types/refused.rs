//! Values that have no image stop the stream; nothing takes their place.

use super::family::hostile_database;
use integration_tests::{Config, Kafka, Postgres, Registry, Walferry, wait};

#[tokio::test(flavor = "multi_thread")]
async fn a_value_without_an_image_stops_with_everything_but_the_value() {
    let (postgres, kafka, registry) =
        (Postgres::shared().await, Kafka::shared().await, Registry::shared().await);
    let database = hostile_database(postgres, "refused").await;
    for (table, sql_type, shown, value) in [
        ("nan", "numeric(10,2)", "numeric(10,2)", "NaN"),
        ("required", "numeric(10,2) NOT NULL", "numeric(10,2)", "NaN"),
        ("variable", "numeric", "numeric", "-Infinity"),
        ("instant", "timestamp", "timestamp", "294276-12-30 23:59:59"),
        ("matrix", "int[]", "integer[]", "{{4711,4712},{4713,4714}}"),
        ("decimals", "numeric(10,2)[]", "numeric(10,2)[]", "{4711.25,NaN}"),
    ] {
        database
            .execute(&format!("CREATE TABLE {table} (id int PRIMARY KEY, odd_one {sql_type})"))
            .await;
        let config =
            Config::new("refused", &database, kafka, registry).table(&format!("public.{table}"));
        let walferry = Walferry::run(&config).await;
        database.execute(&format!("INSERT INTO {table} VALUES (1, '{value}')")).await;
        let exit = walferry.wait_exit(wait::LONG).await;
        let log = walferry.log();
        assert_eq!(exit, 2, "{table}: {log}");
        let line = log.lines().find(|line| line.contains("cannot be encoded"));
        let line = line.unwrap_or_else(|| panic!("{table}: no line with the column:\n{log}"));
        let table = format!("public.{table}");
        for part in [&table, "odd_one", shown] {
            assert!(line.contains(part), "no {part} in: {line}");
        }
        let lsn = line.split(|c: char| !c.is_ascii_hexdigit() && c != '/').any(|word| {
            word.split_once('/')
                .is_some_and(|(high, low)| !high.is_empty() && u64::from_str_radix(low, 16).is_ok())
        });
        assert!(lsn, "no LSN in: {line}");
        assert!(!log.contains(value), "the value is in the log: {log}");
        let records = kafka.records(&config.topic(&table)).await;
        assert!(records.is_empty(), "{table}: {} records", records.len());
        let slot = config.slot();
        let waiting: i64 = database
            .value(&format!(
                "SELECT count(*) FROM pg_logical_slot_peek_binary_changes('{slot}', NULL, NULL,
                   'proto_version', '1', 'publication_names', '{}')
                 WHERE get_byte(data, 0) = ascii('I')",
                config.publication()
            ))
            .await;
        assert_eq!(waiting, 1, "{table}: confirmed past the row");
        database.execute(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
    }
}
