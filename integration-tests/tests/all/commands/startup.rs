//! Each row of the start-up table against real servers: what a start does, and for each refusal
//! that its remedy ends it.

use integration_tests::postgres::{Options, Stop};
use integration_tests::{Config, Kafka, Listener, Postgres, Registry, Walferry, wait};
use serde_json::json;

use super::{Shop, walferry};

/// none/none, then position/slot that fit.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_makes_everything_and_the_next_goes_on() {
    let shop = Shop::open("first").await;
    assert_eq!(shop.status(0).await["decision"], "first_start");
    walferry("position show", &shop.config).await.exits(0).says("none");
    let refused = walferry("slot adopt", &shop.config).await.exits(2);
    refused.says("does not exist").says("walferry slot create");
    walferry("slot drop --yes", &shop.config).await.exits(0).says("Nothing to drop");

    shop.deliver().await;
    shop.insert(1).await;
    assert_eq!(shop.status(0).await["decision"], "resume");
    walferry("slot status", &shop.config).await.exits(0).says("slot and position fit");
    walferry("slot adopt", &shop.config).await.exits(0).says("Nothing to adopt");
    walferry("slot create", &shop.config).await.exits(2).says("walferry slot adopt");
    shop.deliver().await;
    assert_eq!(shop.delivered().await, [1]);

    // While somebody reads the slot, nobody changes what they rely on.
    let running = Walferry::run(&shop.config).await;
    let lsn = shop.position().await["done"].as_str().expect("an LSN").to_owned();
    for command in ["slot drop --yes".to_owned(), format!("position set {lsn} --yes")] {
        let refused = walferry(&command, &shop.config).await.exits(2);
        refused.says("is being read by the server process");
    }
    assert_eq!(running.stop().await, 0, "{}", running.log());
}

/// intent/exists.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_that_did_not_finish_is_done_again() {
    let shop = Shop::open("intent").await;
    walferry("slot create", &shop.config).await.exits(0).says("created");
    let mut intent = shop.position().await;
    intent["state"] = json!("intent");
    let record = intent.as_object_mut().expect("a record");
    record.remove("done");
    record.remove("timeline");
    shop.set_record(Some(intent.to_string().as_bytes())).await;
    assert_eq!(shop.status(0).await["decision"], "repeat_first_start");

    let walferry = Walferry::run(&shop.config).await;
    assert!(walferry.log().contains("an earlier first start did not finish"), "{}", walferry.log());
    shop.insert(1).await;
    let lsn = shop.database.current_lsn().await;
    shop.database.wait_confirmed(&shop.config.slot(), lsn, wait::LONG).await;
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
    assert_eq!(shop.delivered().await, [1]);
}

/// A first start that is still at it is not taken for one that did not finish: its slot is there, it
/// is read by nobody, and its position is not written yet.
#[tokio::test(flavor = "multi_thread")]
async fn the_slot_of_a_first_start_under_way_is_left_alone() {
    let (database, kafka) =
        (Postgres::shared().await.database("under_way").await, Kafka::own(&[]).await);
    let registry = Registry::shared().await;
    database.execute("CREATE TABLE orders (id bigint PRIMARY KEY, note text)").await;
    let config = Config::new("under_way", &database, &kafka, registry).table("public.orders");
    let (slot, topic) = (config.slot(), config.position_topic());

    // A transaction that writes holds the slot's creation up.
    let writer = database.connect().await;
    writer.batch_execute("BEGIN; INSERT INTO orders VALUES (1, 'before')").await.expect("a row");
    let slow = config.clone().listener(&kafka, Listener::Proxied);
    let first = Walferry::start(&slow);
    wait::until("the intent", wait::LONG, async || {
        let records = kafka.records(&topic).await;
        records.last()?.value.as_deref()?.windows(6).any(|part| part == b"intent").then_some(())
    })
    .await;
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_create_logical%'
               AND state = 'active' AND pid <> pg_backend_pid() AND datname = current_database()";
    wait::until("the creation to wait", wait::LONG, async || {
        (database.value::<i64>(sql).await == 1).then_some(())
    })
    .await;
    kafka.proxy().black_hole();
    writer.batch_execute("COMMIT").await.expect("a commit");
    wait::until("the slot to be made", wait::LONG, async || {
        database.confirmed_lsn(&slot).await.map(|_| ())
    })
    .await;
    let made = database.confirmed_lsn(&slot).await;

    let second = Walferry::start(&config.twin());
    second.wait_unready_because("somebody else is making the slot").await;
    assert_eq!(second.status().await["state"], "acquiring_slot");
    assert_eq!(database.confirmed_lsn(&slot).await, made, "another slot");
    let refused = walferry("slot drop --yes", &config).await.exits(1);
    refused.says("somebody else is making the slot");

    kafka.proxy().pass();
    let twins = [first, second];
    let (leader, follower) = one_streams(&twins).await;
    database.execute("INSERT INTO orders VALUES (2, 'after')").await;
    kafka.first_records(&config.topic("public.orders"), 1, wait::LONG).await;
    assert_eq!(leader.stop().await, 0, "{}", leader.log());
    follower.wait_ready().await;
    assert_eq!(follower.stop().await, 0, "{}", follower.log());
}

