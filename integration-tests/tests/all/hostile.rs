//! Bad input: each has a stop that names the remedy, or passes; none is a silent loss, and no log
//! shows a value.

use std::time::Duration;

use integration_tests::fake_registry::Answer;
use integration_tests::{
    Config, Database, Decoder, FakeRegistry, Kafka, Listener, Postgres, Proxy, Registry, Walferry,
    unique, wait,
};
use serde_json::json;

async fn database(stem: &str) -> (Database, &'static Kafka, &'static Registry) {
    let (postgres, kafka, registry) =
        tokio::join!(Postgres::shared(), Kafka::shared(), Registry::shared());
    (postgres.database(stem).await, kafka, registry)
}

/// Waits for exit code 2 and for `texts` in the log.
async fn stops(walferry: &Walferry, texts: &[&str]) {
    let code = walferry.wait_exit(wait::LONG).await;
    let log = walferry.log();
    assert_eq!(code, 2, "{log}");
    for text in texts {
        assert!(log.contains(text), "no {text:?} in\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_would_share_a_topic_are_refused() {
    let (database, kafka, registry) = database("shared").await;
    database
        .execute(
            "CREATE TABLE \"a b\" (id int PRIMARY KEY); CREATE TABLE \"a$b\" (id int PRIMARY KEY)",
        )
        .await;
    let named = Config::new("shared", &database, kafka, registry)
        .table_with("public.one", "topic = \"same\"")
        .table_with("public.two", "topic = \"same\"");
    stops(&Walferry::start(&named), &["public.two", "public.one", "would share its topic"]).await;
    let derived = Config::new("shared", &database, kafka, registry).table("public.a*");
    let topic = derived.topic("public.a_b");
    stops(&Walferry::start(&derived), &["public.a b and public.a$b", &topic, "`topic`"]).await;
    assert!(!kafka.topics().await.contains(&topic));
}

/// A role that may write nothing by default cannot make publications, and needs to do nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_role_stops_with_what_makes_an_exception() {
    let (database, kafka, registry) = database("read_only").await;
    let role = unique("reader");
    database
        .execute(&format!(
            "CREATE ROLE {role} LOGIN SUPERUSER REPLICATION PASSWORD 'reader';
             ALTER ROLE {role} SET default_transaction_read_only = on;
             CREATE TABLE t (id int PRIMARY KEY)"
        ))
        .await;
    let config = Config::new("read_only", &database, kafka, registry)
        .postgres_url(&database.url_as(&role, ""))
        .postgres("password = \"reader\"")
        .table("public.t");
    let exception = format!(
        "ALTER ROLE \"{role}\" IN DATABASE \"{}\" SET default_transaction_read_only = off",
        database.name()
    );
    stops(&Walferry::start(&config), &["default_transaction_read_only is on", &exception]).await;
    database.execute(&exception).await;
    let walferry = Walferry::run(&config).await;
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());

    // With the publications there nothing is written, and all works without the exception.
    database.execute(&exception.replace("= off", "= on")).await;
    database.execute(&format!("SELECT pg_drop_replication_slot('{}')", config.slot())).await;
    let again = Config::new("read_only_again", &database, kafka, registry)
        .postgres_url(&database.url_as(&role, ""))
        .postgres("password = \"reader\"")
        .postgres(&format!("publication = \"{}\"", config.publication()))
        .postgres("publication_manage = \"never\"")
        .table("public.t");
    let walferry = Walferry::run(&again).await;
    database.execute("INSERT INTO t VALUES (1)").await;
    kafka.first_records(&again.topic("public.t"), 1, wait::LONG).await;
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_name_that_avro_does_not_allow() {
    let (database, kafka, registry) = database("names").await;
    database.execute("CREATE TABLE t (id int PRIMARY KEY, \"e-mail\" text)").await;
    let config = Config::new("names", &database, kafka, registry).table("public.t");
    let walferry = Walferry::run(&config).await;
    database.execute("INSERT INTO t VALUES (1, 'x')").await;
    stops(&walferry, &["public.t", "e-mail", "name_adjustment"]).await;
    let adjusted = config.twin().toml_text("[format]\nname_adjustment = \"avro\"");
    let walferry = Walferry::run(&adjusted).await;
    let records = kafka.first_records(&config.topic("public.t"), 1, wait::LONG).await;
    let event = Decoder::new(registry).event(&records[0]).await;
    assert_eq!(event.value.expect("a value")["after"], json!({ "id": 1, "e_mail": "x" }));
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_utf8_names_table_and_column_and_never_the_value() {
    let (postgres, kafka, registry) =
        (Postgres::shared().await, Kafka::shared().await, Registry::shared().await);
    let name = unique("ascii");
    let options = "TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'";
    postgres
        .existing_database("postgres")
        .execute(&format!("CREATE DATABASE {name} {options}"))
        .await;
    let database = postgres.existing_database(&name);
    database.execute("CREATE TABLE letters (id int PRIMARY KEY, body text)").await;
    let base = Config::new("ascii", &database, kafka, registry);
    let config = base.clone().table("public.letters").argument("--log-level").argument("debug");
    let walferry = Walferry::run(&config).await;
    database.execute("INSERT INTO letters VALUES (1, 'plain')").await;
    database
        .execute(
            "INSERT INTO letters VALUES (2, convert_from('confidential \\377'::bytea, 'SQL_ASCII'))",
        )
        .await;
    stops(&walferry, &["public.letters", "body", "exclude_columns"]).await;
    assert!(!walferry.log().contains("confidential"), "{}", walferry.log());
    // What came before is delivered and confirmed, and the way out works.
    kafka.first_records(&config.topic("public.letters"), 1, wait::LONG).await;
    let without = base.twin().table_with("public.letters", "exclude_columns = [\"body\"]");
    let walferry = Walferry::run(&without).await;
    let records = kafka.first_records(&config.topic("public.letters"), 2, wait::LONG).await;
    let event = Decoder::new(registry).event(&records[1]).await;
    assert_eq!(event.value.expect("a value")["after"], json!({ "id": 2 }));
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_above_the_limit_names_topic_and_setting() {
    let (database, kafka, registry) = database("large").await;
    database.execute("CREATE TABLE t (id int PRIMARY KEY, body text)").await;
    let config = Config::new("large", &database, kafka, registry)
        .kafka("max_record_bytes = \"64KiB\"")
        .table("public.t");
    let walferry = Walferry::run(&config).await;
    database.execute("INSERT INTO t VALUES (1, 'small')").await;
    database.execute("INSERT INTO t VALUES (2, repeat('x', 100000))").await;
    let topic = config.topic("public.t");
    stops(&walferry, &[&topic, "kafka.max_record_bytes"]).await;
    let raised = config.twin().kafka("max_record_bytes = \"256KiB\"");
    let walferry = Walferry::run(&raised).await;
    let records = kafka.first_records(&topic, 2, wait::LONG).await;
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
    let keys: Vec<_> = records.iter().map(|record| record.key.clone()).collect();
    assert_ne!(keys[0], keys[1], "the small row was confirmed and is not repeated");
}

/// The topic's own limit is below walferry's setting: only the broker can say so.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_the_broker_refuses_stops() {
    let (database, kafka, registry) = database("refused").await;
    database.execute("CREATE TABLE t (id int PRIMARY KEY, body text)").await;
    let config = Config::new("refused", &database, kafka, registry).table("public.t");
    kafka.create_topic(&config.topic("public.t"), 1, &[("max.message.bytes", "20000")]).await;
    let walferry = Walferry::run(&config).await;
    // Random, since the limit counts compressed bytes.
    database
        .execute(
            "INSERT INTO t SELECT 1, string_agg(md5(random()::text), '') FROM generate_series(1, 2000)",
        )
        .await;
    stops(&walferry, &["kafka.max_record_bytes", "max.message.bytes"]).await;
    assert_eq!(kafka.records(&config.topic("public.t")).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_answers_nonsense_is_asked_again() {
    let (database, kafka, _) = database("nonsense").await;
    database.execute("CREATE TABLE t (id int PRIMARY KEY)").await;
    let fake = FakeRegistry::start(Answer::html(200)).await;
    let config = Config::new("nonsense", &database, kafka, Registry::shared().await)
        .registry_url(&fake.url())
        .registry("timeout = \"1s\"")
        .table("public.t");
    let walferry = Walferry::run(&config).await;
    database.execute("INSERT INTO t VALUES (1)").await;
    for (answer, reason) in [
        (Answer::html(200), "HTML"),
        (Answer::json(500, "{}"), "HTTP 500"),
        (Answer::too_many_requests(1), "too many requests"),
        (Answer::Hang, "registry.timeout"),
        (Answer::Raw(b"HTTP/1.1 2".to_vec()), "registry"),
    ] {
        fake.then(answer);
        walferry.wait_unready_because(reason).await;
    }
    fake.then(Answer::json(200, "{\"id\": 7}"));
    let records = kafka.first_records(&config.topic("public.t"), 1, wait::LONG).await;
    let value = records[0].value.as_deref().expect("a value");
    assert_eq!(integration_tests::decode::unframe(value).0, 7);
    walferry.wait_ready().await;
    let said = walferry.log().matches("waiting for schemas or topic").count();
    assert_eq!(said, 1, "one line for one wait:\n{}", walferry.log());
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_refuses_stops_with_its_reason() {
    let (database, kafka, registry) = database("refusals").await;
    database.execute("CREATE TABLE t (id int PRIMARY KEY)").await;
    for (answer, texts) in [
        (Answer::incompatible("reader misses field x"), ["reader misses field x", "compatibility"]),
        (Answer::json(401, "{}"), ["refuses the credentials", "[registry]"]),
        (
            Answer::json(422, "{\"error_code\": 42201, \"message\": \"no such type\"}"),
            ["no such type", "walferry schema"],
        ),
    ] {
        let fake = FakeRegistry::start(answer).await;
        let config = Config::new("refusals", &database, kafka, registry)
            .registry_url(&fake.url())
            .table("public.t");
        let walferry = Walferry::run(&config).await;
        database.execute("INSERT INTO t VALUES ((random() * 1e9)::int)").await;
        stops(&walferry, &texts).await;
    }
}

/// Defaults that Avro allows and the registry's own rules do not.
#[tokio::test(flavor = "multi_thread")]
async fn a_default_that_the_registry_refuses_is_named_and_can_be_left_out() {
    let (database, kafka, registry) = database("defaults").await;
    database.execute("CREATE TABLE t (id int PRIMARY KEY, meta jsonb NOT NULL DEFAULT '{}')").await;
    let config = Config::new("defaults", &database, kafka, registry).table("public.t");
    let walferry = Walferry::run(&config).await;
    database.execute("INSERT INTO t VALUES (1)").await;
    stops(&walferry, &["the default of meta in public.t", "column_defaults = false"]).await;
    let without = config.twin().toml_text("[format]\ncolumn_defaults = false");
    let walferry = Walferry::run(&without).await;
    let records = kafka.first_records(&config.topic("public.t"), 1, wait::LONG).await;
    let event = Decoder::new(registry).event(&records[0]).await;
    assert_eq!(event.value.expect("a value")["after"], json!({ "id": 1, "meta": "{}" }));
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

/// A real registry that finds the new schema incompatible: the difference in plain words.
#[tokio::test(flavor = "multi_thread")]
async fn an_incompatible_change_stops_and_says_what_differs() {
    let (database, kafka, registry) = database("incompatible").await;
    database.execute("CREATE TABLE t (id int PRIMARY KEY, a bigint)").await;
    let config = Config::new("incompatible", &database, kafka, registry).table("public.t");
    let walferry = Walferry::run(&config).await;
    database.execute("INSERT INTO t VALUES (1, 1)").await;
    database
        .execute(
            "ALTER TABLE t ALTER a TYPE boolean USING true;
             INSERT INTO t VALUES (2, true)",
        )
        .await;
    let topic = config.topic("public.t");
    let subject = format!("{topic}-value");
    stops(&walferry, &[&subject, "long", "boolean", "\"NONE\""]).await;
    registry.set_compatibility(&subject, "NONE").await;
    let walferry = Walferry::run(&config.twin()).await;
    let records = kafka.first_records(&topic, 2, wait::LONG).await;
    let event = Decoder::new(registry).event(&records[1]).await;
    assert_eq!(event.value.expect("a value")["after"], json!({ "id": 2, "a": true }));
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
}

/// Values, passwords and payloads stay out of the log, whatever its level.
#[tokio::test(flavor = "multi_thread")]
async fn no_log_shows_a_value_or_a_secret() {
    let (database, kafka, registry) = database("private").await;
    let role = unique("private");
    database
        .execute(&format!(
            "CREATE ROLE {role} LOGIN SUPERUSER REPLICATION PASSWORD 'hush-postgres';
             CREATE TABLE t (id int PRIMARY KEY, body text);
             CREATE TABLE outbox (id uuid, aggregatetype text, aggregateid text, type text, payload jsonb)"
        ))
        .await;
    let config = Config::new("private", &database, kafka, registry)
        .postgres_url(&database.url_as(&role, "sslmode=require"))
        .postgres("password = \"hush-postgres\"")
        .listener(kafka, Listener::SaslSsl)
        .registry("username = \"registry\"")
        .registry("password = \"hush-registry\"")
        .table("public.t")
        .outbox("public.outbox")
        .argument("--log-level")
        .argument("trace");
    let walferry = Walferry::run(&config).await;
    let aggregate = unique("private");
    database
        .execute(&format!(
            "INSERT INTO t VALUES (1, 'hush-row'); UPDATE t SET body = 'hush-new'; DELETE FROM t;
             INSERT INTO outbox VALUES (gen_random_uuid(), '{aggregate}', '1', 'made', '{{\"a\": \"hush-payload\"}}');
             ALTER TABLE t ALTER body TYPE int USING 1; INSERT INTO t VALUES (2, 77)"
        ))
        .await;
    kafka.first_records(&format!("outbox.event.{aggregate}"), 1, wait::LONG).await;
    kafka.first_records(&config.topic("public.t"), 4, wait::LONG).await;
    walferry.kill();
    let wrong = config.twin().postgres("password = \"hush-wrong\"");
    let refused = Walferry::start(&wrong);
    assert_eq!(refused.wait_exit(Duration::from_secs(30)).await, 2, "{}", refused.log());
    for secret in ["hush", integration_tests::kafka::ADMIN.1] {
        for log in [walferry.log(), refused.log()] {
            let line = log.lines().find(|line| line.contains(secret));
            assert_eq!(line, None);
        }
    }
}

/// What becomes of a frame (`d`, length, `w`, three numbers, then the plugin's message) with a row.
type Damage = fn(Vec<u8>) -> Vec<u8>;

/// Where the plugin's message begins.
const MESSAGE: usize = 5 + 1 + 3 * 8;

/// Damage after which the connection is given up and the row comes whole from the next.
const RECONNECTS: [(&str, Damage); 3] = [
    ("it ends in the middle", |frame| frame[..MESSAGE + 3].to_vec()),
    ("an unknown frame", |frame| [b"?", &frame[1..]].concat()),
    ("a length that never comes", |frame| [b"d\x03\0\0\0", &frame[5..]].concat()),
];

/// Damage that would come again, and what the stop says.
const STOPS: [(Damage, &str); 3] = [
    (|frame| [b"d\x7f\xff\xff\xff", &frame[5..]].concat(), "postgres.max_message_bytes"),
    (|frame| [&frame[..MESSAGE], b"~", &frame[MESSAGE + 1..]].concat(), "unknown message tag 0x7e"),
    // More cells than there are.
    (
        |frame| [&frame[..MESSAGE + 6], b"\xff", &frame[MESSAGE + 7..]].concat(),
        "ends before its last field",
    ),
];

/// Damages the frame with the next row of the table.
fn damage_next_row(proxy: &Proxy, table: u32, damage: Damage) {
    let insert = [b"I", &table.to_be_bytes()[..], b"N"].concat();
    proxy.damage_once(move |piece| {
        let message = piece.windows(insert.len()).position(|window| window == insert)?;
        let (before, frame) = piece.split_at(message.checked_sub(MESSAGE)?);
        Some([before, &damage(frame.to_vec())].concat())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_bytes_of_the_server_are_noticed_and_lose_nothing() {
    let (database, kafka, registry) = database("damaged").await;
    database.execute("CREATE TABLE t (id int PRIMARY KEY)").await;
    let table: u32 = database.value("SELECT 't'::regclass::oid").await;
    let proxy = Proxy::to(database.port());
    let config = Config::new("damaged", &database, kafka, registry)
        .postgres_url(&database.url_through(proxy.port()))
        .table("public.t");
    let insert = async || {
        database.execute("INSERT INTO t SELECT coalesce(max(id), 0) + 1 FROM t").await;
    };
    let arrived = async |rows| {
        let records = kafka.first_records(&config.topic("public.t"), rows, wait::LONG).await;
        assert_eq!(records.len(), rows, "a row was repeated");
    };
    let walferry = Walferry::run(&config).await;
    insert().await;
    arrived(1).await;
    let (before, mut rows) = (walferry.memory(), 1);
    for (what, damage) in RECONNECTS {
        let accepted = proxy.accepted();
        damage_next_row(&proxy, table, damage);
        insert().await;
        rows += 1;
        arrived(rows).await;
        assert!(proxy.accepted() > accepted, "{what}: no new connection\n{}", walferry.log());
    }
    let grown = walferry.peak_memory().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more for a length that was only announced");
    assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
    for (damage, text) in STOPS {
        let walferry = Walferry::run(&config).await;
        damage_next_row(&proxy, table, damage);
        insert().await;
        stops(&walferry, &[text]).await;
        let walferry = Walferry::run(&config).await;
        rows += 1;
        arrived(rows).await;
        assert_eq!(walferry.stop().await, 0, "{}", walferry.log());
    }
}
