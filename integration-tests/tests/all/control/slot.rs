//! The states of a slot, each on a real server.

use integration_tests::{Database, unique};
use walferry::postgres::slot::{self, Error, Fault, SlotState, WalStatus};

use super::{control, on_both_versions, own};

on_both_versions!(a_slot_is_made_read_and_dropped, each_wrong_slot_is_told_from_the_others);

async fn a_slot_is_made_read_and_dropped(database: &Database) {
    let client = control(database).await;
    let name = unique("slot");
    let missing = slot::read(&client, &name).await.expect("a state");
    assert_eq!(missing, SlotState::Missing { name: name.clone() });
    let before = slot::head(&client).await.expect("a head");
    let point = slot::create(&client, &name).await.expect("a slot");
    assert!(point >= before);
    let SlotState::Exists(made) = slot::read(&client, &name).await.expect("a state") else {
        panic!("the slot is not there")
    };
    assert_eq!((made.fault(), made.active_pid), (None, None));
    assert_eq!(made.confirmed_flush_lsn, Some(point));
    assert_eq!(made.wal_status, Some(WalStatus::Reserved));
    assert_eq!(made.database.as_ref().map(|(_, name)| name.as_str()), Some(database.name()));

    database.execute("CREATE TABLE filler AS SELECT generate_series(1, 10000) AS i").await;
    let SlotState::Exists(later) = slot::read(&client, &name).await.expect("a state") else {
        panic!("the slot is not there")
    };
    assert!(later.retained > made.retained, "{later}");
    let all = slot::all(&client).await.expect("slots");
    assert!(all.iter().any(|slot| slot.name == name));

    assert!(matches!(slot::create(&client, &name).await, Err(Error::Exists { .. })));
    assert!(slot::drop(&client, &name).await.expect("an answer"));
    assert!(!slot::drop(&client, &name).await.expect("an answer"));

    let quoted = "no'such\\slot";
    assert!(matches!(slot::read(&client, quoted).await, Ok(SlotState::Missing { .. })));
}

async fn each_wrong_slot_is_told_from_the_others(database: &Database) {
    let client = control(database).await;
    let name = unique("slot");
    let make = format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput'");
    let physical = format!("SELECT pg_create_physical_replication_slot('{name}')");
    let cases = [
        (physical, Fault::Physical),
        (format!("{make}, false, true)"), Fault::TwoPhase),
        (format!("{make}, true)"), Fault::Temporary),
    ];
    for (sql, fault) in cases {
        // A temporary slot lives as long as the session that made it.
        client.query(&sql, &[]).await.expect("a slot");
        let SlotState::Exists(slot) = slot::read(&client, &name).await.expect("a state") else {
            panic!("the slot is not there")
        };
        assert_eq!(slot.fault(), Some(fault), "{slot}");
        client.query(&slot::drop_sql(&name), &[]).await.expect("dropped");
    }

    database.execute(&format!("CREATE DATABASE {}_2", database.name())).await;
    let elsewhere = integration_tests::Postgres::shared_version(
        u16::try_from(super::major(database).await).expect("a version"),
    )
    .await
    .existing_database(&format!("{}_2", database.name()));
    slot::create(&control(&elsewhere).await, &name).await.expect("a slot");
    let SlotState::Exists(slot) = slot::read(&client, &name).await.expect("a state") else {
        panic!("the slot is not there")
    };
    assert_eq!(slot.fault(), Some(Fault::OtherDatabase(elsewhere.name().to_owned())));
    elsewhere.query(&slot::drop_sql(&name), &[]).await;
}

async fn a_lost_slot_is_seen(version: u16) {
    let server = own(version, "max_slot_wal_keep_size = '1MB'").await;
    let database = server.existing_database("postgres");
    let client = control(&database).await;
    slot::create(&client, "ours").await.expect("a slot");
    database.execute("CREATE TABLE t (i int)").await;
    for _ in 0..4 {
        database.execute("INSERT INTO t VALUES (1)").await;
        database.execute("SELECT pg_switch_wal()").await;
    }
    let read = async || match slot::read(&client, "ours").await.expect("a state") {
        SlotState::Exists(slot) => slot,
        SlotState::Missing { .. } => panic!("the slot is not there"),
    };
    let late = read().await;
    assert!(late.to_string().contains("the next checkpoint may invalidate it"), "{late}");
    database.execute("CHECKPOINT").await;
    let lost = read().await;
    assert!(matches!(lost.fault(), Some(Fault::Lost(_))), "{lost:?}");
    if version >= 17 {
        assert_eq!(lost.fault(), Some(Fault::Lost(Some("wal_removed".into()))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_slot_is_seen_on_the_oldest() {
    a_lost_slot_is_seen(14).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_slot_is_seen_on_the_newest() {
    a_lost_slot_is_seen(18).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_cannot_be_made_says_why() {
    let server = own(18, "max_replication_slots = 1").await;
    let database = server.existing_database("postgres");
    let client = control(&database).await;
    slot::create(&client, "first").await.expect("a slot");
    assert!(matches!(slot::create(&client, "second").await, Err(Error::Exhausted { .. })));
    database.execute("CREATE ROLE plain LOGIN PASSWORD 'x'").await;
    slot::drop(&client, "first").await.expect("dropped");
    let plain = super::control_as(&database, "plain", "x").await;
    let Err(error @ Error::Denied { .. }) = slot::create(&plain, "first").await else {
        panic!("a plain role made a slot")
    };
    let remedy = walferry::failure::Failure::from(error).remedy.expect("a remedy");
    database.execute(&remedy).await;
    slot::create(&plain, "first").await.expect("a slot");

    let server = own(14, "wal_level = replica").await;
    let client = control(&server.existing_database("postgres")).await;
    assert!(matches!(slot::create(&client, "ours").await, Err(Error::WalLevel { .. })));
}