/// Neither of two instances that start for the first time at once harms the other.
#[tokio::test(flavor = "multi_thread")]
async fn two_first_starts_at_once_end_well() {
    for _ in 0..3 {
        let shop = Shop::open("twins").await;
        let twins = [Walferry::start(&shop.config), Walferry::start(&shop.config.twin())];
        let (leader, follower) = one_streams(&twins).await;
        for id in 1..=20 {
            shop.insert(id).await;
        }
        let topic = shop.config.topic("public.orders");
        shop.kafka.first_records(&topic, 20, wait::LONG).await;
        assert_eq!(leader.stop().await, 0, "{}", leader.log());
        follower.wait_ready().await;
        shop.insert(21).await;
        shop.kafka.first_records(&topic, 21, wait::LONG).await;
        assert_eq!(follower.stop().await, 0, "{}", follower.log());
        assert_eq!(shop.delivered().await, (1..=21).collect::<Vec<i64>>());
    }
}

/// Waits until one of two is ready and the other waits for its slot; that order.
async fn one_streams(twins: &[Walferry; 2]) -> (&Walferry, &Walferry) {
    let [one, other] = twins;
    let (leader, follower) = wait::until("one of two to stream", wait::LONG, async || {
        for (leader, follower) in [(one, other), (other, one)] {
            if leader.get("/readyz").await.is_some_and(|(status, _)| status == 200) {
                return Some((leader, follower));
            }
        }
        None
    })
    .await;
    follower.wait_unready_because("is in use").await;
    (leader, follower)
}

/// none/exists.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_without_a_position_is_adopted_on_purpose_only() {
    let shop = Shop::open("unknown").await;
    walferry("slot create", &shop.config).await.exits(0);
    shop.insert(1).await;
    shop.set_record(None).await;
    shop.refuses("the position topic knows nothing of it").await;
    assert_eq!(shop.status(2).await["decision"], "refuse");

    let adopted = walferry("slot adopt", &shop.config).await.exits(0);
    adopted.says("accepted").says("there was no position before");
    shop.deliver().await;
    assert_eq!(shop.delivered().await, [1], "what the slot has not confirmed is delivered");

    // The other way out: it is given up.
    shop.set_record(None).await;
    walferry("slot drop", &shop.config).await.exits(2).says("Nothing was done");
    assert!(shop.database.confirmed_lsn(&shop.config.slot()).await.is_some());
    walferry("slot drop --yes", &shop.config).await.exits(0).says("dropped");
    shop.deliver().await;
}

/// exists/none.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_gone_is_a_gap() {
    let shop = Shop::open("gone").await;
    shop.deliver().await;
    let slot = shop.config.slot();
    shop.database.execute(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
    shop.insert(1).await;
    shop.refuses("does not exist although changes were delivered").await;
    let lsn = shop.position().await["done"].as_str().expect("an LSN").to_owned();
    let set = walferry(&format!("position set {lsn} --yes"), &shop.config).await.exits(2);
    set.says("walferry slot create");

    let created = walferry("slot create", &shop.config).await.exits(0);
    created.says(&format!("what commits between {lsn} and ")).says("is not delivered");
    shop.insert(2).await;
    shop.deliver().await;
    assert_eq!(shop.delivered().await, [2]);
}

