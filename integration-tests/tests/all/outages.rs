//! Outages under load: each side goes away and comes back, and nothing is missing afterwards.

use std::time::Duration;

use integration_tests::fake_registry::Answer;
use integration_tests::postgres::{Options, Stop};
use integration_tests::{
    Config, Database, FakeRegistry, Kafka, Listener, Postgres, Proxy, Registry, Walferry, wait,
};

use crate::load::{Load, all_arrived, create};

const TABLE: &str = "public.numbers";
const MIB: u64 = 1024 * 1024;

async fn own_postgres() -> Postgres {
    Postgres::own(Postgres::default_version(), Options::default()).await
}

/// The end of each test here: the load stops, all is delivered and confirmed, and the stop is clean.
async fn ends_well(
    load: Load,
    database: &Database,
    kafka: &Kafka,
    config: &Config,
    walferry: &Walferry,
) {
    load.stop().await;
    walferry.wait_ready().await;
    let registry = Registry::shared().await;
    all_arrived(database, TABLE, kafka, registry, &config.topic(TABLE)).await;
    let lsn = database.current_lsn().await;
    database.wait_confirmed(&config.slot(), lsn, wait::LONG).await;
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

fn warnings(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR ")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_restarts_crashes_and_is_killed() {
    let (postgres, kafka) = (own_postgres().await, Kafka::shared().await);
    let database = postgres.database("restarts").await;
    create(&database, TABLE).await;
    let config = Config::new("restarts", &database, kafka, Registry::shared().await).table(TABLE);
    let walferry = Walferry::run(&config).await;
    let load = Load::on(&database, TABLE);
    for mode in [Some(Stop::Fast), Some(Stop::Immediate), None] {
        load.flows(&database, &config.slot()).await;
        let warned = warnings(&walferry.log()).len();
        match mode {
            Some(mode) => postgres.stop(mode).await,
            None => postgres.kill(),
        }
        walferry.wait_unready_because("postgres").await;
        postgres.start().await;
        walferry.wait_ready().await;
        let log = walferry.log();
        let warned = &warnings(&log)[warned..];
        // The connection is lost, then it is refused, or the server is starting up: each once.
        assert!((1..=4).contains(&warned.len()), "{mode:?}: {warned:#?}");
        load.more(50).await;
    }
    ends_well(load, &database, kafka, &config, &walferry).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_stops_and_starts() {
    let (postgres, kafka) = (Postgres::shared().await, Kafka::own(&[]).await);
    let database = postgres.database("kafka_stops").await;
    create(&database, TABLE).await;
    database.execute("CREATE TABLE bulk (id bigint PRIMARY KEY, note text)").await;
    let config = Config::new("kafka_stops", &database, &kafka, Registry::shared().await)
        .kafka("max_in_flight_bytes = \"2MiB\"")
        .kafka("max_in_flight_records = 2000")
        .kafka("max_record_bytes = \"64KiB\"")
        .table(TABLE)
        .table("public.bulk");
    let walferry = Walferry::run(&config).await;
    let load = Load::on(&database, TABLE);
    load.flows(&database, &config.slot()).await;
    let (before, warned) = (walferry.memory(), warnings(&walferry.log()).len());

    kafka.stop().await;
    // Far more than may be in flight.
    database
        .execute(
            "INSERT INTO bulk SELECT n, repeat(md5(n::text), 32) FROM generate_series(1, 40000) n",
        )
        .await;
    walferry.wait_unready_because("kafka").await;
    load.more(500).await;
    let grown = walferry.peak_memory().saturating_sub(before);
    assert!(grown < 20 * MIB, "{} MiB more than before the outage", grown / MIB);
    assert_eq!(walferry.get("/healthz").await.expect("an answer").0, 200);
    let log = walferry.log();
    let said = &warnings(&log)[warned..];
    assert_eq!(said.len(), 1, "one line for one outage: {said:#?}");

    kafka.start().await;
    walferry.wait_ready().await;
    let registry = Registry::shared().await;
    all_arrived(&database, "public.bulk", &kafka, registry, &config.topic("public.bulk")).await;
    load.more(50).await;
    ends_well(load, &database, &kafka, &config, &walferry).await;
    let log = walferry.log();
    assert_eq!(log.matches("answer again").count(), 1, "the end of the outage, once:\n{log}");
}

/// A broker that takes records and never acknowledges them: nothing may be confirmed, and the
/// server must be able to shut down all the same. It ends the control connection first, which would
/// end replication as well: here nobody hears of it, so that only the stall can.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_never_acknowledges_holds_neither_data_nor_postgres_back() {
    let (postgres, kafka) = (own_postgres().await, Kafka::own(&[]).await);
    let database = postgres.database("stalls").await;
    create(&database, TABLE).await;
    let proxy = Proxy::to(database.port());
    let config = Config::new("stalls", &database, &kafka, Registry::shared().await)
        .postgres_url(&database.url_through(proxy.port()))
        .listener(&kafka, Listener::Proxied)
        .postgres("stall_disconnect = \"2s\"")
        .table(TABLE);
    let walferry = Walferry::run(&config).await;
    let load = Load::on(&database, TABLE);
    load.flows(&database, &config.slot()).await;

    kafka.pause();
    let paused_at = database.current_lsn().await;
    load.more(100).await;
    let confirmed = database.confirmed_lsn(&config.slot()).await.expect("a slot");
    assert!(confirmed <= paused_at, "{confirmed:X} is past {paused_at:X}");
    assert_eq!(proxy.accepted(), 2, "one connection for control, one for replication");
    proxy.silence(1);
    postgres.begin_stop(Stop::Fast).wait_exit(Duration::from_secs(2 + 10)).await;
    postgres.start().await;
    walferry.wait_unready_because("stalled").await;
    assert_eq!(walferry.status().await["state"], "stalled");
    load.more(100).await;
    let confirmed = database.confirmed_lsn(&config.slot()).await.expect("a slot");
    assert!(confirmed <= paused_at, "{confirmed:X} is past {paused_at:X}");
    kafka.resume();
    walferry.wait_ready().await;

    // The same from a network that swallows everything, without a shutdown.
    load.more(50).await;
    kafka.proxy().cut();
    load.flows(&database, &config.slot()).await;
    kafka.proxy().black_hole();
    walferry.wait_unready_because("stalled").await;
    database.wait_slot_active(&config.slot(), false, wait::LONG).await;
    let held = database.confirmed_lsn(&config.slot()).await;
    load.more(100).await;
    assert_eq!(database.confirmed_lsn(&config.slot()).await, held);
    kafka.proxy().pass();
    walferry.wait_ready().await;
    ends_well(load, &database, &kafka, &config, &walferry).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_network_to_postgres_breaks_in_three_ways() {
    let (postgres, kafka) = (Postgres::shared().await, Kafka::shared().await);
    let database = postgres.database("network").await;
    database
        .execute(&format!("ALTER DATABASE {} SET wal_sender_timeout = '4s'", database.name()))
        .await;
    create(&database, TABLE).await;
    let proxy = Proxy::to(database.port());
    let config = Config::new("network", &database, kafka, Registry::shared().await)
        .postgres_url(&database.url_through(proxy.port()))
        .postgres("connect_timeout = \"1s\"")
        .table(TABLE);
    let walferry = Walferry::run(&config).await;
    let load = Load::on(&database, TABLE);
    load.flows(&database, &config.slot()).await;

    let accepted = proxy.accepted();
    proxy.cut();
    wait::until("a new connection", wait::LONG, async || {
        (proxy.accepted() > accepted).then_some(())
    })
    .await;
    walferry.wait_ready().await;
    load.more(50).await;

    proxy.refuse();
    walferry.wait_unready_because("postgres").await;
    proxy.pass();
    walferry.wait_ready().await;
    load.more(50).await;

    proxy.black_hole();
    walferry.wait_unready_because("silent").await;
    // New connections are swallowed as well.
    walferry.wait_unready_because("login").await;
    proxy.pass();
    walferry.wait_ready().await;
    ends_well(load, &database, kafka, &config, &walferry).await;
}

/// What the registry holds up is not taken up again before it has answered the same question.
#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_registry_is_asked_before_replication_is_taken_again() {
    let (postgres, kafka) = (Postgres::shared().await, Kafka::shared().await);
    let database = postgres.database("registry_stalls").await;
    create(&database, TABLE).await;
    // As one whose storage is away: it reads, and gives no id.
    let fake = FakeRegistry::start(Answer::json(500, "{}")).await;
    let config = Config::new("registry_stalls", &database, kafka, Registry::shared().await)
        .registry_url(&fake.url())
        .postgres("stall_disconnect = \"1s\"")
        .table(TABLE);
    let walferry = Walferry::run(&config).await;
    database.execute(&format!("INSERT INTO {TABLE} (id) VALUES (1)")).await;
    database.wait_slot_active(&config.slot(), false, wait::LONG).await;
    walferry.wait_unready_because("until the registry answers").await;
    assert_eq!(walferry.status().await["state"], "stalled");
    let asked = fake.requests().len();
    wait::until("more questions to the registry", wait::LONG, async || {
        (fake.requests().len() >= asked + 4).then_some(())
    })
    .await;
    let sql = "SELECT active FROM pg_replication_slots WHERE slot_name = ";
    assert!(!database.value::<bool>(&format!("{sql}'{}'", config.slot())).await, "held again");
    let log = walferry.log();
    assert_eq!(
        log.matches(" streaming position=").count(),
        1,
        "taken again without an answer:\n{log}"
    );
    let last = fake.requests().pop().expect("a question");
    assert!(last.method == "POST" && last.path.ends_with("/versions"), "{last:?}");

    fake.then(Answer::json(200, "{\"id\": 7}"));
    walferry.wait_ready().await;
    kafka.first_records(&config.topic(TABLE), 1, wait::LONG).await;
    // A stop finds the probe, too.
    fake.then(Answer::json(500, "{}"));
    database.execute(&format!("ALTER TABLE {TABLE} ADD more int")).await;
    database.execute(&format!("INSERT INTO {TABLE} (id) VALUES (2)")).await;
    walferry.wait_unready_because("until the registry answers").await;
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

/// A name that does not resolve: from the start, and once the host before it in the list is away.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_name_that_does_not_resolve_is_waited_for() {
    let (postgres, kafka) = (Postgres::shared().await, Kafka::shared().await);
    let registry = Registry::shared().await;
    let database = postgres.database("dns").await;
    create(&database, TABLE).await;
    let proxy = Proxy::to(database.port());
    let (port, name) = (proxy.port(), database.name());
    let config = Config::new("dns", &database, kafka, registry).table(TABLE);

    let nowhere = format!("postgres://postgres@nowhere.invalid/{name}?sslmode=disable");
    let walferry = Walferry::start(&config.twin().postgres_url(&nowhere));
    walferry.wait_unready_because("nowhere.invalid").await;
    wait::until("a second attempt", wait::LONG, async || {
        let metrics = walferry.metrics().await;
        metrics.get("walferry_reconnects_total", &[]).filter(|attempts| *attempts >= 2.0)
    })
    .await;
    assert_eq!(warnings(&walferry.log()).len(), 1, "said once:\n{}", walferry.log());
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());

    let hosts = format!("127.0.0.1:{port},nowhere.invalid:{port}");
    let config =
        config.postgres_url(&format!("postgres://postgres@{hosts}/{name}?sslmode=disable"));
    let walferry = Walferry::run(&config).await;
    let load = Load::on(&database, TABLE);
    load.flows(&database, &config.slot()).await;
    proxy.refuse();
    walferry.wait_unready_because("nowhere.invalid").await;
    proxy.pass();
    walferry.wait_ready().await;
    ends_well(load, &database, kafka, &config, &walferry).await;
}