/// `slot drop` gives slot and position up together: the next start is a first one.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_drop_the_next_start_is_a_first_start() {
    let shop = Shop::open("dropped").await;
    shop.deliver().await;
    shop.insert(1).await;
    walferry("slot drop --yes", &shop.config).await.exits(0).says("cleared");
    assert!(shop.position().await.is_null());
    assert_eq!(shop.status(0).await["decision"], "first_start");
    shop.deliver().await;
    shop.insert(2).await;
    shop.deliver().await;
    assert_eq!(shop.delivered().await, [2]);
}

/// confirmed > done.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_somebody_else_advanced_is_a_gap() {
    let shop = Shop::open("ahead").await;
    shop.deliver().await;
    let before = shop.position().await["done"].as_str().expect("an LSN").to_owned();
    shop.insert(1).await;
    let slot = shop.config.slot();
    shop.database
        .execute(&format!("SELECT pg_replication_slot_advance('{slot}', pg_current_wal_lsn())"))
        .await;
    shop.refuses("somebody else consumed or advanced it").await;
    let set = walferry(&format!("position set {before} --yes"), &shop.config).await.exits(2);
    set.says("Postgres cannot send again");
    walferry("position set FFFFFFF/0 --yes", &shop.config).await.exits(2).says("in the future");

    let adopted = walferry("slot adopt", &shop.config).await.exits(0);
    adopted.says(&format!("what commits between {before} and ")).says("is not delivered");
    shop.insert(2).await;
    shop.deliver().await;
    assert_eq!(shop.delivered().await, [2]);
}

/// exists/unusable, and none/unusable.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_of_another_kind_is_refused() {
    let shop = Shop::open("plugin").await;
    shop.deliver().await;
    let slot = shop.config.slot();
    for (sql, reason) in [
        ("pg_create_logical_replication_slot($, 'test_decoding')", "uses the plugin test_decoding"),
        ("pg_create_logical_replication_slot($, 'pgoutput', false, true)", "two-phase decoding"),
        ("pg_create_physical_replication_slot($)", "is a physical slot"),
    ] {
        let quoted = format!("'{slot}'");
        shop.database.execute(&format!("SELECT pg_drop_replication_slot({quoted})")).await;
        shop.database.execute(&format!("SELECT {}", sql.replace('$', &quoted))).await;
        shop.refuses(reason).await;
        walferry("slot adopt", &shop.config).await.exits(2).says(reason);
        walferry("slot drop --yes", &shop.config).await.exits(0).says("dropped");
        walferry("slot create", &shop.config).await.exits(0).says("created");
        shop.deliver().await;
    }
}

/// Another database under the same name, on the same server.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_deployment_on_another_database_is_refused() {
    let shop = Shop::open("copied").await;
    shop.deliver().await;
    let elsewhere = Postgres::shared().await.database("elsewhere").await;
    elsewhere.execute("CREATE TABLE orders (id bigint PRIMARY KEY, note text)").await;
    let copy = Shop {
        config: shop.config.twin().postgres_url(&elsewhere.url()).postgres("slot = \"copied_2\""),
        database: elsewhere,
        kafka: shop.kafka,
    };
    copy.refuses("the position belongs to").await;
    // The position of the first is not the copy's to clear.
    walferry("slot drop --yes", &copy.config).await.exits(2).says("the position belongs to");
    shop.insert(1).await;
    shop.deliver().await;
    assert_eq!(shop.delivered().await, [1]);
}

/// Another system identifier: the database was moved.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_moved_is_taken_on_purpose_only() {
    let shop = Shop::open("moved").await;
    shop.deliver().await;
    let server = Postgres::own(Postgres::default_version(), Options::default().own_system()).await;
    let database = server.database("moved").await;
    database.execute("CREATE TABLE orders (id bigint PRIMARY KEY, note text)").await;
    let moved = Shop {
        config: shop.config.twin().postgres_url(&database.url()),
        database,
        kafka: shop.kafka,
    };
    moved.refuses("the position belongs to").await;
    walferry("slot create", &moved.config).await.exits(0).says("the former position");
    moved.insert(1).await;
    moved.deliver().await;
    assert_eq!(moved.delivered().await, [1]);
    shop.refuses("the position belongs to").await;
    walferry("slot adopt", &shop.config).await.exits(0).says("the former position");
    shop.deliver().await;
}