/// Rows of a table that the registry does not know yet wait, and those behind them.
#[tokio::test(flavor = "multi_thread")]
async fn the_registry_is_away_when_a_table_has_its_first_row() {
    let (postgres, kafka) = (Postgres::shared().await, Kafka::shared().await);
    let registry = Registry::shared().await;
    let database = postgres.database("registry_away").await;
    create(&database, TABLE).await;
    database.execute("CREATE TABLE later (id bigint PRIMARY KEY)").await;
    let proxy = Proxy::to(registry.port());
    let config = Config::new("registry_away", &database, kafka, registry)
        .registry_url(&registry.url_through(proxy.port()))
        .table(TABLE)
        .table("public.later");
    let walferry = Walferry::run(&config).await;
    let load = Load::on(&database, TABLE);
    load.flows(&database, &config.slot()).await;

    proxy.refuse();
    let before = database.current_lsn().await;
    database.execute("INSERT INTO later VALUES (1)").await;
    let inserted = database.current_lsn().await;
    walferry.wait_unready_because("public.later waits").await;
    walferry.wait_unready_because("registry").await;
    load.more(50).await;
    let confirmed = database.confirmed_lsn(&config.slot()).await.expect("a slot");
    assert!(confirmed < inserted, "{confirmed:X} is past the waiting row, {before:X}-{inserted:X}");
    assert_eq!(walferry.log().matches("waiting for schemas or topic").count(), 1);
    proxy.pass();
    walferry.wait_ready().await;
    kafka.first_records(&config.topic("public.later"), 1, wait::LONG).await;
    ends_well(load, &database, kafka, &config, &walferry).await;
}