/// `slot_manage = "never"`: none/none, none/exists, exists/none.
#[tokio::test(flavor = "multi_thread")]
async fn the_operators_slot_is_taken_and_never_made() {
    let mut shop = Shop::open("operator").await;
    shop.config = shop.config.postgres("slot_manage = \"never\"");
    shop.refuses("slot_manage is \"never\" and the slot").await;
    let (slot, publication) = (shop.config.slot(), shop.config.publication());
    shop.database
        .execute(&format!(
            "CREATE PUBLICATION {publication} FOR TABLE ONLY orders;
             CREATE PUBLICATION {publication}_inserts WITH (publish = 'insert')"
        ))
        .await;
    let create = format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')");
    shop.database.execute(&create).await;
    shop.insert(1).await;
    assert_eq!(shop.status(0).await["decision"], "adopt");
    shop.deliver().await;
    assert_eq!(shop.delivered().await, [1]);

    shop.database.execute(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
    shop.refuses("does not exist although changes were delivered").await;
    walferry("slot create", &shop.config).await.exits(0).says("created");
    shop.deliver().await;
}

/// Same timeline, flush < done.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_restored_from_an_older_backup_is_refused() {
    let server = Postgres::own(Postgres::default_version(), Options::default()).await;
    let shop = Shop::open_on(&server, "restored").await;
    shop.deliver().await;
    server.stop(Stop::Fast).await;
    let backup = server.back_up();
    server.start().await;
    grow(&shop).await;
    shop.deliver().await;
    let delivered = shop.delivered().await.len();

    server.stop(Stop::Fast).await;
    server.restore(&backup);
    server.start().await;
    shop.refuses("restored from an older backup").await;
    walferry("slot adopt", &shop.config).await.exits(0).says("is delivered again");
    shop.insert(-1).await;
    shop.deliver().await;
    let ids = shop.delivered().await;
    assert_eq!((ids.len(), ids.last()), (delivered + 1, Some(&-1)));
}

/// A promoted standby that has everything delivered is followed; one that lacks some is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_standby_is_followed_only_without_loss() {
    let server = Postgres::own(Postgres::default_version(), Options::default()).await;
    let shop = Shop::open_on(&server, "promoted").await;
    shop.deliver().await;
    server.stop(Stop::Fast).await;
    server.start_promoted().await;
    shop.insert(1).await;
    shop.deliver().await;
    assert_eq!(shop.delivered().await, [1]);
    assert_eq!(shop.position().await["timeline"], 2);

    server.stop(Stop::Fast).await;
    let backup = server.back_up();
    server.start().await;
    grow(&shop).await;
    shop.deliver().await;
    server.stop(Stop::Fast).await;
    server.restore(&backup);
    server.start_promoted().await;
    shop.refuses("the promoted server does not have all of them").await;
    let adopted = walferry("slot adopt", &shop.config).await.exits(0);
    adopted.says("is delivered again, now on timeline 3 instead of 2");
    shop.deliver().await;
    assert_eq!(shop.position().await["timeline"], 3);
}

/// A position of a timeline that the server, restored from before two promotions, has never had.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_was_on_the_positions_timeline_is_refused() {
    let server = Postgres::own(Postgres::default_version(), Options::default()).await;
    let shop = Shop::open_on(&server, "timeline").await;
    shop.deliver().await;
    server.stop(Stop::Fast).await;
    let backup = server.back_up();
    for _ in 0..2 {
        server.start_promoted().await;
        server.stop(Stop::Fast).await;
    }
    server.start().await;
    shop.deliver().await;
    assert_eq!(shop.position().await["timeline"], 3);

    server.stop(Stop::Fast).await;
    server.restore(&backup);
    server.start_promoted().await;
    shop.refuses("on timeline 2, whose history does not know timeline 3").await;
    walferry("slot adopt", &shop.config).await.exits(0).says("now on timeline 2 instead of 3");
    shop.insert(1).await;
    shop.deliver().await;
    assert_eq!(shop.delivered().await, [1]);
}

/// The server has removed the log that the slot needs.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_outgrew_max_slot_wal_keep_size_is_a_gap() {
    let options = Options::default()
        .setting("max_slot_wal_keep_size = '1MB'")
        .setting("min_wal_size = '32MB'")
        .setting("max_wal_size = '32MB'");
    let server = Postgres::own(Postgres::default_version(), options).await;
    let shop = Shop::open_on(&server, "outgrown").await;
    shop.deliver().await;
    shop.insert(1).await;
    let slot = shop.config.slot();
    let status = format!("SELECT wal_status FROM pg_replication_slots WHERE slot_name = '{slot}'");
    wait::until("the slot to be lost", wait::LONG, async || {
        grow(&shop).await;
        shop.database.execute("TRUNCATE orders").await;
        shop.database.execute("SELECT pg_switch_wal()").await;
        shop.database.execute("CHECKPOINT").await;
        let status: String = shop.database.value(&status).await;
        (status == "lost").then_some(())
    })
    .await;
    shop.refuses("cannot be used").await;
    walferry("slot create", &shop.config).await.exits(2).says("walferry slot drop");
    walferry("slot drop --yes", &shop.config).await.exits(0).says("dropped");
    walferry("slot create", &shop.config).await.exits(0).says("created");
    shop.insert(2).await;
    shop.deliver().await;
    assert_eq!(shop.delivered().await, [2]);
}

/// More log than a start and a promotion write.
async fn grow(shop: &Shop) {
    shop.database
        .execute("INSERT INTO orders SELECT n, repeat('x', 100) FROM generate_series(100, 5100) n")
        .await;
}

/// The position by hand: forward over what shall not be sent, and a record that cannot be read.
#[tokio::test(flavor = "multi_thread")]
async fn the_position_is_set_by_hand() {
    let shop = Shop::open("by_hand").await;
    shop.deliver().await;
    shop.insert(1).await;
    let lsn = shop.database.texts("SELECT pg_current_wal_insert_lsn()").await;
    let lsn = lsn[0].clone().expect("an LSN");
    let before = shop.position().await;
    let set = format!("position set {lsn}");
    walferry(&set, &shop.config).await.exits(2).says("Nothing was done").says("accepted");
    assert_eq!(shop.position().await, before);
    walferry(&format!("{set} --yes"), &shop.config).await.exits(0).says("is not delivered");
    assert_eq!(shop.position().await["done"], lsn);
    shop.insert(2).await;
    shop.deliver().await;
    assert_eq!(shop.delivered().await, [2]);

    shop.set_record(Some(b"\x1b[31mnot a position")).await;
    shop.refuses("the position record is not the JSON that walferry writes").await;
    let shown = walferry("position show", &shop.config).await.exits(2);
    assert!(!shown.out.contains('\x1b'), "{shown:?}");
    shown.says("not a position").says("walferry position set");
    assert_eq!(
        shop.status(2).await["position"]["unreadable"].as_str().map(str::is_empty),
        Some(false)
    );
    let lsn = shop.database.texts("SELECT pg_current_wal_flush_lsn()").await;
    let lsn = lsn[0].clone().expect("an LSN");
    walferry(&format!("position set {lsn} --yes"), &shop.config).await.exits(0);
    shop.deliver().await;
}

/// Commands say at once that a server cannot be reached: exit code 1.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_worth_another_try() {
    let shop = Shop::open("away").await;
    let port = integration_tests::services::free_port();
    let (kafka, registry) = (Kafka::shared().await, Registry::shared().await);
    let lost = Config::new("away", &shop.database, kafka, registry)
        .table("public.orders")
        .postgres_url(&shop.database.url_through(port));
    walferry("slot status", &lost).await.exits(1).says("cannot connect");
    let lost = shop.config.twin().bootstrap(&format!("127.0.0.1:{port}"));
    walferry("position show", &lost).await.exits(1).says("kafka.bootstrap_servers");
}
